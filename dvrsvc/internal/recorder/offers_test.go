package recorder

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
)

// The numbers of another incarnation mean other segments: what becomes durable late releases nothing of it.
func TestReleaseIsNotForAnotherIncarnation(t *testing.T) {
	b, p1, _ := pair(t)
	p1.whole(p1.segment(0))
	p1.inc, p1.seq0 = 2, 0 // ingestsvc restarts: its segment 1 is another one
	p1.connect()
	p1.send(p1.segment(1), 0, 2)
	b.commit()
	p1.wantHeld(1)
	p1.offer(p1.segment(0))
	b.commit()
	p1.wantReleased(0)
}

// A segment that is being brought on demand is none of the live tail: a change of role leaves it alone.
func TestWantedOutlivesTheRole(t *testing.T) {
	b, p1, p2 := pair(t)
	bad := p1.segment(0)
	bad.info.Digest[0]++
	p1.whole(bad) // so that it is wanted
	b.pass(time.Second, p1.progress, p2.progress)
	if p1.drain(); len(p1.wants) != 1 {
		t.Fatalf("wants %v", p1.wants)
	}
	good := p1.segment(0)
	p1.send(good, 0, 3)
	p1.send(p1.segment(1), 0, 3)
	b.pass(4*time.Second, p2.progress)
	if !p2.active {
		t.Fatal("no takeover")
	}
	p1.send(good, 3, chunksPer)
	p1.send(p1.segment(1), 3, chunksPer) // on its way when the role changed: a seal from anyone is an offer
	p2.whole(p2.segment(2))
	b.commit()
	p1.wantReleased(1)
	b.pass(time.Second, p2.progress)
	p1.answerWants()
	b.commit()
	p1.wantReleased(2)
}

// What the active producer has passed is not waited for: it is asked for while the next segment is still coming.
func TestPassedIsWanted(t *testing.T) {
	for name, c := range map[string]struct {
		comes int // of the lost segment, how many chunks come nevertheless
		next  bool
		want  int
	}{
		"lost":                 {0, true, 1},
		"nothing came since":   {0, false, 0},
		"some of it is coming": {1, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b, p1, p2 := pair(t)
			p1.whole(p1.segment(0))
			p2.offer(p2.segment(0))
			b.commit()
			if c.comes > 0 {
				p1.send(p1.segment(1), 0, c.comes)
			}
			if c.next {
				p1.send(p1.segment(2), 0, 1)
			}
			p2.offer(p2.segment(1))
			b.pass(time.Second, p1.progress, p2.progress)
			if p2.drain(); len(p2.wants) != c.want {
				t.Errorf("wants %v, want %d", p2.wants, c.want)
			}
		})
	}
}

// A producer that was asked and does not bring the segment, or not all of it, holds it up for nobody for ever: another
// one is asked, then it again.
func TestWantedAndNotBrought(t *testing.T) {
	for chunks := range 3 {
		b := newBench(t, udp, m4f, udp2)
		src := content{name: "tv", base: base}
		p1 := b.producer(udp, src, b.clock.mono, "here")
		p2 := b.producer(m4f, src, b.clock.mono, "there")
		p3 := b.producer(udp2, src, b.clock.mono, "here")
		all := []func(){p1.progress, p2.progress, p3.progress}
		b.pass(time.Second, all...)
		p1.whole(p1.segment(0).damage(4))
		b.commit()
		p2.offer(p2.segment(0))
		p2.send(p2.segment(0), 0, chunks)
		p3.offer(p3.segment(0))
		b.pass(wantAgain-time.Second, all...)
		if len(p2.wants) != 1 || len(p3.wants) != 0 {
			t.Errorf("%d chunks: wanted %v and %v at first", chunks, p2.wants, p3.wants)
		}
		b.pass(2*time.Second, all...)
		if len(p2.wants) != 1 || len(p3.wants) != 1 {
			t.Errorf("%d chunks: wanted %v and %v then", chunks, p2.wants, p3.wants)
		}
		b.pass(wantAgain, all...)
		if len(p2.wants) != 2 || len(p3.wants) != 1 {
			t.Errorf("%d chunks: wanted %v and %v in the end", chunks, p2.wants, p3.wants)
		}
	}
}

// What came of a segment is let go with it, when another producer has brought the rest of the same: nothing more comes of it.
func TestPartOfWhatIsReleasedIsLetGo(t *testing.T) {
	b := newBench(t, udp, m4f, udp2)
	src := content{name: "tv", base: base}
	p1 := b.producer(udp, src, b.clock.mono, "here")
	p2 := b.producer(m4f, src, b.clock.mono, "there")
	p3 := b.producer(udp2, src, b.clock.mono, "here")
	all := []func(){p1.progress, p2.progress, p3.progress}
	b.pass(time.Second, all...)
	p1.whole(p1.segment(0).damage(4))
	b.commit()
	p2.offer(p2.segment(0))
	p2.send(p2.segment(0), 0, 2)
	p3.offer(p3.segment(0))
	b.pass(wantAgain+2*time.Second, all...)
	p3.answerWants()
	b.commit()
	b.pass(time.Second, all...)
	b.commit()
	b.s.settle()
	p2.wantReleased(1)
	p3.wantReleased(1)
	for _, c := range b.a.open {
		if !c.ended && len(c.chunks) == 2 {
			t.Error("the part that came is still open")
		}
	}
	if in := p2.call.p.copies; len(in) > 0 {
		t.Errorf("%d segments are still being received", len(in))
	}
}

// A peer that knows less against bytes that are here says so without sending them. It is never asked for any.
func TestEvidenceFromAPeer(t *testing.T) {
	b, p1, p2 := pair(t)
	torn := p1.segment(0)
	torn.info.Evidence.EndUncertain = true
	p1.whole(torn)
	b.commit()
	p2.call.Close()
	p := b.backfill()
	p.offer(p.segment(0))
	p.offer(p.segment(1))
	b.commit()
	p.wantReleased(1)
	if c := b.a.find(torn.info.Digest); !c.Info.Evidence.Whole() || p.released[1].Slot != p1.named[1] {
		t.Errorf("%+v; released %+v", c.Info.Evidence, p.released[1])
	}
	if r := p.released[2]; r.Durable || r.Reason != "UNKNOWN" {
		t.Errorf("evidence of what is not here: %+v", r)
	}
	p.offer(torn)
	b.commit()
	b.pass(time.Second)
	if c := b.a.find(torn.info.Digest); !c.Info.Evidence.Whole() || len(p.wants) > 0 {
		t.Errorf("worse evidence: %+v; wants %v", c.Info.Evidence, p.wants)
	}
}

// A peer does what the reason says: what is wrong with the segment is not what is wrong here for a moment.
func TestReasonsOfRefusals(t *testing.T) {
	for _, tt := range []struct {
		begin, seal error
		want        string
	}{
		{begin: errs.ErrFull, want: "FULL"},
		{begin: errs.ErrExpired, want: "EXPIRED"},
		{begin: errs.ErrInvalid, want: "INVALID"},
		{begin: errs.ErrUnknown, want: "UNKNOWN"},
		{begin: store.ErrClosed, want: "NOT_READY"},
		{seal: store.ErrCopyLost, want: "NOT_READY"},
		{seal: errs.ErrConflictLimit, want: "CONFLICT_LIMIT"},
		{seal: errs.ErrInvalid, want: "INVALID"},
		{seal: errs.ErrCorrupt, want: "CORRUPT"},
	} {
		b, p1, _ := pair(t)
		p1.whole(p1.segment(5))
		b.commit()
		slot := p1.named[6]
		p := b.backfill()
		b.a.fails, b.a.failsSeal = tt.begin, tt.seal
		m := p.segment(2)
		slot.Cell = uint16(m.begin.Key.Start.Cell())
		m.begin.Key.Slot = &slot
		p.whole(m)
		b.commit()
		p.drain()
		if r := p.released[3]; r.Durable || r.Reason != tt.want {
			t.Errorf("%v, %v: %+v, want %s", tt.begin, tt.seal, r, tt.want)
		}
		reg := prometheus.NewRegistry()
		reg.MustRegister(b.s.metrics.Corrupt)
		if corrupt, err := reg.Gather(); err != nil || (len(corrupt) > 0) != (tt.want == "CORRUPT") {
			t.Errorf("%s: counted as corrupt: %v, %v", tt.want, corrupt, err)
		}
	}
	b, _, _ := pair(t)
	b.s.close(errs.ErrNotReady)
	_, err := b.s.Attach(Hello{Input: udp.URL, Kind: Live, Format: segment.Format})
	if !errors.Is(err, errs.ErrNotReady) {
		t.Errorf("a stream that closes: %v", err)
	}
}

// What an operator deleted is not taken from anyone again, and whoever offers it is told so.
func TestOfferOfWhatWasDeleted(t *testing.T) {
	b, p1, p2 := pair(t)
	p1.whole(p1.segment(0).damage(4))
	b.commit()
	b.a.mark, b.a.deleted = b.clock.wall.Add(-24*time.Hour), b.clock.wall.Add(24*time.Hour)
	p2.offer(p2.segment(0))
	b.pass(2*time.Second, p1.progress, p2.progress)
	p2.drain()
	if r, ok := p2.released[1]; !ok || r.Durable || r.Reason != "DELETED" || len(p2.wants) > 0 {
		t.Errorf("released %+v, wants %v", p2.released, p2.wants)
	}
}
