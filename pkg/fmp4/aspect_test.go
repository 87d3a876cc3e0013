package fmp4_test

import (
	"bytes"
	"testing"

	"github.com/Eyevinn/mp4ff/hevc"
	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/twinreel/twinreel/pkg/fmp4"
)

// TestAspect: pixels that are not square are in the sample entry, and the track has the size at which it is shown.
func TestAspect(t *testing.T) {
	h264 := func(s sps) []byte {
		data, _, err := fmp4.H264Init(videoPID, "", [][]byte{s.nal()}, [][]byte{pps(0, 0)})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	h265 := func(s hevcSPS) []byte {
		s.profile, s.level = 1, 93
		if o, err := hevc.ParseSPSNALUnit(s.nal()); err != nil || s.sar[1] > 0 && (o.VUI == nil || uint64(o.VUI.SampleAspectRatioWidth) != s.sar[0]) {
			t.Errorf("mp4ff reads %+v, %v", o, err)
		}
		data, _, err := fmp4.HEVCInit(hevcPID, "", [][]byte{hevcVPS(0)}, [][]byte{s.nal()}, [][]byte{hevcPPS(0)})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	mpeg := func(width, height uint32, shape byte, display []byte) []byte {
		sequence := mpegSequence(width, height, 0)
		sequence[7] = sequence[7]&0x0F | shape<<4
		data, _, err := fmp4.MPEGVideoInit(mpeg2PID, "", sequence, mpegExtension(0x48, 1, 0), display)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	part := []byte{0, 0, 1, 0xB5, 0x2A, 540 >> 6, 540&0x3F<<2 | 2, 576 >> 5, 576 & 0x1F << 3} // 540 x 576
	for _, c := range []struct {
		name       string
		data       []byte
		shown      float64 // width
		wide, high uint32  // 0: nothing is said
	}{
		{"H.264, nothing", h264(sps{width: 45, height: 36}), 720, 0, 0},
		{"H.264, 16:11", h264(sps{width: 45, height: 36, idc: 4}), 720 * 16. / 11, 16, 11},
		{"H.264, square", h264(sps{width: 45, height: 36, idc: 1}), 720, 0, 0},
		{"H.264, square in other words", h264(sps{width: 45, height: 36, sar: [2]uint64{7, 7}}), 720, 0, 0},
		{"H.264, reserved", h264(sps{width: 45, height: 36, idc: 17}), 720, 0, 0},
		{"H.264, none at all", h264(sps{width: 45, height: 36, sar: [2]uint64{0, 1}}), 720, 0, 0},
		{"H.264, 128:90", h264(sps{width: 45, height: 36, sar: [2]uint64{128, 90}}), 1024, 64, 45},
		{"H.264, fields cropped", h264(sps{width: 90, height: 34, interlaced: true, cropBelow: 2, idc: 14}), 1920, 4, 3},
		{"H.264, wider than there is room", h264(sps{width: 45, height: 36, sar: [2]uint64{65535, 1}}), 720, 0, 0},
		{"HEVC", h265(hevcSPS{width: 720, height: 576, sar: [2]uint64{64, 45}}), 1024, 64, 45},
		{"HEVC, with all", h265(hevcSPS{width: 720, height: 576, sar: [2]uint64{64, 45}, full: true}), 1024, 64, 45},
		{"HEVC, sub-layers, 4:4:4", h265(hevcSPS{width: 1440, height: 1080, subLayers: 2, chroma: 4, idc: 14, full: true}), 1920, 4, 3},
		{"MPEG-2, 16:9", mpeg(720, 576, 3, nil), 1024, 64, 45},
		{"MPEG-2, square", mpeg(720, 576, 1, nil), 720, 0, 0},
		{"MPEG-2, forbidden", mpeg(720, 576, 0, nil), 720, 0, 0},
		{"MPEG-2, reserved", mpeg(720, 576, 15, nil), 720, 0, 0},
		{"MPEG-2, 2.21:1", mpeg(720, 576, 4, nil), 576 * 2.21, 442, 250},
		{"MPEG-2, the part in the middle is 4:3", mpeg(720, 576, 2, part), 1024, 64, 45},
		{"MPEG-2, a part that cannot be meant", mpeg(720, 576, 3, part), 1024, 64, 45},
	} {
		f, err := mp4.DecodeFile(bytes.NewReader(c.data))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := float64(f.Init.Moov.Trak.Tkhd.Width) / (1 << 16); got < c.shown-.01 || got > c.shown+.01 {
			t.Errorf("%s: shown %.2f wide, want %.2f", c.name, got, c.shown)
		}
		var wide, high uint32
		if i := bytes.Index(c.data, []byte("pasp")); i > 0 {
			b := &mp4.PaspBox{}
			if box, err := mp4.DecodeBox(0, bytes.NewReader(c.data[i-4:])); err != nil {
				t.Errorf("%s: %v", c.name, err)
			} else if b, _ = box.(*mp4.PaspBox); b != nil {
				wide, high = b.HSpacing, b.VSpacing
			}
		}
		if uint64(wide)*uint64(c.high) != uint64(high)*uint64(c.wide) || (wide == 0) != (c.wide == 0) {
			t.Errorf("%s: pixels of %d:%d, want %d:%d", c.name, wide, high, c.wide, c.high)
		}
	}
}
