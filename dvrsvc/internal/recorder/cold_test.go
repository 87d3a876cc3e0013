package recorder

import (
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// A cold input has no media until it is active, so it must be chosen without being alive, and given time to join.
func TestColdInputIsAskedToJoinWhenNoInputHasMedia(t *testing.T) {
	const timeout = 3 * time.Second
	cs := []candidate{
		{input: "peer", priority: 1, timeout: timeout, connected: true, moved: true},
		{input: "cold a", priority: 2, timeout: timeout, connected: true, cold: true},
		{input: "cold b", priority: 3, timeout: timeout, connected: true, cold: true},
		{input: "cold c", priority: 4, timeout: timeout, cold: true},
	}
	a := newArbiter(0, timeout, 1)
	media := map[string]bool{"peer": true}
	for now, steps := time.Duration(0), []struct {
		at   time.Duration
		do   func()
		want string
	}{
		{0, nil, "peer"},
		{10 * time.Second, func() { media["peer"] = false }, "peer"},
		{12 * time.Second, nil, "peer"},
		{13 * time.Second, nil, "cold a"},
		{17 * time.Second, nil, "cold a"}, // joining
		{18 * time.Second, nil, "cold b"}, // a has nothing
		{23 * time.Second, nil, "cold a"}, // c is not connected
		{25 * time.Second, func() { media["cold a"] = true }, "cold a"},
		{60 * time.Second, nil, "cold a"},
		{61 * time.Second, func() { media["peer"] = true; cs[0].goodSince = 61 * time.Second }, "cold a"},
		{72 * time.Second, nil, "peer"},
	}; len(steps) > 0; now += 100 * time.Millisecond {
		if s := steps[0]; now == s.at && s.do != nil {
			s.do()
		}
		for i := range cs {
			if media[cs[i].input] {
				cs[i].moved, cs[i].lastMove = true, now
			}
		}
		if c := a.decide(now, cs); c.input != a.active {
			a.take(now, c)
		}
		if s := steps[0]; now == s.at {
			if a.active != s.want {
				t.Fatalf("at %v: active is %q, want %q", now, a.active, s.want)
			}
			steps = steps[1:]
		}
	}
}

// A cold input that is denied does not join, whoever asks it: the next one is asked, at once. Where all are, one is as good as another.
func TestColdInputThatIsDenied(t *testing.T) {
	cs := []candidate{
		{input: "cold a", priority: 1, timeout: 3 * time.Second, connected: true, cold: true, fault: "denied"},
		{input: "cold b", priority: 2, timeout: 3 * time.Second, connected: true, cold: true},
	}
	a := newArbiter(0, 0, 1)
	if c := a.decide(time.Hour, cs); c.input != "cold b" {
		t.Errorf("active is %q", c.input)
	}
	a.take(time.Hour, choice{input: "cold b"})
	cs[1].fault = "denied"
	if c := a.decide(time.Hour+time.Minute, cs); c.input != "cold a" {
		t.Errorf("of two that are denied %q is active", c.input)
	}
}

// A source that was held up while nobody looked is still on its timeline; one that was seen a moment ago cannot have been.
func TestRowOfASourceThatWasHeldUp(t *testing.T) {
	const start = 3 * timeline.Wrap / 2
	for _, c := range []struct {
		name           string
		unseen, heldUp time.Duration
		want           bool
	}{
		{"seen just now, held up a little", time.Second, 500 * time.Millisecond, true},
		{"seen just now, elsewhere", time.Second, 3 * time.Second, false},
		{"unseen for a while, held up", 4 * time.Second, 3 * time.Second, true},
		{"unseen for a while, elsewhere", 4 * time.Second, 7 * time.Second, false},
	} {
		r := &row{sighted: true, u: start, by: "peer", byPeer: true}
		n := namer{rows: []*row{r}}
		at := sighting{t: start + timeline.FromDuration(c.unseen-c.heldUp), arrived: c.unseen, by: "udp"}
		got, _ := n.match(at, c.unseen, time.Time{}, func(*row, timeline.Ticks) bool { return false })
		if (got == r) != c.want {
			t.Errorf("%s: matched %v, want %v", c.name, got == r, c.want)
		}
	}
}
