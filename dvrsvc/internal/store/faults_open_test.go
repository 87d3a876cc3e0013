package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinreel/twinreel/pkg/segment"
)

// starts are what a start finds.
func starts() map[string]func(x *trial) {
	return map[string]func(x *trial){
		"as it was left": func(*trial) {},
		"after a power cut": func(x *trial) {
			x.powerCut(nil)
			if _, err := x.feed(x.whole(3), true, 7); err != nil {
				x.t.Fatal(err)
			}
			x.commit()
			disk, index := x.disk.Crash(nil), x.index.CrashClone(pebblevfs.CrashCloneCfg{})
			_ = x.s.Close()
			x.disk, x.index = disk, index
		},
		"without an index": func(x *trial) {
			_ = x.s.Close()
			x.index = newIndexFS()
		},
		"with an index that was found damaged": func(x *trial) {
			_ = x.s.Close()
			f := must(x.disk.Create(x.s.badPath()))
			if err := errors.Join(f.Sync(), f.Close(), x.disk.SyncDir("/storage/.twinreel")); err != nil {
				x.t.Fatal(err)
			}
		},
		"with an index that is rotten": func(x *trial) {
			x.reopen()
			x.reopen()
			_ = x.s.Close()
			x.rotIndex(50, 100)
		},
	}
}

// TestStartFails makes each operation of a start fail in turn, of the data files and of the index, its directory among them,
// once or from there on. Where the index cannot be opened the data files are as they were, and the error says what to do; the
// next start finds all that was released (faults 2, 5, 7).
func TestStartFails(t *testing.T) {
	for name, prepare := range starts() {
		for _, forever := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, forever %t", name, forever), func(t *testing.T) {
				n, refused, ends := int64(1), 0, 0
				for more := true; more; n++ {
					hows := []struct{ cut, noRoom bool }{{true, false}, {false, false}, {false, true}}
					if rounds(t, 1) == 1 { // one for each operation, all of them in make faults
						hows = hows[n%3 : n%3+1]
					}
					for _, how := range hows {
						when := fmt.Sprintf("operation %d, power cut %t, full disk %t", n, how.cut, how.noRoom)
						x := newTrial(t)
						for cell := range 3 {
							x.offer(x.whole(cell), cell != 1)
						}
						prepare(x)
						var ended bool
						var err error
						more, ended, err = x.startFails(n, forever, how.cut, how.noRoom, when)
						if ended {
							ends++
						}
						if errors.Is(err, ErrIndex) {
							refused++
						}
						_ = x.s.Close()
						x.s = nil
					}
				}
				t.Logf("%d operations; %d starts were refused for want of an index, in %d the process ended itself", n-2, refused, ends)
			})
		}
	}
}

// startFails starts while operation n fails, and starts again.
func (x *trial) startFails(n int64, forever, cut, noRoom bool, when string) (more, ended bool, err error) {
	t := x.t
	_ = x.s.Close()
	before := x.content()
	dies := func() { x.end(cut) }
	x.noRoom, x.onExit = noRoom, dies
	x.dies.Store(&dies)
	which := func(at int64) bool { return at == n || forever && at > n }
	x.armed.Store(&which)
	ran := make(chan error, 1)
	go func() { ran <- x.tryOpen() }()
	select {
	case err = <-ran:
	case <-x.died: // the start may wait for what has ended
	case <-time.After(time.Second / 10):
		x.armed.Store(nil) // the index waits for its disk, which is mended
		select {
		case err = <-ran:
		case <-x.died:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the start hangs", when)
		}
	}
	more = x.fault.Count() >= n
	x.mu.Lock()
	after := x.after
	x.mu.Unlock()
	ended = after != nil
	if errors.Is(err, ErrIndex) && !ended {
		if text := err.Error(); !strings.Contains(text, "/storage") || !strings.Contains(text, "see to room, rights and health of its volume") {
			t.Errorf("%s: it does not say what to do: %v", when, err)
		}
		for path, b := range before {
			if now, err := readFile(x.disk, path); err != nil || !bytes.Equal(now, b) {
				t.Errorf("%s: %s is not as it was: %v", when, path, err)
			}
		}
	}
	x.dies.Store(nil)
	x.fail, x.wrapIndex, x.onExit = nil, nil, nil
	x.armed.Store(nil)
	switch {
	case ended:
		x.disk, x.index = after.disk, after.index
		x.open()
	case cut:
		x.powerCut(nil)
	default:
		_ = x.s.Close()
		x.open()
	}
	for _, start := range []string{"next", "one after it"} {
		for d := range x.kept {
			if b, err := x.read(d); err != nil || segment.Sum(b) != d {
				t.Fatalf("%s, %s start: %s was released: %v", when, start, d, err)
			}
		}
		if err := x.s.Check(context.Background()); err != nil {
			t.Fatalf("%s, %s start: %v", when, start, err)
		}
		if start == "next" {
			x.powerCut(nil)
		}
	}
	return more, ended, err
}

// content gives the bytes of every data file.
func (x *trial) content() map[string][]byte {
	out := map[string][]byte{}
	for _, path := range x.dataFiles() {
		out[path] = must(readFile(x.disk, path))
	}
	return out
}
