package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// random does random things to a site and knows what must come of them.
type random struct {
	*site
	rnd *rand.Rand

	released map[segment.Digest]*made                 // and so must be here, as it is or in others
	lively   map[segment.Digest]bool                  // of those, what came live: a full slot never gives it up
	sealed   map[segment.Slot]map[segment.Digest]bool // what each slot was ever given
	rotten   map[segment.Digest]bool                  // these bytes were spoiled; nobody but Verify may know
	spoiled  map[segment.Digest]bool                  // they were once, and may lie on the disk so still
	faults   bool                                     // an operation of this life may fail

	cell      int // the next one of the live stream
	reclaimed uint64

	cutAt atomic.Int64 // how often the power was cut in the middle of something

	live *Copy
	from *made
	fed  int

	keeping
}

// TestRandom runs random operations, retention, faults, rot, power cuts and losses of the index against a model of what was
// released (R1, R3, I1, I2, I5). TWINREEL_FAULTS is how many operations.
func TestRandom(t *testing.T) {
	rnd := testkit.Rand(t)
	want, archives, reclaimed := rounds(t, 4000), 0, uint64(0)
	began := time.Now()
	for done := 0; done < want; archives++ {
		seed, operations := rnd.Uint64(), 150
		if archives%25 == 24 {
			operations = 1000
		}
		operations = min(operations, want-done)
		reclaimed += randomArchive(t, seed, operations)
		if t.Failed() {
			t.Fatalf("archive %d: newRandom(t, %d) and %d operations", archives, seed, operations)
		}
		if done += operations; done/100_000 > (done-operations)/100_000 {
			t.Logf("%d operations, %s", done, time.Since(began).Round(time.Second))
		}
	}
	if reclaimed == 0 && want >= 4000 {
		t.Error("no file was written anew")
	}
	t.Logf("%d operations on %d archives, each compared with its model", want, archives)
}

// TestRandomFound repeats what TestRandom found.
func TestRandomFound(t *testing.T) {
	for what, found := range map[string]struct {
		seed       uint64
		operations int
	}{
		"a file of replaced copies goes while what replaced them is locked":           {5465450752511311214, 150},
		"a power cut takes back what the state said that retention had taken":         {14258674051730318489, 150},
		"a full slot has given one up and holds less since":                           {10214554702590409447, 150},
		"a file that says only what replaced what goes after the index was made anew": {15416328699955703536, 1000},
	} {
		t.Run(what, func(t *testing.T) { randomArchive(t, found.seed, found.operations) })
	}
}

// randomArchive does so many operations to an archive, and gives how many files reclaim wrote anew.
func randomArchive(t *testing.T, seed uint64, operations int) (reclaimed uint64) {
	r := newRandom(t, seed)
	for range operations {
		switch r.rnd.IntN(44) {
		case 0, 1:
			r.harm()
		case 2, 3:
			r.expire()
		default:
			r.step()
		}
	}
	r.cut()
	r.check()
	r.loseIndex()
	r.check()
	if err := r.s.Close(); err != nil {
		t.Error(err)
	}
	r.s = nil
	return r.reclaimed
}

func newRandom(t *testing.T, seed uint64) *random {
	r := &random{
		site: newSite(t), rnd: rand.New(rand.NewPCG(seed, 7)),
		keeping: keeping{locks: map[string]kept{}}, released: map[segment.Digest]*made{}, lively: map[segment.Digest]bool{},
		sealed: map[segment.Slot]map[segment.Digest]bool{}, rotten: map[segment.Digest]bool{}, spoiled: map[segment.Digest]bool{},
	}
	r.clock.move(time.Hour)
	return r
}

// step does what happens every day.
func (r *random) step() {
	switch k := r.rnd.IntN(43); {
	case k == 42:
		_ = r.s.scrubWith(r.s.reclaimRound)
		r.reclaimed += r.s.Reclaimed().Files
	case k < 18:
		r.feedLive()
	case k < 27:
		r.backfill()
	case k < 34:
		_ = r.s.Commit(context.Background())
	case k < 36 && r.live != nil:
		r.live.Break(nil)
		r.live = nil
	case k < 40:
		r.keep()
	default:
		r.clock.move(time.Duration(r.rnd.IntN(3000)) * time.Second)
	}
}

// expire sets a retention under which some of the oldest go, or come back into it, and applies it.
func (r *random) expire() {
	from, _ := cellFrames(max(0, r.cell-3-r.rnd.IntN(10)))
	edge := r.st.At(r.row, timeline.Wrap+timeline.Ticks(from*testFrame))
	clockIsRight(r.s) // it moves by hours between two lives
	r.st.SetRetention(Rule{Age: r.clock.Now().Sub(edge)})
	err := r.s.Sweep(context.Background())
	r.water = max(r.water, r.st.view().Taken)
	if r.faults {
		return
	}
	if err != nil {
		r.t.Errorf("sweep: %v", err)
	}
	for c, err := range r.st.Segments(time.Time{}, edge, true) {
		if err != nil {
			r.t.Fatal(err)
		}
		if c.UTCEnd.Before(edge.Add(-time.Millisecond)) && !r.locked(&c) { // ticks are no whole nanoseconds
			r.t.Errorf("copy until %s is still here, all before %s has expired", c.UTCEnd, edge)
		}
	}
	r.check()
}

// locked reports whether a lock of the store keeps a copy.
func (r *random) locked(c *CopyInfo) bool {
	return slices.ContainsFunc(r.st.Locks(), func(l Lock) bool { return l.From.Before(c.UTCEnd) && c.UTC.Before(l.To) })
}

// harm does what should not happen.
func (r *random) harm() {
	switch k := r.rnd.IntN(6); {
	case k < 2: // something fails soon
		r.faults = true
		at := r.fault.Count() + 1 + r.rnd.Int64N(6)
		r.fault.Fail = func(n int64, _ vfs.Op, _ string) bool { return n == at }
	case k < 4:
		r.cut()
	case k < 5:
		r.spoil()
	default:
		r.loseIndex()
		r.check()
	}
}

// done notes what is released in this life.
func (r *random) done(m *made, live bool) func(Outcome, error) {
	life, cuts, d := r.lives, r.cutAt.Load(), m.info.Digest
	if r.sealed[m.slot] == nil {
		r.sealed[m.slot] = map[segment.Digest]bool{}
	}
	r.sealed[m.slot][d] = true
	return func(_ Outcome, err error) {
		if err == nil && life == r.lives && cuts == r.cutAt.Load() && !r.rotten[d] {
			r.released[d], r.lively[d] = m, r.lively[d] || live
		}
	}
}

// crowded reports whether a slot may have given up what was backfilled: once full, it may hold less by now.
// What broke off live counts among the copies of a slot, and is not in sealed.
func (r *random) crowded(m *made) bool {
	copies, err := r.st.Copies(m.slot)
	return err == nil && (len(r.sealed[m.slot]) >= segment.MaxCopies || len(copies) > 0 && copies[0].Info.Evidence.Whole())
}

func (r *random) feedLive() {
	if r.live == nil {
		r.from, r.fed = r.whole(r.cell), 0
		r.cell++
		r.live, _ = r.begin(r.from, true)
	}
	for n := r.rnd.IntN(20); r.live != nil && n > 0 && r.fed < len(r.from.chunks); n-- {
		if err := r.live.Append(r.from.info.Chunks[r.fed], r.from.chunks[r.fed], segment.Evidence{}); err != nil {
			r.live = nil
			return
		}
		r.fed++
	}
	if r.live != nil && r.fed == len(r.from.chunks) {
		_ = r.live.Seal(r.from.info, r.done(r.from, true))
		r.live = nil
	}
}

// backfill brings something whole, damaged or begun late.
func (r *random) backfill() {
	from, to := cellFrames(r.rnd.IntN(r.cell + 1))
	var lost, bad []int
	for range r.rnd.IntN(3) {
		lost = append(lost, from+1+r.rnd.IntN(to-from-1))
	}
	for range r.rnd.IntN(2) {
		bad = append(bad, from+1+r.rnd.IntN(to-from-1))
	}
	m := r.make(from, to, lost, bad)
	if r.rnd.IntN(4) == 0 {
		m = r.make((from+to)/2, to, nil, nil).uncertain(true, false)
	}
	if c, err := r.feed(m, false, -1); err == nil {
		_ = c.Seal(m.info, r.done(m, false))
	}
}

func (r *random) cut() {
	r.powerCut(func(_ string, n int) (int, int) { return r.rnd.IntN(n + 1), r.rnd.IntN(2) * r.rnd.IntN(9000) })
	r.live, r.faults = nil, false
}

func (r *random) loseIndex() {
	r.lives++
	r.live, r.faults = nil, false
	_ = r.s.Close()
	r.index = newIndexFS()
	r.open()
}

// spoil lets a released copy rot, finds it, and fetches it again.
func (r *random) spoil() {
	digests := slices.SortedFunc(maps.Keys(r.released), func(a, b segment.Digest) int { return bytes.Compare(a[:], b[:]) })
	for _, d := range digests {
		m := r.released[d]
		full, err := r.s.db.Get("cam", m.slot, d)
		if err != nil || r.faults || r.mayGo(m) || r.within(m, r.deleted) { // that would not be taken again
			continue
		}
		if err := r.disk.Corrupt("/storage/cam/"+r.st.fileName(full.File), full.At[3]+150); err != nil {
			r.t.Fatal(err)
		}
		r.rotten[d], r.spoiled[d] = true, true
		for other := range r.released { // what it stood for went with it
			if by, _, err := r.heir(other); err == nil && by == d {
				delete(r.released, other)
			}
		}
		if total, err := r.st.Verify(context.Background(), func(BadCopy) {}); err != nil || total.Bad == 0 {
			r.t.Fatalf("verify: %+v, %v", total, err)
		}
		delete(r.rotten, d)
		delete(r.released, d)
		res, err := r.record(m, false)
		if errors.Is(err, errs.ErrFull) { // what is locked leaves no room
			return
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if r.commit(); res.err == nil { // its slot may be full by now
			r.released[d] = m
		}
		return
	}
}

// checkRanges holds what is covered within a window to what is covered in all.
func (r *random) checkRanges() {
	r.t.Helper()
	all := r.st.Ranges(time.Time{}, time.Time{})
	if len(all) == 0 {
		return
	}
	begin, length := all[0].From, all[len(all)-1].To.Sub(all[0].From)
	rnd := rand.New(rand.NewPCG(uint64(length), 1)) // takes nothing from what a seed does
	from := begin.Add(time.Duration(rnd.Int64N(int64(length))))
	to := from.Add(time.Duration(rnd.Int64N(int64(length))))
	var want []span
	for _, x := range all {
		if x.From.Before(to) && from.Before(x.To) {
			want = append(want, span{max(x.From.UnixNano(), from.UnixNano()), min(x.To.UnixNano(), to.UnixNano())})
		}
	}
	got := r.st.Ranges(from, to)
	same := len(got) == len(want)
	for i := 0; same && i < len(got); i++ {
		from, to := got[i].From.UnixNano()-want[i].From, got[i].To.UnixNano()-want[i].To
		same = max(from, -from, to, -to) < 20_000 // ticks are no whole nanoseconds
	}
	if !same {
		r.t.Errorf("ranges in [%s, %s): %v, want %v", from, to, got, want)
	}
}

// heir gives the copy that stands for a digest, and its samples.
func (r *random) heir(d segment.Digest) (segment.Digest, map[string]bool, error) {
	for range 300 {
		var by *SupersededError
		samples, err := r.samples(d)
		if !errors.As(err, &by) {
			return d, samples, err
		}
		d = by.By
	}
	return d, nil, errors.New("a chain without end")
}

// samples reads the samples of a copy: each names its track and its frame.
func (r *random) samples(d segment.Digest) (map[string]bool, error) {
	reader, err := r.st.NewReader(d, 0)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	out := map[string]bool{}
	for {
		_, data, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		addSamples(out, data)
	}
}

func addSamples(out map[string]bool, chunk []byte) {
	var c fmp4.Chunk
	if err := c.Parse(chunk); err != nil {
		panic(err)
	}
	for s := range c.All() {
		out[string(s.Data)] = true
	}
}

// check holds the store to the model: each released copy leads to one that can be read, and each of its intact samples
// is in some copy.
func (r *random) check() {
	r.t.Helper()
	here := map[string]bool{}
	for c, err := range r.st.Segments(time.Time{}, time.Time{}, true) {
		if err != nil {
			r.t.Fatal(err)
		}
		if c.Quarantined {
			continue
		}
		if r.isDeleted(&c) {
			r.t.Errorf("copy %s of cell %d was deleted", c.Info.Digest, c.Slot.AbsCell())
		}
		samples, err := r.samples(c.Info.Digest)
		if d := c.Info.Digest; errors.Is(err, errs.ErrCorrupt) && r.spoiled[d] && (r.released[d] == nil || r.mayGo(r.released[d])) {
			continue // its good bytes have expired, and an index that was made anew found the bad ones: now they are known
		}
		if err != nil {
			r.t.Errorf("copy %s: %v", c.Info.Digest, err)
		}
		for s := range samples {
			here[s] = true
		}
	}
	r.checkKept()
	r.checkRanges()
	for d, m := range r.released {
		if r.mayGo(m) {
			continue
		}
		given := !r.lively[d] && r.crowded(m)
		if _, _, err := r.heir(d); err != nil && !(given && errors.Is(err, errs.ErrUnknown)) {
			r.t.Errorf("released copy %s: %v", d, err)
		}
		want := map[string]bool{}
		for _, c := range m.chunks {
			addSamples(want, c)
		}
		for s := range want {
			if !here[s] && !given && !strings.HasSuffix(s, "broken") {
				r.t.Errorf("released copy %s: %s is nowhere", d, s)
				break
			}
		}
	}
	if err := r.s.Check(context.Background()); err != nil {
		r.t.Error(err)
	}
}
