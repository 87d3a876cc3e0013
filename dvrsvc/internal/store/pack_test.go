package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
)

// packOf packs segments of one row, turn and init set, and gives its two parts.
func packOf(t testing.TB, x *site, ms []*made) (first, last []byte) {
	t.Helper()
	var b bytes.Buffer
	w := NewPackWriter(&b, x.s.random)
	if err := w.Begin(Part{Store: x.s.ID(), Stream: "cam", Row: Row{ID: x.row, Mapping: x.st.mapping(x.row)}, Inits: ms[0].inits}); err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		if err := w.Add(m.slot, &m.info, bytes.Join(m.chunks, nil)); err != nil {
			t.Fatal(err)
		}
	}
	at := w.Bytes() + int64(boxOverhead) // of the box that ends the part
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()[:at:at], b.Bytes()[at:]
}

// The parts of a pack are data files: a store that finds them has what they hold, timeline and evidence with it.
func TestPartsAreDataFiles(t *testing.T) {
	x := newSite(t)
	from, to := cellFrames(2)
	ms := []*made{x.whole(0), x.whole(1), x.make(from, to, []int{from + 10}, nil), x.make(from, to, nil, []int{from + 50})}
	first, last := packOf(t, x, ms)
	y := newSite(t)
	if err := y.s.Close(); err != nil {
		t.Fatal(err)
	}
	_ = y.disk.Remove("/storage/cam/state")
	for i, b := range [][]byte{first, last} {
		rewrite(t, y.disk, filepath.Join("/storage/cam", fmt.Sprintf("20261123T09-%08d-backfill.mp4", i+1)), b)
	}
	y.index = newIndexFS()
	y.open()
	for _, m := range ms {
		copies, err := y.st.Copies(m.slot)
		if err != nil || len(copies) == 0 {
			t.Fatalf("%s: %v, %v", m.slot, copies, err)
		}
		c, err := y.st.find(m.info.Digest)
		b, rerr := y.read(m.info.Digest)
		if err = errors.Join(err, rerr); err != nil || !bytes.Equal(b, bytes.Join(m.chunks, nil)) || c.Slot != m.slot || !y.st.At(x.row, m.info.Start).Equal(x.st.At(x.row, m.info.Start)) {
			t.Errorf("%s: %+v, %v", m.info.Digest, c, err)
		}
		if e := c.Info.Evidence; len(e.Faulty) != len(m.info.Evidence.Faulty) || len(e.Missing) != len(m.info.Evidence.Missing) {
			t.Errorf("%s: evidence %+v, want %+v", m.info.Digest, e, m.info.Evidence)
		}
	}
}

// A data file of a store is read as a pack is: that of a disk that is left from a dead machine.
func TestDataFileIsRead(t *testing.T) {
	x := newSite(t)
	ms := []*made{x.whole(0), x.whole(1), x.whole(2)}
	for _, m := range ms {
		x.store(m, true)
	}
	files := x.dataFiles()
	b, err := readFile(x.disk, files[0])
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	check := func(b []byte, cut bool) {
		t.Helper()
		r := NewPackReader(bytes.NewReader(b))
		for _, m := range ms {
			p, err := r.Next()
			if err != nil || p.Info.Digest != m.info.Digest || p.Part.Stream != "cam" || p.Part.Store != x.s.ID() ||
				!p.Part.Row.Mapping.UTC(m.info.Start).Equal(x.st.At(x.row, m.info.Start)) {
				t.Fatalf("%+v, %v", p, err)
			}
		}
		if _, err := r.Next(); cut != errors.Is(err, io.ErrUnexpectedEOF) || !cut && !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
	}
	check(b, true) // it is written to
	x.clock.move(3 * time.Hour)
	x.commit()
	if b, err = readFile(x.disk, files[0]); err != nil {
		t.Fatal(err)
	}
	check(b, false)
}

// What no pack can be is told, and asks for no memory.
func TestHostilePack(t *testing.T) {
	x := newSite(t)
	first, last := packOf(t, x, []*made{x.whole(0)})
	other := x.whole(0)
	other.info.Digest[0] ^= 1
	lie, _ := packOf(t, x, []*made{other})
	for name, b := range map[string][]byte{
		"nothing":       nil,
		"text":          []byte("this is no pack at all"),
		"a long box":    append([]byte{0x7f, 0xff, 0xff, 0xff}, "ftyp12345678901234567890"...),
		"a long uuid":   append(bytes.Clone(first), append([]byte{0x03, 0xff, 0xff, 0xff}, "uuidtwinreel.dvrcopy"...)...),
		"the last part": last,
		"but the last":  first,
		"other bytes":   append(lie, last...),
		"zeros":         make([]byte, 1<<16),
	} {
		r := NewPackReader(bytes.NewReader(b))
		var err error
		for err == nil {
			_, err = r.Next()
		}
		var damaged *PackError
		if !errors.As(err, &damaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzPackReader(f *testing.F) {
	x := newSite(f)
	first, last := packOf(f, x, []*made{x.whole(0)})
	f.Add(append(first, last...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewPackReader(bytes.NewReader(b))
		for {
			p, err := r.Next()
			if err != nil {
				return
			}
			if segment.Sum(p.Data) != p.Info.Digest {
				t.Fatal("other bytes than the digest says")
			}
		}
	})
}
