package live

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

// sent is a call of Record that keeps what is withdrawn.
type sent struct {
	recordCall
	withdrawn []uint64
}

func (c *sent) SendMsg(m any) error {
	if r, ok := m.(*dvrv1.RecordRequest); ok && r.GetWithdraw() != nil {
		c.withdrawn = append(c.withdrawn, r.GetWithdraw().GetSeq())
	}
	return nil
}

// TestTakeoverFromAPeerWhoseDiskHangs: the live tail waits for one segment that does not come, and not as long for each of those behind it, nor for what is wanted
// beside. One that is only gone takes no other with it.
func TestTakeoverFromAPeerWhoseDiskHangs(t *testing.T) {
	for _, c := range []struct {
		err             error
		withdrawn, left []uint64
	}{
		{fmt.Errorf("fetch: %w", m4fclient.ErrStalled), []uint64{1, 2, 3}, nil},
		{errors.New("gone"), []uint64{1}, []uint64{2, 3}},
	} {
		r := New(Config{Log: slog.New(slog.DiscardHandler)})
		call := &sent{}
		r.rec.call = call
		for seq := range uint64(5) {
			r.offers[seq] = &offer{key: segment.Key{Seq: seq}}
		}
		r.takeover, r.wants = []uint64{2, 3}, []uint64{4}
		r.stream(fetched{offer: r.offers[1], call: call, err: c.err})
		if !slices.Equal(call.withdrawn, c.withdrawn) || !slices.Equal(r.takeover, c.left) || len(r.wants) != 1 {
			t.Errorf("%v: withdrawn %v, left %v, wanted %v", c.err, call.withdrawn, r.takeover, r.wants)
		}
	}
}

// TestTakeoverDoesNotWaitForWants: what was wanted beside before the peer's disk hung is not waited for, each for as long, before the live tail.
func TestTakeoverDoesNotWaitForWants(t *testing.T) {
	r := New(Config{Log: slog.New(slog.DiscardHandler), Peer: &m4fclient.Peer{}, Clock: clock.System{}})
	r.sub = subscription{cfg: &r.cfg, wantFull: make(chan bool, 16)}
	call := &sent{}
	r.rec.call, r.active, r.told = call, true, true
	for seq := range uint64(8) {
		r.offers[seq] = &offer{key: segment.Key{Seq: seq}}
	}
	r.takeover, r.wants = []uint64{2, 3}, []uint64{4, 5, 6, 7}
	r.stream(fetched{offer: r.offers[1], call: call, err: fmt.Errorf("fetch: %w", m4fclient.ErrStalled)})
	r.next(t.Context())
	if !r.full {
		t.Errorf("the live tail waits for %d and %v", r.fetching.key.Seq, r.wants)
	}
}
