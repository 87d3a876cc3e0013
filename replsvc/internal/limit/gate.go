package limit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
)

const (
	// burstFor is the time of which a bucket holds what its limit allows, and minQuantum the least that it holds.
	burstFor   = 200 * time.Millisecond
	minQuantum = 64 << 10
	// quantumFor is the time of which what a limit allows is granted at once, between minQuantum and maxQuantum.
	quantumFor = 20 * time.Millisecond
	maxQuantum = 1 << 20
	// owed is what who comes back to wait may be behind the others.
	owed = 1 << 20
	// lookAgain bounds the wait for another time of the day.
	lookAgain = 500 * time.Millisecond
)

// ErrPaused says that an operator has paused what was to be fetched.
var ErrPaused = errors.New("replication is paused by an operator")

// Flow is a stream that comes from a peer, or goes to one.
type Flow struct{ Stream, Peer string }

// Rates are the limits of a flow, in bits a second; 0: none.
type Rates struct {
	Server, Peer, Stream uint64
	Granted              uint64 // by the peer
	Paused               bool
}

func (r Rates) none() bool { return r == Rates{} }

// Gate grants bytes within limits.
type Gate struct {
	clk   clock.Clock
	rates func(Flow) Rates // of now, without Granted

	mu      sync.Mutex // protects the fields below
	buckets map[key]*bucket
	served  map[Flow]float64 // bytes of flows, and of streams where the peer is empty
	waiting []*waiter        // in the order in which they came
	changed chan struct{}    // closed when a limit changes
}

// key names a bucket.
type key struct{ kind, name string }

// waiter is one call of Wait.
type waiter struct {
	flow    Flow
	granted func() uint64
	left    int
	done    chan struct{} // closed when err is set
	err     error
}

// bucket holds what may be taken now.
type bucket struct {
	bits   uint64
	tokens float64 // bytes
	at     time.Duration
}

// NewGate makes a gate. rates gives the limits of a flow now, and is not to call the gate.
func NewGate(clk clock.Clock, rates func(Flow) Rates) *Gate {
	return &Gate{clk: clk, rates: rates, buckets: map[key]*bucket{}, served: map[Flow]float64{}, changed: make(chan struct{})}
}

// Burst is how much a limit of so many bits a second may be exceeded by, in bytes.
func Burst(bits uint64) float64 {
	return max(minQuantum, float64(bits)/8*burstFor.Seconds())
}

func quantum(bits uint64) int {
	return min(maxQuantum, max(minQuantum, int(float64(bits)/8*quantumFor.Seconds())))
}

// fill brings the bucket to now, and to a limit.
func (b *bucket) fill(now time.Duration, bits uint64) {
	b.tokens += (now - b.at).Seconds() * float64(b.bits) / 8
	b.at, b.bits = now, bits
	b.tokens = min(b.tokens, Burst(bits))
}

// Changed has all who wait look at the limits again.
func (g *Gate) Changed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.changed)
	g.changed = make(chan struct{})
}

// Wait waits until n bytes of a flow may come. granted is what the peer allows now, in bits a second; nil: anything.
// Errors: ErrPaused, that of ctx.
func (g *Gate) Wait(ctx context.Context, f Flow, granted func() uint64, n int) error {
	w := &waiter{flow: f, granted: granted, left: n, done: make(chan struct{})}
	if r := g.ratesOf(w); r.Paused {
		return ErrPaused
	} else if r.none() || n <= 0 {
		return nil
	}
	g.mu.Lock()
	g.enter(w)
	for {
		next, changed := g.grant(), g.changed
		g.mu.Unlock()
		t := g.clk.NewTimer(min(next, lookAgain))
		select {
		case <-w.done:
			t.Stop()
			return w.err
		case <-t.C():
		case <-changed:
		case <-ctx.Done():
			t.Stop()
			g.mu.Lock()
			g.waiting = slices.DeleteFunc(g.waiting, func(x *waiter) bool { return x == w })
			g.mu.Unlock()
			return fmt.Errorf("wait for the limit: %w", ctx.Err())
		}
		t.Stop()
		g.mu.Lock()
	}
}

func (g *Gate) ratesOf(w *waiter) Rates {
	r := g.rates(w.flow)
	if w.granted != nil {
		r.Granted = w.granted()
	}
	return r
}

// enter takes a waiter in; it is behind the others by what it is owed at most. g.mu is held.
func (g *Gate) enter(w *waiter) {
	if len(g.waiting) == 0 {
		g.forget()
	}
	stream, flow := false, false
	least, leastOf := -1.0, -1.0 // of the other streams, of the other peers of this one
	for _, x := range g.waiting {
		stream = stream || x.flow.Stream == w.flow.Stream
		flow = flow || x.flow == w.flow
		if n := g.served[Flow{Stream: x.flow.Stream}]; x.flow.Stream != w.flow.Stream && (least < 0 || n < least) {
			least = n
		}
		if n := g.served[x.flow]; x.flow.Stream == w.flow.Stream && x.flow != w.flow && (leastOf < 0 || n < leastOf) {
			leastOf = n
		}
	}
	if of := (Flow{Stream: w.flow.Stream}); !stream {
		g.served[of] = max(g.served[of], least-owed)
	}
	if !flow {
		g.served[w.flow] = max(g.served[w.flow], leastOf-owed)
	}
	g.waiting = append(g.waiting, w)
}

// forget drops what nobody waits for: full buckets are as good as new ones. g.mu is held.
func (g *Gate) forget() {
	now := g.clk.Mono()
	maps.DeleteFunc(g.buckets, func(_ key, b *bucket) bool {
		b.fill(now, b.bits)
		return b.tokens >= Burst(b.bits)
	})
	if len(g.buckets) == 0 {
		clear(g.served)
	}
}

// grant gives out what there is, to those first who have had least, and says when there may be more. g.mu is held.
func (g *Gate) grant() time.Duration {
	now := g.clk.Mono()
	rates := make(map[*waiter]Rates, len(g.waiting))
	g.waiting = slices.DeleteFunc(g.waiting, func(w *waiter) bool {
		rates[w] = g.ratesOf(w)
		if rates[w].Paused {
			w.err = ErrPaused
			close(w.done)
		}
		return rates[w].Paused
	})
	for {
		slices.SortStableFunc(g.waiting, g.compare)
		next, kept := time.Duration(1<<62), map[key]bool{}
		i := slices.IndexFunc(g.waiting, func(w *waiter) bool {
			wait := g.lacks(w, rates[w], now, kept)
			next = min(next, wait)
			return wait == 0
		})
		if i < 0 {
			return max(next, time.Millisecond)
		}
		g.take(i, rates[g.waiting[i]])
	}
}

// compare puts the streams that have had least first, and of a stream the peers.
func (g *Gate) compare(a, b *waiter) int {
	x, y := g.served[Flow{Stream: a.flow.Stream}], g.served[Flow{Stream: b.flow.Stream}]
	if a.flow.Stream == b.flow.Stream {
		x, y = g.served[a.flow], g.served[b.flow]
	}
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// limit is a bucket that a waiter draws from; bits is 0 where there is none.
type limit struct {
	key  key
	bits uint64
}

func (w *waiter) limits(r Rates) [4]limit {
	return [...]limit{
		{key{"server", ""}, r.Server}, {key{"peer", w.flow.Peer}, r.Peer}, {key{"stream", w.flow.Stream}, r.Stream}, {key{"granted", w.flow.Peer}, r.Granted},
	}
}

// amount is what a waiter takes at once.
func (w *waiter) amount(r Rates) int {
	n := w.left
	for _, l := range w.limits(r) {
		if l.bits > 0 {
			n = min(n, quantum(l.bits))
		}
	}
	return n
}

// lacks is how long a waiter has to wait for its next amount; 0: it does not. What it waits for longest is kept for it: who
// is behind takes nothing of that.
func (g *Gate) lacks(w *waiter, r Rates, now time.Duration, kept map[key]bool) time.Duration {
	var wait time.Duration
	var last key
	n, behind := float64(w.amount(r)), false
	for _, l := range w.limits(r) {
		if l.bits == 0 {
			continue
		}
		b := g.buckets[l.key]
		if b == nil {
			b = &bucket{bits: l.bits, at: now, tokens: Burst(l.bits)}
			g.buckets[l.key] = b
		}
		b.fill(now, l.bits)
		behind = behind || kept[l.key]
		if b.tokens < n {
			if d := time.Duration((n-b.tokens)/float64(l.bits)*8*float64(time.Second)) + 1; d > wait {
				wait, last = d, l.key
			}
		}
	}
	if wait > 0 {
		kept[last] = true
	} else if behind {
		wait = lookAgain
	}
	return wait
}

// take gives the i-th waiter its next amount.
func (g *Gate) take(i int, r Rates) {
	w := g.waiting[i]
	n := w.amount(r)
	for _, l := range w.limits(r) {
		if l.bits > 0 {
			g.buckets[l.key].tokens -= float64(n)
		}
	}
	g.served[Flow{Stream: w.flow.Stream}] += float64(n)
	g.served[w.flow] += float64(n)
	if w.left -= n; w.left == 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		close(w.done)
	}
}
