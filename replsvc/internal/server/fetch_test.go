package server

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/timeline"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/peer"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
	"github.com/twinreel/twinreel/replsvc/internal/transfer"
)

// slow has a segment that is never fetched, and takes its time to say so.
type slow struct {
	transfer.Sites
	looking, most atomic.Int64
}

func (s *slow) Streams() []plan.Stream {
	s.most.Store(max(s.most.Load(), s.looking.Add(1)))
	defer s.looking.Add(-1)
	time.Sleep(20 * time.Millisecond)
	now := time.Now()
	c := inventory.Copy{Info: segment.Info{Start: timeline.Wrap, End: timeline.Wrap + timeline.CellTicks, Digest: segment.Digest{1}}, StartUTC: now.Add(-time.Minute)}
	return []plan.Stream{{Name: "tv", Replicate: true, Silent: true, Peers: []plan.Peer{{ID: "b", Slots: []inventory.Slot{{Copies: []inventory.Copy{c}}}}}}}
}

// TestFetchesLookInTurn: however many wait for a range, one at a time looks whether all has come: live needs the processors. Each is
// answered in time, and who has gone waits for no turn.
func TestFetchesLookInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := peer.NewSet(peer.Config{Clock: clock.System{}, Log: slog.New(slog.DiscardHandler)})
		set.Apply(t.Context(), &streamconf.Config{Streams: []streamconf.Stream{{Name: "tv"}}})
		sites := &slow{}
		s := New("a", set, transfer.New(sites, 0, clock.System{}, slog.New(slog.DiscardHandler)), nil, clock.System{})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				began := time.Now()
				m, err := s.Fetch(t.Context(), &replv1.FetchRequest{
					Stream: "tv", From: timestamppb.New(began.Add(-time.Hour)), To: timestamppb.New(began), Wait: durationpb.New(5 * time.Second),
				})
				if err != nil || len(m.GetLeft()) != 1 || !m.GetLeft()[0].GetAsked() {
					t.Errorf("got %v, %v", m, err)
				}
				if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		}
		wg.Wait()
		if n := sites.most.Load(); n != 1 {
			t.Errorf("%d looked at once", n)
		}
		s.looking <- struct{}{} // somebody looks, and does not end
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		now := time.Now()
		if _, err := s.Fetch(gone, &replv1.FetchRequest{Stream: "tv", From: timestamppb.New(now.Add(-time.Hour)), To: timestamppb.New(now)}); err == nil {
			t.Error("who has gone is answered")
		}
	})
}
