package app_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	"github.com/twinreel/twinreel/replsvc/internal/testdvr"
)

// soon is much longer than anything takes on a machine that has nothing else to do.
const soon = 2 * time.Minute

func make10(path string) []*testdvr.Copy { return makeFrom(100, path) }

// makeFrom makes ten segments.
func makeFrom(cell int, path string) (all []*testdvr.Copy) {
	for k := range 10 {
		all = append(all, testdvr.Make(cell+k, 0, path))
	}
	return all
}

func has(d *testdvr.DVR, c *testdvr.Copy) error {
	if held, _ := d.Has(c.Info.Digest); !held {
		return fmt.Errorf("%s lacks cell %d", d.Node, c.Slot.Cell)
	}
	return nil
}

func hasAll(d *testdvr.DVR, cs []*testdvr.Copy) func() error {
	return func() error {
		for _, c := range cs {
			if err := has(d, c); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestBackfill: what only the peer has comes over, each copy once, verified, into rows that were united by the shared
// segment; and the archives agree.
func TestBackfill(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config("a"))
	b.dvr.Put(all...)
	a.dvr.Put(all[0], all[8], all[9])
	eventually(t, soon, "a has all", hasAll(a.dvr, all))
	eventually(t, soon, "the archives agree", func() error {
		if s := a.status(); !s.GetInAgreement() || s.GetFetchedSegments() != 7 {
			return fmt.Errorf("status %v", s)
		}
		return nil
	})
	for cell, digests := range a.dvr.Slots() {
		if len(digests) != 1 {
			t.Errorf("cell %d has %d copies", cell, len(digests))
		}
	}
	for _, c := range all {
		if _, puts := a.dvr.Has(c.Info.Digest); puts > 1 {
			t.Errorf("cell %d was recorded %d times", c.Slot.Cell, puts)
		}
	}
	c, err := a.compare()
	if err != nil || c.GetSlots() != 10 || c.GetEqual() != 10 {
		t.Errorf("compare: %v, %v", c, err)
	}
}

// TestSamplesOfRowsAreAskedForOnce: which rows are one is known by a segment that both have, though a clock was wrong, and known from then
// on, however often archives are compared.
func TestSamplesOfRowsAreAskedForOnce(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config("a"))
	b.dvr.Off(-17 * time.Minute)
	b.dvr.Put(all[0], all[9])
	a.dvr.Put(all[0], all[9])
	agree := func() error {
		if s, z := a.status(), b.status(); !s.GetInAgreement() || !z.GetInAgreement() {
			return fmt.Errorf("status of a %v, of b %v", s, z)
		}
		return nil
	}
	eventually(t, soon, "the archives agree", agree)
	asked := func() int { return a.dvr.Sampled() + b.dvr.Sampled() }
	before := asked()
	if before < 4 {
		t.Errorf("samples were listed %d times", before)
	}
	for _, c := range all[1:4] {
		b.dvr.Put(c)
		eventually(t, soon, "a has it", hasAll(a.dvr, []*testdvr.Copy{c}))
		eventually(t, soon, "the archives agree again", agree)
	}
	if n := asked() - before; n > 0 {
		t.Errorf("samples were listed %d times more, of rows that are known", n)
	}
	if a.dvr.Rows() != 1 || b.dvr.Rows() != 1 {
		t.Errorf("a has %d rows, b %d", a.dvr.Rows(), b.dvr.Rows())
	}
}

// TestCompareTellsDifferences: a verdict that cannot fail is none.
func TestCompareTellsDifferences(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	liveOnly := func(peer string) string {
		return "stream tv {\n  input m4f://" + peer + ":7000/tv;\n  dvr storage 1d;\n}\n" // without replicate: nothing is repaired
	}
	a, b := newSite(t, n, "a", liveOnly("b")), newSite(t, n, "b", liveOnly("a"))
	b.dvr.Put(all...)
	a.dvr.Put(all...)
	a.dvr.Drop(all[3].Info.Digest)
	other := testdvr.Make(105, 1, "a")
	a.dvr.Drop(all[5].Info.Digest)
	a.dvr.Put(other)
	b.dvr.Drop(all[1].Info.Digest)
	eventually(t, soon, "a knows b", func() error { return live(a, "offers") })
	c, err := a.compare()
	if err != nil {
		t.Fatal(err)
	}
	want := map[int][2]int{101: {1, 0}, 103: {0, 1}, 105: {1, 1}}
	if c.GetSlots() != 10 || c.GetEqual() != 7 || len(c.GetDifferences()) != len(want) {
		t.Fatalf("got %v", c)
	}
	for i, cell := range []int{101, 103, 105} {
		d := c.GetDifferences()[i]
		if got := [2]int{len(d.GetHere()), len(d.GetThere())}; got != want[cell] {
			t.Errorf("cell %d: %v digests, want %v", cell, got, want[cell])
		}
	}
}

// TestCompareTellsWhy: what the peer's operator deleted, and what it does not keep, is told apart from what is missing.
func TestCompareTellsWhy(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	liveOnly := func(peer string) string {
		return "stream tv {\n  input m4f://" + peer + ":7000/tv;\n  dvr storage 1d;\n}\n"
	}
	a, b := newSite(t, n, "a", liveOnly("b")), newSite(t, n, "b", liveOnly("a"))
	a.dvr.Put(all...)
	b.dvr.Put(all...)
	a.dvr.Drop(all[9].Info.Digest)
	a.dvr.Put(testdvr.Make(107, 1, "a"))
	b.dvr.Expire(all[0])
	b.dvr.Delete(all[3])
	b.dvr.Drop(all[5].Info.Digest)
	a.dvr.Silence(true)
	b.dvr.Silence(true)
	want := []string{"100 expired_there false", "103 deleted_there false", "105 missing_there false", "107 differs false", "109 missing_here true"}
	eventually(t, soon, "each difference is told", func() error { // once a knows that its inputs are silent
		c, err := a.compare()
		if err != nil {
			return err
		}
		var got []string
		for _, d := range c.GetDifferences() {
			at := d.GetStart().AsTime().Sub(epoch).Seconds() / timeline.CellTicks.Duration().Seconds()
			got = append(got, fmt.Sprintf("%.0f %s %t", at, d.GetKind(), d.GetCoveredThere()))
		}
		if !slices.Equal(got, want) {
			return errWait(strings.Join(got, ", "))
		}
		return nil
	})
}

// TestLiveEdgeIsNoGap: a segment that is about to come by itself is not fetched, until all inputs are silent.
func TestLiveEdgeIsNoGap(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := makeFrom(int(time.Since(epoch)/timeline.CellTicks.Duration())-10, "b") // up to now
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config())
	b.dvr.Put(all...)
	a.dvr.Put(all[:9]...)
	eventually(t, soon, "a knows what b has", func() error {
		if s := a.status(); s.GetCompared() == nil {
			return errors.New("not compared")
		}
		return nil
	})
	time.Sleep(300 * time.Millisecond) // a plan or two
	if err := has(a.dvr, all[9]); err == nil {
		t.Error("the newest segment was fetched as a gap")
	}
	a.dvr.Silence(true)
	eventually(t, soon, "a has all once its inputs are silent", hasAll(a.dvr, all))
}

// TestEndOfATimelineThatWasLeft: what a peer has at the end of a timeline on which the source is no more cannot come by itself, and
// is fetched while live goes on.
func TestEndOfATimelineThatWasLeft(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config())
	b.dvr.Put(all...)
	a.dvr.Put(all[:6]...)
	eventually(t, soon, "a has all", hasAll(a.dvr, all))
}

// TestCorruptPeer: I1 of transfer; and what was refused comes when the peer is well again, or from another.
func TestCorruptPeer(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	b, c := newSite(t, n, "b", config()), newSite(t, n, "c", config())
	b.dvr.Corrupt(true)
	b.dvr.Put(all...)
	a := newSite(t, n, "a", config("b"))
	a.dvr.Put(all[0], all[9])
	eventually(t, soon, "the copies are refused and counted", func() error {
		if s := a.status(); s.GetRefusedSegments() < 8 {
			return fmt.Errorf("status %v", s)
		}
		return nil
	})
	if got := len(a.dvr.Slots()); got != 2 {
		t.Errorf("%d slots are held, want 2: a bad copy was recorded", got)
	}
	c.dvr.Put(all...)
	a.stop()
	a.conf = config("b", "c")
	a.start()
	eventually(t, soon, "a has all from c", hasAll(a.dvr, all))
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, nodeA, a, b string
		want              string
		logs              [2]string
	}{
		{"wrong key", "a", "cluster_key one_one_one_one_;\n", "cluster_key two_two_two_two_;\n", "refused", [2]string{"cluster key", "peer refused"}},
		{"key here only", "a", "cluster_key one_one_one_one_;\n", "", "refused", [2]string{"cluster key", ""}},
		{"key there only", "a", "", "cluster_key two_two_two_two_;\n", "refused", [2]string{"cluster key", ""}},
		{"same key", "a", "cluster_key one_one_one_one_;\n", "cluster_key one_one_one_one_;\n", "connected", [2]string{"", ""}},
		{"own id", "b", "", "", "refused", [2]string{"node id of the caller", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork()
			b := newSite(t, n, "b", c.b+config())
			a := &site{t: t, net: n, addr: "other:7000", node: c.nodeA, conf: c.a + config("b"), dvr: testdvr.New(c.nodeA, epoch), log: &lockedBuffer{}}
			a.start()
			defer func() { a.stop() }()
			eventually(t, soon, "the state is "+c.want, func() error {
				if s := a.status(); s.GetState() != c.want {
					return fmt.Errorf("status %v", s)
				}
				return nil
			})
			for i, s := range []*site{a, b} {
				if !strings.Contains(s.log.String(), c.logs[i]) {
					t.Errorf("log of %s says nothing of %q:\n%s", s.node, c.logs[i], s.log)
				}
			}
			if got := strings.Count(a.log.String(), "state=refused"); c.want == "refused" && got != 1 {
				t.Errorf("the refusal is logged %d times, want once:\n%s", got, a.log)
			}
		})
	}
}

// TestNodeConflict holds I3 of m4fserver, interleaving 10: two nodes named alike, at once, with different stores.
func TestNodeConflict(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	c := newSite(t, n, "c", config())
	first := newSite(t, n, "a", config("c"))
	eventually(t, soon, "the first is connected", func() error {
		if s := first.status(); s.GetState() != "connected" || s.GetLive() != "offers" {
			return fmt.Errorf("status %v", s)
		}
		return nil
	})
	time.Sleep(1500 * time.Millisecond) // it tells its store when it knows it: with the next session at the latest
	second := &site{t: t, net: n, addr: "second:7000", node: "a", conf: config("c"), dvr: testdvr.New("a", epoch), log: &lockedBuffer{}}
	second.start()
	defer func() { second.stop() }()
	eventually(t, soon, "the second is refused", func() error {
		if s := second.status(); s.GetState() != "refused" {
			return fmt.Errorf("status %v", s)
		}
		return nil
	})
	if !strings.Contains(c.log.String(), "NODE_CONFLICT") {
		t.Errorf("c does not tell of the conflict:\n%s", c.log)
	}
	if s := first.status(); s.GetState() != "connected" {
		t.Errorf("the first is %v", s)
	}
}

// activate makes the relay active, and waits until the peer sends it everything: what ends before that is offered.
func activate(t *testing.T, a, b *site, url string) {
	t.Helper()
	before := b.dvr.FullTails()
	a.dvr.Role(url, true, 0)
	eventually(t, soon, "the relay is active", func() error { return live(a, "active") })
	eventually(t, soon, "the peer sends everything", func() error {
		if b.dvr.FullTails() == before { // the one of offers may yet begin
			return errors.New("it sends offers")
		}
		return nil
	})
}

// TestLive: as active, chunks pass while the segment is still open, and the copy is recorded and sealed.
func TestLive(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	b := newSite(t, n, "b", config())
	a := newSite(t, n, "a", config("b"))
	url := "m4f://b:7000/tv"
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	a.dvr.Role(url, true, 0)
	eventually(t, soon, "the relay is active", func() error { return live(a, "active") })
	seg := testdvr.Make(100, 0, "b")
	b.dvr.Begin(seg)
	b.dvr.Chunks(seg, 0, 2)
	eventually(t, soon, "the head moves before the segment is sealed", func() error {
		if p := a.dvr.Input(url, dvrv1.Kind_KIND_LIVE).Progress; !p.GetAlive() || p.GetHeadTicks() < int64(seg.Info.Start) {
			return fmt.Errorf("progress %v", p)
		}
		return nil
	})
	if p := a.dvr.Input(url, dvrv1.Kind_KIND_LIVE).Progress.GetPath(); len(p) != 1 || p[0] != "b" {
		t.Errorf("path is %v", p)
	}
	in := a.dvr.Input(url, dvrv1.Kind_KIND_LIVE)
	if told := segmentpb.ToPeerRow(in.Progress.GetPeerRow()); told.Timeline != seg.Slot.Timeline || told.Store == [16]byte{} || in.PeerRow != told {
		t.Errorf("the peer's row is told as %v and %v, want %s", told, in.PeerRow, seg.Slot.Timeline)
	}
	next := testdvr.Make(101, 0, "b")
	b.dvr.Chunks(seg, 2, 4)
	b.dvr.Seal(seg)
	b.dvr.Play(next)
	eventually(t, soon, "both are recorded", hasAll(a.dvr, []*testdvr.Copy{seg, next}))
}

// leapt is a clock of which somebody sets the wall clock.
type leapt struct {
	clock.System
	ahead atomic.Int64
}

func (c *leapt) Now() time.Time { return c.System.Now().Add(time.Duration(c.ahead.Load())) }

// TestLiveBehind: how far the media that is heard of lies behind the peer's clock is told, whether it is streamed or offered, and
// whatever our own clock does; and nothing is before the UTC of its timeline is known.
func TestLiveBehind(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	held := make10("b")
	b := newSiteHolding(t, n, "b", config(), held...)
	own := &leapt{}
	a := &site{t: t, net: n, addr: "a:7000", node: "a", conf: config("b"), dvr: testdvr.New("a", epoch), log: &lockedBuffer{}, clock: own}
	a.dvr.Put(held...)
	a.run()
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	if st := a.status(); st.LiveBehindNanos != nil {
		t.Errorf("nothing was heard, and it is %s behind", time.Duration(st.GetLiveBehindNanos()))
	}
	for k, active := range []bool{false, true} {
		if active {
			activate(t, a, b, "m4f://b:7000/tv")
		}
		seg := testdvr.Make(120+k, 0, "b")
		if active {
			b.dvr.Play(seg)
		} else {
			b.dvr.Beat(seg.Info.End, "b")
		}
		eventually(t, soon, "it is told", func() error {
			st := a.status()
			got, want := time.Duration(st.GetLiveBehindNanos()), time.Since(epoch.Add((seg.Info.End - timeline.Wrap).Duration()))
			if st.LiveBehindNanos == nil || (got-want).Abs() > 2*time.Second { // of chunks, where the last one begins
				return fmt.Errorf("it is %s behind, want %s", got, want)
			}
			return nil
		})
	}
	before := time.Duration(a.status().GetLiveBehindNanos())
	own.ahead.Store(int64(time.Hour))
	if now := time.Duration(a.status().GetLiveBehindNanos()); (now - before).Abs() > 10*time.Second {
		t.Errorf("it is %s behind after our clock leapt by an hour, and was %s", now, before)
	}
}

// TestLiveChunkInPieces: the pieces of a chunk over 1 MiB go the way of the first, which alone says where it has been.
func TestLiveChunkInPieces(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	b := newSite(t, n, "b", config())
	a := newSite(t, n, "a", config("b"))
	url := "m4f://b:7000/tv"
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	activate(t, a, b, url)
	echo, own := testdvr.MakeSized(100, 0, 3<<19, "a"), testdvr.MakeSized(101, 0, 3<<19, "b")
	b.dvr.Play(echo)
	b.dvr.Play(own)
	eventually(t, soon, "it is recorded", func() error { return has(a.dvr, own) })
	if got, want := a.dvr.Events(), []string{"begin 101", "seal 101"}; !slices.Equal(got, want) {
		t.Errorf("tail has %v, want %v", got, want)
	}
	last, next := own, 102
	eventually(t, soon, "the feed is alive", func() error {
		p := a.dvr.Input(url, dvrv1.Kind_KIND_LIVE).Progress
		if p.GetAlive() {
			return nil
		}
		if has(a.dvr, last) == nil { // no faster than they come over: until the relay has caught up with offers it asks for no more than these
			last = testdvr.MakeSized(next, 0, 3<<19, "b")
			b.dvr.Play(last) // the next beat of the peer says that it stands
			next++
		}
		return fmt.Errorf("progress %v", p)
	})
}

// TestRoleAfterRestart: dvrsvc counts epochs from 1 after each start, so a role of an earlier call makes none of a later
// call stale.
func TestRoleAfterRestart(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	newSite(t, n, "b", config())
	a := newSite(t, n, "a", config("b"))
	url := "m4f://b:7000/tv"
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	for _, active := range []bool{true, false, true, false, true} {
		a.dvr.Role(url, active, 0)
	}
	eventually(t, soon, "the relay is active", func() error { return live(a, "active") })
	a.dvr.Restart()
	eventually(t, soon, "the relay is back", func() error {
		if in := a.dvr.Input(url, dvrv1.Kind_KIND_LIVE); in == nil {
			return errors.New("it has not called yet")
		}
		return live(a, "offers")
	})
	a.dvr.Role(url, true, 0)
	eventually(t, soon, "the relay is active again", func() error { return live(a, "active") })
}

// TestSealAfterNextBegin holds I2 of live: the peer tells a seal when it is durable there, after the next segment has
// begun, and the tail here has them in order all the same.
func TestSealAfterNextBegin(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	b := newSite(t, n, "b", config())
	a := newSite(t, n, "a", config("b"))
	url := "m4f://b:7000/tv"
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	activate(t, a, b, url)
	all := make10("b")
	first, next := all[0], all[1]
	b.dvr.Begin(first)
	b.dvr.Chunks(first, 0, 4)
	b.dvr.Begin(next)
	b.dvr.Chunks(next, 0, 1)
	time.Sleep(100 * time.Millisecond)
	b.dvr.Seal(first)
	b.dvr.Chunks(next, 1, 4)
	b.dvr.Seal(next)
	eventually(t, soon, "both are recorded", hasAll(a.dvr, all[:2]))
	want := []string{"begin 100", "seal 100", "begin 101", "seal 101"}
	if got := a.dvr.Events(); !slices.Equal(got, want) {
		t.Errorf("tail has %v, want %v", got, want)
	}
}

// TestOffers: as standby nothing but offers passes, and what is wanted is fetched.
func TestOffers(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	b := newSite(t, n, "b", config())
	a := newSite(t, n, "a", config("b"))
	url := "m4f://b:7000/tv"
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	seg := testdvr.Make(100, 0, "b")
	b.dvr.Play(seg)
	eventually(t, soon, "the segment is offered", func() error {
		if got := len(a.dvr.Input(url, dvrv1.Kind_KIND_LIVE).Offers); got != 1 {
			return fmt.Errorf("%d offers", got)
		}
		return nil
	})
	if err := has(a.dvr, seg); err == nil {
		t.Error("it was sent without being wanted")
	}
	a.dvr.Want(url)
	eventually(t, soon, "it is fetched", func() error { return has(a.dvr, seg) })
}

// TestTakeover holds I5 of live: on a takeover all that was offered beyond the store's end comes before the open segment.
func TestTakeover(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	b := newSite(t, n, "b", config())
	a := newSite(t, n, "a", config("b"))
	url := "m4f://b:7000/tv"
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	all := make10("b")
	for _, c := range all[:5] {
		b.dvr.Play(c)
	}
	open := all[5]
	b.dvr.Begin(open)
	b.dvr.Chunks(open, 0, 3)
	head := open.Info.Start
	eventually(t, soon, "all are offered", func() error {
		head += 900
		b.dvr.Beat(head, "b")
		in := a.dvr.Input(url, dvrv1.Kind_KIND_LIVE)
		if len(in.Offers) != 5 || !in.Progress.GetAlive() {
			return fmt.Errorf("%d offers, progress %v", len(in.Offers), in.Progress)
		}
		return nil
	})
	a.dvr.Role(url, true, all[2].Info.End)
	eventually(t, soon, "the later ones came", hasAll(a.dvr, all[3:5]))
	eventually(t, soon, "the relay is active", func() error { return live(a, "active") })
	time.Sleep(300 * time.Millisecond) // the open one begins again from its start
	b.dvr.Chunks(open, 3, 4)
	b.dvr.Seal(open)
	eventually(t, soon, "and the open one, whole", func() error { return has(a.dvr, open) })
	for _, c := range all[:3] {
		if err := has(a.dvr, c); err == nil {
			t.Errorf("cell %d was sealed here before and came again", c.Slot.Cell)
		}
	}
}

func live(s *site, want string) error {
	if st := s.status(); st.GetLive() != want {
		return fmt.Errorf("live is %q, want %q: %v", st.GetLive(), want, st)
	}
	return nil
}

// TestLoop holds I1 of m4fserver, interleaving 10: what came from a is withheld from a, and the feed is not alive, while
// the next segment, of b's own, passes in the same subscription.
func TestLoop(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	b := newSite(t, n, "b", config())
	a := newSite(t, n, "a", config("b"))
	url := "m4f://b:7000/tv"
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	a.dvr.Role(url, true, 0)
	echo, ring, pathless, own := testdvr.Make(100, 0, "a"), testdvr.Make(101, 0, "a", "c"), testdvr.Make(102, 0), testdvr.Make(103, 0, "b")
	for _, c := range []*testdvr.Copy{echo, ring, pathless} {
		b.dvr.Play(c)
	}
	b.dvr.Beat(ring.Info.Start, "a", "c")
	eventually(t, soon, "the feed is withheld", func() error { return live(a, "withheld") })
	if p := a.dvr.Input(url, dvrv1.Kind_KIND_LIVE).Progress; p.GetAlive() {
		t.Errorf("a withheld feed is alive: %v", p)
	}
	b.dvr.Play(own)
	eventually(t, soon, "b's own segment passes", func() error { return has(a.dvr, own) })
	for _, c := range []*testdvr.Copy{echo, ring, pathless} {
		if _, puts := a.dvr.Has(c.Info.Digest); puts > 0 {
			t.Errorf("cell %d with path %v came back", c.Slot.Cell, c.Info.Path)
		}
	}
}

// TestRing: A→B→C→A, all active: a segment that a ingested enters b and c once, and a never.
func TestRing(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	conf := func(from string) string { // live only
		return "stream tv {\n  input udp://127.0.0.1:1234;\n  input m4f://" + from + ":7000/tv;\n  dvr storage 1d;\n}\n"
	}
	a, b, c := newSite(t, n, "a", conf("c")), newSite(t, n, "b", conf("a")), newSite(t, n, "c", conf("b"))
	for s, from := range map[*site]string{a: "c", b: "a", c: "b"} {
		eventually(t, soon, "the relay stands by", func() error { return live(s, "offers") })
		activate(t, s, map[string]*site{"a": a, "b": b, "c": c}[from], "m4f://"+from+":7000/tv")
	}
	seg := testdvr.Make(100, 0, "a")
	a.dvr.Play(seg)
	eventually(t, soon, "c has it over b", func() error { return errors.Join(has(b.dvr, seg), has(c.dvr, seg)) })
	eventually(t, soon, "c's feed is withheld from a", func() error { return live(a, "withheld") })
	for _, s := range []*site{a, b, c} {
		if _, puts := s.dvr.Has(seg.Info.Digest); s == a && puts != 0 || s != a && puts != 1 {
			t.Errorf("%s recorded it %d times", s.node, puts)
		}
	}
}

// TestNoPlaceBeforeItIsKnown: media that comes before the peer's dvrsvc has said how far it is gives the feed no place on the source's
// clock: dvrsvc would begin a timeline there.
func TestNoPlaceBeforeItIsKnown(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	b := newSite(t, n, "b", config())
	a := newSite(t, n, "a", config("b"))
	url := "m4f://b:7000/tv"
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	activate(t, a, b, url)
	seg := testdvr.Make(16000, 0, "b") // where 0 is nearer to its end than to its beginning
	b.dvr.Play(seg)
	eventually(t, soon, "the segment comes", func() error { return has(a.dvr, seg) })
	for range 30 { // three beats
		if p := a.dvr.Input(url, dvrv1.Kind_KIND_LIVE).Progress; p.GetHeadTicks() != 0 && timeline.Ticks(p.GetHeadTicks()) > seg.Info.End || p.GetAlive() && p.GetHeadTicks() == 0 {
			t.Fatalf("progress is %v", p)
		}
		time.Sleep(100 * time.Millisecond)
	}
	head := seg.Info.End
	eventually(t, soon, "the feed has a place", func() error {
		b.dvr.Beat(head, "b")
		head += timeline.ChunkTicks // the first that a subscription tells may have stood for long
		if p := a.dvr.Input(url, dvrv1.Kind_KIND_LIVE).Progress; !p.GetAlive() || p.GetHeadTicks() == 0 {
			return fmt.Errorf("progress is %v", p)
		}
		return nil
	})
}

func TestCompareUnreachable(t *testing.T) {
	t.Parallel()
	a := newSite(t, newNetwork(), "a", config("b"))
	eventually(t, soon, "the comparison says so", func() error {
		if _, err := a.compare(); !errors.Is(err, errs.ErrPeerUnreachable) {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
}
