package recorder

import (
	"errors"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// base is a PTS at the beginning of a cell, with room to the wrap on both sides.
const base = 1000 * timeline.CellTicks

// pair starts a stream with udp first and m4f second (site A), both of one source that began an hour ago.
func pair(t *testing.T) (*bench, *fakeProducer, *fakeProducer) {
	b := newBench(t, udp, m4f)
	src := content{name: "tv", base: base}
	p1 := b.producer(udp, src, b.clock.mono, "here")
	p2 := b.producer(m4f, src, b.clock.mono, "there")
	b.pass(time.Second, p1.progress, p2.progress)
	if !p1.active || p2.active {
		t.Fatalf("active: udp %t, m4f %t", p1.active, p2.active)
	}
	return b, p1, p2
}

func TestLiveIsReleasedWhenDurable(t *testing.T) {
	b, p1, _ := pair(t)
	tail := b.follow()
	m := p1.segment(0)
	p1.whole(m)
	b.pass(time.Second, p1.progress)
	p1.wantHeld(1) // I1
	if tail.read(); len(tail.seals) != 0 {
		t.Error("the tail says sealed before it is durable")
	}
	b.commit()
	p1.wantReleased(1)
	tail.want(m)
	if len(tail.seals) != 1 || tail.seals[0].Seq != tail.begins[0].Seq {
		t.Errorf("seals: %+v", tail.seals)
	}
}

// Interleaving 8: a second producer must not hear "have" before the copy is durable, whichever of seal and offer comes
// first; and when dvrsvc is killed in between, the segment is still to be had from it.
func TestInterleaving8HaveBeforeDurable(t *testing.T) {
	b, p1, p2 := pair(t)
	p1.send(p1.segment(0), 0, 3)
	p2.offer(p2.segment(0)) // before the active one has sealed: no single answer is right
	p2.wantHeld(1)
	p1.send(p1.segment(0), 3, chunksPer)
	b.pass(300*time.Millisecond, p1.progress, p2.progress)
	p2.wantHeld(1)
	b.commit()
	b.pass(200 * time.Millisecond)
	p1.wantReleased(1)
	p2.wantReleased(1)

	p1.whole(p1.segment(1))
	p2.offer(p2.segment(1))
	b.pass(200*time.Millisecond, p1.progress, p2.progress)
	p2.wantHeld(2)
	b.kill() // with p1's host
	b.start()
	p2.connect(p2.segment(1))
	b.pass(4*time.Second, p2.progress)
	if !p2.active || p2.role.FromSeq != 2 {
		t.Fatalf("role after the restart: %+v", p2.role)
	}
	p2.whole(p2.segment(1))
	b.commit()
	p2.wantReleased(2)
	if len(b.a.rows) != 1 {
		t.Errorf("%d timeline rows, want 1", len(b.a.rows))
	}
}

// Interleaving 7: P1 dies in the middle of a segment; P2 sends that segment from its start, and nothing is published or
// stored twice.
func TestInterleaving7TakeoverInMidSegment(t *testing.T) {
	b, p1, p2 := pair(t)
	tail := b.follow()
	p1.whole(p1.segment(0))
	p2.offer(p2.segment(0))
	b.commit()
	p1.send(p1.segment(1), 0, 3)
	p1.call.Close()
	b.pass(900*time.Millisecond, p2.progress)
	if p2.active {
		t.Error("no grace for a producer that comes back at once")
	}
	b.pass(400*time.Millisecond, p2.progress)
	if !p2.active {
		t.Fatal("the standby has not taken over")
	}
	if a := p2.role.After; a == nil || a.T != p1.segment(1).info.Start {
		t.Errorf("starts after %+v, want from the start of segment 1", a)
	}
	stored := b.a.stored
	p2.whole(p2.segment(1))
	b.commit()
	p2.wantReleased(1, 2)
	tail.want(p1.segment(0), p1.segment(1))
	if len(tail.begins) != 2 || len(tail.seals) != 2 || tail.seals[1].Seq != tail.begins[1].Seq {
		t.Errorf("begins %d, seals %+v", len(tail.begins), tail.seals)
	}
	var rest uint64
	for _, c := range p2.segment(1).chunks[3:] {
		rest += uint64(c.Size)
	}
	if got := b.a.stored - stored; got != rest {
		t.Errorf("%d bytes stored by the takeover, want %d", got, rest)
	}
}

// Interleaving 7, worse: P2 lost something in the head. No copy may be made of both.
func TestInterleaving7TakeoverDiverges(t *testing.T) {
	b, p1, p2 := pair(t)
	tail := b.follow()
	p1.send(p1.segment(0), 0, 4)
	p1.call.Close()
	b.pass(1300*time.Millisecond, p2.progress)
	p2.damage = func(m *made) { m.damage(2) }
	bad := p2.segment(0)
	p2.whole(bad)
	b.commit()
	p2.wantReleased(1)
	slot := p2.named[1]
	digests := map[segment.Digest]bool{}
	for _, c := range b.a.copies[slot] {
		digests[c.info.Digest] = true
	}
	if len(digests) != 2 || !digests[bad.info.Digest] {
		t.Errorf("the slot holds %d copies, want the broken one and P2's (I3)", len(digests))
	}
	// What followers get: the head of P1, then what lies beyond it of P2; neither part passes for the whole of P2's copy.
	tail.read()
	if len(tail.chunks) != chunksPer {
		t.Errorf("%d chunks on the tail, want %d", len(tail.chunks), chunksPer)
	}
	for _, s := range tail.seals {
		if s.Info.Digest == bad.info.Digest && s.Seq != 0 {
			t.Errorf("a copy that was not streamed as it is has seq %d", s.Seq)
		}
	}
}

// A producer whose call breaks and comes back at once goes on with its segment: no role changes hands.
func TestReconnectGoesOn(t *testing.T) {
	b, p1, p2 := pair(t)
	tail := b.follow()
	p1.whole(p1.segment(0))
	b.commit()
	p1.send(p1.segment(1), 0, 3)
	p1.call.Close()
	b.pass(300*time.Millisecond, p2.progress)
	p1.connect()
	if !p1.active {
		t.Fatal("not active after reconnecting")
	}
	p1.whole(p1.segment(1))
	b.commit()
	b.pass(time.Second, p1.progress, p2.progress)
	if p2.active {
		t.Error("the standby took over")
	}
	p1.wantReleased(2)
	tail.want(p1.segment(0), p1.segment(1))
}

// Interleaving 9: a chunk every 2 s is never silence, and yet the input is minutes behind in the end.
func TestInterleaving9Trickle(t *testing.T) {
	b, p1, p2 := pair(t)
	for range 30 {
		p1.lag += 400 * time.Millisecond // it comes at a fifth less than its pace
		b.pass(2*time.Second, p2.progress)
		p1.progress()
		if p2.active {
			break
		}
	}
	if !p2.active || p1.lag > 4*time.Second {
		t.Errorf("left at a lag of %s; standby active: %t", p1.lag, p2.active)
	}
	// And it is not returned to while it is that late, however gapless it says it is.
	b.pass(2*time.Minute, p1.progress, p2.progress)
	p2.whole(p2.segment(3))
	if p1.active {
		t.Error("returned to an input that trails")
	}
}

// An active input whose media moves, as it says, and which brings none: what the standby has sealed is not held for ever.
func TestActiveThatBringsNothing(t *testing.T) {
	b, p1, p2 := pair(t)
	p1.whole(p1.segment(0))
	p2.offer(p2.segment(0))
	b.commit()
	took := time.Duration(-1)
	for k := 1; k < 5 && took < 0; k++ {
		b.pass(5825*time.Millisecond, p1.progress, p2.progress)
		if p2.active {
			took = b.clock.mono
			break
		}
		p2.offer(p2.segment(k))
	}
	if took < 0 {
		t.Fatal("the standby never took over")
	}
	for k := range 3 {
		p2.whole(p2.segment(int(p2.role.FromSeq) - p2.seq0 + k))
	}
	b.commit()
	p2.wantReleased(1, 2, 3)
	b.pass(2*time.Second, p1.progress, p2.progress)
	if p1.active {
		t.Error("returned at once to the input that brought nothing")
	}
}

// The same, and the standby that has sealed it stands still since: nobody can take over, so it is asked for.
func TestActiveThatBringsNothingAndNoOther(t *testing.T) {
	b, p1, p2 := pair(t)
	p1.whole(p1.segment(0))
	p2.offer(p2.segment(0))
	p2.offer(p2.segment(1))
	b.commit()
	b.pass(10*time.Second, p1.progress)
	if p2.drain(); p2.active || len(p2.wants) != 1 {
		t.Errorf("active %t, wants %v", p2.active, p2.wants)
	}
}

// A busy storage that slows the active input down, or a source without a cut for long, is no reason to leave it.
func TestActiveThatIsSlowStays(t *testing.T) {
	b, p1, p2 := pair(t)
	p1.whole(p1.segment(0))
	p2.offer(p2.segment(0))
	b.commit()
	p1.send(p1.segment(1), 0, 1)
	b.pass(20*time.Second, p1.progress, p2.progress) // nobody has sealed anything
	if !p1.active {
		t.Error("left though nobody has more")
	}
}

// Interleaving 10: the peer's feed is our own, all day; or becomes it in the middle of a subscription.
func TestInterleaving10Loop(t *testing.T) {
	b := newBench(t, m4f, udp) // site B
	src := content{name: "tv", base: base}
	p1 := b.producer(m4f, src, b.clock.mono, "main")
	p2 := b.producer(udp, src, b.clock.mono, "here")
	b.pass(time.Second, p1.progress, p2.progress)
	if !p1.active {
		t.Fatal("m4f is not active")
	}
	tail := b.follow()
	p1.send(p1.segment(0), 0, 3)
	p1.path = []string{"here", "main"} // main lost its source and takes ours
	p1.call.Chunk(1, Chunk{Chunk: p1.segment(0).chunks[3].Chunk, Data: p1.segment(0).chunks[3].Data, Path: p1.path})
	b.pass(4*time.Second, p1.progress, p2.progress)
	if !p2.active {
		t.Fatal("udp has not taken over from a feed that is our own")
	}
	p2.whole(p2.segment(0))
	b.commit()
	tail.want(p2.segment(0))
	b.pass(30*time.Second, p1.progress, p2.progress)
	p2.whole(p2.segment(1))
	if p1.active {
		t.Error("returned to our own feed")
	}
	p1.path = []string{"main"}
	for k := 2; !p1.active && k < 8; k++ {
		b.pass(4*time.Second, p1.progress, p2.progress)
		p2.whole(p2.segment(k))
		p1.drain()
	}
	if !p1.active {
		t.Error("not returned to main once it has its own source again")
	}
}

// Interleaving 11: each fresh segment of the peer is one that we do not have, for half a second.
func TestInterleaving11LiveEdge(t *testing.T) {
	b, p1, p2 := pair(t)
	for k := range 20 {
		p2.offer(p2.segment(k)) // the peer is always first
		b.pass(500*time.Millisecond, p1.progress, p2.progress)
		p1.whole(p1.segment(k))
		b.pass(500*time.Millisecond, p1.progress, p2.progress)
		b.commit()
	}
	b.pass(time.Second, p1.progress, p2.progress)
	for k := range 20 {
		p2.wantReleased(uint64(k + 1))
	}
	if len(p2.wants) > 0 {
		t.Errorf("wanted from the peer: %v", p2.wants)
	}
	if len(b.a.copies) != 20 {
		t.Errorf("%d slots, want 20", len(b.a.copies))
	}
}

// Interleaving 1: the active input lost the RAP between two segments and made one of both; the standby has them cut
// as they should be, and both are asked for.
func TestInterleaving1LostRAP(t *testing.T) {
	b, p1, p2 := pair(t)
	long := p1.segment(0)
	long.info.End += segTicks
	long.info.Evidence = segment.Evidence{Missing: []segment.MissingSpan{{PID: videoPID, From: long.info.End - 10, To: long.info.End}}}
	p1.whole(long)
	p2.offer(p2.segment(0))
	p2.offer(p2.segment(1))
	b.commit()
	p1.whole(p1.segment(2))
	b.commit()
	b.pass(time.Second, p1.progress, p2.progress)
	p2.answerWants()
	b.commit()
	b.pass(time.Second, p1.progress, p2.progress)
	p2.wantReleased(1, 2)
	for k := range 2 {
		if b.a.find(p2.segment(k).info.Digest).Slot.Timeline.IsZero() {
			t.Errorf("the whole copy of segment %d is not here", k)
		}
	}
}

// Interleaving 2: ingestsvc is killed in a cell and comes back: its first segment is of the same slot. The standby
// has taken over meanwhile, and its copy of that slot is whole.
func TestInterleaving2RestartInACell(t *testing.T) {
	b, p1, p2 := pair(t)
	p1.send(p1.segment(0), 0, 3)
	p1.call.Close()
	p1.inc, p1.seq0, p1.stretch = 2, 1, 0
	b.pass(500*time.Millisecond, p2.progress)
	p1.connect()
	late := p1.segment(0)
	late.begin.Key.Start += 9000
	late.begin.StartUncertain = true
	late.info.Start = late.begin.Key.Start
	for i := range late.begin.Tracks {
		late.begin.Tracks[i].Start = late.info.Start
	}
	late.begin.Key.InitSet = segment.MakeInitSet(late.begin.Tracks)
	late.chunks = late.chunks[4:]
	late.info.Evidence.StartUncertain = true
	late.info.Digest = segment.Sum(append(append([]byte{}, late.chunks[0].Data...), late.chunks[1].Data...))
	b.pass(500*time.Millisecond, p1.progress, p2.progress)
	p1.whole(late) // no longer active, but a seal from anyone is accepted
	p2.whole(p2.segment(0))
	b.commit()
	b.pass(500*time.Millisecond, p1.progress, p2.progress)
	p2.answerWants()
	b.commit()
	b.pass(500*time.Millisecond, p1.progress, p2.progress)
	p2.wantReleased(1)
	if got := p1.named[1]; got != p2.named[1] {
		t.Errorf("slots %s and %s of one cell differ", got, p2.named[1])
	}
	if len(b.a.rows) != 1 {
		t.Errorf("%d rows, want 1", len(b.a.rows))
	}
}

// A damaged copy of the active input is repaired by the standby's.
func TestOfferThatAddsIsWanted(t *testing.T) {
	b, p1, p2 := pair(t)
	p1.whole(p1.segment(0).damage(4))
	p2.offer(p2.segment(0))
	b.pass(300*time.Millisecond, p1.progress, p2.progress)
	p2.wantHeld(1) // until it is known what p1's is worth
	b.commit()
	b.pass(300*time.Millisecond, p1.progress, p2.progress)
	p2.answerWants()
	b.commit()
	p1.wantReleased(1)
	p2.wantReleased(1)
}

// All silent: what is open is sealed, once; and when the media goes on the segment is had as a whole.
func TestSilenceSealsTheOpenPart(t *testing.T) {
	b, p1, _ := pair(t)
	tail := b.follow()
	p1.send(p1.segment(0), 0, 3)
	b.pass(4 * time.Second)
	b.commit()
	tail.read()
	if len(tail.seals) != 1 || !tail.seals[0].Info.Evidence.EndUncertain {
		t.Fatalf("seals: %+v", tail.seals)
	}
	roles := p1.roles
	m := p1.segment(0)
	p1.progress()
	p1.call.Chunk(1, m.chunks[3])
	if p1.drain(); p1.roles != roles+1 || p1.role.FromSeq != 1 {
		t.Fatalf("not asked to send segment 1 again: %+v", p1.role)
	}
	p1.whole(m)
	b.commit()
	p1.wantReleased(1)
	tail.want(m)
}

// The three modes at the level of messages, on site B: normal (m4f), emergency (udp), recovery (m4f again).
func TestThreeModes(t *testing.T) {
	b := newBench(t, m4f, udp)
	tail := b.follow()
	src := content{name: "tv", base: base}
	main := b.producer(m4f, src, b.clock.mono, "main")
	local := b.producer(udp, src, b.clock.mono, "here")
	main.lag = 700 * time.Millisecond
	var want []*made
	play := func(from, to int, alive ...*fakeProducer) {
		for k := from; k < to; k++ {
			for i := range chunksPer {
				for _, p := range alive {
					if p.active {
						p.send(p.segment(k), i, i+1)
					}
				}
				b.pass(segTime/chunksPer, func() {
					for _, p := range alive {
						p.progress()
					}
				})
			}
			for _, p := range alive {
				if !p.active {
					p.offer(p.segment(k))
				}
			}
			b.commit()
			tail.read()
			want = append(want, local.segment(k))
		}
	}
	b.pass(time.Second, main.progress, local.progress)
	if !main.active || local.active {
		t.Fatal("normal: m4f is not the active input")
	}
	play(0, 3, main, local)

	main.send(main.segment(3), 0, 2)
	main.call.Close()
	b.pass(2*time.Second, local.progress)
	if !local.active {
		t.Fatal("emergency: udp has not taken over")
	}
	play(3, 5, local)
	local.wantReleased(1, 2, 3, 4, 5)

	main.inc, main.seq0 = 2, -4
	main.connect()
	k := 5
	for ; !main.active && k < 12; k++ {
		for i := range chunksPer {
			local.send(local.segment(k), i, i+1)
			b.pass(segTime/chunksPer, main.progress, local.progress)
		}
		b.commit()
		tail.read()
		want = append(want, local.segment(k))
		main.drain()
	}
	if !main.active || k < 7 {
		t.Fatalf("recovery: m4f active %t at segment %d; it has to be gapless for 10 s first", main.active, k)
	}
	local.drain()
	if local.active {
		t.Fatal("recovery: two are active")
	}
	play(k, k+2, main, local)
	tail.want(want...)
	if len(b.a.copies) != len(want) {
		t.Errorf("%d slots, want %d", len(b.a.copies), len(want))
	}
	for slot := range b.a.copies {
		if n := b.a.digests(slot); n != 1 {
			t.Errorf("slot %s holds %d copies", slot, n)
		}
	}
	if len(b.a.rows) != 1 {
		t.Errorf("%d rows, want 1", len(b.a.rows))
	}
}

// Interleaving 13 from this side: after a kill between data and index the ring is offered again, and what the store
// found in its files is released, not stored a second time.
func TestInterleaving13OrphanIsNotWrittenTwice(t *testing.T) {
	b, p1, _ := pair(t)
	p1.whole(p1.segment(0))
	b.a.commit() // the data is durable, and nobody heard of it
	b.kill()
	b.start()
	stored := b.a.stored
	p1.connect(p1.segment(0))
	p1.progress()
	b.pass(time.Second, p1.progress)
	p1.wantReleased(1)
	if b.a.stored != stored {
		t.Error("stored again")
	}
	if p1.role.After == nil || p1.role.After.T != p1.segment(1).info.Start {
		t.Errorf("goes on from %+v", p1.role)
	}
}

func TestBackfill(t *testing.T) {
	b, p1, _ := pair(t)
	tail := b.follow()
	p1.whole(p1.segment(5))
	b.commit()
	slot := p1.named[6]
	p := b.backfill()
	send := func(k int) {
		m := p.segment(k)
		at := slot
		at.Cell = uint16(m.begin.Key.Start.Cell())
		m.begin.Key.Slot = &at
		p.whole(m)
	}
	send(2)
	p.wantHeld(3)
	b.commit()
	p.wantReleased(3)
	if p.named[3].Timeline != slot.Timeline || p.named[3].Cell != uint16(p.segment(2).begin.Key.Start.Cell()) {
		t.Errorf("named %s", p.named[3])
	}
	bad := p.segment(3)
	bad.begin.Key.Slot = &slot // of another cell
	p.whole(bad)
	if r := p.released[4]; r.Durable || r.Reason != "INVALID" {
		t.Errorf("a segment in a wrong slot: %+v", r)
	}
	bad.begin.Key.Slot = &segment.Slot{Timeline: segment.TimelineID{99}}
	p.whole(bad)
	if r := p.released[4]; r.Durable || r.Reason != "UNKNOWN" {
		t.Errorf("a segment of no row: %+v", r)
	}
	b.a.full = true
	send(4)
	if r := p.released[5]; r.Durable || r.Reason != "FULL" {
		t.Errorf("on a full storage: %+v", r)
	}
	tail.want(p1.segment(5)) // backfill is nothing for the tail
}

func TestFullStorageKeepsTheTail(t *testing.T) {
	b, p1, p2 := pair(t)
	tail := b.follow()
	b.a.full = true
	p1.whole(p1.segment(0))
	b.pass(time.Second, p1.progress, p2.progress)
	p1.wantHeld(1)
	tail.want(p1.segment(0))
	b.a.full = false
	b.pass(6*time.Second, p1.progress, p2.progress)
	p1.answerWants()
	b.commit()
	p1.wantReleased(1)
}

// That the storage was full says nothing of why nothing is recorded once no input brings anything: it may have room by now.
func TestFullIsNoProblemOfASilentStream(t *testing.T) {
	b, p1, p2 := pair(t)
	b.a.full = true
	p1.whole(p1.segment(0))
	b.pass(time.Second, p1.progress, p2.progress)
	if got := b.s.problem(b.s.Inputs()); got != errs.ErrFull.Error() {
		t.Errorf("problem %q", got)
	}
	b.a.full = false
	b.pass(10 * time.Second)
	if got, want := b.s.problem(b.s.Inputs()), "no input has media"; got != want {
		t.Errorf("problem %q, want %q", got, want)
	}
	p1.call.Close()
	p2.call.Close()
	b.pass(10 * time.Second)
	if got, want := b.s.problem(b.s.Inputs()), "no input is connected"; got != want {
		t.Errorf("problem %q, want %q", got, want)
	}
}

// TestFullInTheMiddle: what came of a segment before the reserve was reached is kept, the tail has all of it, and with room the
// whole takes its place.
func TestFullInTheMiddle(t *testing.T) {
	b, p1, p2 := pair(t)
	tail := b.follow()
	m := p1.segment(0)
	p1.send(m, 0, 3)
	b.a.tight, b.a.full = true, true
	p1.send(m, 3, len(m.chunks))
	b.commit()
	b.pass(time.Second, p1.progress, p2.progress)
	p1.wantHeld(1)
	if got := b.s.problem(b.s.Inputs()); got != errs.ErrFull.Error() {
		t.Errorf("problem %q", got)
	}
	var kept []*fakeCopy
	for _, copies := range b.a.copies {
		kept = append(kept, copies...)
	}
	if len(kept) != 1 || len(kept[0].chunks) != 3 || !kept[0].info.Evidence.EndUncertain {
		t.Fatalf("kept %+v", kept)
	}
	tail.want(m)
	b.a.tight, b.a.full = false, false
	b.pass(6*time.Second, p1.progress, p2.progress)
	p1.answerWants()
	b.commit()
	p1.wantReleased(1)
}

func TestDisplaced(t *testing.T) {
	b, p1, _ := pair(t)
	old := p1.call
	p1.inc = 2
	p1.connect()
	if err := old.Progress(Progress{}); !errors.Is(err, errs.ErrDisplaced) {
		t.Errorf("the older call: %v", err)
	}
	if _, err := b.s.Attach(Hello{Input: udp.URL, Kind: Live, Format: segment.Format, Incarnation: 1}); !errors.Is(err, errs.ErrDisplaced) {
		t.Errorf("an older incarnation beside a newer one: %v", err)
	}
	old.Close() // late
	if b.s.producers[producerKey{udp.URL, Live}].call != p1.call {
		t.Error("the newer call was closed by the older one's end")
	}
}

func TestRefusedAtTheDoor(t *testing.T) {
	b, _, _ := pair(t)
	if _, err := b.s.Attach(Hello{Input: "udp://1.2.3.4:5", Kind: Live, Format: segment.Format}); !errors.Is(err, errs.ErrStreamUnknown) {
		t.Errorf("an input that is not configured: %v", err)
	}
	if _, err := b.s.Attach(Hello{Input: udp.URL, Kind: Live, Format: segment.Format + 1}); !errors.Is(err, errs.ErrFormat) {
		t.Errorf("another format: %v", err)
	}
}

// A segment that does not match its own seal is asked for once more, then refused.
func TestSealThatDisagrees(t *testing.T) {
	b, p1, p2 := pair(t)
	bad := p1.segment(0)
	bad.info.Digest[0]++
	p1.whole(bad)
	b.commit()
	b.pass(time.Second, p1.progress, p2.progress)
	if p1.drain(); len(p1.wants) != 1 {
		t.Fatalf("wants %v, released %+v", p1.wants, p1.released)
	}
	p1.whole(bad)
	b.commit()
	if p1.drain(); p1.released[1].Reason != "CORRUPT" || p1.released[1].Durable {
		t.Errorf("released %+v", p1.released[1])
	}
	for _, cs := range b.a.copies {
		for _, c := range cs {
			if c.info.Digest == bad.info.Digest {
				t.Error("stored under a digest that is not of its bytes (R4)")
			}
		}
	}
}

// A standby takes over in the moment in which its offer is weighed, or when it was: that segment is part of the live tail.
func TestTakeoverOfAWantedSegment(t *testing.T) {
	for _, state := range []offerState{held, wanted} {
		b, p1, p2 := pair(t)
		tail := b.follow()
		p1.whole(p1.segment(0))
		p2.offer(p2.segment(0))
		b.commit()
		p1.send(p1.segment(1), 0, 3)
		p1.call.Close()
		b.clock.mono += reconnectGrace + 50*time.Millisecond // between two ticks
		p2.offer(p2.segment(1))
		p2.call.p.offers[2].state, p2.call.p.offers[2].asked = state, b.clock.mono
		p2.progress()
		if !p2.active || len(p2.wants) > 0 {
			t.Fatalf("active %t, wants %v", p2.active, p2.wants)
		}
		p2.whole(p2.segment(1))
		b.commit()
		p2.wantReleased(1, 2)
		p2.whole(p2.segment(2))
		b.commit()
		tail.want(p1.segment(0), p1.segment(1), p2.segment(2))
	}
}

// A segment that cannot be taken is not asked for without end: the live tail goes on with the next one, and its producer
// is told in the end why it was refused.
func TestSegmentThatCannotBeTaken(t *testing.T) {
	b, p1, p2 := pair(t)
	tail := b.follow()
	p1.damage = func(m *made) {
		if m.begin.Key.Seq == 1 {
			m.chunks[2].CRC++
		}
	}
	p1.send(p1.segment(0), 0, 3)
	for n := 0; p1.role.FromSeq < 2; n++ {
		if n > triesMax {
			t.Fatalf("asked %d times for the live tail", n)
		}
		p1.send(p1.segment(0), 0, 3)
	}
	p1.send(p1.segment(0), 0, 3) // it had been sent before the role came
	p1.whole(p1.segment(1))
	p1.offer(p1.segment(0))
	b.commit()
	wants := 0
	for range 60 {
		b.pass(time.Second, p1.progress, p2.progress)
		wants += len(p1.wants)
		p1.answerWants()
	}
	if wants == 0 || wants > triesMax || p1.released[1].Reason != "CORRUPT" {
		t.Errorf("wanted %d times, released %+v", wants, p1.released[1])
	}
	p1.wantReleased(2)
	tail.read()
	if n := len(tail.chunks); n != 2+chunksPer {
		t.Errorf("%d chunks on the tail", n)
	}
}

// A storage that is full, or away for a moment, is no fault of the segment: it is asked for again, and not at once.
func TestStorageThatFailsForAWhile(t *testing.T) {
	b, p1, p2 := pair(t)
	p1.whole(p1.segment(0).damage(4))
	b.commit()
	p2.offer(p2.segment(0))
	b.a.fails = errs.ErrNotReady
	wants := 0
	for range 60 {
		b.pass(time.Second, p1.progress, p2.progress)
		wants += len(p2.wants)
		p2.answerWants()
	}
	if wants < 4 || wants > 15 {
		t.Errorf("wanted %d times in a minute", wants)
	}
	b.a.fails = nil
	b.pass(10*time.Second, p1.progress, p2.progress)
	p2.answerWants()
	b.commit()
	p2.wantReleased(1)
}
