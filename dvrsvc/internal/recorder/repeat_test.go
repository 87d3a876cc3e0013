package recorder

import (
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
)

// replay sets the sources of some producers back to their beginning, after a pause, as a file that is played again.
func (b *bench) replay(ps ...*fakeProducer) {
	b.pass(10 * time.Second)
	for _, p := range ps {
		p.began, p.seq0 = b.clock.mono, p.seq0+100
		p.stretch++
	}
	for _, p := range ps {
		b.pass(time.Second, p.progress)
	}
}

// A source that plays the same twice from one place of its clock: both showings are in the archive and on the tail.
func TestRepetition(t *testing.T) {
	b, p1, p2 := pair(t)
	tail := b.follow()
	var all []*made
	for show := range 2 {
		if show == 1 {
			b.replay(p1, p2)
		}
		for k := range 3 {
			m := p1.segment(k)
			all = append(all, m)
			p1.whole(m)
			p2.offer(p2.segment(k))
			b.commit()
			b.pass(segTime, p1.progress, p2.progress)
			tail.read()
			p1.wantReleased(m.begin.Key.Seq)
			p2.wantReleased(m.begin.Key.Seq)
			if a := p1.named[m.begin.Key.Seq]; a != p2.named[m.begin.Key.Seq] || b.a.digests(a) != 1 {
				t.Errorf("showing %d, segment %d: %d copies in %s, the other input's in %s", show, k, b.a.digests(a), a, p2.named[m.begin.Key.Seq])
			}
		}
	}
	tail.want(all...)
	if len(b.a.rows) != 2 || len(b.a.copies) != 6 || len(p2.wants) > 0 {
		t.Errorf("%d rows, %d slots, wanted %v", len(b.a.rows), len(b.a.copies), p2.wants)
	}
}

// What one input lacks of the second showing is asked of the other: that it is here of the first is no answer. An input
// that has not seen the first showing is no exception.
func TestRepetitionIsFilled(t *testing.T) {
	for _, how := range []string{"has seen both", "comes with the second", "comes with offers"} {
		b, p1, p2 := pair(t)
		for k := range 3 {
			p1.whole(p1.segment(k))
			p2.offer(p2.segment(k))
			b.commit()
			b.pass(segTime, p1.progress, p2.progress)
		}
		if how != "has seen both" {
			p2.call.Close()
			p2.inc++
		}
		switch how {
		case "comes with the second":
			p2.connect()
			b.replay(p1, p2)
		case "comes with offers": // before it has told where it is
			b.replay(p1)
			p2.began, p2.seq0 = p1.began, p1.seq0
			p2.connect()
		default:
			b.replay(p1, p2)
		}
		p1.whole(p1.segment(0))
		b.commit()
		p2.offer(p2.segment(0))
		b.commit()
		p2.offer(p2.segment(1))
		p1.whole(p1.segment(2))
		b.commit()
		b.pass(time.Second, p1.progress, p2.progress)
		p2.answerWants()
		b.commit()
		b.pass(time.Second, p1.progress, p2.progress)
		p2.wantReleased(101, 102)
		if p1.named[101] != p2.named[101] || p2.named[102].Timeline != p1.named[101].Timeline || b.a.digests(p2.named[102]) != 1 {
			t.Errorf("an input that %s: %s and %s, then %s with %d copies", how, p1.named[101], p2.named[101], p2.named[102], b.a.digests(p2.named[102]))
		}
	}
}

// What a peer knows of one of two showings is heard for that one.
func TestEvidenceOfOneShowing(t *testing.T) {
	b, p1, p2 := pair(t)
	p2.call.Close()
	var slots []segment.Slot
	for show := range 2 {
		if show == 1 {
			b.replay(p1)
		}
		torn := p1.segment(0)
		torn.info.Evidence.EndUncertain = true
		p1.whole(torn)
		b.commit()
		slots = append(slots, p1.named[torn.begin.Key.Seq])
	}
	p := b.backfill()
	for k, seq := range []uint64{500, 501} {
		m := p.segment(0)
		m.begin.Key.Seq, m.begin.Key.Slot = seq, &slots[k]
		p.offer(m)
		b.commit()
		p.wantReleased(seq)
		for i, slot := range slots {
			if c := b.a.copies[slot]; len(c) != 1 || c[0].info.Evidence.Whole() != (i <= k) || p.released[seq].Slot != slots[k] {
				t.Errorf("heard of %d: %d is %+v; released %+v", k, i, c[0].info.Evidence, p.released[seq])
			}
		}
	}
	elsewhere := slots[0]
	elsewhere.Timeline = segment.TimelineID{200}
	m := p.segment(0)
	m.begin.Key.Seq, m.begin.Key.Slot = 502, &elsewhere
	p.offer(m)
	if p.drain(); p.released[502].Durable {
		t.Error("evidence of a slot that is not here was heard")
	}
}
