package fmp4_test

import (
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/twinreel/twinreel/pkg/aac"
	"github.com/twinreel/twinreel/pkg/ac3"
	"github.com/twinreel/twinreel/pkg/fmp4"
)

const (
	ac3PID = 0x110 + iota
	eac3PID
	latmPID
	opusPID
)

// audioInitCases are those of the audio codecs that came after AAC and MPEG audio.
func audioInitCases(t testing.TB) []initCase {
	t.Helper()
	made := func(name string, pid uint16, entry func(*testing.T, *mp4.StsdBox)) func([]byte, string, error) initCase {
		return func(data []byte, codec string, err error) initCase {
			if err != nil {
				t.Fatal(err)
			}
			return initCase{name: name, pid: pid, codec: codec, data: data, entry: entry}
		}
	}
	return []initCase{
		made("ac3_init", ac3PID, func(t *testing.T, stsd *mp4.StsdBox) {
			e := stsd.AC3
			if e == nil || e.ChannelCount != 6 || e.SampleRate != 44100 || e.Dac3 == nil {
				t.Fatalf("sample entry %+v", e)
			}
			if got, want := *e.Dac3, (mp4.Dac3Box{FSCod: 1, BSID: 8, BSMod: 2, ACMod: 7, LFEOn: 1, BitRateCode: 15}); got != want {
				t.Errorf("dac3 %+v, want %+v", got, want)
			}
		})(fmp4.AC3Init(ac3PID, "", ac3.Config{Rate: 44100, BitRate: 15, Count: 1,
			Substreams: [8]ac3.Substream{{SampleRateCode: 1, BSID: 8, Service: 2, Mode: 7, LFE: true}}})),
		made("eac3_init", eac3PID, func(t *testing.T, stsd *mp4.StsdBox) {
			e := stsd.EC3
			if e == nil || e.ChannelCount != 8 || e.SampleRate != 48000 || e.Dec3 == nil {
				t.Fatalf("sample entry %+v", e)
			}
			first := mp4.EC3Sub{BSID: 16, ACMod: 7, LFEOn: 1, NumDepSub: 1, ChanLoc: 2}
			second := mp4.EC3Sub{BSID: 16, BSMod: 2, ACMod: 1}
			if d := e.Dec3; len(d.EC3Subs) != 2 || d.EC3Subs[0] != first || d.EC3Subs[1] != second || string(d.Reserved) != "\x01\x10" {
				t.Errorf("dec3 %+v", d)
			}
		})(fmp4.AC3Init(eac3PID, "", ac3.Config{Enhanced: true, Rate: 48000, Count: 2, JOC: 16,
			Substreams: [8]ac3.Substream{{BSID: 16, Mode: 7, LFE: true, Dependents: 1, Locations: 2}, {BSID: 16, Service: 2, Mode: 1}}})),
		made("latm_init", latmPID, func(t *testing.T, stsd *mp4.StsdBox) {
			e := stsd.Mp4a
			if e == nil || e.ChannelCount != 2 || e.SampleRate != 48000 {
				t.Fatalf("sample entry %+v", e)
			}
			if c := e.Esds.DecConfigDescriptor; c.ObjectType != 0x40 || string(c.DecSpecificInfo.DecConfig) != "\xEB\x09\x88\x00" {
				t.Errorf("esds %+v", c)
			}
		})(fmp4.AACConfigInit(latmPID, "", []byte("\xEB\x09\x88\x00"))), // parametric stereo, 24 to 48 kHz
		made("opus_init", opusPID, func(t *testing.T, stsd *mp4.StsdBox) {
			var d *mp4.DopsBox
			for _, c := range stsd.Children {
				if e, ok := c.(*mp4.AudioSampleEntryBox); ok {
					d = e.Dops
				}
			}
			if d == nil || d.OutputChannelCount != 6 || d.InputSampleRate != 48000 || d.PreSkip != 0 || d.ChannelMappingFamily != 1 ||
				d.StreamCount != 4 || d.CoupledCount != 2 || string(d.ChannelMapping) != "\x00\x04\x01\x02\x03\x05" {
				t.Errorf("dOps %+v", d)
			}
		})(fmp4.OpusInit(opusPID, "", 6)),
	}
}

func TestAACConfigInit(t *testing.T) {
	for specific, want := range map[string]string{
		"\x11\x90":                            "mp4a.40.2",
		"\x2B\x11\x88\x00":                    "mp4a.40.5",
		"\xEB\x09\x88\x00":                    "mp4a.40.29",
		"\x13\x10\x56\xE5\x98":                "mp4a.40.5", // told behind
		"\xF9\x46":                            "",          // USAC
		"":                                    "",
		string(make([]byte, aac.MaxConfig+1)): "",
	} {
		data, codec, err := fmp4.AACConfigInit(latmPID, "", []byte(specific))
		if codec != want || (err == nil) != (want != "") || (data == nil) != (want == "") {
			t.Errorf("% x: got %q, %v, want %q", specific, codec, err, want)
		}
	}
}

func TestAC3InitRefuses(t *testing.T) {
	for _, c := range []ac3.Config{
		{}, {Rate: 48000}, {Rate: 48000, Count: 9, Enhanced: true}, {Rate: 48000, Count: 2}, {Count: 1},
	} {
		if data, codec, err := fmp4.AC3Init(ac3PID, "", c); err == nil {
			t.Errorf("%+v: got %d bytes, %q", c, len(data), codec)
		}
	}
}

func TestOpusInit(t *testing.T) {
	for code := range 10 {
		data, codec, err := fmp4.OpusInit(opusPID, "", uint8(code))
		if (err == nil) != (code <= 8) || err == nil && codec != "opus" || (data == nil) != (err != nil) {
			t.Errorf("channel configuration %d: %d bytes, %q, %v", code, len(data), codec, err)
		}
	}
}
