package fmp4_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
)

// mpegSequence is a sequence header, with matrices if load is 1 (intra) to 3 (both).
func mpegSequence(width, height uint32, load byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 0, 1, 0xB3}, width<<20|height<<8|0x33)
	b = append(b, 0x02, 0x71, 0x23, 0x80|load)
	for n := range 64 * (int(load>>1) + int(load&1)) {
		b = append(b, byte(n|1))
	}
	return b
}

func mpegExtension(profileAndLevel, chroma, widthHigh uint32) []byte {
	b := []byte{0, 0, 1, 0xB5}
	b = binary.BigEndian.AppendUint32(b, 1<<28|profileAndLevel<<20|chroma<<17|widthHigh<<15|1)
	return append(b, 0, 0)
}

func mpegDisplay(colours bool) []byte {
	if colours {
		return []byte{0, 0, 1, 0xB5, 0x2B, 1, 1, 1, 0x14, 2, 0x16, 0x80}
	}
	return []byte{0, 0, 1, 0xB5, 0x2A, 0x14, 2, 0x16, 0x80}
}

type mpegVideoCase struct {
	name                         string
	sequence, extension, display []byte
	codec                        string
	width, height                uint16
}

func mpegVideoCases() []mpegVideoCase {
	sequence := mpegSequence(720, 576, 0)
	return []mpegVideoCase{
		{"MPEG-1", mpegSequence(352, 288, 0), nil, nil, "mp4v.6A", 352, 288},
		{"main", sequence, mpegExtension(0x48, 1, 0), nil, "mp4v.61", 720, 576},
		{"main, displayed", sequence, mpegExtension(0x48, 1, 0), mpegDisplay(false), "mp4v.61", 720, 576},
		{"main, with colours", sequence, mpegExtension(0x48, 1, 0), mpegDisplay(true), "mp4v.61", 720, 576},
		{"simple", sequence, mpegExtension(0x58, 1, 0), nil, "mp4v.60", 720, 576},
		{"SNR", sequence, mpegExtension(0x38, 1, 0), nil, "mp4v.62", 720, 576},
		{"spatial", sequence, mpegExtension(0x26, 1, 0), nil, "mp4v.63", 720, 576},
		{"high", sequence, mpegExtension(0x14, 1, 0), nil, "mp4v.64", 720, 576},
		{"4:2:2", sequence, mpegExtension(0x85, 2, 0), nil, "mp4v.65", 720, 576},
		{"multi-view", sequence, mpegExtension(0x8E, 1, 0), nil, "mp4v.61", 720, 576},
		{"wider than 12 bits", mpegSequence(0, 576, 0), mpegExtension(0x44, 1, 1), nil, "mp4v.61", 4096, 576},
	}
}

func TestMPEGVideoInit(t *testing.T) {
	for _, c := range mpegVideoCases() {
		data, codec, err := fmp4.MPEGVideoInit(videoPID, "", c.sequence, c.extension, c.display)
		if err != nil || codec != c.codec {
			t.Errorf("%s: codec %q, %v, want %q", c.name, codec, err, c.codec)
			continue
		}
		entry := data[bytes.Index(data, []byte("mp4v")):]
		if w, h := binary.BigEndian.Uint16(entry[28:]), binary.BigEndian.Uint16(entry[30:]); w != c.width || h != c.height {
			t.Errorf("%s: %d x %d, want %d x %d", c.name, w, h, c.width, c.height)
		}
		object, err := hex.DecodeString(c.codec[5:])
		if err != nil {
			t.Fatal(err)
		}
		specific := slices.Concat(c.sequence, c.extension, c.display)
		want := slices.Concat(
			[]byte{3, byte(23 + len(specific)), 1, 0, 0, 4, byte(15 + len(specific)), object[0], 0x11}, make([]byte, 11),
			[]byte{5, byte(len(specific))}, specific, []byte{6, 1, 2})
		if got := entry[bytes.Index(entry, []byte("esds"))+8:]; !bytes.HasPrefix(got, want) {
			t.Errorf("%s: esds %x, want %x", c.name, got[:len(want)], want)
		}
	}
}

// TestMPEGVideoMatrices holds I1: the matrices, which a repeated sequence header may change, are no configuration, and
// neither is what follows the headers.
func TestMPEGVideoMatrices(t *testing.T) {
	extension, display := mpegExtension(0x48, 1, 0), mpegDisplay(false)
	want, _, err := fmp4.MPEGVideoInit(videoPID, "", mpegSequence(720, 576, 0), extension, display)
	if err != nil {
		t.Fatal(err)
	}
	more := func(b []byte) []byte { return slices.Concat(b, []byte{0, 0, 1}) }
	for load := range byte(4) {
		got, _, err := fmp4.MPEGVideoInit(videoPID, "", more(mpegSequence(720, 576, load)), more(extension), more(display))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("matrices %d: got %x, %v, want %x", load, got, err, want)
		}
	}
}

func TestMPEGVideoInitRefuses(t *testing.T) {
	sequence, extension, display := mpegSequence(720, 576, 0), mpegExtension(0x48, 1, 0), mpegDisplay(true)
	for name, c := range map[string][3][]byte{
		"nothing":                 {},
		"a short sequence header": {sequence[:11]},
		"another header":          {extension},
		"no width":                {mpegSequence(0, 576, 0)},
		"no height":               {mpegSequence(720, 0, 0)},
		"a short extension":       {sequence, extension[:9]},
		"another extension":       {sequence, display},
		"a short display":         {sequence, extension, display[:11]},
		"another display":         {sequence, extension, extension},
	} {
		if _, _, err := fmp4.MPEGVideoInit(videoPID, "", c[0], c[1], c[2]); !errors.Is(err, fmp4.ErrParameterSyntax) {
			t.Errorf("%s: got %v, want %v", name, err, fmp4.ErrParameterSyntax)
		}
	}
}
