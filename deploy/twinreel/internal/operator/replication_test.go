package operator_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	"github.com/twinreel/twinreel/pkg/archive"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// replicating takes down what it was asked.
type replicating struct {
	replv1.UnimplementedReplicationServiceServer
	asked  []proto.Message
	limits []*replv1.Limit

	fetched *replv1.FetchResponse
}

func (r *replicating) GetLimits(_ context.Context, m *replv1.GetLimitsRequest) (*replv1.GetLimitsResponse, error) {
	r.asked = append(r.asked, m)
	return &replv1.GetLimitsResponse{Limits: r.limits}, nil
}

func (r *replicating) SetLimits(_ context.Context, m *replv1.SetLimitsRequest) (*replv1.SetLimitsResponse, error) {
	r.asked = append(r.asked, m)
	return &replv1.SetLimitsResponse{Limits: r.limits}, nil
}

func (r *replicating) Pause(_ context.Context, m *replv1.PauseRequest) (*replv1.PauseResponse, error) {
	r.asked = append(r.asked, m)
	return &replv1.PauseResponse{Limits: r.limits}, nil
}

func (r *replicating) Resume(_ context.Context, m *replv1.ResumeRequest) (*replv1.ResumeResponse, error) {
	r.asked = append(r.asked, m)
	return &replv1.ResumeResponse{Limits: r.limits}, nil
}

func (r *replicating) WatchEvents(m *replv1.WatchEventsRequest, out grpc.ServerStreamingServer[replv1.WatchEventsResponse]) error {
	r.asked = append(r.asked, m)
	at := timestamppb.New(utc)
	for _, e := range []*replv1.Event{
		{Number: 7, Time: at, Kind: "progress", Stream: "tv", Peer: "m4f://b:7000/tv", FetchedSegments: 2, FetchedBytes: 3e6, BacklogSegments: 4, BacklogBytes: 5e6, BytesPerSecond: 1e6},
		{Number: 8, Time: at, Kind: "failed", Stream: "tv", Peer: "m4f://b:7000/tv", Count: 3, Problem: "away"},
		{Number: 9, Time: at, Kind: "lost", Stream: "tv", From: at, To: at, Problem: "unknown"},
	} {
		if err := out.Send(&replv1.WatchEventsResponse{Event: e, Missed: e.GetNumber() - 7}); err != nil {
			return err
		}
	}
	return nil
}

func TestEvents(t *testing.T) {
	r := &replicating{}
	addr := serve(t, func(s grpc.ServiceRegistrar) { replv1.RegisterReplicationServiceServer(s, r) })
	var out bytes.Buffer
	if err := dial(t, addr, &out, false).Events(t.Context(), "tv", []string{"failed"}, 6); err != nil {
		t.Fatal(err)
	}
	const want = "2026-11-23T09:00:00.000Z  7  progress tv from m4f://b:7000/tv: 2 segments (3.0 MB) fetched, 4 (5.0 MB) to fetch at 8 Mbit/s\n" +
		"1 events were dropped\n2026-11-23T09:00:00.000Z  8  failed   tv from m4f://b:7000/tv: 3 times, last: away\n" +
		"2 events were dropped\n2026-11-23T09:00:00.000Z  9  lost     tv: 2026-11-23T09:00:00.000Z to 2026-11-23T09:00:00.000Z (unknown)\n"
	if !proto.Equal(r.asked[0], &replv1.WatchEventsRequest{Stream: "tv", Kinds: []string{"failed"}, After: 6}) || out.String() != want {
		t.Errorf("asked %v, and says\n%s\nwant\n%s", r.asked, out.String(), want)
	}
}

func TestLimits(t *testing.T) {
	r := &replicating{limits: []*replv1.Limit{
		{Scope: &replv1.Scope{}, Configured: "200M", Set: "50M 22:00-06:00:0", Paused: true},
		{Scope: &replv1.Scope{Peer: "b:7000"}, Configured: "10M", BitsPerSecond: 10_000_000},
		{Scope: &replv1.Scope{Stream: "tv"}, Paused: true},
	}}
	addr := serve(t, func(s grpc.ServiceRegistrar) { replv1.RegisterReplicationServiceServer(s, r) })
	const want = "all                             no limit now, paused, set: 50M 22:00-06:00:0, configured: 200M\n" +
		"peer b:7000                     10 Mbit/s now, configured: 10M\n" +
		"stream tv                       as all now, paused\n"
	for _, c := range []struct {
		do   func(*operator.Site) error
		want proto.Message
	}{
		{func(s *operator.Site) error { return s.Limits(t.Context()) }, &replv1.GetLimitsRequest{}},
		{
			func(s *operator.Site) error { return s.SetLimit(t.Context(), operator.Scope{Stream: "tv"}, "5M") },
			&replv1.SetLimitsRequest{Scope: &replv1.Scope{Stream: "tv"}, Speed: "5M"},
		},
		{func(s *operator.Site) error { return s.Pause(t.Context(), operator.Scope{Peer: "b"}) }, &replv1.PauseRequest{Scope: &replv1.Scope{Peer: "b"}}},
		{func(s *operator.Site) error { return s.Resume(t.Context(), operator.Scope{}) }, &replv1.ResumeRequest{Scope: &replv1.Scope{}}},
	} {
		var out bytes.Buffer
		if err := c.do(dial(t, addr, &out, false)); err != nil {
			t.Fatal(err)
		}
		if got := r.asked[len(r.asked)-1]; !proto.Equal(got, c.want) || out.String() != want {
			t.Errorf("asked %v, want %v; it says\n%s\nwant\n%s", got, c.want, out.String(), want)
		}
	}
}

func (r *replicating) Fetch(_ context.Context, m *replv1.FetchRequest) (*replv1.FetchResponse, error) {
	r.asked = append(r.asked, m)
	return r.fetched, nil
}

// TestFetch: all is here, some of it is not, or nobody knows.
func TestFetch(t *testing.T) {
	from, to := utc, utc.Add(time.Minute)
	for _, c := range []struct {
		fetched *replv1.FetchResponse
		want    string
		differs bool
	}{
		{&replv1.FetchResponse{}, "", false},
		{
			&replv1.FetchResponse{Left: []*replv1.PlanItem{
				{Start: timestamppb.New(utc), Why: "missing", PeerNode: "b"}, {Start: timestamppb.New(utc), Why: "faulty", WhyNot: "live_edge", PeerNode: "c"},
			}},
			"2026-11-23T09:00:00Z  missing at b: due\n2026-11-23T09:00:00Z  faulty at c: live edge\n", true,
		},
		{&replv1.FetchResponse{Unknown: []string{"m4f://b:7000/tv"}}, "nothing is known of m4f://b:7000/tv\n", true},
	} {
		r := &replicating{fetched: c.fetched}
		addr := serve(t, func(s grpc.ServiceRegistrar) { replv1.RegisterReplicationServiceServer(s, r) })
		var out bytes.Buffer
		err := dial(t, addr, &out, false).Fetch(t.Context(), "tv", archive.Range{From: from, To: to}, time.Second)
		asked := &replv1.FetchRequest{Stream: "tv", From: timestamppb.New(from), To: timestamppb.New(to), Wait: durationpb.New(time.Second)}
		if errors.Is(err, operator.ErrDifference) != c.differs || out.String() != c.want || !proto.Equal(r.asked[0], asked) {
			t.Errorf("asked %v, says %q and %v, want %q", r.asked, out.String(), err, c.want)
		}
	}
}
