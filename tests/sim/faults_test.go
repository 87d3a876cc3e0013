package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// repair is what ends a fault.
type repair struct {
	at time.Time
	do func()
}

// fault is one kind of trouble, with how often it comes in relation to others.
type fault struct {
	name     string
	weight   int
	do       func(*trouble, *site)
	restarts bool // dvrsvc
}

var faults = []fault{
	{"dvrsvc is killed", 4, (*trouble).killDVR, true}, {"replsvc is killed", 4, (*trouble).killRepl, false},
	{"a producer is killed", 3, (*trouble).killIngest, false}, {"power cut", 4, (*trouble).powerCut, true},
	{"disk wiped", 1, (*trouble).wipe, true}, {"index lost", 1, (*trouble).wipeIndex, true},
	{"partition", 4, (*trouble).partition, false}, {"slow link", 4, (*trouble).slow, false}, {"connection cut", 4, (*trouble).cutConnection, false},
	{"refused", 2, (*trouble).refuse, false}, {"no source", 3, (*trouble).mute, false},
	{"delete", 3, (*trouble).remove, false}, {"rot", 3, (*trouble).rot, false}, {"lock", 1, (*trouble).lock, false},
	{"clock step", 3, (*trouble).stepClock, false}, {"clock drift", 2, (*trouble).driftClock, false}, {replaced, 2, (*trouble).replaceStore, true},
}

// replaced is counted when something was in flight.
const replaced = "store replaced in flight"

// trouble brings faults to a cluster.
type trouble struct {
	*cluster
	repairs []repair
	healed  bool
}

// last is how long a fault lasts.
func (t *trouble) last() time.Duration {
	return time.Duration(t.rnd.Int64N(int64(time.Second) << t.rnd.IntN(6)))
}

func (t *trouble) after(d time.Duration, do func()) {
	t.repairs = append(t.repairs, repair{time.Now().Add(d), do})
	slices.SortStableFunc(t.repairs, func(a, b repair) int { return a.at.Compare(b.at) })
}

// run brings faults for so long, and then ends them all.
func (t *trouble) run(d time.Duration) {
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	end := time.Now().Add(d)
	next := time.Now().Add(15 * time.Second)
	for {
		at, due := next, false
		if len(t.repairs) > 0 && t.repairs[0].at.Before(at) {
			at, due = t.repairs[0].at, true
		}
		if at.After(end) {
			break
		}
		time.Sleep(time.Until(at))
		if due {
			do := t.repairs[0].do
			t.repairs = t.repairs[1:]
			do()
			continue
		}
		next = time.Now().Add(time.Duration(t.rnd.Int64N(int64(8 * time.Second))))
		k := t.rnd.IntN(total)
		for _, f := range faults {
			if k -= f.weight; k < 0 {
				before := len(t.story)
				s := t.sites[t.rnd.IntN(len(t.sites))]
				if f.restarts && slices.ContainsFunc(t.sites, func(s *site) bool { return s.stepped }) {
					break
				}
				if f.do(t, s); len(t.story) > before && f.name != replaced {
					t.counts[f.name]++
				}
				break
			}
		}
	}
	t.say("all is healed")
	t.healed = true
	for _, r := range t.repairs {
		r.do()
	}
	for _, s := range t.sites {
		for _, o := range t.sites {
			t.net.link(s.name, o.name).heal()
		}
	}
}

func (t *trouble) killDVR(s *site) {
	d := t.last()
	t.say("dvrsvc of %s is killed, for %v", s.name, d.Round(time.Millisecond))
	s.killDVR((*disk).killed)
	t.after(d, s.startDVR)
}

func (t *trouble) killRepl(s *site) {
	d := t.last()
	t.say("replsvc of %s is killed, for %v", s.name, d.Round(time.Millisecond))
	s.killRepl()
	t.after(d, s.startRepl)
}

func (t *trouble) killIngest(s *site) {
	d := t.last()
	t.say("the producer of %s is killed, for %v", s.name, d.Round(time.Millisecond))
	s.killIngest()
	t.after(d, s.startIngest)
}

// stop ends all of a site but what disk is left.
func (t *trouble) stop(s *site, by func(*disk) *disk) {
	s.killDVR(by)
	s.killRepl()
	s.killIngest()
	t.after(t.last(), func() { s.startDVR(); s.startRepl(); s.startIngest() })
}

func (t *trouble) powerCut(s *site) {
	t.say("power cut on %s", s.name)
	seed := t.rnd.Uint64()
	t.stop(s, func(d *disk) *disk { return d.crashed(rand.New(rand.NewPCG(seed, 3))) })
}

// learn notes what all sites but one are seen to have.
func (t *trouble) learn(but *site) {
	for _, s := range t.sites {
		if s == but || s.dvr == nil {
			continue
		}
		all, err := t.survey(s)
		if err != nil {
			continue
		}
		t.mu.Lock()
		for _, x := range all {
			if _, ok := t.gone[s.no][x.k]; !ok && !t.rotten[s.no][x.k] {
				t.held[s.no][x.k] |= x.intact
			}
		}
		t.mu.Unlock()
	}
}

func (t *trouble) wipe(s *site) {
	t.say("the disk of %s is replaced by an empty one", s.name)
	t.learn(s)
	t.stop(s, func(*disk) *disk { return newDisk() })
	t.forget(s)
}

// forget notes that nothing is on a site any more.
func (t *trouble) forget(s *site) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.held[s.no])
	clear(t.gone[s.no])
	clear(t.rotten[s.no])
	clear(t.locked[s.no])
}

// replaceStore gives dvrsvc an empty disk, and another one while what the first is to have is on its way over slow links.
func (t *trouble) replaceStore(s *site) {
	t.say("the disk of %s is replaced by an empty one under dvrsvc", s.name)
	slow := func(rate int) {
		for _, j := range t.peers[s.no] {
			t.net.link(siteName(j), s.name).set(func(l *link) { l.rate = rate })
		}
	}
	empty := func() {
		t.learn(s)
		s.killDVR(func(*disk) *disk { return newDisk() })
		t.forget(s)
	}
	slow(4000)
	empty()
	s.startDVR()
	t.after(4*time.Second+time.Duration(t.rnd.Int64N(int64(6*time.Second))), func() {
		defer slow(0)
		if t.healed || s.dvr == nil || slices.ContainsFunc(t.sites, func(s *site) bool { return s.stepped }) {
			return
		}
		if n := s.inFlight(); n > 0 {
			t.counts[replaced]++
			t.say("the disk of %s is replaced once more, with %d segments in flight to it", s.name, n)
		}
		empty()
		s.startDVR()
	})
}

// settledFor is how long dvrsvc has to have run everywhere before a clock steps far: by then it knows where the source is.
const settledFor = 15 * time.Second

// stepClock steps by little, or by hours and back.
func (t *trouble) stepClock(s *site) {
	d, by := t.last(), time.Duration(t.rnd.Int64N(int64(4*time.Second)))-2*time.Second
	far := time.Duration(t.rnd.Int64N(int64(time.Second)<<t.rnd.IntN(14))) + 5*time.Second
	large := t.rnd.IntN(2) == 0 && len(t.cast.jumps) == 0 && !slices.ContainsFunc(t.sites, func(s *site) bool { return s.dvr == nil || time.Since(s.since) < settledFor })
	switch {
	case s.keep < retention: // it would keep less, or more
	case large && !s.stepped:
		t.say("the clock of %s steps by %v, for %v", s.name, far.Round(time.Millisecond), d.Round(time.Millisecond))
		s.clock.step(far)
		s.stepped = true
		t.after(d, func() { s.clock.step(-far); s.stepped = false })
	case (s.off + by).Abs() < 3*time.Second:
		t.say("the clock of %s steps by %v", s.name, by.Round(time.Millisecond))
		s.clock.step(by)
		s.off += by
	}
}

func (t *trouble) driftClock(s *site) {
	parts := t.rnd.IntN(1001) - 500
	t.say("the clock of %s runs fast by %d parts of a million", s.name, parts)
	s.clock.run(float64(parts) / 1e6)
}

func (t *trouble) wipeIndex(s *site) {
	t.say("the index of %s is lost", s.name)
	t.stop(s, func(d *disk) *disk {
		d = d.killed()
		d.index = newIndex()
		return d
	})
}

// neighbour is a peer of a site.
func (t *trouble) neighbour(s *site) *site {
	return t.sites[t.peers[s.no][t.rnd.IntN(len(t.peers[s.no]))]]
}

func (t *trouble) partition(s *site) {
	o, d, both := t.neighbour(s), t.last(), t.rnd.IntN(2) == 0
	t.say("nothing passes from %s to %s (both ways: %v), for %v", s.name, o.name, both, d.Round(time.Millisecond))
	set := func(on bool) func() {
		return func() {
			t.net.link(s.name, o.name).set(func(l *link) { l.blocked = on })
			if both {
				t.net.link(o.name, s.name).set(func(l *link) { l.blocked = on })
			}
		}
	}
	set(true)()
	t.after(d, set(false))
}

func (t *trouble) slow(s *site) {
	o, d := t.neighbour(s), t.last()
	delay, rate := time.Duration(t.rnd.Int64N(int64(time.Second))), 2000<<t.rnd.IntN(8)
	t.say("from %s to %s it takes %v, at %d B/s, for %v", s.name, o.name, delay.Round(time.Millisecond), rate, d.Round(time.Millisecond))
	l := t.net.link(s.name, o.name)
	l.set(func(l *link) { l.delay, l.rate = delay, rate })
	t.after(d, func() { l.set(func(l *link) { l.delay, l.rate = 0, 0 }) })
}

func (t *trouble) cutConnection(s *site) {
	o, n := t.neighbour(s), 1+t.rnd.IntN(20000)
	t.say("after %d bytes from %s to %s the connection is reset", n, s.name, o.name)
	t.net.link(s.name, o.name).set(func(l *link) { l.cutAfter = n })
}

func (t *trouble) refuse(s *site) {
	o, d := t.neighbour(s), t.last()
	t.say("%s is refused by %s, for %v", s.name, o.name, d.Round(time.Millisecond))
	l := t.net.link(s.name, o.name)
	l.set(func(l *link) { l.refused = true })
	t.after(d, func() { l.set(func(l *link) { l.refused = false }) })
}

func (t *trouble) mute(s *site) {
	d := t.last()
	t.say("%s does not receive its source, for %v", s.name, d.Round(time.Millisecond))
	s.muted.Store(true)
	t.after(d, func() { s.muted.Store(false) })
}

// edge is more than by how much the UTC of a place may yet move: behind the last point of a mapping it goes by the media's clock, and
// once the next point is there between the two.
const edge = 50 * time.Millisecond

// choose gives a stretch of what a site has and does not record any more.
func (t *trouble) choose(s *site, most int) (from, to stored, ok bool) {
	if s.dvr == nil {
		return
	}
	all, err := t.survey(s)
	settled := t.cast.at(time.Now())/framesPerCell - 5
	all = slices.DeleteFunc(all, func(x stored) bool { return x.k >= settled })
	if err != nil || len(all) == 0 {
		return
	}
	k := all[t.rnd.IntN(len(all))].k
	last := k + t.rnd.IntN(most)
	for _, x := range all {
		if x.k == k && (!ok || x.from.Before(from.from)) {
			from, ok = x, true
		}
		if x.k >= k && x.k <= last && (x.k > to.k || x.to.After(to.to)) {
			to = x
		}
	}
	return from, to, ok
}

func (t *trouble) remove(s *site) {
	from, to, ok := t.choose(s, 4)
	if !ok {
		return
	}
	t.learn(s)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, err := dvrv1.NewMaintenanceServiceClient(s.conn).DeleteRange(ctx, &dvrv1.DeleteRangeRequest{
		Stream: stream, From: timestamppb.New(from.from.Add(-edge)), To: timestamppb.New(to.to.Add(edge)),
	})
	t.say("segments %d to %d are deleted on %s: %v", from.k, to.k, s.name, err)
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := from.k; k <= to.k; k++ {
		// A copy that lacks frames at an edge of the range tells less than the whole segment takes: that may come back. And what stands
		// across an edge, as the end of a timeline beside the next one, draws the range in.
		cut := k == from.k && (from.intact != allFrames || m.GetFrom().AsTime().After(from.from)) ||
			k == to.k && (to.intact != allFrames || m.GetTo().AsTime().Before(to.to))
		t.gone[s.no][k] = err == nil && !cut
		delete(t.held[s.no], k)
	}
}

func (t *trouble) lock(s *site) {
	from, to, ok := t.choose(s, 4)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := dvrv1.NewMaintenanceServiceClient(s.conn).LockRange(ctx, &dvrv1.LockRangeRequest{Stream: stream, Lock: &dvrv1.Lock{
		From: timestamppb.New(from.from.Add(edge)), To: timestamppb.New(to.to.Add(-edge)),
	}})
	t.say("segments %d to %d are locked on %s: %v", from.k, to.k, s.name, err)
	t.mu.Lock()
	defer t.mu.Unlock()
	reach := min(1, len(t.cast.jumps)) // by UTC of two timelines one segment may reach into the next
	for k := from.k - reach; k <= to.k+reach; k++ {
		t.locked[s.no][k] = true
	}
}

// rot spoils a frame in a data file.
func (t *trouble) rot(s *site) {
	x, _, ok := t.choose(s, 1)
	if !ok || x.intact == 0 {
		return
	}
	t.learn(s)
	for n := range framesPerCell {
		if x.intact>>n&1 == 1 && s.disk.spoil([]byte(body(x.k, n))) {
			s.rotted = true
			t.say("frame %d of segment %d rots on %s", n, x.k, s.name)
			break
		}
	}
	t.mu.Lock()
	delete(t.held[s.no], x.k)
	t.rotten[s.no][x.k] = true
	t.mu.Unlock()
	if t.rnd.IntN(2) == 0 {
		t.verify(s)
	}
}

// spoil flips a bit of the first of such bytes in a data file.
func (d *disk) spoil(what []byte) bool {
	dir := filepath.Join(storage, stream)
	entries, err := d.data.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		f, err := d.data.Open(path)
		if err != nil {
			continue
		}
		size, _ := f.Size()
		all := make([]byte, size)
		if n, err := f.ReadAt(all, 0); err == nil || errors.Is(err, io.EOF) {
			if i := bytes.Index(all[:n], what); i >= 0 {
				return d.data.Flip(path, int64(i+len(what)-1), 1) == nil
			}
		}
	}
	return false
}

// verifyAll has every site read all that it has, as soon as it can.
func (t *trouble) verifyAll() {
	for _, s := range t.sites {
		for range 100 {
			if t.verify(s) {
				break
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
}

// verify has a site read all that it has, and reports whether it did.
func (t *trouble) verify(s *site) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	rpc, err := dvrv1.NewMaintenanceServiceClient(s.conn).Verify(ctx, &dvrv1.VerifyRequest{Stream: stream})
	for err == nil {
		var m *dvrv1.VerifyResponse
		if m, err = rpc.Recv(); err == nil && m.GetProblem() != "" {
			t.say("%s found %s: %s", s.name, m.GetDigest(), m.GetProblem())
		}
	}
	return errors.Is(err, io.EOF)
}
