package fmp4_test

import (
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// PIDs of the tracks in the tests.
const (
	videoPID = 0x100
	aacPID   = 0x101
	mpegPID  = 0x102
	hevcPID  = 0x103
	mpeg2PID = 0x104
	dataPID  = 0x1FFE
)

// initCase is an init segment and what must be read back from it.
type initCase struct {
	name  string
	pid   uint16
	video bool
	meta  bool
	codec string
	data  []byte
	entry func(t *testing.T, stsd *mp4.StsdBox) // checks the sample entry; nil: checkSampleEntry does
}

func initCases(t testing.TB) []initCase {
	t.Helper()
	h264, h264Codec, err := fmp4.H264Init(videoPID, "", [][]byte{sps{id: 0, width: 80, height: 45}.nal()}, [][]byte{pps(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	aac, aacCodec, err := fmp4.AACInit(aacPID, "deu", fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	mpeg, mpegCodec, err := fmp4.MPEGAudioInit(mpegPID, "eng", fmp4.MPEGAudioConfig{Rate: 48000, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	hevc, hevcCodec, err := fmp4.HEVCInit(hevcPID, "", [][]byte{hevcVPS(0)}, [][]byte{hevcCases()[0].sps}, [][]byte{hevcPPS(0)})
	if err != nil {
		t.Fatal(err)
	}
	mpeg2, mpeg2Codec, err := fmp4.MPEGVideoInit(mpeg2PID, "", mpegSequence(1280, 720, 0), mpegExtension(0x44, 1, 0), mpegDisplay(true))
	if err != nil {
		t.Fatal(err)
	}
	data, err := fmp4.DataInit(dataPID, "swe", 0x06, []byte{0x59, 8, 's', 'w', 'e', 0x10, 0, 1, 0, 2})
	if err != nil {
		t.Fatal(err)
	}
	return append([]initCase{
		{name: "data_init", pid: dataPID, data: data, meta: true, entry: func(t *testing.T, stsd *mp4.StsdBox) {
			if len(stsd.Children) != 1 || stsd.Children[0].Type() != "urim" {
				t.Errorf("sample entry %+v", stsd)
			}
		}},
		{name: "h264_init", pid: videoPID, video: true, codec: h264Codec, data: h264},
		{name: "aac_init", pid: aacPID, codec: aacCodec, data: aac},
		{name: "mpeg_audio_init", pid: mpegPID, codec: mpegCodec, data: mpeg},
		{name: "hevc_init", pid: hevcPID, video: true, codec: hevcCodec, data: hevc},
		{name: "mpeg_video_init", pid: mpeg2PID, video: true, codec: mpeg2Codec, data: mpeg2},
	}, audioInitCases(t)...)
}

// chunkCase is what AppendChunk gets.
type chunkCase struct {
	name    string
	kind    fmp4.Kind
	pid     uint16
	start   timeline.Ticks
	samples []fmp4.Sample
	payload []byte
}

func (c chunkCase) bytes() []byte {
	return fmp4.AppendChunk(nil, c.kind, c.pid, c.start, c.samples, c.payload)
}

func chunkCases() []chunkCase {
	const sync, other = fmp4.FlagsSync, fmp4.FlagsNonSync
	return []chunkCase{
		{"video_chunk", fmp4.Video, videoPID, 1<<33 + 12345, []fmp4.Sample{
			{Duration: 3600, Size: 9, Flags: sync, Offset: 7200},
			{Duration: 3600, Size: 6, Flags: other, Offset: 14400},
			{Duration: 3601, Size: 5, Flags: other, Offset: 0},
		}, []byte("\x00\x00\x00\x05\x65IDR.\x00\x00\x00\x02\x41P\x00\x00\x00\x01\x01")},
		{"audio_chunk", fmp4.Audio, aacPID, 1<<34 - 1, []fmp4.Sample{
			{Duration: 1920, Size: 4, Flags: sync},
			{Duration: 1920, Size: 0, Flags: sync},
			{Duration: 1919, Size: 3, Flags: sync},
		}, []byte("aac1aac")},
	}
}

// bits writes the RBSP of a NAL unit.
type bits struct {
	b    []byte
	free int
}

func (w *bits) put(n int, v uint64) {
	for n--; n >= 0; n-- {
		if w.free == 0 {
			w.b, w.free = append(w.b, 0), 8
		}
		w.free--
		w.b[len(w.b)-1] |= byte(v>>n&1) << w.free
	}
}

func (w *bits) ue(v uint64) {
	n := 0
	for (v+1)>>n > 1 {
		n++
	}
	w.put(n, 0)
	w.put(n+1, v+1)
}

// nal ends the RBSP and puts header and emulation prevention into it (ITU-T H.264, 7.4.1).
func (w *bits) nal(header byte) []byte {
	w.put(1, 1)
	out, zeros := []byte{header}, 0
	for _, b := range w.b {
		if zeros == 2 && b <= 3 {
			out, zeros = append(out, 3), 0
		}
		out = append(out, b)
		zeros++
		if b != 0 {
			zeros = 0
		}
	}
	return out
}

// sps is a sequence parameter set to be written. The zero value of a field is the usual case.
type sps struct {
	id                   uint64
	width, height        uint64 // macroblocks; height: map units
	chroma               uint64 // 1 + chroma_format_idc; 0: the profile has none
	lists                bool   // scaling lists
	interlaced           bool
	pocType              uint64
	cropRight, cropBelow uint64
	level                uint64
	sar                  [2]uint64 // of pixels
	idc                  uint64    // aspect_ratio_idc, without sar
}

// usability writes video usability information, in which behind the shape of pixels so many flags are 0.
func (w *bits) usability(idc uint64, sar [2]uint64, flags int) {
	if idc == 0 && sar[1] == 0 {
		w.put(1, 0) // no VUI
		return
	}
	w.put(2, 3)
	if idc > 0 {
		w.put(8, idc)
	} else {
		w.put(8, 255)
		w.put(16, sar[0])
		w.put(16, sar[1])
	}
	w.put(flags, 0)
}

func (s sps) nal() []byte {
	w := &bits{}
	profile, level := uint64(66), uint64(30)
	if s.chroma > 0 {
		profile = 100
		if s.chroma > 2 {
			profile = 244
		}
	}
	if s.level > 0 {
		level = s.level
	}
	w.put(8, profile)
	w.put(8, 0)
	w.put(8, level)
	w.ue(s.id)
	if s.chroma > 0 {
		w.ue(s.chroma - 1)
		if s.chroma == 4 {
			w.put(1, 0) // no separate planes
		}
		w.ue(0)
		w.ue(0)
		w.put(1, 0)
		if s.lists {
			w.put(1, 1)
			w.put(1, 1)
			for range 16 {
				w.ue(1) // +1 each
			}
			w.put(1, 1)
			w.ue(16) // -8: the default from here on
			w.put(6, 0)
			if s.chroma == 4 {
				w.put(4, 0)
			}
		} else {
			w.put(1, 0)
		}
	}
	w.ue(0)
	w.ue(s.pocType)
	switch s.pocType {
	case 0:
		w.ue(2)
	case 1:
		w.put(1, 0)
		w.ue(1<<30 - 1) // 30 zero bits: emulation prevention
		w.ue(0)
		w.ue(2)
		w.ue(3)
		w.ue(4)
	}
	w.ue(4)
	w.put(1, 0)
	w.ue(s.width - 1)
	w.ue(s.height - 1)
	if s.interlaced {
		w.put(2, 0)
	} else {
		w.put(1, 1)
	}
	w.put(1, 1)
	if s.cropRight+s.cropBelow > 0 {
		w.put(1, 1)
		w.ue(0)
		w.ue(s.cropRight)
		w.ue(0)
		w.ue(s.cropBelow)
	} else {
		w.put(1, 0)
	}
	w.usability(s.idc, s.sar, 8)
	return w.nal(0x67)
}

// pps writes a picture parameter set that refers to a sequence parameter set.
func pps(id, of uint64) []byte {
	w := &bits{}
	w.ue(id)
	w.ue(of)
	w.put(2, 0) // CAVLC
	w.ue(0)
	w.ue(0)
	w.ue(0)
	w.put(3, 0)
	w.ue(0) // QP 26, QS 26, no offset
	w.ue(0)
	w.ue(0)
	w.put(3, 0)
	return w.nal(0x68)
}
