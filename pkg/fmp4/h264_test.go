package fmp4_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/Eyevinn/mp4ff/avc"
	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/twinreel/twinreel/pkg/fmp4"
)

type spsCase struct {
	name          string
	sps           sps
	width, height uint
	codec         string
}

func spsCases() []spsCase {
	return []spsCase{
		{"baseline", sps{width: 80, height: 45}, 1280, 720, "avc1.42001e"},
		{"cropped", sps{width: 120, height: 68, cropBelow: 4, level: 40}, 1920, 1080, "avc1.420028"},
		{"cropped fields", sps{width: 45, height: 18, interlaced: true, cropBelow: 1, cropRight: 8}, 704, 572, "avc1.42001e"},
		{"high", sps{width: 120, height: 68, chroma: 2, cropBelow: 4}, 1920, 1080, "avc1.64001e"},
		{"monochrome", sps{width: 20, height: 15, chroma: 1, cropBelow: 5, cropRight: 3}, 317, 235, "avc1.64001e"},
		{"4:2:2", sps{width: 20, height: 15, chroma: 3, cropBelow: 5, cropRight: 3}, 314, 235, "avc1.f4001e"},
		{"4:4:4", sps{width: 20, height: 15, chroma: 4, cropBelow: 5, cropRight: 3}, 317, 235, "avc1.f4001e"},
		{"scaling lists", sps{width: 40, height: 30, chroma: 2, lists: true}, 640, 480, "avc1.64001e"},
		{"scaling lists 4:4:4", sps{width: 40, height: 30, chroma: 4, lists: true}, 640, 480, "avc1.f4001e"},
		{"order count 1", sps{width: 40, height: 30, pocType: 1}, 640, 480, "avc1.42001e"},
		{"order count 2", sps{width: 40, height: 30, pocType: 2}, 640, 480, "avc1.42001e"},
	}
}

func TestH264Init(t *testing.T) {
	for _, c := range spsCases() {
		nal := c.sps.nal()
		record, codec := h264Record(t, [][]byte{nal}, [][]byte{pps(0, 0)}, c.width, c.height)
		if codec != c.codec {
			t.Errorf("%s: codec %q, want %q", c.name, codec, c.codec)
		}
		if c.sps.chroma > 0 && uint64(record.ChromaFormat) != c.sps.chroma-1 {
			t.Errorf("%s: avcC %+v", c.name, record)
		}
		other, err := avc.ParseSPSNALUnit(nal, false)
		if err != nil || other.Width != c.width || other.Height != c.height {
			t.Errorf("%s: mp4ff reads %+v, %v, want %d x %d", c.name, other, err, c.width, c.height)
		}
	}
}

// h264Record builds an init segment and reads it with mp4ff.
func h264Record(t *testing.T, sets, pictures [][]byte, width, height uint) (avc.DecConfRec, string) {
	t.Helper()
	data, codec, err := fmp4.H264Init(videoPID, "", sets, pictures)
	if err != nil {
		t.Fatalf("%x: %v", sets, err)
	}
	f, err := mp4.DecodeFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	entry := f.Init.Moov.Trak.Mdia.Minf.Stbl.Stsd.AvcX
	if uint(entry.Width) != width || uint(entry.Height) != height {
		t.Errorf("%x: %d x %d, want %d x %d", sets, entry.Width, entry.Height, width, height)
	}
	return entry.AvcC.DecConfRec, codec
}

// TestParameterSets holds I1: whatever the order and the repeats of an access unit, the init segment is the same.
func TestParameterSets(t *testing.T) {
	sets := [][]byte{
		sps{id: 0, width: 80, height: 45}.nal(),
		sps{id: 1, width: 45, height: 36}.nal(),
		sps{id: 31, width: 22, height: 18}.nal(),
	}
	pictures := [][]byte{pps(0, 0), pps(1, 1), pps(2, 31), pps(255, 0)}
	want, _, err := fmp4.H264Init(videoPID, "", sets, pictures)
	if err != nil {
		t.Fatal(err)
	}
	record, _ := h264Record(t, sets, pictures, 1280, 720)
	if !reflect.DeepEqual(record.SPSnalus, sets) || !reflect.DeepEqual(record.PPSnalus, pictures) {
		t.Errorf("avcC %+v, want the sets %x and %x", record, sets, pictures)
	}
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		mixed := func(nals [][]byte) [][]byte {
			nals = slices.Concat(nals, nals[:r.IntN(len(nals)+1)])
			r.Shuffle(len(nals), func(i, j int) { nals[i], nals[j] = nals[j], nals[i] })
			return nals
		}
		sps, pps := mixed(sets), mixed(pictures)
		if got, _, err := fmp4.H264Init(videoPID, "", sps, pps); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("seed %d, sets %x and %x: got %x, %v, want %x", seed, sps, pps, got, err, want)
		}
	}

	// Of two with one id the last counts.
	other := sps{id: 0, width: 40, height: 30}.nal()
	record, _ = h264Record(t, [][]byte{sets[0], other}, pictures, 640, 480)
	if !reflect.DeepEqual(record.SPSnalus, [][]byte{other}) {
		t.Errorf("sets %x, want %x alone", record.SPSnalus, other)
	}
}

func TestH264InitRefuses(t *testing.T) {
	good, picture := sps{width: 80, height: 45}.nal(), pps(0, 0)
	var many [][]byte
	for id := range uint64(32) {
		many = append(many, sps{id: id, width: 1, height: 1}.nal())
	}
	for _, c := range []struct {
		name          string
		sets, picture [][]byte
		want          error
	}{
		{"no set", nil, [][]byte{picture}, fmp4.ErrNoParameterSets},
		{"no picture set", [][]byte{good}, nil, fmp4.ErrNoParameterSets},
		{"empty set", [][]byte{{}}, [][]byte{picture}, fmp4.ErrParameterSyntax},
		{"empty picture set", [][]byte{good}, [][]byte{{}}, fmp4.ErrParameterSyntax},
		{"cut", [][]byte{good[:6]}, [][]byte{picture}, fmp4.ErrParameterSyntax},
		{"another type", [][]byte{picture}, [][]byte{picture}, fmp4.ErrParameterSyntax},
		{"id 32", [][]byte{sps{id: 32, width: 1, height: 1}.nal()}, [][]byte{picture}, fmp4.ErrParameterSyntax},
		{"picture id 256", [][]byte{good}, [][]byte{pps(256, 0)}, fmp4.ErrParameterSyntax},
		{"all cropped", [][]byte{sps{width: 1, height: 1, cropRight: 8}.nal()}, [][]byte{picture}, fmp4.ErrParameterSyntax},
		{"too wide", [][]byte{sps{width: 5000, height: 1}.nal()}, [][]byte{picture}, fmp4.ErrParameterSyntax},
		{"32 sets", many, [][]byte{picture}, fmp4.ErrParameterTooLong},
		{"long set", [][]byte{append(slices.Clone(good), make([]byte, 1<<16)...)}, [][]byte{picture}, fmp4.ErrParameterTooLong},
	} {
		if _, _, err := fmp4.H264Init(videoPID, "", c.sets, c.picture); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

type recoveryCase struct {
	name string
	nal  []byte
	want bool
}

func recoveryPoints() []recoveryCase {
	long := slices.Concat([]byte{6, 5, 0xFF, 1}, make([]byte, 256))
	for i := range 256 {
		long[4+i] = 0xAB
	}
	return []recoveryCase{
		{"count 0", []byte{6, 6, 1, 0xC4, 0x80}, true},
		{"count 1", []byte{6, 6, 1, 0x4C, 0x80}, false},
		{"count 5", []byte{6, 6, 1, 0x32, 0x80}, false},
		{"behind a buffering period", []byte{6, 0, 2, 0x55, 0x55, 6, 1, 0xC4, 0x80}, true},
		{"behind a long message", slices.Concat(long, []byte{6, 1, 0xC4, 0x80}), true},
		{"behind emulation prevention", []byte{6, 1, 3, 0, 0, 3, 1, 6, 1, 0xC4, 0x80}, true},
		{"another message", []byte{6, 1, 1, 0xC4, 0x80}, false},
		{"type 261", []byte{6, 0xFF, 6, 1, 0xC4, 0x80}, false},
		{"in the payload of another", []byte{6, 5, 3, 6, 1, 0xC4, 0x80}, false},
		{"empty message", []byte{6, 6, 0, 0x80}, false},
		{"cut behind the size", []byte{6, 6, 1}, false},
		{"cut behind the type", []byte{6, 6}, false},
		{"size without end", []byte{6, 6, 0xFF, 0xFF}, false},
		{"header alone", []byte{6}, false},
		{"nothing", nil, false},
	}
}

func TestRecoveryPointNow(t *testing.T) {
	for _, c := range recoveryPoints() {
		if got := fmp4.RecoveryPointNow(c.nal); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
