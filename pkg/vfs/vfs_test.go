package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestConformance runs the same on the machine's file system and on the one in memory.
func TestConformance(t *testing.T) {
	for name, f := range map[string]FS{"os": OS{}, "mem": NewMem(), "fault": &Fault{FS: NewMem()}} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			if err := f.MkdirAll(dir); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "x")
			if _, err := f.Open(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("open what is not there: %v", err)
			}
			w, err := f.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Create(path); !errors.Is(err, fs.ErrExist) {
				t.Errorf("create twice: %v", err)
			}
			var want []byte
			var bufs [][]byte
			for i := range 3000 { // more than one writev takes
				b := bytes.Repeat([]byte{byte(i)}, i%7)
				bufs, want = append(bufs, b), append(want, b...)
			}
			if n, err := w.Append(bufs); err != nil || n != int64(len(want)) {
				t.Fatalf("append: %d, %v", n, err)
			}
			if err := errors.Join(w.Sync(), f.SyncDir(dir), w.Truncate(int64(len(want)-10))); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Append([][]byte{want[len(want)-10:]}); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(want))
			if _, err := w.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
				t.Errorf("read back: %v", err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := f.Rename(path, path+"2"); err != nil {
				t.Fatal(err)
			}
			entries, err := f.ReadDir(dir)
			if err != nil || len(entries) != 1 || entries[0].Name() != "x2" || entries[0].IsDir() {
				t.Errorf("list: %v, %v", entries, err)
			}
			for _, size := range []int64{1 << 20, 1 << 16} {
				if err := f.Allocate(path+"3", size); err != nil {
					t.Fatal(err)
				}
				a, err := f.OpenAppend(path + "3")
				if err != nil {
					t.Fatal(err)
				}
				if got, err := a.Size(); err != nil || got != size {
					t.Errorf("allocated %d bytes, want %d: %v", got, size, err)
				}
				if err := a.Truncate(size / 2); err != nil {
					t.Fatal(err)
				}
				if got, err := a.Size(); err != nil || got != size/2 {
					t.Errorf("%d bytes are left, want half of %d: %v", got, size, err)
				}
				_ = a.Close()
			}
			l, err := f.Lock(path + ".lock")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Lock(path + ".lock"); !errors.Is(err, ErrLocked) {
				t.Errorf("lock twice: %v", err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err = f.Lock(path + ".lock"); err != nil {
				t.Fatal(err)
			}
			_ = l.Close()
		})
	}
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	m := NewMem()
	write := func(path, text string, sync, dir bool) {
		f, err := m.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.Append([][]byte{[]byte(text)})
		if sync {
			_ = f.Sync()
			_, _ = f.Append([][]byte{[]byte("tail")})
		}
		if dir {
			_ = m.SyncDir("/")
		}
	}
	write("/a", "both", true, true)
	write("/b", "name alone", false, true)
	write("/c", "no name", true, false)
	after := m.Crash(func(string, int) (int, int) { return 1, 2 })
	for path, want := range map[string]string{"/a": "botht\x00\x00", "/b": "n\x00\x00"} {
		f, err := after.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 20)
		n, _ := f.ReadAt(got, 0)
		if string(got[:n]) != want {
			t.Errorf("%s: %q, want %q", path, got[:n], want)
		}
	}
	if _, err := after.Open("/c"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name that was not synced: %v", err)
	}
}

func TestFailedSyncLies(t *testing.T) {
	m := NewMem()
	f := &Fault{FS: m, Fail: func(_ int64, op Op, _ string) bool { return op == OpSync }}
	w, err := f.Create("/a")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Append([][]byte{[]byte("x")})
	_ = f.SyncDir("/")
	if err := w.Sync(); !errors.Is(err, ErrInjected) {
		t.Fatalf("sync: %v", err)
	}
	f.Fail = nil
	if err := w.Sync(); err != nil {
		t.Fatalf("the second sync: %v", err)
	}
	after, err := m.Crash(nil).Open("/a")
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := after.Size(); n != 0 {
		t.Errorf("%d bytes survived a failed sync", n)
	}
}

func TestTruncateIsDurableWhenSynced(t *testing.T) {
	m := NewMem()
	f, err := m.Create("/a")
	if err != nil {
		t.Fatal(err)
	}
	content := func() string {
		after, err := m.Crash(nil).Open("/a")
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 20)
		n, _ := after.ReadAt(b, 0)
		return string(b[:n])
	}
	_, _ = f.Append([][]byte{[]byte("whole")})
	_ = f.Sync()
	_ = m.SyncDir("/")
	_ = f.Truncate(2)
	_, _ = f.Append([][]byte{[]byte("at")})
	_ = f.Truncate(3)
	if got := content(); got != "whole" {
		t.Errorf("before the sync: %q", got)
	}
	_ = f.Sync()
	if got := content(); got != "wha" {
		t.Errorf("after it: %q", got)
	}
}

// TestCrashAnyhow: what was synced is always there, and everything else comes in each of its ways.
func TestCrashAnyhow(t *testing.T) {
	m := NewMem()
	write := func(path, text string) File {
		f, err := m.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.Append([][]byte{[]byte(text)})
		return f
	}
	_ = m.MkdirAll("/d/e")
	_ = m.SyncDir("/")
	grown, state := write("/d/grown", "durable"), write("/d/state", "old")
	_, _ = grown.Sync(), state.Sync()
	_ = m.SyncDir("/d")
	_, _ = grown.Append([][]byte{bytes.Repeat([]byte{1}, 9000)})
	next := write("/d/state.tmp", "new")
	_ = next.Sync()
	_ = m.Rename("/d/state.tmp", "/d/state")
	_ = write("/d/e/lost", "").Sync()
	seen := map[string]int{}
	for seed := range uint64(400) {
		after := m.CrashAnyhow(rand.New(rand.NewPCG(seed, 1)))
		content := func(path string) string {
			b, err := ReadFile(after, path, 1<<20)
			if err != nil {
				return "-"
			}
			return string(b)
		}
		b := content("/d/grown")
		if len(b) < 7 || b[:7] != "durable" {
			t.Fatalf("seed %d: what was synced: %q", seed, b)
		}
		if rest := b[7:]; len(rest) > 600 && rest[0] == 0 && rest[len(rest)-1] == 1 {
			seen["a later sector without an earlier one"]++
		}
		if len(b) == 7 || len(b) == 9007 {
			seen["length "+strconv.Itoa(len(b))]++
		}
		seen["state "+content("/d/state")+" "+content("/d/state.tmp")]++
		seen["lost "+content("/d/e/lost")]++
	}
	for _, want := range []string{"a later sector without an earlier one", "state old -", "state old new", "state new -", "lost -", "lost "} {
		if seen[want] == 0 {
			t.Errorf("never: %s; %v", want, seen)
		}
	}
	for what := range seen {
		if strings.HasPrefix(what, "state -") {
			t.Errorf("a file that was replaced is gone: %s", what)
		}
	}
}

// TestAllocatedIsReal: the blocks are there, a hole would give nobody room.
func TestAllocatedIsReal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := (OS{}).Allocate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil || s.Blocks*512 < 1<<20 {
		t.Errorf("%d bytes on disk: %v", s.Blocks*512, err)
	}
}
