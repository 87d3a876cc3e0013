package clock

import "time"

// Grid is a ticker whose ticks lie on the multiples of its interval by the machine's clock, so that all grids of a process,
// however many and whenever they began, tick in the same moments: one wake-up of the process for all of them instead of
// one for each, which would cost more than the little that a tick does. Like a ticker it leaves out what its reader was too
// slow for. One goroutine uses it.
//
// By a clock that is not the machine's it is an ordinary ticker.
type Grid struct {
	clk    Clock
	every  time.Duration
	timer  Timer
	ticker Ticker // instead of timer
}

// NewGrid returns a grid that ticks until Stop.
func NewGrid(clk Clock, every time.Duration) *Grid {
	g := &Grid{clk: clk, every: every}
	switch clk.(type) {
	case System, Shifted:
		g.timer = clk.NewTimer(g.left())
	default: // one that has these inside may have a ticker of its own
		g.ticker = clk.NewTicker(every)
	}
	return g
}

// left is how long it is until the next tick: never 0.
func (g *Grid) left() time.Duration {
	past := g.clk.Mono() % g.every
	if past < 0 {
		past += g.every
	}
	return g.every - past
}

// C brings the next tick. Behind it comes no other before Next.
func (g *Grid) C() <-chan time.Time {
	if g.ticker != nil {
		return g.ticker.C()
	}
	return g.timer.C()
}

// Next is called when a tick was received.
func (g *Grid) Next() {
	if g.timer != nil {
		g.timer.Reset(g.left())
	}
}

// Stop ends the ticks.
func (g *Grid) Stop() {
	if g.ticker != nil {
		g.ticker.Stop()
		return
	}
	g.timer.Stop()
}
