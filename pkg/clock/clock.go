// Package clock is the seam through which every service reads time, so that tests can shift and step it.
package clock

import "time"

// Clock tells the time. Implementations are safe for concurrent use.
type Clock interface {
	// Now is the wall clock; it may step. It goes into UTC mappings and logs, never into durations.
	Now() time.Time
	// Mono is time since an arbitrary fixed moment; it never steps back.
	Mono() time.Duration
	// NewTimer fires once after d.
	NewTimer(d time.Duration) Timer
	// NewTicker fires every d.
	NewTicker(d time.Duration) Ticker
}

// Timer is a time.Timer behind a seam.
type Timer interface {
	C() <-chan time.Time
	Stop() bool
	Reset(d time.Duration) bool
}

// Ticker is a time.Ticker behind a seam.
type Ticker interface {
	C() <-chan time.Time
	Stop()
}

var start = time.Now()

// System is the machine's clock.
type System struct{}

var _ Clock = System{}

// Now implements Clock. The monotonic reading is stripped: a wall time that is kept must not compare by it.
func (System) Now() time.Time { return time.Now().Round(0) }

// Mono implements Clock.
func (System) Mono() time.Duration { return time.Since(start) }

// NewTimer implements Clock.
func (System) NewTimer(d time.Duration) Timer { return timer{time.NewTimer(d)} }

// NewTicker implements Clock.
func (System) NewTicker(d time.Duration) Ticker { return ticker{time.NewTicker(d)} }

type timer struct{ t *time.Timer }

func (t timer) C() <-chan time.Time        { return t.t.C }
func (t timer) Stop() bool                 { return t.t.Stop() }
func (t timer) Reset(d time.Duration) bool { return t.t.Reset(d) }

type ticker struct{ t *time.Ticker }

func (t ticker) C() <-chan time.Time { return t.t.C }
func (t ticker) Stop()               { t.t.Stop() }

// Shifted is the machine's clock with the wall time moved by a constant: a site whose clock is wrong.
type Shifted struct {
	System
	By time.Duration
}

// Now implements Clock.
func (s Shifted) Now() time.Time { return s.System.Now().Add(s.By) }
