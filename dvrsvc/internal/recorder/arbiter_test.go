package recorder

import (
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/timeline"
)

func TestArbiter(t *testing.T) {
	const sec = time.Second
	now := 1000 * sec
	good := func(input string, priority int) candidate {
		return candidate{input: input, priority: priority, timeout: 3 * sec, connected: true, moved: true,
			lastMove: now - sec/2, goodSince: now - time.Hour}
	}
	with := func(c candidate, f func(*candidate)) candidate { f(&c); return c }
	for _, tt := range []struct {
		name   string
		active string
		settle time.Duration
		cs     []candidate
		want   choice
	}{
		{name: "nobody"},
		{name: "the best is first", cs: []candidate{good("b", 2), good("a", 1)}, want: choice{input: "a"}},
		{name: "a worse one waits for the better to connect", settle: now + 1, cs: []candidate{good("b", 2)}},
		{name: "but not for ever", cs: []candidate{good("b", 2)}, want: choice{input: "b"}},
		{name: "stays", active: "a", cs: []candidate{good("a", 1), good("b", 2)}, want: choice{input: "a"}},
		{name: "stands still", active: "a", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.lastMove = now - 3*sec }), good("b", 2),
		}, want: choice{input: "b"}},
		{name: "stands still and nobody else moves", active: "a", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.lastMove = now - 3*sec }),
			with(good("b", 2), func(c *candidate) { c.moved = false }),
		}, want: choice{input: "a"}},
		{name: "the source itself is silent", active: "a", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.lastMove = now - 3*sec }),
			with(good("b", 2), func(c *candidate) { c.lastMove = now - 2*sec }),
		}, want: choice{input: "a"}},
		{name: "call ended just now", active: "a", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.connected, c.goneAt = false, now-sec/2 }), good("b", 2),
		}, want: choice{input: "a"}},
		{name: "call ended and not back", active: "a", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.connected, c.goneAt = false, now-sec }), good("b", 2),
		}, want: choice{input: "b"}},
		{name: "trickles", active: "a", cs: []candidate{
			good("a", 1), with(good("b", 2), func(c *candidate) { c.lead = 4 * timeline.TicksPerSecond }),
		}, want: choice{input: "b"}},
		{name: "a little late is no reason", active: "a", cs: []candidate{
			good("a", 1), with(good("b", 2), func(c *candidate) { c.lead = 2 * timeline.TicksPerSecond }),
		}, want: choice{input: "a"}},
		{name: "another row cannot be compared", active: "a", cs: []candidate{
			good("a", 1), with(good("b", 2), func(c *candidate) { c.lead, c.row[0] = 40*timeline.TicksPerSecond, 1 }),
		}, want: choice{input: "a"}},
		{name: "has a fault", active: "a", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.fault = "no_video" }), good("b", 2),
		}, want: choice{input: "b"}},
		{name: "has a fault, as all others", active: "a", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.fault = "no_video" }),
			with(good("b", 2), func(c *candidate) { c.fault = "continuity_errors" }),
		}, want: choice{input: "a"}},
		{name: "has a fault, as the better one", active: "b", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.fault, c.goodSince = "no_video", now }),
			with(good("b", 2), func(c *candidate) { c.fault = "no_video" }),
		}, want: choice{input: "b"}},
		{name: "has a fault, and the next has one too", active: "a", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.fault = "no_video" }),
			with(good("b", 2), func(c *candidate) { c.fault = "no_video" }), good("c", 3),
		}, want: choice{input: "c"}},
		{name: "has a fault, and the other stands still", active: "a", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.fault = "no_video" }),
			with(good("b", 2), func(c *candidate) { c.lastMove = now - 3*sec }),
		}, want: choice{input: "a"}},
		{name: "stands still, and the other has a fault", active: "a", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.lastMove = now - 3*sec }),
			with(good("b", 2), func(c *candidate) { c.fault = "no_video" }),
		}, want: choice{input: "b"}},
		{name: "the better one has a fault", active: "b", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.fault = "no_video" }), good("b", 2),
		}, want: choice{input: "b"}},
		{name: "one with a fault is further on", active: "a", cs: []candidate{
			good("a", 1), with(good("b", 2), func(c *candidate) { c.lead, c.fault = 4*timeline.TicksPerSecond, "no_video" }),
		}, want: choice{input: "a"}},
		{name: "a first one with a fault waits for one without", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.fault = "no_video" }), good("b", 2),
		}, want: choice{input: "b"}},
		{name: "a first one with a fault is better than none", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.fault = "no_video" }),
		}, want: choice{input: "a"}},
		{name: "back to the better one", active: "b", cs: []candidate{good("a", 1), good("b", 2)},
			want: choice{input: "a", atBoundary: true}},
		{name: "not before it was gapless for long enough", active: "b", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.goodSince = now - 9*sec }), good("b", 2),
		}, want: choice{input: "b"}},
		{name: "back to the second best, as the best one comes and goes", active: "c", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.goodSince = now - sec }), good("b", 2), good("c", 3),
		}, want: choice{input: "b", atBoundary: true}},
		{name: "back to the second best, as the best one trickles", active: "c", cs: []candidate{
			with(good("a", 1), func(c *candidate) { c.lead = -2 * timeline.TicksPerSecond }), good("b", 2), good("c", 3),
		}, want: choice{input: "b", atBoundary: true}},
		{name: "not while it trickles", active: "b", cs: []candidate{
			good("a", 1), with(good("b", 2), func(c *candidate) { c.lead = 2 * timeline.TicksPerSecond }),
		}, want: choice{input: "b"}},
	} {
		a := newArbiter(0, 0, 1)
		a.active = tt.active
		if tt.settle > 0 {
			a.settleUntil = tt.settle
		}
		got := a.decide(now, tt.cs)
		got.why = ""
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// A better input that keeps failing is trusted less each time.
func TestArbiterReturnWaitDoubles(t *testing.T) {
	a := newArbiter(0, 0, 1)
	now := time.Duration(0)
	a.take(now, choice{input: "a"})
	want := []time.Duration{10, 20, 40, 80, 160, 300, 300}
	for i, w := range want {
		a.take(now, choice{input: "b"})
		if a.wait != w*time.Second {
			t.Errorf("after %d relapses: wait %s, want %s", i, a.wait, w*time.Second)
		}
		now += time.Minute
		a.take(now, choice{input: "a", atBoundary: true})
		now += time.Minute
	}
	now += relapseWindow
	if a.take(now, choice{input: "b"}); a.wait != returnWait {
		t.Errorf("after a good time: wait %s, want %s", a.wait, returnWait)
	}
}

// A third input that takes over is no reason to trust the first one again.
func TestArbiterFurtherFailoverIsNoForgiveness(t *testing.T) {
	a := newArbiter(0, 0, 1)
	now := time.Hour
	a.take(now, choice{input: "b"})
	for range 3 { // a is returned to and left again
		now += time.Minute
		a.take(now, choice{input: "a", atBoundary: true})
		now += time.Minute
		a.take(now, choice{input: "b"})
	}
	want := a.wait
	now += 4 * time.Minute
	if a.take(now, choice{input: "c"}); a.wait != want || want != 8*returnWait {
		t.Errorf("from b to c: wait %s, want %s", a.wait, want)
	}
	now += relapseWindow
	if a.take(now, choice{input: "b"}); a.wait != returnWait {
		t.Errorf("after a good time: wait %s, want %s", a.wait, returnWait)
	}
}

// What is held against an input goes with it: the one that the config has in its place is new.
func TestArbiterForgetsInputsThatAreGone(t *testing.T) {
	for _, removedWhileActive := range []bool{false, true} {
		b := newBench(t, udp, udp2)
		src := content{name: "tv", base: base}
		p1 := b.producer(udp, src, b.clock.mono, "here")
		p2 := b.producer(udp2, src, b.clock.mono, "here")
		b.pass(time.Second, p1.progress, p2.progress)
		if removedWhileActive {
			b.s.arb.take(b.clock.mono, choice{input: udp.URL, atBoundary: true})
		} else {
			for range 4 {
				b.s.arb.take(b.clock.mono, choice{input: udp.URL, atBoundary: true})
				b.s.arb.take(b.clock.mono, choice{input: udp2.URL})
			}
		}
		udp3 := Input{URL: "udp://239.0.0.3:1234", Priority: 1, SourceTimeout: 3 * time.Second}
		b.cfg.Inputs = []Input{udp3, b.cfg.Inputs[1]}
		b.s.configure(b.cfg)
		if b.s.arb.active != udp2.URL {
			t.Fatalf("active is %q", b.s.arb.active)
		}
		p3 := b.producer(udp3, src, b.clock.mono, "here")
		b.pass(returnWait+time.Second, p2.progress, p3.progress)
		if !p3.active {
			t.Errorf("removed while active %t: a new input waits for %s", removedWhileActive, b.s.arb.wait)
		}
	}
}
