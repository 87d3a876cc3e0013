package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
)

// rotIndex flips a bit in every so many bytes of the tables of the index from a place on, and says how many there are.
func (x *site) rotIndex(from, every int64) (tables int) {
	x.t.Helper()
	const dir = "/storage/.twinreel/index/"
	for _, name := range must(x.index.List(dir)) {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		tables++
		f := must(x.index.OpenReadWrite(dir+name, pebblevfs.WriteCategoryUnspecified))
		size := must(f.Stat()).Size()
		for at := from; at < size; at += every {
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, at); err != nil {
				x.t.Fatal(err)
			}
			b[0] ^= 0x10
			if _, err := f.WriteAt(b, at); err != nil {
				x.t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			x.t.Fatal(err)
		}
	}
	return tables
}

// reopen closes the store and opens it again; what is in the log of the index goes into a table.
func (x *site) reopen() {
	x.t.Helper()
	if err := x.s.Close(); err != nil {
		x.t.Fatal(err)
	}
	x.open()
}

// stored stores some segments, and moves their rows to tables that are not in memory.
func (x *site) stored() (all []*made) {
	for i := range 54 {
		all = append(all, x.whole(300*i)) // so that the rows of blocks take more than one block of a table
		x.store(all[i], true)
	}
	x.reopen()
	x.reopen()
	return all
}

// TestIndexRot damages the index at rest, here or there. No start fails, and where the damage shows only later the
// process ends and the next start rebuilds the index (I5, faults 11).
func TestIndexRot(t *testing.T) {
	for _, c := range []struct{ from, every int64 }{{50, 100}, {200, 400}, {2500, 5000}, {10000, 20000}, {4150, 1 << 30}} {
		t.Run(fmt.Sprintf("from %d every %d", c.from, c.every), func(t *testing.T) {
			x := newSite(t)
			all := x.stored()
			if err := x.s.Close(); err != nil {
				t.Fatal(err)
			}
			if x.rotIndex(c.from, c.every) == 0 {
				t.Fatal("the index has no table")
			}
			for life := range 3 {
				x.open()
				for i, m := range all {
					if _, err := x.read(m.info.Digest); err != nil && x.exits == 0 {
						t.Errorf("life %d, segment %d: %v", life, i, err)
					}
				}
				if err := x.s.Close(); err != nil && x.exits == 0 {
					t.Errorf("life %d: %v", life, err)
				}
				if x.exits > 0 && life == 2 {
					t.Errorf("it is not mended by the third start")
				}
				x.exits = 0
			}
			x.open()
			if _, err := x.s.fs.Open(x.s.badPath()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the mark of a damaged index: %v", err)
			}
		})
	}
}

// TestIndexRotsWhileInUse damages the index under a store that is open.
func TestIndexRotsWhileInUse(t *testing.T) {
	x := newSite(t)
	all := x.stored()
	x.rotIndex(200, 400)
	for _, m := range all {
		_, _ = x.read(m.info.Digest)
	}
	if x.exits == 0 {
		t.Error("the process goes on")
	}
	_ = x.s.Close()
	x.open()
	x.exits = 0
	for i, m := range all {
		if _, err := x.read(m.info.Digest); err != nil || x.exits > 0 {
			t.Fatalf("segment %d: %v", i, err)
		}
	}
}
