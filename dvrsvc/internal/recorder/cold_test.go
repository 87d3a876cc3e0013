package recorder

import (
	"testing"
	"time"
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
