package recorder

import (
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Two inputs whose sources have clocks of their own: going back to the first is going back to an older row.
func TestBackOnAnOlderRow(t *testing.T) {
	b := newBench(t, udp, udp2)
	p1 := b.producer(udp, content{name: "a", base: base}, b.clock.mono, "here")
	p2 := b.producer(udp2, content{name: "b", base: base + 5000*timeline.CellTicks}, b.clock.mono, "here")
	tail := b.follow()
	b.pass(time.Second, p1.progress, p2.progress)
	p1.whole(p1.segment(0))
	p1.send(p1.segment(1), 0, 3)
	p1.call.Close()
	p1.active = false
	b.pass(2*time.Second, p2.progress)
	if !p2.active {
		t.Fatal("the second has not taken over")
	}
	k := 1
	for ; k < 6 && !p1.active; k++ {
		p2.whole(p2.segment(k))
		b.commit()
		tail.read()
		if k == 1 {
			p1.connect(p1.segment(1))
		}
		b.pass(segTime, p1.progress, p2.progress)
		if !p1.active {
			p1.offer(p1.segment(k))
		}
	}
	if !p1.active {
		t.Fatal("not back on the first")
	}
	if p1.role.FromSeq != 0 || p1.role.After != nil {
		t.Errorf("goes on with %+v, which the second input has covered", p1.role)
	}
	tail.read()
	chunks := len(tail.chunks)
	p2.call.Close()
	for n := range 20 {
		p1.whole(p1.segment(k + n))
		b.commit()
		b.pass(segTime, p1.progress)
		tail.read()
		p1.wantReleased(uint64(k + n + p1.seq0))
	}
	if got := len(tail.chunks) - chunks; got != 20*chunksPer {
		t.Errorf("%d chunks of 20 segments on the tail", got)
	}
}

// Retention takes a row that holds nothing. When its source comes back the row is put again, and what is known of rows
// that nobody uses does not pile up.
func TestRowThatRetentionTook(t *testing.T) {
	b, p1, p2 := pair(t)
	b.a.rows = nil
	p1.whole(p1.segment(0))
	p2.offer(p2.segment(0).damage(1))
	b.commit()
	p1.wantReleased(1)
	if len(b.a.rows) != 1 {
		t.Fatalf("%d rows", len(b.a.rows))
	}
	if m := b.a.rows[0].Mapping; m[len(m)-1].UTC < b.clock.Now().Add(-time.Minute).UnixNano() {
		t.Errorf("the row is as old as it was, so it is taken again: %v", m)
	}
	for range 3 * rowsKept {
		p1.stretch++
		p1.src.base += 100 * timeline.CellTicks
		b.clock.mono += time.Second
		p1.progress()
		b.a.rows = b.a.rows[len(b.a.rows)-1:]
	}
	if n := len(b.s.rows.rows); n > 2*rowsKept {
		t.Errorf("%d rows are known", n)
	}
}

// A peer's row could not be told to be ours, and what it brings is here: it is released, and told where it is.
func TestBackfillOfWhatIsInAnotherRow(t *testing.T) {
	b, p1, p2 := pair(t)
	p1.whole(p1.segment(0))
	b.commit()
	p2.call.Close()
	row, _, err := b.s.Bind(Binding{
		PeerTimeline: segment.TimelineID{7}, Make: true, At: timeline.Mapping{{U: segmentT(base), UTC: b.clock.Now().UnixNano()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := b.backfill()
	m := p.segment(0)
	slot := p1.named[1]
	slot.Timeline = row
	m.begin.Key.Slot = &slot
	p.whole(m)
	b.commit()
	p.wantReleased(1)
	if r := p.released[1]; r.Slot != p1.named[1] {
		t.Errorf("released in %s, it is in %s", r.Slot, p1.named[1])
	}
}

// A disk that takes its time over a slew, or over what a peer wants to know, holds up nothing of the live tail.
func TestSlowDiskHoldsUpNoTail(t *testing.T) {
	b, p1, _ := pair(t)
	tail := b.follow()
	b.clock.wall = b.clock.wall.Add(6 * time.Second)
	b.a.stall = make(chan struct{})
	bound, row := make(chan error, 1), b.a.rows[0].ID
	go func() {
		_, _, err := b.s.Bind(Binding{PeerTimeline: segment.TimelineID{7}, Timeline: row})
		bound <- err
	}()
	p1.progress() // slews
	go b.s.putKept()
	p1.whole(p1.segment(0))
	tail.want(p1.segment(0))
	close(b.a.stall)
	if err := <-bound; err != nil {
		t.Error(err)
	}
	b.s.putKept()
	if r := b.a.rows[0]; len(r.Bindings) != 1 || len(r.Mapping) < 2 {
		t.Errorf("the row is %+v", r)
	}
}
