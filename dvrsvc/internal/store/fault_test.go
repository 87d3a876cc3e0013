package store

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// TestEveryOperationFails makes each operation of a run fail in turn, once or from there on, and then cuts the power:
// what was released before is there afterwards (I1, I4).
func TestEveryOperationFails(t *testing.T) {
	for _, forever := range []bool{false, true} {
		for n := int64(1); ; n++ {
			x := newSite(t)
			before := x.whole(0)
			x.store(before, true)
			base := x.fault.Count()
			x.fault.Fail = func(at int64, _ vfs.Op, _ string) bool {
				return at == base+n || forever && at > base+n
			}
			kept := []segment.Digest{before.info.Digest}
			for cell := 1; cell < 4; cell++ {
				m := x.whole(cell)
				if r, err := x.record(m, cell != 2); err == nil {
					if err := x.s.Commit(context.Background()); err != nil {
						t.Fatal(err)
					}
					if r.told != 1 {
						t.Fatalf("operation %d: done was called %d times", n, r.told)
					}
					if r.err == nil {
						kept = append(kept, m.info.Digest)
					}
				}
			}
			last := x.fault.Count() < base+n
			x.powerCut(nil)
			for _, d := range kept {
				if b, err := x.read(d); err != nil || segment.Sum(b) != d {
					t.Fatalf("operation %d (forever %v): %s was released: %v", n, forever, d, err)
				}
			}
			if err := x.s.Check(context.Background()); err != nil {
				t.Fatalf("operation %d (forever %v): %v", n, forever, err)
			}
			if last {
				break
			}
		}
	}
}

// TestRecoveryFails makes each operation of a recovery fail, and recovers again (faults 2).
func TestRecoveryFails(t *testing.T) {
	for n := int64(1); ; n++ {
		x := newSite(t)
		whole, open := x.whole(0), x.whole(1)
		x.store(whole, true)
		if _, err := x.feed(open, true, 7); err != nil {
			t.Fatal(err)
		}
		x.commit()
		disk := x.disk.Crash(func(string, int) (int, int) { return 11, 0 })
		_ = x.s.Close()
		x.s = nil
		x.disk, x.index = disk, newIndexFS()
		f := &vfs.Fault{FS: x.disk, Fail: func(at int64, _ vfs.Op, _ string) bool { return at == n }}
		if err := x.openOn(f); err == nil {
			_ = x.s.Close()
		} else if !errors.Is(err, vfs.ErrInjected) {
			t.Fatalf("operation %d: %v", n, err)
		}
		done := f.Count() < n
		x.open()
		if _, err := x.read(whole.info.Digest); err != nil {
			t.Fatalf("operation %d: %v", n, err)
		}
		copies, err := x.st.Copies(open.slot)
		if err != nil || len(copies) != 1 || len(copies[0].Info.Chunks) != 7 {
			t.Fatalf("operation %d: the open copy: %+v, %v", n, copies, err)
		}
		if done {
			break
		}
	}
}

// TestTornAnywhere cuts a data file within its last copy, and damages one byte of what was not synced (faults 4).
func TestTornAnywhere(t *testing.T) {
	x := newSite(t)
	first, second := x.whole(0), x.whole(1)
	x.store(first, true)
	x.commit()
	synced := len(fileBytes(x))
	if r, err := x.record(second, true); err != nil {
		t.Fatal(r, err)
	}
	x.fault.Fail = func(_ int64, op vfs.Op, _ string) bool { return op == vfs.OpSync || op == vfs.OpCreate }
	_ = x.s.Commit(context.Background())
	all := len(fileBytes(x))
	if all <= synced {
		t.Fatal("nothing was written beyond the sync")
	}
	disk, db := x.disk, x.index
	_ = x.s.Close()
	x.s = nil
	step := 1 + (all-synced)/150
	for cut := 0; cut <= 2*(all-synced); cut += step {
		x.disk = disk.Crash(func(_ string, n int) (int, int) { return cut, 0 })
		if at := cut - 1; at >= all-synced && at < 2*(all-synced) {
			for _, e := range must(x.disk.ReadDir("/storage/cam")) {
				if _, ok := fileNumber(e.Name()); ok {
					if err := x.disk.Corrupt("/storage/cam/"+e.Name(), int64(synced+at-(all-synced))); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		x.index = db.CrashClone(pebblevfs.CrashCloneCfg{})
		x.open()
		if _, err := x.read(first.info.Digest); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		copies, err := x.st.Copies(second.slot)
		if err != nil || len(copies) > 1 {
			t.Fatalf("cut at %d: %+v %v", cut, copies, err)
		}
		if err := x.s.Check(context.Background()); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := x.s.Close(); err != nil {
			t.Fatal(err)
		}
		x.s = nil
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// fileBytes gives the bytes of the first data file.
func fileBytes(x *site) []byte {
	entries, err := x.disk.ReadDir("/storage/cam")
	if err != nil {
		x.t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := fileNumber(e.Name()); ok {
			b, err := readFile(x.disk, "/storage/cam/"+e.Name())
			if err != nil {
				x.t.Fatal(err)
			}
			return b
		}
	}
	return nil
}

// TestKill records in a process of its own that is killed again and again. Every digest that it printed as released
// must be there. The child is this test binary.
func TestKill(t *testing.T) {
	if dir := os.Getenv("STORE_TEST_CHILD"); dir != "" {
		killChild(t, dir)
		return
	}
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	released := map[string]bool{}
	for run := range 8 {
		child := exec.Command(os.Args[0], "-test.run=^TestKill$", "-test.timeout=60s")
		child.Env = append(os.Environ(), "STORE_TEST_CHILD="+dir, fmt.Sprint("STORE_TEST_FROM=", run*1000))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(100+rnd.IntN(500))*time.Millisecond, func() { _ = child.Process.Kill() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if d, ok := strings.CutPrefix(lines.Text(), "released "); ok && len(d) == 64 {
				released[d] = true
			} else if strings.HasPrefix(lines.Text(), "problem ") {
				t.Errorf("run %d: %s", run, lines.Text())
			}
		}
		_ = child.Wait()
		timer.Stop()
	}
	s, err := Open(context.Background(), Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	st, err := s.Stream("cam")
	if err != nil {
		t.Fatal(err)
	}
	for d := range released {
		digest, _ := segment.ParseDigest(d)
		c, err := st.find(digest)
		if err != nil {
			t.Errorf("released copy %s: %v", d, err)
			continue
		}
		if err := st.verify(&c); err != nil {
			t.Errorf("released copy %s: %v", d, err)
		}
	}
	if err := s.Check(context.Background()); err != nil {
		t.Error(err)
	}
	t.Logf("%d copies were released before 8 kills", len(released))
	if len(released) == 0 {
		t.Error("nothing was released")
	}
}

func killChild(t *testing.T, dir string) {
	x := &site{t: t, row: segment.TimelineID{1, 2, 3}}
	s, err := Open(context.Background(), Options{Path: dir, CommitEvery: 5 * time.Millisecond})
	if err != nil {
		fmt.Println("problem", err)
		return
	}
	x.s = s
	if x.st, err = s.Stream("cam"); err != nil {
		fmt.Println("problem", err)
		return
	}
	if err := x.st.PutTimeline(Row{ID: x.row, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.UnixNano()}}}); err != nil {
		fmt.Println("problem", err)
		return
	}
	go func() { _ = s.Run(context.Background()) }()
	var from int
	_, _ = fmt.Sscan(os.Getenv("STORE_TEST_FROM"), &from)
	for cell := from; cell < from+1000; cell++ {
		m := x.whole(cell)
		c, err := x.feed(m, true, -1)
		if err == nil {
			err = c.Seal(m.info, func(_ Outcome, err error) {
				if err == nil {
					fmt.Println("released", hex.EncodeToString(m.info.Digest[:]))
				}
			})
		}
		if err != nil {
			fmt.Println("problem", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestTogether lets producers, readers and retention loose on a store that commits on its own.
func TestTogether(t *testing.T) {
	s, err := Open(context.Background(), Options{Path: t.TempDir(), CommitEvery: 3 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	var group errgroup.Group
	for _, name := range []string{"a", "b"} {
		x := &site{t: t, s: s, row: segment.TimelineID{1}}
		if x.st, err = s.Stream(name); err != nil {
			t.Fatal(err)
		}
		if err := x.st.PutTimeline(Row{ID: x.row, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: time.Now().Add(-5 * time.Minute).UnixNano()}}}); err != nil {
			t.Fatal(err)
		}
		x.st.SetRetention(Rule{Age: time.Hour})
		events, stop := x.st.Watch()
		group.Go(func() error {
			for range events {
				for range x.st.Segments(time.Time{}, time.Time{}, true) {
				}
				_ = x.st.Gaps(time.Time{}, time.Time{})
				_ = x.st.Summary()
				for _, p := range x.st.OpenParts() {
					if _, err := x.st.ReadOpen(p.ID, 0); err != nil && !errors.Is(err, errs.ErrUnknown) {
						return err
					}
				}
			}
			return nil
		})
		var left sync.WaitGroup
		for _, live := range []bool{true, false} {
			left.Add(1)
			group.Go(func() error {
				defer left.Done()
				for cell := range 30 {
					m := x.whole(cell)
					c, err := x.feed(m, live, -1)
					if err != nil {
						return err
					}
					done := make(chan error, 1)
					if err := c.Seal(m.info, func(_ Outcome, err error) { done <- err }); err != nil {
						return err
					}
					if err := <-done; err != nil {
						return err
					}
					if _, err := x.read(m.info.Digest); err != nil {
						return err
					}
				}
				return nil
			})
		}
		go func() { left.Wait(); stop() }()
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := errors.Join(<-ran, s.Check(context.Background()), s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestOneLineErrors(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(context.Background(), Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		want error
	}{{dir, ErrInUse}, {file, ErrNotDirectory}, {filepath.Join(file, "below"), ErrNotDirectory}, {"/proc/storage", nil}} {
		_, err := Open(context.Background(), Options{Path: c.path})
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("open %s: %v", c.path, err)
		}
	}
	if _, err := s.Stream("../x"); !errors.Is(err, ErrStreamName) {
		t.Errorf("stream name: %v", err)
	}
}
