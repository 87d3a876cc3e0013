package sampler

import (
	"bytes"

	"github.com/twinreel/twinreel/pkg/ac3"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
)

// convertAudio goes by the frame, since the announced stream type may be the other's: ADTS has no layer.
func (t *Sampler) convertAudio(u *mpegts.AccessUnit, s *Sample) bool {
	const layer = 6
	if len(u.Data) > 1 && u.Data[1]&layer == 0 {
		return t.convertAAC(u)
	}
	return t.convertMPEGAudio(u.Data, s)
}

// convertAC3 keeps the syncframes as they are. A damaged unit may lack some, and so cannot tell the configuration: it
// stays under the one before.
func (t *Sampler) convertAC3(u *mpegts.AccessUnit) bool {
	if u.Damage == 0 {
		c, ok := ac3.Describe(u.Data)
		if !ok {
			return false
		}
		if t.cfg == nil || c != t.ac3 {
			init, codec, err := fmp4.AC3Init(t.pid, t.language, c)
			if err != nil {
				return false
			}
			t.ac3 = c
			t.setConfig(init, codec)
		}
	}
	t.buf = append(t.buf, u.Data...)
	return t.cfg != nil
}

// convertLATM keeps the raw_data_block. A damaged unit may be under a configuration that is not in force any more: it does
// not bring one about.
func (t *Sampler) convertLATM(u *mpegts.AccessUnit) bool {
	if u.Damage == 0 && (t.cfg == nil || !bytes.Equal(u.Config, t.specific)) {
		init, codec, err := fmp4.AACConfigInit(t.pid, t.language, u.Config)
		if err != nil {
			return false
		}
		t.specific = append(t.specific[:0], u.Config...)
		t.setConfig(init, codec)
	}
	t.buf = append(t.buf, u.Data...)
	return t.cfg != nil
}

// convertOpus keeps the packet. The configuration is the program map's.
func (t *Sampler) convertOpus(data []byte) bool {
	if t.cfg == nil {
		init, codec, err := fmp4.OpusInit(t.pid, t.language, t.channels)
		if err != nil {
			return false
		}
		t.setConfig(init, codec)
	}
	t.buf = append(t.buf, data...)
	return true
}
