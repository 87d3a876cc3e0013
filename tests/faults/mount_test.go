package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/pkg/testkit"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// run runs a program of the machine's.
func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}

// volume is a file system that a test mounts.
type volume struct {
	dir  string
	args []string // of mount
}

// newVolume mounts a file system, or skips the test with the reason why this machine cannot.
func newVolume(t *testing.T, args ...string) *volume {
	t.Helper()
	return newVolumeAt(t, t.TempDir(), args...)
}

// newVolumeAt mounts it in a directory that it makes.
func newVolumeAt(t *testing.T, dir string, args ...string) *volume {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	v := &volume{dir: dir}
	v.args = append(args, v.dir)
	if err := run("mount", v.args...); err != nil {
		t.Skipf("this machine does not mount it: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(v.dir, unix.MNT_DETACH) })
	return v
}

// shutdown is EXT4_IOC_SHUTDOWN, and that of xfs; noFlush leaves the journal as it is on disk.
const (
	shutdown = 0x8004587d
	noFlush  = 2
)

// cut takes the power from the file system: all further I/O fails, and what was not synced is lost.
func (v *volume) cut() error {
	d, err := os.Open(v.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.IoctlSetPointerInt(int(d.Fd()), shutdown, noFlush)
}

// back mounts it again, which replays its journal.
func (v *volume) back() error {
	if err := unix.Unmount(v.dir, 0); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	if err := v.gone(); err != nil {
		return err
	}
	return run("mount", v.args...)
}

// gone waits until the machine has let go of the file system. A container that starts meanwhile holds a copy of the mount for
// as long as it lives, and what is mounted then is the file system that was cut, still cut.
func (v *volume) gone() error {
	image := v.args[len(v.args)-2]
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
		if err != nil {
			return err
		}
		held := slices.ContainsFunc(loops, func(l string) bool {
			b, err := os.ReadFile(l)
			return err == nil && strings.TrimSpace(string(b)) == image
		})
		switch {
		case !held:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("%s is unmounted, and still held by another mount namespace: stop the containers that started meanwhile", image)
		}
	}
}

// TestMountPowerCuts cuts the power of an ext4 and of an xfs that data, state and index are on, under load of a real dvrsvc
// (faults 3).
func TestMountPowerCuts(t *testing.T) {
	for name, mkfs := range map[string][]string{
		"ext4": {"mkfs.ext4", "-q", "-F"},
		"xfs":  {"mkfs.xfs", "-q", "-f"},
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(image, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(image, 2<<30); err != nil {
				t.Fatal(err)
			}
			if err := run(mkfs[0], append(mkfs[1:], image)...); err != nil {
				t.Skipf("no %s can be made: %v", name, err)
			}
			powerCuts(t, newVolume(t, "-o", "loop", image), rounds(t, 10))
		})
	}
}

func powerCuts(t *testing.T, v *volume, cuts int) {
	rnd := testkit.Rand(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(cuts)*10*time.Second)
	defer cancel()
	x := newLoad(t, filepath.Join(v.dir, "data"))
	began := time.Now()
	for k := 1; k <= cuts; k++ {
		x.start()
		if rnd.IntN(4) > 0 {
			if err := x.ready(ctx, "live"); err != nil {
				t.Fatalf("cut %d: %v", k, err)
			}
		}
		time.Sleep(time.Duration(rnd.IntN(1200)) * time.Millisecond)
		if k%25 == 0 {
			if _, err := x.judge(ctx); err != nil {
				t.Fatalf("before cut %d: %v", k, err)
			}
		}
		if err := v.cut(); err != nil {
			t.Skipf("this file system cannot be shut down: %v", err)
		}
		x.kill()
		if err := v.back(); err != nil {
			t.Fatalf("cut %d: %v", k, err)
		}
	}
	x.stop()
	x.start()
	read, err := x.judge(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n := x.ledger.count()
	t.Logf("%d power cuts in %s: %d segments released, all there; %d copies in the archive, all readable; refused: %v",
		cuts, time.Since(began).Round(time.Second), n, read, x.ledger.refused)
	if n < cuts/2 {
		t.Errorf("too little was released to say anything: %d", n)
	}
	x.kill()
}

// TestMountFullDisk fills a volume for longer than the producer's ring lasts, under live load (fault 7): that of data and index,
// and that of the index alone. The live tail never stops, recording goes on by itself when there is room, in the same process,
// and the gap is what was neither recorded nor still in the ring of the producer, to the tick, and says why.
func TestMountFullDisk(t *testing.T) {
	t.Run("data", func(t *testing.T) {
		t.Parallel()
		v := newVolume(t, "-t", "tmpfs", "-o", "size=128m", "tmpfs")
		fullDisk(t, filepath.Join(v.dir, "data"), v.dir, 4<<20, "disk_full")
	})
	t.Run("index", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		v := newVolumeAt(t, filepath.Join(dir, "archive", ".twinreel"), "-t", "tmpfs", "-o", "size=128m", "tmpfs")
		fullDisk(t, dir, v.dir, 0, "index_full")
	})
}

// fullDisk records into dir, and fills a volume but for some bytes.
func fullDisk(t *testing.T, dir, volume string, leave uint64, reason string) {
	full := 45 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	x := newLoad(t, dir)
	x.start()
	if err := x.ready(ctx, "live"); err != nil {
		t.Fatal(err)
	}
	var last, longest atomic.Int64  // when a chunk came on the tail; the longest wait for one
	var ended atomic.Pointer[error] // why the tail was asked for again
	var stopped atomic.Int64        // how often it ended that had begun
	go func() {
		for ctx.Err() == nil {
			rpc, err := dvrv1.NewSegmentServiceClient(x.conn).Tail(ctx, &dvrv1.TailRequest{Stream: "live"})
			begun := false
			for err == nil {
				var r *dvrv1.TailResponse
				if r, err = rpc.Recv(); err == nil && r.GetChunk() != nil {
					begun = true
					now := time.Now().UnixNano()
					if was := last.Swap(now); was > 0 {
						longest.Store(max(longest.Load(), now-was))
					}
				}
			}
			ended.Store(&err)
			if begun {
				stopped.Add(1)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	grows := func(what string) {
		t.Helper()
		x.ledger.mu.Lock()
		was := len(x.ledger.released["live"])
		x.ledger.mu.Unlock()
		for range 400 {
			x.ledger.mu.Lock()
			now := len(x.ledger.released["live"])
			x.ledger.mu.Unlock()
			if now >= was+2 {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("nothing is recorded %s", what)
	}
	grows("before the disk is full")
	other := filepath.Join(volume, "what others have there")
	if err := fill(volume, other, leave); err != nil {
		t.Fatal(err)
	}
	time.Sleep(full)
	if since := time.Duration(time.Now().UnixNano() - last.Load()); since > 3*time.Second {
		why := errors.New("it did not end")
		if err := ended.Load(); err != nil {
			why = *err
		}
		t.Errorf("no chunk on the tail for %s: %v", since, why)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	grows("after there is room again")
	if w := time.Duration(longest.Load()); w > 3*time.Second {
		t.Errorf("the tail stood still for %s", w)
	}
	if n := stopped.Load(); n > 0 {
		t.Errorf("the tail ended %d times, the last time: %v", n, *ended.Load())
	}
	x.stop()
	read, err := x.judge(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("full for %s: %d segments released, %d copies readable, the longest wait on the tail %s; refused: %v",
		full, x.ledger.count(), read, time.Duration(longest.Load()).Round(time.Millisecond), x.ledger.refused)
	x.gaps(ctx, t, full, reason)
	if !x.alive() {
		t.Error("the process ended")
	}
	x.kill()
}

// fill takes all room of a file system but some.
func fill(dir, path string, leave uint64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fallocate(int(f.Fd()), 0, 0, int64(s.Bavail*uint64(s.Bsize)-leave))
}

// gaps holds the gaps of the live stream against the segments that are there.
func (x *load) gaps(ctx context.Context, t *testing.T, atLeast time.Duration, reason string) {
	t.Helper()
	index := dvrv1.NewIndexServiceClient(x.conn)
	rpc, err := index.ListSegments(ctx, &dvrv1.ListSegmentsRequest{Stream: "live"})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	var missing time.Duration
	var end time.Time
	for {
		r, err := rpc.Recv()
		if err != nil {
			break
		}
		s := r.GetSegment()
		if from := s.GetStart().AsTime(); !end.IsZero() && from.Sub(end) > 10*time.Millisecond {
			want = append(want, fmt.Sprintf("%s to %s", end.Format(time.RFC3339Nano), from.Format(time.RFC3339Nano)))
			missing += from.Sub(end)
		}
		end = s.GetEnd().AsTime()
	}
	g, err := index.FindGaps(ctx, &dvrv1.FindGapsRequest{Stream: "live"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range g.GetGaps() {
		if g.GetReason() != reason {
			t.Errorf("a gap for the reason %s, want %s", g.GetReason(), reason)
		}
		got = append(got, fmt.Sprintf("%s to %s", g.GetFrom().AsTime().Format(time.RFC3339Nano), g.GetTo().AsTime().Format(time.RFC3339Nano)))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("gaps %v, want %v", got, want)
	}
	if missing < atLeast/4 || missing > atLeast+30*time.Second {
		t.Errorf("%s are missing of a disk that was full for %s", missing, atLeast)
	}
	t.Logf("gaps: %v, %s", got, missing.Round(time.Millisecond))
}
