package operator_test

import (
	"bytes"
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// replicating takes down what it was asked.
type replicating struct {
	replv1.UnimplementedReplicationServiceServer
	asked  []proto.Message
	limits []*replv1.Limit
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
