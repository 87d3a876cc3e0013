package transfer

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

const (
	// minFlights and the window of I3.
	minFlights = 2
	window     = 200 * time.Millisecond
	pieceBytes = 1 << 20
	// maxFlights bounds memory where there is no limit.
	maxFlights = 16
)

// limiter is a token bucket of one window, and one piece at least.
func limiter(bits uint64) *rate.Limiter {
	if bits == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(bits)/8, max(pieceBytes, int(float64(bits)/8*window.Seconds())))
}

// slots is how many fetches may run at once.
func (t *Transfer) slots() int {
	if t.limit == 0 {
		return maxFlights
	}
	return min(maxFlights, max(minFlights, int(float64(t.limit)/8*window.Seconds()/pieceBytes)))
}

// Limit is bits a second; 0: no limit.
func (t *Transfer) Limit() uint64 { return t.limit }

// grantedBy is the bucket of a peer that grants so many bits a second.
func (t *Transfer) grantedBy(peer string, bits uint64) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.granted[peer]
	if want := limiter(bits); l == nil || l.Limit() != want.Limit() {
		l = want
		t.granted[peer] = l
	}
	return l
}

// throttle waits until n bytes more may come, and counts them.
func (t *Transfer) throttle(ctx context.Context, it plan.Item, granted *rate.Limiter, n int) error {
	for _, l := range []*rate.Limiter{t.bucket, granted} {
		if l.Limit() == rate.Inf {
			continue
		}
		if err := l.WaitN(ctx, min(n, l.Burst())); err != nil {
			return fmt.Errorf("wait for the limit: %w", err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.statsOf(it.Stream, it.Peer)
	s.advance(int64(t.clk.Mono() / time.Second))
	s.recent[s.second%rateSeconds] += uint64(n)
	return nil
}
