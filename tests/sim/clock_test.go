package sim

import (
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
)

// siteClock is the clock of a machine: it runs a little fast or slow, and its wall time may be hours off, and step.
type siteClock struct {
	clock.System
	began time.Time

	mu    sync.Mutex // protects the fields below
	skew  time.Duration
	drift float64       // parts of one
	since time.Duration // how long after it began it has drifted so
	ahead time.Duration // by how much it had run fast by then
}

// Mono implements clock.Clock.
func (c *siteClock) Mono() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Hour + time.Since(c.began) + c.fast()
}

// fast is by how much it has run fast so far. c.mu is held.
func (c *siteClock) fast() time.Duration {
	return c.ahead + time.Duration(float64(time.Since(c.began)-c.since)*c.drift)
}

// Now implements clock.Clock.
func (c *siteClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.fast() + c.skew).Round(0)
}

// step sets the wall time forward.
func (c *siteClock) step(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skew += by
}

// run changes how fast it runs.
func (c *siteClock) run(drift float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead, c.since, c.drift = c.fast(), time.Since(c.began), drift
}
