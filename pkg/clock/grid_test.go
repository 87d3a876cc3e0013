package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
)

// Grids that began at different times tick in the same moments, and a reader that was late is back in step at the next.
func TestGridsTickTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 20 * time.Millisecond
		a := clock.NewGrid(clock.Shifted{By: time.Hour}, every)
		defer a.Stop()
		time.Sleep(7 * time.Millisecond)
		b := clock.NewGrid(clock.System{}, every)
		defer b.Stop()
		read := func(g *clock.Grid) time.Time {
			<-g.C()
			g.Next()
			return time.Now()
		}
		read(a) // where the grid lies is chance: it may have ticked before b was there
		for i := range 5 {
			at := read(a)
			if got := read(b); !got.Equal(at) {
				t.Fatalf("tick %d: the one at %s, the other at %s", i, at, got)
			}
			if i == 2 {
				time.Sleep(3*every + 5*time.Millisecond) // three ticks of both, one of which waits for each
				read(a)
				read(b)
			}
		}
		at := read(a)
		if got := read(a).Sub(at); got != every {
			t.Errorf("two ticks are %s apart, want %s", got, every)
		}
	})
}

// manual is a clock that a test moves.
type manual struct {
	clock.System
	tick chan time.Time
}

func (m manual) NewTicker(time.Duration) clock.Ticker { return m }
func (m manual) C() <-chan time.Time                  { return m.tick }
func (m manual) Stop()                                {}

func TestGridByAClockThatIsMoved(t *testing.T) {
	m := manual{tick: make(chan time.Time, 1)}
	g := clock.NewGrid(m, time.Second)
	defer g.Stop()
	for range 2 {
		m.tick <- time.Time{}
		<-g.C()
		g.Next()
	}
}
