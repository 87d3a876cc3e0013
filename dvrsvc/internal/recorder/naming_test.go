package recorder

import (
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Interleaving 4: the clock is no part of a name. B's clock is shifted, jumps, and dvrsvc restarts meanwhile.
func TestInterleaving4ClockInIdentity(t *testing.T) {
	for _, shift := range []time.Duration{0, 6 * time.Second, 3 * time.Hour, -3 * time.Hour} {
		b, p1, p2 := pair(t)
		p1.whole(p1.segment(0))
		b.commit()
		before := b.a.rows[0].Mapping.UTC(startU(p1.named[1], p1.segment(0).info.Start))
		b.clock.wall = b.clock.wall.Add(shift)
		b.pass(2*time.Minute, p1.progress, p2.progress)
		p1.whole(p1.segment(1))
		p2.offer(p2.segment(1))
		b.commit()
		b.pass(time.Second, p1.progress, p2.progress)
		p2.wantReleased(2)
		if len(b.a.rows) != 1 {
			t.Errorf("shift %s: %d rows, want 1 (I6)", shift, len(b.a.rows))
		}
		if got := b.a.rows[0].Mapping.UTC(startU(p1.named[1], p1.segment(0).info.Start)); got != before {
			t.Errorf("shift %s: the past moved by %s", shift, got.Sub(before))
		}
		// A producer that connects now finds the row by the monotonic clock; a peer's feed is given time to before it has a row of its own.
		for _, p := range []*fakeProducer{p2, p1} {
			p.inc++
			p.connect()
			b.pass(catchUp+5*time.Second, p1.progress, p2.progress)
			if len(b.a.rows) != 1 {
				t.Errorf("shift %s: %s, which connects later, has a row of its own", shift, p.input)
			}
		}
	}
}

// The encoder restarts each 4 s from PTS 0: the same places, other content. Each is a row of its own, on which both
// producers meet.
func TestInterleaving4EncoderCrashLoop(t *testing.T) {
	b, p1, p2 := pair(t)
	rows := map[segment.TimelineID]int{}
	for n := range 5 {
		p1.src = content{name: string(rune('a' + n)), base: 0}
		p2.src = p1.src
		p1.began, p2.began = b.clock.mono, b.clock.mono
		p1.stretch++
		p2.stretch++
		p1.seq0, p2.seq0 = 100+n, 100+n
		p2.lag = 1500 * time.Millisecond
		b.pass(2*time.Second, p1.progress)
		p1.whole(p1.segment(0))
		b.pass(2*time.Second, p1.progress, p2.progress)
		p2.offer(p2.segment(0))
		b.commit()
		b.pass(500*time.Millisecond, p1.progress, p2.progress)
		seq := uint64(100 + n)
		p1.wantReleased(seq)
		p2.wantReleased(seq)
		rows[p1.named[seq].Timeline]++
		if p1.named[seq] != p2.named[seq] {
			t.Errorf("restart %d: slots %s and %s", n, p1.named[seq], p2.named[seq])
		}
	}
	if len(rows) != 5 {
		t.Errorf("%d rows for 5 restarts of the encoder", len(rows))
	}
	for slot := range b.a.copies {
		if n := b.a.digests(slot); n != 1 {
			t.Errorf("slot %s holds %d different copies", slot, n)
		}
	}
}

// Interleaving 5: near half a turn, and over the wrap, all producers choose the same turn, and go on counting.
func TestInterleaving5Turn(t *testing.T) {
	for _, start := range []timeline.Ticks{
		timeline.Wrap/2 - timeline.CellTicks, timeline.Wrap / 2, timeline.Wrap - 2*timeline.CellTicks, 0,
	} {
		b := newBench(t, udp, m4f)
		src := content{name: "tv", base: start}
		p1 := b.producer(udp, src, b.clock.mono, "here")
		p2 := b.producer(m4f, src, b.clock.mono, "there")
		p2.lag = 1200 * time.Millisecond
		var prev segment.Slot
		for k := range 5 {
			b.pass(segTime/2, p1.progress, p2.progress)
			p1.whole(p1.segment(k))
			p2.offer(p2.segment(k))
			b.commit()
			b.pass(segTime/2, p1.progress, p2.progress)
			seq := uint64(k + 1)
			p2.wantReleased(seq)
			if p1.named[seq] != p2.named[seq] {
				t.Fatalf("start %d: slots %s and %s", start, p1.named[seq], p2.named[seq])
			}
			if k > 0 && p1.named[seq].AbsCell() != prev.AbsCell()+1 {
				t.Errorf("start %d: cell %d follows %d", start, p1.named[seq].AbsCell(), prev.AbsCell())
			}
			prev = p1.named[seq]
			if k == 2 { // a restart of dvrsvc in between changes nothing
				b.kill()
				b.start()
				p1.connect()
				p2.connect()
			}
		}
		if len(b.a.rows) != 1 {
			t.Errorf("start %d: %d rows, want 1", start, len(b.a.rows))
		}
	}
}

// Drift of the source's clock and a wrong first guess are slewed away, and never by a step.
func TestMappingIsSlewed(t *testing.T) {
	b, p1, p2 := pair(t)
	row := func() timeline.Mapping { return b.a.rows[0].Mapping }
	b.clock.wall = b.clock.wall.Add(6 * time.Second)
	last := row().UTC(p1.at() + timeline.Wrap)
	for range 40 * 60 {
		b.pass(time.Second, p1.progress, p2.progress)
		utc := row().UTC(p1.at() + timeline.Wrap)
		if d := utc.Sub(last) - time.Second; d.Abs() > 20*time.Millisecond {
			t.Fatalf("UTC of a second of media is off by %s", d)
		}
		last = utc
	}
	if off := b.clock.Now().Sub(last); off.Abs() > 2*slewFrom {
		t.Errorf("still off by %s", off)
	}
	if n := len(row()); n > 100 {
		t.Errorf("%d points in the mapping", n)
	}
}

// Two rows are bound to a peer's, and the binding survives a restart.
func TestBind(t *testing.T) {
	b, p1, _ := pair(t)
	local := b.a.rows[0].ID
	peer := Binding{PeerStore: [16]byte{1}, PeerTimeline: segment.TimelineID{2}}
	ask := func(x Binding, want segment.TimelineID, wantDiff int32) {
		t.Helper()
		id, diff, err := b.s.Bind(x)
		if err != nil || id != want || diff != wantDiff {
			t.Errorf("got %s, %d, %v; want %s, %d", id, diff, err, want, wantDiff)
		}
	}
	ask(peer, segment.TimelineID{}, 0)
	tell := peer
	tell.Timeline, tell.TurnDifference = local, -3
	ask(tell, local, -3)
	ask(tell, local, -3)
	b.kill()
	b.start()
	ask(peer, local, -3)

	other := Binding{PeerStore: [16]byte{1}, PeerTimeline: segment.TimelineID{9}, Make: true,
		At: timeline.Mapping{{U: 5 * timeline.Wrap, UTC: 1}}}
	made, _, err := b.s.Bind(other)
	if err != nil || made.IsZero() || made == local {
		t.Fatalf("made %s, %v", made, err)
	}
	ask(other, made, 0)
	// Found to be the local row after all.
	moved := other
	moved.Timeline, moved.TurnDifference, moved.Make = local, 2, false
	ask(moved, local, 2)
	b.kill()
	b.start()
	moved.Timeline = segment.TimelineID{}
	ask(moved, local, 2)
	_ = p1
}

func TestSegmentT(t *testing.T) {
	for _, u := range []timeline.Ticks{0, 1, timeline.Wrap - 1, timeline.Wrap, 2*timeline.Wrap - 1, 2 * timeline.Wrap, -1, 7*timeline.Wrap + 5} {
		got := segmentT(u)
		if got < timeline.Wrap || got >= 2*timeline.Wrap || (u-got)%timeline.Wrap != 0 {
			t.Errorf("segmentT(%d) = %d", u, got)
		}
	}
}

// A producer that trails too far to be placed by the clock is placed by what it offers, durable or not yet.
func TestNamedByDigest(t *testing.T) {
	for _, durable := range []bool{true, false} {
		b := newBench(t, udp, m4f)
		src := content{name: "tv", base: base}
		p1 := b.producer(udp, src, b.clock.mono, "here")
		b.pass(20*time.Second, p1.progress)
		p2 := b.producer(m4f, src, p1.began, "there")
		p2.lag = 15 * time.Second
		b.pass(catchUp+time.Second, p1.progress, p2.progress)
		if len(b.a.rows) != 2 {
			t.Fatalf("%d rows; this test wants the clock to mislead", len(b.a.rows))
		}
		p1.whole(p1.segment(0))
		if durable {
			b.commit()
		}
		p2.offer(p2.segment(0))
		b.commit()
		b.pass(time.Second, p1.progress, p2.progress)
		p2.wantReleased(1)
		if p1.named[1] != p2.named[1] || len(p2.wants) > 0 {
			t.Errorf("durable %t: slots %s and %s, wanted %v", durable, p1.named[1], p2.named[1], p2.wants)
		}
		// From there on the rest of the stretch goes by it.
		p1.whole(p1.segment(1))
		p2.whole(p2.segment(1))
		if p1.named[2] != p2.named[2] {
			t.Errorf("durable %t: then slots %s and %s", durable, p1.named[2], p2.named[2])
		}
	}
}

// A feed that the network held up, or that comes too slowly for a while, begins no row beside the one that the source is on.
func TestHeldUpFeedBeginsNoRow(t *testing.T) {
	b := newBench(t, udp, m4f)
	src := content{name: "tv", base: base}
	p1 := b.producer(udp, src, b.clock.mono, "here")
	b.pass(20*time.Second, p1.progress)
	p2 := b.producer(m4f, src, p1.began, "there")
	p2.lag = 15 * time.Second
	b.pass(10*time.Second, p1.progress, p2.progress)
	p2.lag = time.Second
	b.pass(2*time.Second, p1.progress, p2.progress)
	p1.whole(p1.segment(0))
	p2.whole(p2.segment(0))
	if len(b.a.rows) != 1 || p1.named[1] != p2.named[1] {
		t.Errorf("%d rows, slots %s and %s", len(b.a.rows), p1.named[1], p2.named[1])
	}
}

// A feed that was on no row once, and has begun anew since, has its time again: the number of its stretch says nothing.
func TestHeldUpFeedHasItsTimeEachTime(t *testing.T) {
	b := newBench(t, udp, m4f)
	src := content{name: "tv", base: base}
	p1 := b.producer(udp, src, b.clock.mono, "here")
	b.pass(20*time.Second, p1.progress)
	p2 := b.producer(m4f, src, p1.began, "there")
	p2.lag = 15 * time.Second
	b.pass(10*time.Second, p1.progress, p2.progress)
	p2.call.Close() // its process is started again
	b.pass(catchUp, p1.progress)
	p2.inc++
	p2.connect()
	b.pass(10*time.Second, p1.progress, p2.progress)
	if len(b.a.rows) != 1 {
		t.Errorf("%d rows", len(b.a.rows))
	}
}

// What it offers meanwhile begins none either.
func TestHeldUpOfferBeginsNoRow(t *testing.T) {
	b := newBench(t, udp, m4f)
	src := content{name: "tv", base: base}
	p1 := b.producer(udp, src, b.clock.mono, "here")
	p2 := b.producer(m4f, src, p1.began, "there")
	p1.damage = func(m *made) { m.damage(2) }
	b.pass(8*time.Second, p1.progress)
	p1.whole(p1.segment(0))
	b.commit()
	b.pass(12*time.Second, p1.progress)
	p2.lag = 15 * time.Second
	b.pass(time.Second, p1.progress, p2.progress)
	m := p2.segment(0)
	if err := p2.call.Offer(Offer{Key: m.begin.Key, Info: m.info, Age: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	b.pass(5*time.Second, p1.progress, p2.progress)
	p2.lag = time.Second
	b.pass(2*time.Second, p1.progress, p2.progress)
	p2.answerWants()
	b.commit()
	b.pass(2*time.Second, p1.progress, p2.progress)
	if len(b.a.rows) != 1 || p1.named[1] != p2.named[1] {
		t.Errorf("%d rows, slots %s and %s", len(b.a.rows), p1.named[1], p2.named[1])
	}
}

// A peer's feed that begins with what the peer had kept, when no input has been seen for a while, is known by the peer's row, whether a segment or Progress comes first. What comes
// directly again is where it would have been.
func TestLateFeedIsKnownByThePeersRow(t *testing.T) {
	for _, progressFirst := range []bool{true, false} {
		b := newBench(t, udp, m4f)
		src := content{name: "tv", base: base}
		p1 := b.producer(udp, src, b.clock.mono, "here")
		b.pass(7*time.Second, p1.progress)
		p1.whole(p1.segment(0))
		b.commit()
		peer := b.bound()
		b.pass(time.Second, p1.progress)
		p1.call.Close()
		b.pass(14 * time.Second)
		p2 := b.producer(m4f, src, p1.began, "there")
		p2.lag, p2.peer = 14*time.Second, peer
		if progressFirst {
			b.pass(2*time.Second, p2.progress)
		}
		p2.whole(p2.segment(1))
		b.commit()
		b.pass(2*time.Second, p2.progress)
		p1.inc++
		p1.connect()
		b.pass(2*time.Second, p1.progress, p2.progress)
		if len(b.a.rows) != 1 || p2.named[2].Timeline != p1.named[1].Timeline {
			t.Errorf("progress first %t: %d rows, slots %s and %s", progressFirst, len(b.a.rows), p1.named[1], p2.named[2])
		}
	}
}

// What a peer says of its row moves nothing: media ahead of the source, or far behind it, is on none of ours.
func TestPeersRowIsNoClock(t *testing.T) {
	for _, lag := range []time.Duration{-time.Minute, 10 * time.Minute} {
		b := newBench(t, udp, m4f)
		src := content{name: "tv", base: base}
		p1 := b.producer(udp, src, b.clock.mono, "here")
		b.pass(20*time.Second, p1.progress)
		peer := b.bound()
		p2 := b.producer(m4f, src, p1.began, "there")
		p2.lag, p2.peer = lag, peer
		b.pass(catchUp+time.Second, p1.progress, p2.progress)
		if len(b.a.rows) != 2 {
			t.Errorf("%s late: %d rows, want one of its own", lag, len(b.a.rows))
		}
		p1.inc++
		p1.connect()
		b.pass(2*time.Second, p1.progress)
		if len(b.a.rows) != 2 {
			t.Errorf("%s late: what comes directly has another row", lag)
		}
	}
}

// The same with a peer's feed alone: a place 4 s behind the row's would pass for a feed that is a little late.
func TestInterleaving4EncoderCrashLoopThroughPeer(t *testing.T) {
	b := newBench(t, m4f)
	p := b.producer(m4f, content{name: "a"}, b.clock.mono, "there")
	for n := range 4 {
		p.src, p.began = content{name: string(rune('a' + n))}, b.clock.mono
		p.stretch, p.seq0 = uint32(n), 100+n
		b.pass(4*time.Second, p.progress)
		p.whole(p.segment(0))
		b.commit()
		p.wantReleased(uint64(100 + n))
	}
	if len(b.a.rows) != 4 {
		t.Errorf("%d rows for 4 starts of the encoder", len(b.a.rows))
	}
}

// A producer holds segments of a stretch that the source had left before dvrsvc began, on an empty disk, or came back: their row has
// the time at which they were on air, not that at which they are heard of.
func TestRingOfStretchesThatWereLeft(t *testing.T) {
	b := newBench(t, udp)
	began := b.clock.mono - 5*segTime - 2*time.Second
	p := &fakeProducer{b: b, input: udp.URL, path: []string{"here"}, inc: 1, seq0: 1, released: map[uint64]Release{}, named: map[uint64]segment.Slot{}}
	var ring []*made
	sources := []content{{name: "a", base: base}, {name: "b", base: base + 40*segTicks}, {name: "c", base: base + 7*segTicks}}
	for k := range 5 { // two of either of the first, one of the last
		if k == 1 || k == 2 { // which dvrsvc had before
			continue
		}
		p.stretch, p.src = uint32(k/2), sources[k/2]
		m := p.src.segment(k%2, p.path...)
		m.begin.Key.Seq, m.begin.Key.Stretch = uint64(1+k), p.stretch
		m.age = b.clock.mono - began - time.Duration(k+1)*segTime
		ring = append(ring, m)
	}
	p.began = began + 4*segTime
	p.connect(ring...)
	b.pass(3*time.Second, p.progress)
	if len(p.named) != len(ring) {
		t.Fatalf("%d of %d are named: %v", len(p.named), len(ring), p.named)
	}
	mappings := map[segment.TimelineID]timeline.Mapping{}
	for _, r := range b.a.rows {
		mappings[r.ID] = r.Mapping
	}
	for _, m := range ring {
		k := int(m.begin.Key.Seq) - 1
		slot := p.named[m.begin.Key.Seq]
		at := mappings[slot.Timeline].UTC(startU(slot, m.info.Start))
		if off := at.Sub(b.clock.wall.Add(began + time.Duration(k)*segTime)); off.Abs() > time.Second {
			t.Errorf("segment %d is %s off", k, off)
		}
	}
	if len(b.a.rows) != 3 {
		t.Errorf("%d rows for 3 stretches", len(b.a.rows))
	}
}

// An input that left its source and joined it again, as a cold one does at each failover, or one whose connection broke, is on
// the timeline that it was on: the archive would hold it a second time wherever a peer brings what was missed.
func TestSourceThatIsJoinedAgainIsOnItsTimeline(t *testing.T) {
	for name, c := range map[string]struct {
		at   int // the segment that comes once it is joined again, after a pause of two
		rows int
	}{"it went on": {4, 1}, "its clock jumped": {10, 2}, "its clock stood still": {2, 2}, "it began anew": {1, 2}} {
		b := newBench(t, udp)
		p := b.producer(udp, content{name: "a", base: base}, b.clock.mono, "here")
		next := func(k int) {
			b.pass(segTime, p.progress)
			p.whole(p.segment(k))
			b.commit()
		}
		next(0)
		next(1)
		b.pass(2 * segTime)
		p.run, p.stretch, p.seq0 = 1, 1, 10
		p.began = b.clock.mono - time.Duration(c.at)*segTime
		next(c.at)
		if len(b.a.rows) != c.rows {
			t.Errorf("%s: %d timelines, want %d", name, len(b.a.rows), c.rows)
		}
		p.wantReleased(uint64(c.at + 10))
	}
	// An encoder that starts again and again is each time a little behind what it would have been.
	b := newBench(t, udp)
	p := b.producer(udp, content{name: "a", base: base}, b.clock.mono, "here")
	for n := range 4 {
		p.run, p.stretch, p.began = uint32(n), uint32(n), b.clock.mono
		b.pass(2*time.Second, p.progress)
		b.pass(2500 * time.Millisecond)
	}
	if len(b.a.rows) != 4 {
		t.Errorf("%d timelines for 4 starts of the encoder", len(b.a.rows))
	}
}

// A relay offers a segment under a slot of a store that was here before: it is told once, and not asked about it for ever.
func TestOfferOfAnotherStore(t *testing.T) {
	b := newBench(t, m4f)
	p := b.producer(m4f, content{name: "a", base: base}, b.clock.mono, "there")
	b.pass(2*time.Second, p.progress)
	m := p.segment(0)
	m.begin.Key.Slot = &segment.Slot{Timeline: segment.TimelineID{9}, Cell: uint16(m.info.Start.Cell())}
	p.offer(m)
	if r, ok := p.released[1]; !ok || r.Durable || r.Reason != "UNKNOWN" {
		t.Errorf("it is released with %v, %v", r, ok)
	}
	if n := len(p.call.p.offers); n != 0 {
		t.Errorf("%d offers are still weighed", n)
	}
}

// What a peer offers before anything tells its time gets no timeline of its own: it may have been sealed long ago.
func TestPeersOfferWaitsForItsTime(t *testing.T) {
	b := newBench(t, m4f)
	p := b.producer(m4f, content{name: "a", base: base}, b.clock.mono-2*segTime, "there")
	p.offer(p.segment(0))
	b.pass(5 * time.Second)
	if len(p.named) > 0 || len(b.a.rows) > 0 {
		t.Fatalf("it is named %v, %d rows", p.named, len(b.a.rows))
	}
	b.pass(time.Second, p.progress)
	if slot, ok := p.named[1]; !ok || len(b.a.rows) != 1 {
		t.Errorf("it is named %v, %d rows", p.named, len(b.a.rows))
	} else if off := b.a.rows[0].Mapping.UTC(startU(slot, p.segment(0).info.Start)).Sub(b.clock.wall.Add(p.began)); off.Abs() > time.Second {
		t.Errorf("it is %s off", off)
	}
}

// What comes directly is on its timeline again after an outage, however long a late feed of a peer was followed meanwhile.
func TestLateFeedDoesNotMoveTheRow(t *testing.T) {
	for _, c := range []struct{ lag, out time.Duration }{{14 * time.Second, 20 * time.Second}, {14 * time.Second, 40 * time.Second}, {14 * time.Second, 2 * time.Minute}, {100 * time.Second, 2 * time.Minute}} {
		b := newBench(t, udp, m4f)
		src := content{name: "tv", base: base}
		p1 := b.producer(udp, src, b.clock.mono, "here")
		b.pass(7*time.Second, p1.progress)
		p1.whole(p1.segment(0))
		b.commit()
		peer := b.bound()
		b.pass(2*time.Minute, p1.progress)
		p1.call.Close()
		b.pass(time.Second)
		p2 := b.producer(m4f, src, p1.began, "there")
		p2.lag, p2.peer = c.lag, peer
		b.pass(c.out, p2.progress)
		p1.inc++
		p1.connect()
		b.pass(5*time.Second, p1.progress, p2.progress)
		if len(b.a.rows) != 1 {
			t.Errorf("a feed %s late, and nothing direct for %s: what comes directly again is on row %d", c.lag, c.out, len(b.a.rows))
		}
	}
}

// After a start the wall clock alone says where a row is. A late feed of a peer that comes first does not move what comes directly to another.
func TestLateFeedAfterAStart(t *testing.T) {
	b := newBench(t, udp, m4f)
	src := content{name: "tv", base: base}
	p1 := b.producer(udp, src, b.clock.mono, "here")
	b.pass(20*time.Second, p1.progress)
	p1.whole(p1.segment(0))
	b.commit()
	peer := b.bound()
	b.kill()
	b.start()
	p2 := b.producer(m4f, src, p1.began, "there")
	p2.lag, p2.peer = 20*time.Second, peer
	b.pass(2*time.Second, p2.progress)
	p1.inc++
	p1.connect()
	b.pass(2*time.Second, p1.progress, p2.progress)
	if len(b.s.rows.rows) != 1 {
		t.Errorf("%d rows", len(b.s.rows.rows))
	}
}

// A replica's only feed becomes late, and is connected again: it is where it was.
func TestOnlyFeedThatTrailsIsOnItsRow(t *testing.T) {
	b := newBench(t, m4f)
	p := b.producer(m4f, content{name: "tv", base: base}, b.clock.mono, "there")
	b.pass(30*time.Second, p.progress)
	p.lag = 14 * time.Second
	b.pass(12*time.Second, p.progress)
	p.inc++
	p.connect()
	b.pass(2*time.Second, p.progress)
	if len(b.a.rows) != 1 {
		t.Errorf("%d rows", len(b.a.rows))
	}
}
