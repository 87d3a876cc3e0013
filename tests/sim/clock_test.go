package sim

import (
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
)

// siteClock is the clock of a machine: it runs a little fast or slow, and its wall time may be hours off.
type siteClock struct {
	clock.System
	began time.Time
	drift float64 // parts of one
	skew  time.Duration
}

// Mono implements clock.Clock.
func (c *siteClock) Mono() time.Duration {
	d := time.Since(c.began)
	return time.Hour + d + time.Duration(float64(d)*c.drift)
}

// Now implements clock.Clock.
func (c *siteClock) Now() time.Time {
	return c.began.Add(c.Mono() - time.Hour + c.skew).Round(0)
}
