package store

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/vfs"
)

// dataFiles gives the paths of the data files.
func (x *site) dataFiles() (out []string) {
	for _, e := range must(x.disk.ReadDir("/storage/cam")) {
		if _, ok := fileNumber(e.Name()); ok {
			out = append(out, "/storage/cam/"+e.Name())
		}
	}
	return out
}

// down ends the store, by a power cut or in order, and takes its index away.
func (x *site) down(cut bool) {
	x.t.Helper()
	disk := x.disk
	if cut {
		disk = x.disk.Crash(nil)
	}
	if err := x.s.Close(); err != nil {
		x.t.Fatal(err)
	}
	x.s, x.disk, x.index = nil, disk, newIndexFS()
}

// TestUnreadablePlaceCostsNothing rebuilds the index while a place of a data file cannot be read, and again when it can
// (faults 8).
func TestUnreadablePlaceCostsNothing(t *testing.T) {
	for _, cut := range []bool{true, false} {
		for name, place := range map[string]func(*site, *made) int64{
			"head":   func(*site, *made) int64 { return 700 },
			"chunk":  func(x *site, m *made) int64 { return must(x.s.db.Get("cam", m.slot, m.info.Digest)).At[2] + 40 },
			"box":    func(x *site, m *made) int64 { return must(x.s.db.Get("cam", m.slot, m.info.Digest)).At[2] - 9 },
			"record": func(x *site, m *made) int64 { return must(x.s.db.Get("cam", m.slot, m.info.Digest)).At[31] + 700 },
			"end":    func(x *site, _ *made) int64 { return int64(len(must(readFile(x.disk, x.dataFiles()[0])))) - 9 },
		} {
			t.Run(name, func(t *testing.T) {
				x := newSite(t)
				var all []*made
				for i := range 6 {
					all = append(all, x.whole(i))
					x.store(all[i], true)
				}
				bad := place(x, all[1])
				x.down(cut)
				f := &vfs.Fault{FS: x.disk, Unreadable: func(path string) int64 {
					if strings.HasSuffix(path, ".mp4") {
						return bad
					}
					return -1
				}}
				if err := x.openOn(f); err != nil {
					t.Fatal(err)
				}
				if _, err := x.read(all[5].info.Digest); err != nil && name != "head" && name != "end" {
					t.Errorf("behind the place: %v", err)
				}
				if err := x.s.Close(); err != nil {
					t.Fatal(err)
				}
				x.open() // the disk is well again
				for i, m := range all {
					if _, err := x.read(m.info.Digest); err != nil {
						t.Errorf("power cut %v, segment %d: %v", cut, i, err)
					}
				}
			})
		}
	}
}

// TestNewerProgram opens a storage that a newer program wrote to: nothing of it is touched (faults 16).
func TestNewerProgram(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"head": func(b []byte) []byte {
			i := bytes.Index(b, []byte(boxHead))
			b[i+4]++
			return b
		},
		"record": func(b []byte) []byte {
			i := bytes.LastIndex(b, []byte(boxSeal))
			b[i+4]++
			return b
		},
		"kind": func(b []byte) []byte {
			i := bytes.LastIndex(b, []byte(boxSeal))
			copy(b[i:], "seam")
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			x.store(x.whole(0), true)
			x.down(true)
			path := x.dataFiles()[0]
			before := must(readFile(x.disk, path))
			nonce := must(x.headOf(path)).nonce
			rewrite(t, x.disk, path, reseal(change(bytes.Clone(before)), nonce))
			after := must(readFile(x.disk, path))
			if err := x.tryOpen(); !errors.Is(err, errNewer) {
				t.Errorf("open: %v", err)
			}
			if b, err := readFile(x.disk, path); err != nil || !bytes.Equal(b, after) {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
}

// TestRottenHeadIsLeft opens a small file whose head is rotten, and one that was never written (faults 11).
func TestRottenHeadIsLeft(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	x.store(m, true)
	x.down(true)
	path := x.dataFiles()[0]
	whole := must(readFile(x.disk, path))
	rewrite(t, x.disk, "/storage/cam/20261123T09-00000007-live.mp4", nil)
	rewrite(t, x.disk, "/storage/cam/20261123T09-00000008-live.mp4", make([]byte, 5000))
	if err := x.disk.Corrupt(path, int64(bytes.Index(whole, []byte(boxHead))+4)); err != nil {
		t.Fatal(err)
	}
	x.open()
	if got := x.dataFiles(); len(got) != 1 || got[0] != path {
		t.Fatalf("data files %v", got)
	}
	rewrite(t, x.disk, path, whole)
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	x.open()
	if _, err := x.read(m.info.Digest); err != nil {
		t.Error(err)
	}
}

func (x *site) headOf(path string) (fileHead, error) {
	b := must(readFile(x.disk, path))
	h, _, err := readHead(bytes.NewReader(b), int64(len(b)))
	return h, err
}

// reseal gives every box of a data file the checksum of what it holds.
func reseal(b []byte, n nonce) []byte {
	mark := []byte("uuid" + boxUser)
	for at := 0; ; {
		i := bytes.Index(b[at:], mark)
		if i < 0 {
			return b
		}
		at += i
		size, kind, ok := boxSize(b[at-4:])
		if ok {
			copy(b[at-4:], appendBox(nil, n, kind, b[at-4+boxPrefix:at-4+size-4]))
		}
		at++
	}
}

func rewrite(t *testing.T, disk *vfs.Mem, path string, b []byte) {
	t.Helper()
	_ = disk.Remove(path)
	f, err := disk.Create(path)
	if err == nil {
		_, err = f.Append([][]byte{b})
	}
	if err = errors.Join(err, disk.SyncDir(filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
}

// TestStartPassesWhatCannotBeOpened: a data file that the disk does not open is left for the next start; all others are there, and
// what comes is recorded.
func TestStartPassesWhatCannotBeOpened(t *testing.T) {
	x := newSite(t)
	m, n, now := x.whole(0), x.whole(9), x.whole(12)
	x.store(m, true)
	file := x.dataFiles()[0]
	x.powerCut(nil)
	x.store(n, true)
	_ = x.s.Close()
	x.index = newIndexFS()
	if err := x.openOn(&closedDoor{FS: x.disk, name: file}); err != nil {
		t.Fatal(err)
	}
	x.store(now, true)
	if got := x.held([]*made{m, n, now}); got != "-xx" {
		t.Errorf("held %s", got)
	}
	_ = x.s.Close()
	x.open()
	if got := x.held([]*made{m, n, now}); got != "xxx" {
		t.Errorf("held %s when the disk is mended", got)
	}
}
