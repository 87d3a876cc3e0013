package fmp4

import "fmt"

// OpusInit returns the init segment of an Opus track by the channel_config_code of its descriptor ("Encapsulation of Opus
// in MPEG-2 transport streams", 4.2) and its RFC 6381 codec string. There is nothing to skip at the start: a recorder
// begins anywhere in the stream.
func OpusInit(pid uint16, language string, code uint8) ([]byte, string, error) {
	if int(code) >= len(opusLayouts) {
		return nil, "", fmt.Errorf("build Opus init segment of PID %d: channel configuration %d does not exist", pid, code)
	}
	l := opusLayouts[code]
	return initSegment(track{pid: pid, language: language, sampleEntry: func(w *boxes) {
		w.audioEntry("Opus", len(l.mapping), 48000, func() {
			w.box("dOps", func() { // "Encapsulation of Opus in ISO Base Media File Format", 4.3.2
				w.u8(0) // version
				w.u8(uint8(len(l.mapping)))
				w.u16(0)     // PreSkip
				w.u32(48000) // InputSampleRate
				w.u16(0)     // OutputGain
				w.u8(l.family)
				if l.family == 0 {
					return
				}
				w.u8(l.streams)
				w.u8(l.coupled)
				w.bytes(l.mapping)
			})
		})
	}}), "opus", nil
}

// opusLayouts has the channels by channel_config_code (RFC 7845, 5.1.1.2): 0 is dual mono, the rest is a number of channels.
var opusLayouts = [...]struct {
	family, streams, coupled uint8
	mapping                  []byte
}{
	{255, 2, 0, []byte{0, 1}},
	{0, 1, 0, []byte{0}},
	{0, 1, 1, []byte{0, 1}},
	{1, 2, 1, []byte{0, 2, 1}},
	{1, 2, 2, []byte{0, 1, 2, 3}},
	{1, 3, 2, []byte{0, 4, 1, 2, 3}},
	{1, 4, 2, []byte{0, 4, 1, 2, 3, 5}},
	{1, 4, 3, []byte{0, 4, 1, 2, 3, 5, 6}},
	{1, 5, 3, []byte{0, 6, 1, 2, 3, 4, 5, 7}},
}
