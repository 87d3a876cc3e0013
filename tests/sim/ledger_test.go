package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// newPair is two sites that are peers, of a source of which nothing is lost on the way.
func newPair(t testing.TB) *cluster {
	c := &cluster{t: t, rnd: rand.New(rand.NewPCG(1, 2)), net: newNetwork(), contents: map[segment.Digest]content{}, began: time.Now(), peers: [][]int{{1}, {0}}}
	c.cast = &broadcast{seed: 1, began: c.began, clean: true}
	for range 2 {
		c.add(1, 0, 0, retention)
	}
	for _, s := range c.sites {
		s.open()
	}
	return c
}

// ledger is the sum of a site's ledger.
func (s *site) ledger() (*replv1.LedgerHour, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, err := replv1.NewReplicationServiceClient(s.operator).GetLedger(ctx, &replv1.GetLedgerRequest{Stream: stream})
	if err != nil {
		return nil, err
	}
	h := m.GetTotal()
	lost := h.GetLostUpstreamTicks() + h.GetLostLocalTicks() + h.GetLostUnknownTicks()
	if h.GetExpectedTicks() != h.GetCleanTicks()+h.GetDamagedTicks()+h.GetMissingTicks() || h.GetDamagedTicks()+h.GetMissingTicks() != h.GetPendingTicks()+lost {
		return h, fmt.Errorf("it does not add up: %v", h)
	}
	return h, nil
}

// TestLedger: what one site loses its peer repairs, and that is told; what both lose was lost before them; what is lost while the peer
// is away is not known.
func TestLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPair(t)
		a, b := c.sites[0], c.sites[1]
		mute := func(d time.Duration, sites ...*site) {
			for _, s := range sites {
				s.muted.Store(true)
			}
			time.Sleep(d)
			for _, s := range sites {
				s.muted.Store(false)
			}
		}
		seconds := func(ticks int64) float64 { return timeline.Ticks(ticks).Duration().Seconds() }
		wait := func(what string, s *site, good func(h *replv1.LedgerHour) bool) *replv1.LedgerHour {
			var h *replv1.LedgerHour
			for range 150 {
				var err error
				if h, err = s.ledger(); err == nil && good(h) {
					return h
				}
				time.Sleep(2 * time.Second)
			}
			t.Errorf("%s of %s: %v", what, s.name, h)
			return h
		}
		time.Sleep(40 * time.Second)
		mute(2*time.Second, a)
		time.Sleep(60 * time.Second)
		local := wait("what a alone lost is repaired", a, func(h *replv1.LedgerHour) bool {
			return h.GetRepairedTicks() > 0 && h.GetPendingTicks()+h.GetLostUpstreamTicks()+h.GetLostLocalTicks()+h.GetLostUnknownTicks() == 0
		})
		if got := seconds(local.GetRepairedTicks()); got > 20 {
			t.Errorf("%v s of 2 s are repaired", got)
		}
		if h, err := b.ledger(); err != nil || h.GetRepairedTicks() != 0 || h.GetMissingTicks()+h.GetDamagedTicks() != 0 {
			t.Errorf("b, which lost nothing, says %v, %v", h, err)
		}
		from := time.Now()
		mute(20*time.Second, a, b)
		to := time.Now()
		time.Sleep(90 * time.Second)
		for _, s := range c.sites {
			h := wait("what both lost was lost before them", s, func(h *replv1.LedgerHour) bool {
				return h.GetLostUpstreamTicks() > 0 && h.GetPendingTicks()+h.GetLostLocalTicks()+h.GetLostUnknownTicks() == 0
			})
			if got := seconds(h.GetLostUpstreamTicks()); got < 12 || got > 32 {
				t.Errorf("%s says that %v s of 20 s were lost upstream", s.name, got)
			}
		}
		if _, err := dvrv1.NewMaintenanceServiceClient(b.conn).DeleteRange(t.Context(), &dvrv1.DeleteRangeRequest{
			Stream: stream, From: timestamppb.New(from.Add(-20 * time.Second)), To: timestamppb.New(to.Add(20 * time.Second)),
		}); err != nil {
			t.Fatal(err)
		}
		wait("what b has deleted since may have been there", a, func(h *replv1.LedgerHour) bool {
			return seconds(h.GetLostUnknownTicks()) > 12 && h.GetLostUpstreamTicks() == 0
		})
		b.close()
		mute(20*time.Second, a)
		time.Sleep(60 * time.Second)
		wait("what was lost while b is away is not known", a, func(h *replv1.LedgerHour) bool {
			return seconds(h.GetLostUnknownTicks()) > 24 && h.GetPendingTicks() == 0
		})
		b.open()
		c.close()
	})
}
