package input

import (
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/timeline"
)

func TestMeter(t *testing.T) {
	const s = timeline.TicksPerSecond
	type move struct {
		at      time.Duration
		stretch uint32
		head    timeline.Ticks
		lost    bool
	}
	for _, c := range []struct {
		name    string
		moves   []move
		at      time.Duration
		gapless time.Duration
		alive   bool
	}{
		{"nothing yet", nil, 5 * time.Second, 0, false},
		{"runs", []move{{0, 0, 10 * s, false}, {time.Second, 0, 11 * s, false}}, 2 * time.Second, time.Second, true},
		{"runs after being read twice", []move{{0, 0, 10 * s, false}, {0, 0, 10 * s, false}, {time.Second, 0, 11 * s, false}},
			2 * time.Second, time.Second, true},
		{"loss", []move{{0, 0, 10 * s, false}, {time.Second, 0, 11 * s, true}, {2 * time.Second, 0, 12 * s, false}},
			2 * time.Second, time.Second, true},
		{"jump of the source's clock", []move{{0, 0, 10 * s, false}, {time.Second, 1, 90 * s, false}}, time.Second, 0, true},
		{"the clock wraps", []move{{0, 0, 2*timeline.Wrap - s, false}, {time.Second, 0, timeline.Wrap, false},
			{2 * time.Second, 0, timeline.Wrap + s, false}}, 2 * time.Second, 2 * time.Second, true},
		{"outage", []move{{0, 0, 10 * s, false}, {8 * time.Second, 0, 18 * s, false}}, 8 * time.Second, 0, true},
		{"stands still", []move{{0, 0, 10 * s, false}, {time.Second, 0, 11 * s, false}, {5 * time.Second, 0, 11 * s, false}},
			5 * time.Second, time.Second, false},
		{"sends the same time over and over", slices.Collect(func(yield func(move) bool) {
			for i := range 125 {
				if !yield(move{time.Duration(i) * 40 * time.Millisecond, 0, 10*s + timeline.Ticks(i), false}) {
					return
				}
			}
		}), 5 * time.Second, 124 * time.Second / 90_000, false},
		{"goes on where it stood still", []move{{0, 0, 10 * s, false}, {9 * time.Second, 0, 10*s + 1, false},
			{10 * time.Second, 0, 11 * s, false}}, 10 * time.Second, 0, true},
	} {
		var m meter
		for _, v := range c.moves {
			m.advance(v.at, v.stretch, v.head, v.lost)
		}
		if got := m.gapless(); (got - c.gapless).Abs() > 20*time.Microsecond {
			t.Errorf("%s: gapless %v, want %v", c.name, got, c.gapless)
		}
		if got := m.alive(c.at, 3*time.Second); got != c.alive {
			t.Errorf("%s: alive %v, want %v", c.name, got, c.alive)
		}
	}
}

func TestRate(t *testing.T) {
	var r rate
	for i := range 100 {
		r.add(time.Duration(i)*100*time.Millisecond, uint64(i)*1000)
	}
	if got, want := r.bits(10*time.Second, 100_000), uint64(80_000); got != want {
		t.Errorf("10 kB/s: got %d bit/s, want %d", got, want)
	}
	if got := r.bits(20*time.Second, 100_000); got != 0 {
		t.Errorf("10 s after the last byte: %d bit/s", got)
	}
	r.add(100*time.Second, 100_000) // a pause says nothing of what comes after it
	for i := range 3 {
		r.add(time.Duration(101+i)*time.Second, 110_000+uint64(i)*10_000)
	}
	if got, want := r.bits(103*time.Second, 130_000), uint64(80_000); got != want {
		t.Errorf("10 kB/s after a pause: got %d bit/s, want %d", got, want)
	}
}
