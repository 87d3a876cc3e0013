package recorder

import (
	"testing"
	"time"
)

// beat is progress with a fault.
func (p *fakeProducer) beat(fault string) {
	if err := p.call.Progress(Progress{
		Stretch: p.stretch, Head: segmentT(p.at()), Path: p.path, Alive: fault != "denied", Gapless: time.Hour, Fault: fault,
	}); err != nil {
		p.b.t.Error(err)
	}
	p.drain()
}

// I2, I1: an active input that says that it is no good is left at once for one that is, in the middle of a segment, and
// nothing is published twice or left out. It has the live tail back when it was good for ten seconds, at a boundary.
func TestFaultyInputIsLeft(t *testing.T) {
	for _, fault := range []string{"no_video", "continuity_errors", "denied"} {
		b := newBench(t, udp, udp2)
		src := content{name: "tv", base: base}
		p1 := b.producer(udp, src, b.clock.mono, "here")
		p2 := b.producer(udp2, src, b.clock.mono, "here")
		b.pass(time.Second, p1.progress, p2.progress)
		tail := b.follow()
		p1.whole(p1.segment(0))
		p2.offer(p2.segment(0))
		b.commit()
		p1.send(p1.segment(1), 0, 3)
		b.pass(200*time.Millisecond, func() { p1.beat(fault) }, p2.progress)
		if p1.active || !p2.active {
			t.Fatalf("%s: the faulty input is still active", fault)
		}
		in := b.s.Inputs()
		if in[0].Fault != fault || in[1].Fault != "" {
			t.Errorf("%s: inputs show %+v", fault, in)
		}
		p2.whole(p2.segment(1))
		p2.whole(p2.segment(2))
		b.commit()
		p2.wantReleased(1, 2, 3)
		tail.want(p1.segment(0), p1.segment(1), p1.segment(2))

		b.pass(9*time.Second, p1.progress, p2.progress)
		if p1.active {
			t.Errorf("%s: back after less than ten seconds", fault)
		}
		p2.send(p2.segment(3), 0, 3)
		b.pass(2*time.Second, p1.progress, p2.progress)
		if p1.active {
			t.Errorf("%s: back within a segment", fault)
		}
		p2.send(p2.segment(3), 3, chunksPer)
		b.pass(time.Second, p1.progress, p2.progress)
		if !p1.active || p2.active {
			t.Errorf("%s: not back to the better input", fault)
		}
		b.commit()
		p1.whole(p1.segment(4))
		b.commit()
		tail.want(p1.segment(0), p1.segment(1), p1.segment(2), p1.segment(3), p1.segment(4))
	}
}

// Where no input is better nothing moves, and the stream says what is wrong; two that fail by turns do not make it flap.
func TestFaultsDoNotFlap(t *testing.T) {
	b := newBench(t, udp, udp2)
	src := content{name: "tv", base: base}
	p1 := b.producer(udp, src, b.clock.mono, "here")
	p2 := b.producer(udp2, src, b.clock.mono, "here")
	b.pass(time.Second, p1.progress, p2.progress)
	both := p1.roles + p2.roles
	b.pass(time.Minute, func() { p2.beat("no_audio") }, func() { p1.beat("no_video") })
	if n := p1.roles + p2.roles - both; n != 0 || !p1.active {
		t.Errorf("%d roles were given while both inputs had a fault", n)
	}
	if got, want := b.s.problem(b.s.Inputs()), "the active input "+udp.URL+" has a fault (no_video), and no other input is better"; got != want {
		t.Errorf("problem %q, want %q", got, want)
	}
	// The better one fails for 10 s in each 25 s: it is trusted less each time.
	changes, was := 0, p1.active
	for range 24 {
		b.pass(10*time.Second, func() { p1.beat("continuity_errors") }, p2.progress)
		b.pass(15*time.Second, p1.progress, p2.progress)
		if p1.active != was {
			changes, was = changes+1, p1.active
		}
	}
	if changes > 8 {
		t.Errorf("%d changes in 10 minutes", changes)
	}
}
