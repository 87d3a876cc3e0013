package transfer

import (
	"context"
	"time"

	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/replsvc/internal/limit"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

const (
	// minFlights and the window of I3.
	minFlights = 2
	window     = 200 * time.Millisecond
	pieceBytes = 1 << 20
	// maxFlights bounds memory where there is no limit; maxLanding that of what waits to be durable: as much as comes
	// between two syncs.
	maxFlights = 16
	maxLanding = 128 << 20
)

// slots is how many fetches may run at once.
func (t *Transfer) slots() int {
	bits := t.limits.Server()
	if bits == 0 {
		return maxFlights
	}
	return min(maxFlights, max(minFlights, int(float64(bits)/8*window.Seconds()/pieceBytes)))
}

// Limits are those that it keeps to.
func (t *Transfer) Limits() *limit.Limits { return t.limits }

// flow is what limits go by: a peer by its address, whatever the stream is called there.
func flow(stream, peer string) limit.Flow {
	if addr, err := streamconf.ParsePeer(peer); err == nil {
		peer = addr
	}
	return limit.Flow{Stream: stream, Peer: peer}
}

// Limit is bits a second of a stream from a peer, 0: no limit; and whether an operator has paused it.
func (t *Transfer) Limit(stream, peer string) (bits uint64, paused bool) {
	return t.limits.Of(flow(stream, peer))
}

// pauses adds what operators have paused.
func (t *Transfer) pauses(s *plan.Stream) {
	for i := range s.Peers {
		_, s.Peers[i].Paused = t.Limit(s.Name, s.Peers[i].ID)
	}
}

// throttle waits until n bytes more may come, and counts them.
func (t *Transfer) throttle(ctx context.Context, it plan.Item, granted func() uint64, n int) error {
	if err := t.limits.Wait(ctx, flow(it.Stream, it.Peer), granted, n); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.statsOf(it.Stream, it.Peer)
	s.advance(int64(t.clk.Mono() / time.Second))
	s.recent[s.second%rateSeconds] += uint64(n)
	return nil
}
