package recorder

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// onDisk is a recorder whose storages are on a disk.
func onDisk(disk vfs.FS) *Recorder {
	return New(Options{
		Node: "here", Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(nil),
		Open: func(ctx context.Context, path string) (*store.Store, error) {
			return store.Open(ctx, store.Options{Path: path, FS: disk, IndexFS: pebblevfs.NewMem()})
		},
	})
}

// A stream is added, and the disk takes its time: the others are there all the while.
func TestNewStreamHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stall, reached := make(chan struct{}), false
		disk := &vfs.Fault{FS: vfs.NewMem(), Fail: func(_ int64, op vfs.Op, path string) bool {
			if op == vfs.OpMkdir && strings.HasSuffix(path, "/slow") {
				reached = true
				<-stall
			}
			return false
		}}
		r := onDisk(disk)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- r.Run(ctx) }()
		tv, slow := Config{Name: "tv", Path: "/dvr"}, Config{Name: "slow", Path: "/dvr"}
		r.Apply([]Config{tv}, nil)
		synctest.Wait()
		r.Apply([]Config{tv, slow}, nil)
		synctest.Wait()
		if !reached {
			t.Error("the new stream is not being opened")
		}
		if _, err := r.Stream("tv"); err != nil {
			t.Error(err)
		}
		if _, _, err := r.Archive("tv"); err != nil {
			t.Error(err)
		}
		close(stall)
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

// A stream whose archive could not be opened, as its disk failed for a moment, is recorded soon after, whatever the config does.
func TestStreamThatCouldNotBeOpenedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails atomic.Bool
		fails.Store(true)
		disk := &vfs.Fault{FS: vfs.NewMem(), Fail: func(_ int64, op vfs.Op, path string) bool {
			return fails.Load() && op == vfs.OpMkdir && strings.HasSuffix(path, "/tv")
		}}
		r := onDisk(disk)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- r.Run(ctx) }()
		r.Apply([]Config{{Name: "tv", Path: "/dvr"}}, nil)
		synctest.Wait()
		if _, err := r.Stream("tv"); !errors.Is(err, errs.ErrNotReady) {
			t.Errorf("while it cannot be opened: %v", err)
		}
		if l := r.List(); len(l) != 1 || l[0].Problem == "" {
			t.Errorf("the problem is not shown: %+v", l)
		}
		fails.Store(false)
		time.Sleep(reopenEvery)
		synctest.Wait()
		if _, err := r.Stream("tv"); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

// A disk hangs while a stream on it names a timeline: the list says so, and tells of the others all the same. By the machine's clock: who
// waits for a lock holds up that of a bubble.
func TestListOfAStreamWhoseDiskHangs(t *testing.T) {
	var hangs atomic.Bool
	stall, reached := make(chan struct{}), make(chan struct{}, 1)
	disk := &vfs.Fault{FS: vfs.NewMem(), Fail: func(_ int64, _ vfs.Op, path string) bool {
		if hangs.Load() && strings.HasPrefix(path, "/a/tv/") {
			select {
			case reached <- struct{}{}:
			default:
			}
			<-stall
		}
		return false
	}}
	r := New(Options{
		Node: "here", Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(nil),
		Open: func(ctx context.Context, path string) (*store.Store, error) {
			return store.Open(ctx, store.Options{Path: path, FS: disk, IndexFS: pebblevfs.NewMem()})
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	in := Input{URL: "udp://239.0.0.1:1234", Priority: 1, SourceTimeout: 3 * time.Second}
	r.Apply([]Config{{Name: "tv", Path: "/a", Inputs: []Input{in}}, {Name: "radio", Path: "/b", Inputs: []Input{in}}}, nil)
	calls := map[string]*Call{}
	for _, name := range []string{"tv", "radio"} {
		s, err := r.Stream(name)
		for range 200 {
			if err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
			s, err = r.Stream(name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if calls[name], err = s.Attach(Hello{Input: in.URL, Kind: Live, Incarnation: 1, Format: segment.Format}); err != nil {
			t.Fatal(err)
		}
	}
	hangs.Store(true)
	go calls["tv"].Progress(Progress{Head: segmentT(base), Alive: true, Path: []string{"here"}}) //nolint:errcheck // it hangs
	<-reached
	listed := make(chan []Status, 1)
	go func() { listed <- r.List() }()
	select {
	case l := <-listed:
		if len(l) != 2 || l[0].Problem != "no input has media" || l[1].Problem != noAnswer {
			t.Errorf("listed %+v", l)
		}
	case <-time.After(10 * time.Second):
		t.Error("the list waits for the disk")
	}
	close(stall)
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// A storage whose commits fail is closed and opened again. Meanwhile nothing is taken for it: producers hold their rings.
func TestStorageThatFailedIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, mem := vfs.NewMem(), pebblevfs.NewMem()
		var opened []*store.Store
		r := New(Options{
			Node: "here", Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(nil),
			Open: func(ctx context.Context, path string) (*store.Store, error) {
				s, err := store.Open(ctx, store.Options{Path: path, FS: disk, IndexFS: mem})
				opened = append(opened, s)
				return s, err
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- r.Run(ctx) }()
		in := Input{URL: "udp://239.0.0.1:1234", Priority: 1, SourceTimeout: 3 * time.Second}
		r.Apply([]Config{{Name: "tv", Path: "/dvr", Inputs: []Input{in}}}, nil)
		attach := func() *Call {
			t.Helper()
			synctest.Wait()
			s, err := r.Stream("tv")
			if err != nil {
				t.Fatal(err)
			}
			c, err := s.Attach(Hello{Input: in.URL, Kind: Live, Incarnation: 1, Format: segment.Format})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		call := attach()
		if err := opened[0].Close(); err != nil { // so that its next commit fails
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		told, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		var err error
		for err == nil {
			_, err = call.Next(told)
		}
		_, of := r.Stream("tv")
		_, _, ofArchive := r.Archive("tv")
		for _, err := range []error{err, of, ofArchive} {
			if !errors.Is(err, errs.ErrNotReady) {
				t.Errorf("while the storage is closed: %v", err)
			}
		}
		if l := r.List(); len(l) != 1 || l[0].Problem == "" {
			t.Errorf("the problem is not shown: %+v", l)
		}
		time.Sleep(reopenEvery)
		attach()
		if len(opened) != 2 {
			t.Errorf("opened %d times", len(opened))
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

// A stream that is in the config no more is kept by the rule that it had, in the process that saw it go and in the next one;
// before a config has come nothing is taken.
func TestStreamThatLeftExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, mem := vfs.NewMem(), pebblevfs.NewMem()
		run := func(then func(*Recorder)) {
			r := New(Options{
				Node: "here", Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(nil),
				Open: func(ctx context.Context, path string) (*store.Store, error) {
					return store.Open(ctx, store.Options{Path: path, FS: disk, IndexFS: mem, ClockAgrees: func() bool { return true }})
				},
			})
			ctx, cancel := context.WithCancel(t.Context())
			ran := make(chan error, 1)
			go func() { ran <- r.Run(ctx) }()
			then(r)
			cancel()
			if err := <-ran; err != nil {
				t.Error(err)
			}
		}
		mark := func(r *Recorder) time.Duration {
			time.Sleep(time.Minute)
			synctest.Wait()
			a, _, err := r.Archive("tv")
			if err != nil {
				t.Fatal(err)
			}
			return time.Since(a.Mark()).Round(time.Minute)
		}
		kept := map[string]store.Limit{"/dvr": {}}
		run(func(r *Recorder) {
			r.Apply([]Config{{Name: "tv", Path: "/dvr", Retention: store.Rule{Age: time.Hour}}}, nil)
			time.Sleep(time.Minute)
			r.Apply(nil, kept)
			if got := mark(r); got != time.Hour {
				t.Errorf("kept for %v when it had left", got)
			}
		})
		time.Sleep(3 * time.Hour)
		run(func(r *Recorder) {
			r.Apply([]Config{{Name: "other", Path: "/dvr"}}, kept)
			if got := mark(r); got != time.Hour {
				t.Errorf("kept for %v after a restart", got)
			}
		})
	})
}

// A stream that left the config, and has been in two storages before, is read from the one that it was in last, and always from that.
func TestStreamThatLeftTwoStorages(t *testing.T) {
	d := newDiskBench(t)
	d.p = d.producer(udp, content{name: "tv", base: base}, d.clock.mono, "here")
	d.p.progress()
	d.send(0)
	d.commit()
	other, err := store.Open(t.Context(), store.Options{Path: "/a", FS: vfs.NewMem(), IndexFS: pebblevfs.NewMem(), Clock: d.clock})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()                           //nolint:errcheck // the test is over
	if _, err := other.Stream("tv"); err != nil { // nothing of it is there any more
		t.Fatal(err)
	}
	r := New(Options{Clock: d.clock, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(nil)})
	r.storages = map[string]*storage{"/a": {path: "/a", store: other}, "/dvr": {path: "/dvr", store: d.store}}
	for range 20 {
		a, id, err := r.Archive("tv")
		if err != nil || a.Summary().Segments != 1 || id != d.store.ID() {
			t.Fatalf("it is read from store %x with %d segments, %v", id, a.Summary().Segments, err)
		}
		if l := r.List(); len(l) != 1 || l[0].Summary.Segments != 1 {
			t.Fatalf("it is listed as %+v", l)
		}
	}
}

// The disk of one storage hangs while a stream is added there: what the config says of another storage comes into force all the while,
// and one that failed is taken up again.
func TestStorageThatHangsHoldsUpNoOther(t *testing.T) {
	stall, disk := make(chan struct{}), vfs.NewMem()
	reached := make(chan struct{}, 1)
	hung := &vfs.Fault{FS: disk, Fail: func(_ int64, op vfs.Op, path string) bool {
		if op == vfs.OpMkdir && strings.HasSuffix(path, "/slow") {
			reached <- struct{}{}
			<-stall
		}
		return false
	}}
	var mu sync.Mutex
	opened := map[string]*store.Store{}
	indexes := map[string]*pebblevfs.MemFS{"/a": pebblevfs.NewMem(), "/b": pebblevfs.NewMem()}
	r := New(Options{
		Node: "here", Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(nil),
		Open: func(ctx context.Context, path string) (*store.Store, error) {
			s, err := store.Open(ctx, store.Options{Path: path, FS: hung, IndexFS: indexes[path]})
			mu.Lock()
			defer mu.Unlock()
			opened[path] = s
			return s, err
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	in := Input{URL: "udp://239.0.0.1:1234", Priority: 1, SourceTimeout: 3 * time.Second}
	soon := func(what string, done func() error) {
		t.Helper()
		var err error
		for range 200 {
			if err = done(); err == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("%s: %v", what, err)
	}
	is := func(name string) func() error {
		return func() error { _, err := r.Stream(name); return err }
	}
	attach := func() error {
		s, err := r.Stream("b")
		if err == nil {
			_, err = s.Attach(Hello{Input: in.URL, Kind: Live, Incarnation: 1, Format: segment.Format})
		}
		return err
	}
	a, b, slow := Config{Name: "a", Path: "/a"}, Config{Name: "b", Path: "/b"}, Config{Name: "slow", Path: "/a"}
	r.Apply([]Config{a, b}, nil)
	soon("a stream", is("a"))
	soon("a stream", is("b"))
	r.Apply([]Config{a, b, slow}, nil)
	<-reached
	b.Inputs = []Input{in}
	r.Apply([]Config{a, b, slow, {Name: "more", Path: "/b"}}, nil)
	soon("an input that was added", attach)
	soon("a stream that was added", is("more"))
	mu.Lock()
	err := opened["/b"].Close() // so that its next commit fails
	mu.Unlock()
	if err != nil {
		t.Error(err)
	}
	time.Sleep(time.Second)
	soon("a stream whose storage failed", attach)
	close(stall)
	soon("the stream that was held up", is("slow"))
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// A stream that the config puts into another storage is recorded there once it has ended in the one before, and so back again.
func TestStreamGoesToAnotherStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{
			Node: "here", Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(nil),
			Open: func(ctx context.Context, path string) (*store.Store, error) {
				return store.Open(ctx, store.Options{Path: path, FS: vfs.NewMem(), IndexFS: pebblevfs.NewMem()})
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- r.Run(ctx) }()
		kept := map[string]store.Limit{"/a": {}, "/b": {}}
		for _, path := range []string{"/a", "/b", "/a", "/b", "/b", "/a"} {
			r.Apply([]Config{{Name: "tv", Path: path}}, kept)
			synctest.Wait()
			if s := r.streams["tv"]; s == nil || s.path != path {
				t.Fatalf("it is not recorded in %s", path)
			}
			_, id, err := r.Archive("tv")
			if err != nil || id != r.open()[path].ID() {
				t.Errorf("in %s it is read from store %x: %v", path, id, err)
			}
		}
		r.Apply(nil, kept)
		synctest.Wait()
		if len(r.streams) != 0 {
			t.Error("it is recorded though it left the config")
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}
