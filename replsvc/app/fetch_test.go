package app_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/timeline"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// TestFetch: what somebody waits for comes before all else, by the limit of all backfill, and what cannot be had is told.
func TestFetch(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	const one = 1_600_000 * 8 // bits of a segment
	a, b := newSite(t, n, "a", fmt.Sprintf("replication_speed %d;\n", one)+config("b")), newSite(t, n, "b", config())
	b.dvr.Put(all...)
	a.dvr.Put(all[0], all[9])
	fetch := func(from, to int, wait time.Duration) (*replv1.FetchResponse, error) {
		at := func(k int) *timestamppb.Timestamp { // within the segment
			return timestamppb.New(epoch.Add((timeline.Ticks(100+k) * timeline.CellTicks).Duration() + time.Second))
		}
		return a.repl.Fetch(t.Context(), &replv1.FetchRequest{Stream: "tv", From: at(from), To: at(to), Wait: durationpb.New(wait)})
	}
	var resp *replv1.FetchResponse
	eventually(t, soon, "the peer is known", func() (err error) {
		if resp, err = fetch(2, 2+1, time.Minute); err == nil && len(resp.GetUnknown()) > 0 {
			err = fmt.Errorf("nothing is known of %s", resp.GetUnknown())
		}
		return err
	})
	if len(resp.GetLeft()) > 0 {
		t.Errorf("left: %v", resp.GetLeft())
	}
	for _, k := range []int{2, 3} {
		if err := has(a.dvr, all[k]); err != nil {
			t.Error(err)
		}
	}
	if has(a.dvr, all[1]) == nil || has(a.dvr, all[4]) == nil {
		t.Error("what nobody waits for came first")
	}
	if resp, err := fetch(1, 2, 0); err != nil || len(resp.GetLeft()) != 1 || !resp.GetLeft()[0].GetAsked() {
		t.Errorf("without waiting: %v, %v", resp, err)
	}
	b.dvr.Corrupt(true)
	resp, err := fetch(4, 5, time.Minute)
	if err != nil || len(resp.GetLeft()) == 0 || resp.GetLeft()[0].GetWhyNot() != "refused" {
		t.Errorf("of what comes damaged: %v, %v", resp, err)
	}
	for _, req := range []*replv1.FetchRequest{
		{Stream: "tv"}, {Stream: "../tv", From: timestamppb.New(epoch), To: timestamppb.Now()},
		{Stream: "tv", From: timestamppb.Now(), To: timestamppb.New(epoch)},
		{Stream: "tv", From: timestamppb.New(epoch.AddDate(0, 0, -2)), To: timestamppb.Now()},
		{Stream: "tv", From: timestamppb.New(epoch), To: timestamppb.Now(), Wait: durationpb.New(time.Hour)},
	} {
		if _, err := a.repl.Fetch(t.Context(), req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", req, err)
		}
	}
	if _, err := a.repl.Fetch(t.Context(), &replv1.FetchRequest{Stream: "radio", From: timestamppb.New(epoch), To: timestamppb.Now()}); status.Code(err) != codes.NotFound {
		t.Errorf("of a stream that is not configured: %v", err)
	}
}
