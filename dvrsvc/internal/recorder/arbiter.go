package recorder

import (
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// reconnectGrace is how long a producer whose call ended may come back before a standby takes over. A process that
	// lives is back in milliseconds and goes on from its ring. One that is not back after this has been restarted: its
	// ring is gone, so waiting for all of source_timeout would only lengthen the stall that viewers see. Taking over
	// costs nothing either way, since the standby's ring holds everything; going back has its own hysteresis.
	reconnectGrace = time.Second

	// settleMax bounds how long a stream that has just been opened waits for its better inputs to connect, so that a
	// restart of dvrsvc does not move the live tail to whichever producer happens to dial first.
	settleMax = 3 * time.Second

	// returnWait is how long a better input must have been gapless before it gets the live tail back. It doubles when
	// the input is left again within relapseWindow, up to returnWaitMax.
	returnWait    = 10 * time.Second
	relapseWindow = 5 * time.Minute
	returnWaitMax = 5 * time.Minute

	// joinTime is how long, beyond its source_timeout, a cold input that was made active may take to bring media.
	joinTime = 2 * time.Second
)

// candidate is a live producer as arbitration sees it. Times are monotonic.
type candidate struct {
	input     string // names the producer, over all its incarnations
	priority  int    // 1 is the best
	timeout   time.Duration
	cold      bool // it joins its source only while it is active
	connected bool
	goneAt    time.Duration // when its call ended; meaningful unless connected
	moved     bool          // its media has moved at all
	lastMove  time.Duration // when its media last moved
	goodSince time.Duration // its media moves without a gap since then
	fault     string        // why it should be left although its media moves, by its own word
	idle      bool          // as the active one it brings nothing, while others have sealed what it should have brought

	// lead is the media time of its head minus the time at which it arrived, in ticks. It falls while media comes
	// slower than it should. Comparable between producers on the same row.
	lead timeline.Ticks
	row  segment.TimelineID
}

func (c *candidate) alive(now time.Duration) bool {
	if !c.moved || c.idle || now-c.lastMove >= c.timeout {
		return false
	}
	return c.connected || now-c.goneAt < reconnectGrace
}

// better reports whether the live tail is to come from c rather than from o.
func (c *candidate) better(o *candidate) bool {
	if good := c.fault == ""; good != (o.fault == "") {
		return good
	}
	return c.priority < o.priority
}

// choice is what arbitration wants next.
type choice struct {
	input      string // the producer that should be active; empty: none
	atBoundary bool   // only between two slots; at once otherwise
	why        string
}

// arbiter decides which producer is active. It is pure but for what it remembers of its own earlier decisions.
type arbiter struct {
	settleUntil  time.Duration
	bestPriority int // of the configured inputs

	active     string
	takenAt    time.Duration // when it became so
	wait       time.Duration
	returnedTo string // the input that was returned to last, while it is active
	returnedAt time.Duration
	relapsed   string        // the input that was left again so soon that the wait was doubled
	relapsedAt time.Duration // when
}

func newArbiter(now, settle time.Duration, bestPriority int) *arbiter {
	return &arbiter{settleUntil: now + min(settle, settleMax), bestPriority: bestPriority, wait: returnWait}
}

// decide says which producer should be active. The answer changes nothing until it is taken.
func (a *arbiter) decide(now time.Duration, cs []candidate) choice {
	cs = a.faultless(now, cs)
	var cur, best *candidate
	for i := range cs {
		c := &cs[i]
		if c.input == a.active {
			cur = c
		}
		if c.connected && c.alive(now) && (best == nil || c.better(best)) {
			best = c
		}
	}
	stay := choice{input: a.active}
	switch {
	case best == nil:
		return a.join(now, cs, cur)
	case a.active == "":
		if now < a.settleUntil && best.priority > a.bestPriority {
			return stay
		}
		return choice{input: best.input, why: "first"}
	case cur == nil || !cur.alive(now):
		next := bestMoving(now, cs, cur)
		switch {
		case next == nil:
			return stay
		case cur != nil && cur.idle:
			return choice{input: next.input, why: "the active input brings nothing"}
		}
		return choice{input: next.input, why: "the active input stands still"}
	}
	if cur.fault != "" && best.fault == "" {
		return choice{input: best.input, why: "the active input has a fault: " + cur.fault}
	}
	if front := foremost(now, cs, cur); front != nil && front.lead-cur.lead > timeline.FromDuration(cur.timeout) {
		return choice{input: bestNear(now, cs, front).input, why: "the active input fell behind"}
	}
	if back := a.back(now, cs, cur); back != nil {
		return choice{input: back.input, atBoundary: true, why: "the better input is back"}
	}
	return stay
}

// back gives the best of the producers that are better than cur, and have been for long enough; or nil. One that comes and goes
// does not keep cur from the next.
func (a *arbiter) back(now time.Duration, cs []candidate, cur *candidate) *candidate {
	var best *candidate
	for i := range cs {
		c := &cs[i]
		if c.connected && c.alive(now) && c.priority < cur.priority && now-c.goodSince >= a.wait && !behind(c, cur) &&
			(best == nil || c.better(best)) {
			best = c
		}
	}
	return best
}

// faultless leaves out the inputs that have a fault, but for the active one, while there is another with media. Where all
// have one, none is a reason to change.
func (a *arbiter) faultless(now time.Duration, cs []candidate) []candidate {
	good := slices.ContainsFunc(cs, func(c candidate) bool { return c.connected && c.fault == "" && c.alive(now) })
	if !good {
		return cs
	}
	return slices.DeleteFunc(slices.Clone(cs), func(c candidate) bool { return c.fault != "" && c.input != a.active })
}

// join has a cold input join its source when no input has media: the best one, then the next while none brings any.
func (a *arbiter) join(now time.Duration, cs []candidate, cur *candidate) choice {
	stay := choice{input: a.active}
	waiting := cur != nil && (cur.alive(now) || cur.cold && cur.connected && now-a.takenAt < cur.timeout+joinTime)
	if now < a.settleUntil || waiting {
		return stay
	}
	can := func(c *candidate) bool { return c.cold && c.connected && c != cur }
	faultless := false // one that has a fault without media is denied: it would not join
	for i := range cs {
		faultless = faultless || can(&cs[i]) && cs[i].fault == ""
	}
	var first, next *candidate // the best of all, and the best of those behind the current one
	for i := range cs {
		c := &cs[i]
		if !can(c) || faultless && c.fault != "" {
			continue
		}
		if first == nil || c.priority < first.priority {
			first = c
		}
		if cur != nil && cur.cold && c.priority > cur.priority && (next == nil || c.priority < next.priority) {
			next = c
		}
	}
	if next == nil {
		next = first
	}
	if next == nil {
		return stay
	}
	return choice{input: next.input, why: "no input has media: a cold one is to join"}
}

// bestMoving gives the best of the producers whose media went on when cur's stood still, or nil. When the source itself
// falls silent all stand still, one a little later than another: that is no reason to change.
func bestMoving(now time.Duration, cs []candidate, cur *candidate) *candidate {
	var best *candidate
	for i := range cs {
		c := &cs[i]
		if !c.connected || !c.alive(now) || best != nil && c.priority >= best.priority {
			continue
		}
		if cur != nil && cur.connected && cur.moved && !cur.idle && c.lastMove-cur.lastMove < cur.timeout/2 {
			continue
		}
		best = c
	}
	return best
}

// foremost gives the live producer of cur's row whose media is the furthest on, or nil.
func foremost(now time.Duration, cs []candidate, cur *candidate) *candidate {
	var front *candidate
	for i := range cs {
		c := &cs[i]
		if c.connected && c.alive(now) && c.row == cur.row && (front == nil || c.lead > front.lead) {
			front = c
		}
	}
	return front
}

// bestNear gives the best of the producers that are not behind front.
func bestNear(now time.Duration, cs []candidate, front *candidate) *candidate {
	best := front
	for i := range cs {
		c := &cs[i]
		if c.connected && c.alive(now) && c.row == front.row && c.priority < best.priority && !behind(c, front) {
			best = c
		}
	}
	return best
}

// behind reports whether c trails front by so much that it would soon be left again.
func behind(c, front *candidate) bool {
	return c.row == front.row && front.lead-c.lead > timeline.FromDuration(c.timeout)/2
}

// take notes that a choice was carried out.
func (a *arbiter) take(now time.Duration, c choice) {
	switch {
	case c.atBoundary:
		a.returnedTo, a.returnedAt = c.input, now
	case a.returnedTo != "" && now-a.returnedAt < relapseWindow:
		a.wait, a.relapsed, a.relapsedAt, a.returnedTo = min(2*a.wait, returnWaitMax), a.returnedTo, now, ""
	case now-a.relapsedAt >= relapseWindow:
		a.wait, a.relapsed, a.returnedTo = returnWait, "", ""
	}
	a.active, a.takenAt = c.input, now
}

// forget drops what is held against inputs that are not configured any more.
func (a *arbiter) forget(configured func(input string) bool) {
	if !configured(a.returnedTo) {
		a.returnedTo = ""
	}
	if a.relapsed != "" && !configured(a.relapsed) {
		a.wait, a.relapsed = returnWait, ""
	}
}
