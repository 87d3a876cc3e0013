package store

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// failedBytes gives the data files that are marked as failed.
func (x *site) failedBytes() map[string][]byte {
	out := map[string][]byte{}
	for _, path := range x.dataFiles() {
		if _, err := x.disk.Open(path + failedSuffix); err == nil {
			out[path] = must(readFile(x.disk, path))
		}
	}
	return out
}

// TestFailedFileIsNotTrustedLater lets the sync of a data file fail, and starts again without a power cut: the pages are
// in memory still, a further sync says that all is well, and a power cut takes them (I4, faults 5).
func TestFailedFileIsNotTrustedLater(t *testing.T) {
	for _, moved := range []bool{true, false} { // to a new file before the process ends
		for _, indexLost := range []bool{false, true} {
			x := newSite(t)
			before, m := x.whole(0), x.whole(1)
			x.store(before, true)
			failed := false
			x.fault.Fail = func(_ int64, op vfs.Op, _ string) bool {
				fail := op == vfs.OpSync && !(failed && moved)
				failed = failed || fail
				return fail
			}
			r, err := x.record(m, true)
			if err != nil {
				t.Fatal(err)
			}
			_ = x.s.Commit(context.Background())
			if !failed || r.told != 1 || (r.err == nil) != moved {
				t.Fatalf("moved %t: %+v", moved, r)
			}
			_ = x.s.Close()
			if indexLost {
				x.index = newIndexFS()
			}
			was := x.failedBytes()
			x.open()
			for path, b := range x.failedBytes() {
				if !bytes.Equal(b, was[path]) {
					t.Errorf("moved %t, index lost %t: %s was written to", moved, indexLost, path)
				}
			}
			offered := x.store(m, false)
			released := offered.err == nil
			for range 2 {
				x.powerCut(nil)
				for _, d := range []segment.Digest{before.info.Digest, m.info.Digest} {
					if b, err := x.read(d); (released || d == before.info.Digest) && (err != nil || segment.Sum(b) != d) {
						t.Errorf("moved %t, index lost %t: %s was released: %v", moved, indexLost, d, err)
					}
				}
				if err := x.s.Check(context.Background()); err != nil {
					t.Errorf("moved %t, index lost %t: %v", moved, indexLost, err)
				}
			}
			for _, e := range must(x.disk.ReadDir("/storage/cam")) {
				if name, ok := failedOf(e.Name()); ok && !slices.Contains(x.dataFiles(), "/storage/cam/"+name) {
					t.Errorf("%s is left over", e.Name())
				}
			}
		}
	}
}
