package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// trial is one run of a scenario in which an operation fails.
type trial struct {
	*site
	noRoom bool // an operation of the index that fails meets a full disk

	armed atomic.Pointer[func(int64) bool] // which operations fail
	died  chan struct{}                    // closed when the process has ended itself

	flushed atomic.Bool            // the index wrote a table since it was made
	dies    atomic.Pointer[func()] // how the process ends itself; nil: it does not

	mu     sync.Mutex                // protects the fields below
	kept   map[segment.Digest]string // what was said to be durable, and when
	gone   map[segment.Digest]bool   // what was said to be deleted
	locked bool                      // it was said that a range is
	dead   bool
	after  *cutting // what it left
}

// newTrial gives a site whose index may fail, too.
func newTrial(t testing.TB) *trial {
	x := &trial{site: newSite(t), kept: map[segment.Digest]string{}, gone: map[segment.Digest]bool{}, died: make(chan struct{})}
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	x.fail = func(n int64, _ vfs.Op, _ string) bool {
		f := x.armed.Load()
		return f != nil && (*f)(n)
	}
	x.wrapIndex, x.every = x.faultyIndex, 5*time.Millisecond
	x.open()
	return x
}

// end is what the process does that cannot go on: nothing more reaches the disk, and what is there is kept as the next one
// finds it, after a power cut or without.
func (x *trial) end(cut bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.dead {
		all := func(int64) bool { return true }
		x.armed.Store(&all)
		x.dead, x.after = true, &cutting{disk: x.disk.Killed(), index: x.index.CrashClone(pebblevfs.CrashCloneCfg{
			UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2)),
		})}
		if cut {
			x.after = &cutting{disk: x.disk.Crash(nil), index: x.index.CrashClone(pebblevfs.CrashCloneCfg{})}
		}
		close(x.died)
	}
	runtime.Goexit()
}

// offer records a segment and notes whether it was said to be durable.
func (x *trial) offer(m *made, live bool) {
	r, err := x.record(m, live)
	_ = x.s.Commit(context.Background())
	if err == nil && r.told != 1 {
		x.t.Fatalf("done was called %d times", r.told)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil && r.told == 1 && r.err == nil && !x.dead {
		x.kept[m.info.Digest] = "released"
	}
}

// scenario is what the store does while an operation fails, after begin, in which none does.
type scenario struct {
	name       string
	begin, run func(x *trial)
	then       func(x *trial) // after each start that follows
}

func scenarios() []scenario {
	damaged := func(x *trial) *made {
		from, to := cellFrames(0)
		return x.make(from, to, []int{from + 9, from + 10}, nil)
	}
	hours := func(x *trial) {
		x.st.SetRetention(Rule{Age: 2 * time.Hour})
		for h := range 3 {
			x.offer(x.whole(h*620), true)
			x.clock.move(time.Hour)
		}
	}
	rotten := func(x *trial) {
		m := x.whole(0)
		x.offer(m, true)
		x.offer(x.whole(1), true)
		x.rot(m)
		delete(x.kept, m.info.Digest)
	}
	return []scenario{
		{name: "record", begin: func(x *trial) { x.offer(x.whole(0), true) }, run: func(x *trial) {
			for cell := 1; cell < 4; cell++ {
				x.offer(x.whole(cell), cell != 2)
			}
		}},
		{name: "seal", begin: func(x *trial) { x.offer(x.whole(0), true) }, run: func(x *trial) {
			if c, err := x.feed(x.whole(1), true, 5); err == nil {
				_ = x.s.Commit(context.Background())
				c.Break(nil)
			}
			x.clock.move(5 * time.Minute) // the file is closed
			for range 3 {
				_ = x.s.Commit(context.Background())
			}
			x.offer(x.whole(2), true)
		}},
		{name: "replace", begin: func(x *trial) { x.offer(damaged(x), true) }, run: func(x *trial) {
			x.offer(x.whole(0), false)
			x.offer(x.whole(1), true)
		}},
		{name: "expire", begin: hours, run: func(x *trial) {
			for range 2 {
				_, _ = x.s.sweep(context.Background())
				x.clock.move(30 * time.Minute)
			}
			expired := x.whole(0).info.Digest
			delete(x.kept, expired)
			_ = x.s.Commit(context.Background())
			_, _ = x.s.sweep(context.Background())
		}},
		{name: "quarantine", begin: rotten, run: func(x *trial) {
			m := x.whole(0)
			if _, err := x.read(m.info.Digest); err == nil {
				x.t.Error("a rotten copy was read")
			}
			x.offer(m, false)
		}},
		{name: "absorb", begin: func(x *trial) { x.offer(damaged(x), true) }, run: func(x *trial) {
			better := damaged(x)
			better.info.Evidence.Missing = better.info.Evidence.Missing[:1]
			told := make(chan error, 1)
			if x.st.Absorb(better.slot, &better.info, func(err error) { told <- err }) {
				for {
					select {
					case <-told:
						return
					case <-time.After(100 * time.Microsecond):
						_ = x.s.Commit(context.Background())
					}
				}
			}
		}},
		{name: "renew", begin: func(x *trial) {
			x.offer(x.whole(0), true)
			x.offer(x.whole(1), true)
			_ = x.s.Close()
			x.open()
			path := x.dataFiles()[0]
			if err := x.disk.Corrupt(path, 40); err != nil {
				x.t.Fatal(err)
			}
		}, run: func(x *trial) { _ = x.s.scrubWith(x.s.scrubRound) }},
		{"expire by limit", hours, byLimit, nil},
		{"lock", hours, locking, underLock},
		{"unlock", func(x *trial) { hours(x); x.lock("a", x.at(0), x.at(1)); x.locked = true }, unlocking, underLock},
		{"delete", func(x *trial) {
			for cell := range 3 {
				x.offer(x.whole(cell), true)
			}
			x.clock.move(time.Hour)
		}, deleting, func(x *trial) {
			deleting(x) // what was begun is done whole
			if len(x.gone) != 1 {
				x.t.Error("nothing is deleted")
			}
		}},
		{"index grows", func(x *trial) { x.offer(x.whole(0), true); x.fill(200 << 10) }, func(x *trial) {
			x.fill(100 << 10)
			for cell := 1; cell < 3; cell++ {
				x.offer(x.whole(cell), true)
			}
			for end := time.Now().Add(20 * time.Millisecond); time.Now().Before(end) && !x.flushed.Load(); {
				time.Sleep(100 * time.Microsecond) // what has left memory is written to a table
			}
		}, nil},
		{"reclaim", func(x *trial) {
			dead, live, whole := wasted(x.site)
			for _, m := range slices.Concat(dead, live, whole) {
				x.kept[m.info.Digest] = "released"
			}
		}, func(x *trial) { _ = x.s.scrubWith(x.s.reclaimRound) }, nil},
	}
}

// fill puts so much into the index that it has to begin a new log.
func (x *trial) fill(bytes int) {
	data := make([]byte, bytes)
	tx := x.s.db.Begin()
	defer tx.Close()
	if err := errors.Join(tx.PutInit("cam", segment.Init{PID: 1, Hash: segment.Sum(data), Data: data}), tx.Commit()); err != nil && x.armed.Load() == nil {
		x.t.Fatal(err)
	}
}

// byLimit leaves room for one file of three, and no more is taken.
func byLimit(x *trial) {
	one, files := x.bytes(x.st)
	x.st.SetRetention(Rule{Limit: Limit{Bytes: uint64(one / files * 3 / 2)}})
	for cell := range 2 {
		delete(x.kept, x.whole(cell*620).info.Digest)
	}
	for range 2 {
		_ = x.s.Sweep(context.Background())
		x.clock.move(3 * time.Minute) // files are closed
		_ = x.s.Commit(context.Background())
	}
	x.offer(x.whole(3*620), true)
}

func locking(x *trial) {
	_, err := x.st.Lock(Lock{ID: "a", From: x.at(0), To: x.at(1)})
	x.locked = err == nil
	x.passes()
}

func unlocking(x *trial) {
	x.locked = false // if it fails the next process may find either
	_, _ = x.st.Unlock("a")
	x.passes()
}

// passes has retention take what is two hours old.
func (x *trial) passes() {
	if !x.locked {
		delete(x.kept, x.whole(0).info.Digest)
	}
	for range 6 {
		x.clock.move(10 * time.Minute)
		_, _ = x.s.sweep(context.Background())
	}
	delete(x.kept, x.whole(620).info.Digest) // by now it may have gone too
}

// underLock goes on with retention, under the lock if it was said to be made, and not said to be removed.
func underLock(x *trial) {
	clockIsRight(x.s)
	x.st.SetRetention(Rule{Age: 2 * time.Hour})
	x.sweep()
	if locks := x.st.Locks(); x.locked && (len(locks) != 1 || locks[0].ID != "a") {
		x.t.Errorf("the lock is not there: %+v", locks)
	}
}

func deleting(x *trial) {
	m := x.whole(1)
	delete(x.kept, m.info.Digest)
	d, err := x.st.DeleteRange(context.Background(), x.at(1), x.at(2).Add(time.Second/2))
	if err == nil && !d.From.Before(d.To) {
		x.t.Error("nothing can be deleted")
	}
	if err == nil {
		x.gone[m.info.Digest] = true
	}
	if r, err := x.record(m, false); err == nil { // a peer brings it
		_ = x.s.Commit(context.Background())
		if r.err == nil && x.gone[m.info.Digest] {
			x.t.Error("what was deleted is taken")
		}
	}
}

// indexOps are the operations of the index that change something, as a Fault names them.
var indexOps = map[errorfs.OpKind]vfs.Op{
	errorfs.OpCreate: vfs.OpCreate, errorfs.OpReuseForWrite: vfs.OpCreate, errorfs.OpMkdirAll: vfs.OpMkdir,
	errorfs.OpRename: vfs.OpRename, errorfs.OpLink: vfs.OpRename, errorfs.OpRemove: vfs.OpRemove,
	errorfs.OpFileWrite: vfs.OpAppend, errorfs.OpFileSync: vfs.OpSync, errorfs.OpFileSyncData: vfs.OpSync,
}

// faultyIndex puts the operations of the index under the fault of the store, in one count with its own.
func (x *trial) faultyIndex() pebblevfs.FS {
	f, db := x.fault, x.index
	return errorfs.Wrap(db, errorfs.InjectorFunc(func(op errorfs.Op) error {
		kind, ok := indexOps[op.Kind]
		if table := strings.HasSuffix(op.Path, ".sst"); kind == vfs.OpCreate && table || op.Kind == errorfs.OpRemoveAll {
			x.flushed.Store(table)
		}
		if !ok {
			return nil
		}
		err := f.Fails(kind, op.Path)
		if err != nil {
			x.ends()
		}
		if err != nil && x.noRoom {
			return &vfsError{op.Path}
		}
		return err
	}))
}

// within reports whether one of these functions of Pebble is being called.
func within(names ...string) bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	for {
		f, more := frames.Next()
		if name, ok := strings.CutPrefix(f.Function, "github.com/cockroachdb/pebble/v2"); ok && slices.Contains(names, name) {
			return true
		}
		if !more {
			return false
		}
	}
}

// ends has the process end where Pebble ends it by a panic in a goroutine of its own: when a sync of its directory fails as it
// notes a new manifest or begins a new log, and when it is not opened after all once it has flushed a log to a table, whose
// statistics it then reads by means of what it has closed.
func (x *trial) ends() {
	opens, dies := within(".Open"), x.dies.Load()
	if dies == nil || opens && !x.flushed.Load() || !opens && !within("/vfs/atomicfs.(*Marker).Move", ".(*DB).rotateWAL") {
		return
	}
	go (*dies)()
	<-x.died
	select {} // nothing of it goes on
}

// TestAnyOperationFails makes each operation of each scenario fail in turn, of the data files and of the index, once or from
// there on, with an error of the disk or for want of room. The process ends then, by a power cut or by itself, or at once where
// the index cannot go on, and starts twice: what was said to be durable is there, and nothing is there that cannot be
// read (I1, I4, I5; faults 5, 7).
func TestAnyOperationFails(t *testing.T) {
	for _, sc := range scenarios() {
		for _, forever := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, forever %t", sc.name, forever), func(t *testing.T) {
				n, runs, ends := int64(1), 0, 0
				for more := true; more; n++ {
					for _, how := range []struct{ cut, noRoom bool }{{true, false}, {false, false}, {true, true}} {
						var ended bool
						more, ended = fails(t, sc, n, forever, how.cut, how.noRoom)
						runs++
						if ended {
							ends++
						}
					}
				}
				t.Logf("%d operations, %d runs; in %d of them the process ended itself", n-2, runs, ends)
			})
		}
	}
}

// fails reports whether there was an operation n, and whether the process ended itself.
func fails(t *testing.T, sc scenario, n int64, forever, cut, noRoom bool) (more, ended bool) {
	x := newTrial(t)
	sc.begin(x)
	dies := func() { x.end(cut) }
	x.noRoom, x.onExit = noRoom, dies
	x.dies.Store(&dies)
	base := x.fault.Count()
	which := func(at int64) bool { return at == base+n || forever && at > base+n }
	x.armed.Store(&which)
	fault, ran := x.fault, make(chan struct{})
	go func() {
		defer close(ran)
		sc.run(x)
	}()
	select {
	case <-ran:
	case <-x.died:
	}
	more = fault.Count() >= base+n
	when := fmt.Sprintf("operation %d, power cut %t, full disk %t", n, cut, noRoom)
	x.mu.Lock()
	after := x.after
	ended = after != nil
	x.mu.Unlock()
	x.dies.Store(nil)
	x.fail, x.wrapIndex, x.onExit = nil, nil, nil
	switch {
	case ended:
		x.disk, x.index = after.disk, after.index
		x.open()
	case cut:
		x.armed.Store(nil)
		x.powerCut(nil)
	default:
		x.armed.Store(nil)
		_ = x.s.Close()
		x.open()
	}
	for _, start := range []string{"first", "second", "third"} {
		for d := range x.kept {
			if b, err := x.read(d); err != nil || segment.Sum(b) != d {
				var by *SupersededError
				if errors.As(err, &by) {
					b, err = x.read(by.By)
				}
				if err != nil || len(b) == 0 {
					t.Fatalf("%s, %s start: %s was released: %v", when, start, d, err)
				}
			}
		}
		for d := range x.gone {
			if _, err := x.read(d); err == nil {
				t.Fatalf("%s, %s start: %s was deleted", when, start, d)
			}
		}
		if sc.then != nil {
			sc.then(x)
		}
		if start == "third" || ended && sc.name == "quarantine" { // that a copy is rotten went with the index, or never came there
			if _, err := x.st.Verify(context.Background(), func(BadCopy) {}); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
		}
		if err := x.s.Check(context.Background()); err != nil {
			t.Fatalf("%s, %s start: %v", when, start, err)
		}
		switch start {
		case "first":
			x.powerCut(nil)
		case "second":
			x.loseIndex()
		}
	}
	_ = x.s.Close()
	x.s = nil
	return more, ended
}

// cutting is what a power cut left, taken in the middle of an operation.
type cutting struct {
	disk  *vfs.Mem
	index *pebblevfs.MemFS
}

// arm cuts the power before one of the next operations. After it every operation fails, and nothing that is said counts.
func (r *random) arm(within int64) *atomic.Pointer[cutting] {
	taken := &atomic.Pointer[cutting]{}
	at, seed := r.fault.Count()+1+r.rnd.Int64N(within), r.rnd.Uint64()
	disk, db := r.disk, r.index
	r.fault.Fail = func(n int64, _ vfs.Op, _ string) bool {
		if n == at {
			rnd := rand.New(rand.NewPCG(seed, 3))
			r.cutAt.Add(1)
			taken.Store(&cutting{
				disk:  disk.CrashAnyhow(rnd),
				index: db.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: 25 * int(seed%5), RNG: rnd}),
			})
		}
		return n >= at
	}
	return taken
}

// TestPowerCuts cuts the power in the middle of operations of many random runs, on a disk that loses, reorders and tears what
// was not synced (faults 3, 4, 13): what was released before is there, nothing is there that cannot be read, and the same
// holds when the start after it is cut too, and when the index is lost.
func TestPowerCuts(t *testing.T) {
	rnd := testkit.Rand(t)
	cuts := rounds(t, 60)
	inRecovery, reclaimed := 0, uint64(0)
	for done := 0; done < cuts; {
		seed := rnd.Uint64()
		r := newRandom(t, seed)
		for range 4 { // cuts of one archive
			taken := r.arm(25)
			for range 60 {
				if r.step(); taken.Load() != nil {
					break
				}
			}
			if taken.Load() == nil {
				r.cut()
				continue
			}
			done++
			for c := taken.Load(); c != nil; {
				_ = r.s.Close()
				r.lives++
				r.disk, r.index, r.live, r.exits = c.disk, c.index, nil, 0
				c = nil
				r.fault = &vfs.Fault{FS: r.disk}
				again := r.arm(60) // and perhaps during the start
				err := r.openOn(r.fault)
				if c = again.Load(); c != nil {
					done++
					inRecovery++
					if err != nil {
						r.s = closedStore
					}
				} else if err != nil {
					t.Fatalf("seed %d: open after a cut: %v", seed, err)
				}
				r.fault.Fail = nil
			}
			r.check()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		reclaimed += r.reclaimed
		if r.rnd.IntN(4) == 0 {
			r.loseIndex()
			r.check()
		}
		if err := r.s.Close(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		r.s = nil
	}
	t.Logf("%d power cuts, %d of them during a start; %d files were written anew meanwhile", cuts, inRecovery, reclaimed)
}

// closedStore stands for a store that could not be opened.
var closedStore = func() *Store {
	s := &Store{}
	s.closed.Store(true)
	return s
}()
