package peer

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
	"github.com/twinreel/twinreel/replsvc/internal/reconcile"
)

// stores is a dvrsvc with a store for each stream.
type stores struct {
	grpc.ClientConnInterface
	ids map[string]string
}

func (s stores) Invoke(_ context.Context, _ string, req, reply any, _ ...grpc.CallOption) error {
	id, ok := s.ids[req.(*dvrv1.ListTimelinesRequest).GetStream()]
	if !ok {
		return errs.ErrNotReady
	}
	reply.(*dvrv1.ListTimelinesResponse).StoreId = []byte(id)
	return nil
}

// TestNodeKeepsItsStoreID: another storage in the config, or another disk, makes no other node of this one.
func TestNodeKeepsItsStoreID(t *testing.T) {
	dvr := stores{ids: map[string]string{}}
	s := NewSet(Config{DVR: dvr, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler)})
	look := func(streams ...string) string {
		conf := &streamconf.Config{}
		for _, name := range streams {
			conf.Streams = append(conf.Streams, streamconf.Stream{Name: name})
		}
		s.Apply(t.Context(), conf)
		s.lookStore(t.Context())
		return s.StoreID()
	}
	if got := look("tv"); got != "" {
		t.Errorf("store %q before there is one", got)
	}
	dvr.ids["tv"] = "first"
	if got := look("radio", "tv"); got != "first" {
		t.Errorf("got store %q of the only one that is ready", got)
	}
	dvr.ids["radio"], dvr.ids["tv"] = "second", "third"
	if got := look("radio", "tv"); got != "first" {
		t.Errorf("store is %q after a change", got)
	}
}

// A key that the stream config has and that is not known here lets nobody in: no key would let in anyone.
func TestKeyThatIsWithheld(t *testing.T) {
	withheld := false
	own := auth.NewKey("a key of our own, from a file")
	for _, c := range []struct {
		file, conf auth.Key
		withheld   bool
		want       func(auth.Key) bool
	}{
		{auth.Key{}, auth.Key{}, false, auth.Key.IsZero},
		{auth.Key{}, auth.Key{}, true, func(k auth.Key) bool { return !k.IsZero() }},
		{own, auth.Key{}, true, func(k auth.Key) bool { return k == own }},
	} {
		s := NewSet(Config{Key: c.file, KeyWithheld: func() bool { return withheld }})
		withheld = c.withheld
		if k := s.Key(); !c.want(k) || k != s.Key() {
			t.Errorf("with %+v the key is %s", c, k)
		}
	}
}

// Copies that are shut away are told when there are others, and again after a while: one may have come back and another gone.
func TestMoreRotten(t *testing.T) {
	clk := &stoppedClock{}
	s := NewSet(Config{Clock: clk, Log: slog.New(slog.DiscardHandler)})
	for i, c := range []struct {
		after time.Duration
		tv    uint64
		told  bool
	}{
		{0, 0, false}, {time.Second, 1, true}, {time.Second, 1, false}, {time.Second, 2, true}, {time.Second, 1, true},
		{time.Second, 0, false}, {time.Second, 1, true}, {4 * time.Second, 1, false}, {time.Second, 1, true}, {9 * time.Second, 1, false}, {time.Second, 1, true},
		{19 * time.Second, 1, false}, {time.Hour, 1, true}, {time.Second, 2, true}, {5 * time.Second, 2, true},
	} {
		clk.now += c.after
		got := s.moreRotten([]*dvrv1.StreamSummary{{Stream: "radio"}, {Stream: "tv", Quarantined: c.tv}})
		if told := len(got) == 1 && got[0] == "tv"; told != c.told || !c.told && len(got) > 0 {
			t.Errorf("step %d: told of %v, want %t", i, got, c.told)
		}
	}
}

// stoppedClock stands still.
type stoppedClock struct {
	clock.System
	now time.Duration
}

func (c *stoppedClock) Mono() time.Duration { return c.now }

// nobody is a dvrsvc that is away.
type nobody struct{ grpc.ClientConnInterface }

func (nobody) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return errs.ErrNotReady
}

// In one box calls of peers are answered for a while after replication has ended: then a site has the streams that it had, and lets
// in who it let in.
func TestEndTakesNoStreams(t *testing.T) {
	s := NewSet(Config{DVR: nobody{}, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler)})
	conf := &streamconf.Config{ClusterKey: "sixteen characters", Streams: []streamconf.Stream{{Name: "tv"}}}
	s.Apply(t.Context(), conf)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ctx)
	if has, ok := s.Offered(); ok && len(has) != 1 {
		t.Errorf("a peer that takes all of it is told that it has %v", has)
	}
	if k := s.Key(); k != auth.NewKey(string(conf.ClusterKey)) {
		t.Errorf("the key is %s", k)
	}
}

// hanging is a dvrsvc on several boxes, of which that of the stream slow takes calls and does not answer them. The others are
// listed once it was given up, as the router has it.
type hanging struct{ grpc.ClientConnInterface }

func (hanging) Invoke(ctx context.Context, _ string, req, reply any, _ ...grpc.CallOption) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch m := reply.(type) {
	case *dvrv1.ListTimelinesResponse:
		if req.(*dvrv1.ListTimelinesRequest).GetStream() == "slow" {
			<-ctx.Done()
			return ctx.Err()
		}
		m.StoreId = []byte("that of tv")
	case *dvrv1.ListStreamsResponse:
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		m.Streams = []*dvrv1.StreamSummary{
			{Stream: "slow", Configured: true, Problem: "dvrsvc box:7002: it does not answer"},
			{Stream: "tv", Configured: true, Inputs: []*dvrv1.InputSummary{{Input: "m4f://main:7000/tv"}}, Quarantined: 1},
		}
	}
	return nil
}

// A box that hangs is no reason not to know the store of another: without it no peer is called.
func TestStoreBesideABoxThatHangs(t *testing.T) {
	s := NewSet(Config{DVR: hanging{}, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler)})
	s.Apply(t.Context(), &streamconf.Config{Streams: []streamconf.Stream{
		{Name: "slow", DVR: streamconf.DVR{Server: "box:7002"}}, {Name: "tv", DVR: streamconf.DVR{Path: "dvr"}},
	}})
	for range 2 {
		s.lookStore(t.Context())
	}
	if s.StoreID() == "" {
		t.Error("the store is not known")
	}
}

// A box that hangs is no reason not to see that another stream is silent, or what of it has rotted.
func TestLookBesideABoxThatHangs(t *testing.T) {
	var told []string
	s := NewSet(Config{
		DVR: hanging{}, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Rotten: func(stream string) { told = append(told, stream) },
	})
	for _, stream := range []string{"slow", "tv"} {
		m, err := streamconf.ParseM4F("m4f://main:7000", stream)
		if err != nil {
			t.Fatal(err)
		}
		l := &Link{Stream: stream, M4F: m, Recon: reconcile.New(reconcile.Config{Clock: clock.System{}})}
		l.terms.Store(&terms{})
		s.links[name{stream, m.String()}] = l
	}
	s.look(t.Context())
	if !s.Silent("tv") || len(told) != 1 {
		t.Errorf("silent %t, rotten %v", s.Silent("tv"), told)
	}
	if s.Silent("slow") {
		t.Error("a stream of which it is not known is silent: its live edge would be fetched")
	}
}

// TestNewestKnowledge: of what is here that counts which was learned last, over whichever link: a range that was deleted, locked or let
// expire since another one was compared, or a store that was replaced.
func TestNewestKnowledge(t *testing.T) {
	slot, other := segment.Slot{Cell: 1}, segment.Slot{Cell: 2}
	span := inventory.Spans{{From: time.Unix(1, 0), To: time.Unix(2, 0)}}
	here := map[segment.Slot][]inventory.Copy{slot: {{}}, other: {{}}}
	older := reconcile.Knowledge{Began: 1, Store: "s", LowWater: time.Unix(9, 0), Mine: here, MyHeads: map[segment.TimelineID]timeline.Ticks{{}: 1}}
	newer := reconcile.Knowledge{
		Began: 2, Store: "s", LowWater: time.Unix(5, 0), Locked: span, Deleted: span, Mine: map[segment.Slot][]inventory.Copy{slot: nil},
		MyHeads: map[segment.TimelineID]timeline.Ticks{{}: 2},
	}
	replaced := newer
	replaced.Store, replaced.Mine = "another", nil
	of := func(url string, k reconcile.Knowledge) knowledge {
		return knowledge{url, func(segment.Digest) bool { return false }, k}
	}
	for name, c := range map[string]struct {
		known []knowledge
		peers int
		slots map[segment.Slot]int
	}{
		"the first link is newer":       {[]knowledge{of("a", newer), of("b", older)}, 2, map[segment.Slot]int{slot: 0, other: 1}},
		"the second link is newer":      {[]knowledge{of("a", older), of("b", newer)}, 2, map[segment.Slot]int{slot: 0, other: 1}},
		"the first of a newer store":    {[]knowledge{of("a", replaced), of("b", older)}, 1, nil},
		"the second of a newer store":   {[]knowledge{of("a", older), of("b", replaced)}, 1, nil},
		"two links of the same moment":  {[]knowledge{of("a", newer), of("b", newer)}, 2, map[segment.Slot]int{slot: 0}},
		"one link, and nothing of more": {[]knowledge{of("b", newer)}, 1, map[segment.Slot]int{slot: 0}},
	} {
		st := plan.Stream{Mine: map[segment.Slot][]inventory.Copy{}, Offered: map[segment.Digest]bool{}}
		combine(&st, c.known)
		if !slices.Equal(st.Locked, span) || !slices.Equal(st.Deleted, span) || !st.LowWater.Equal(newer.LowWater) || st.Heads[segment.TimelineID{}] != 2 {
			t.Errorf("%s: locked %v, deleted %v, low water %s, heads %v", name, st.Locked, st.Deleted, st.LowWater, st.Heads)
		}
		slots := map[segment.Slot]int{}
		for at, copies := range st.Mine {
			slots[at] = len(copies)
		}
		if len(st.Peers) != c.peers || len(slots) != len(c.slots) || !maps.Equal(slots, c.slots) && len(c.slots) > 0 {
			t.Errorf("%s: %d peers, here %v", name, len(st.Peers), slots)
		}
	}
}
