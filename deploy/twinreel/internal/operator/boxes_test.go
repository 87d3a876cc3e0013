package operator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// box serves a dvrsvc alone, with segments of 6 s by number.
func box(t *testing.T, name string, left bool, total *dvrv1.VerifyResponse, numbers ...int) string {
	t.Helper()
	srv := &archivetest.Server{Name: name, Left: left}
	for _, k := range numbers {
		srv.Add(archivetest.Place{Start: timeline.Wrap + timeline.Ticks(k)*540000, Length: 540000, UTC: utc.Add(time.Duration(k) * 6 * time.Second)})
	}
	return serve(t, func(r grpc.ServiceRegistrar) {
		dvrv1.RegisterIndexServiceServer(r, srv)
		dvrv1.RegisterSegmentServiceServer(r, srv)
		dvrv1.RegisterMaintenanceServiceServer(r, &others{total: total})
	})
}

func TestStatusOfSeveralBoxes(t *testing.T) {
	o := &others{configured: []*gatewayv1.Stream{
		{Name: "s", Dvr: &gatewayv1.Dvr{Path: "new"}},
		{Name: "x", Dvr: &gatewayv1.Dvr{Path: "box"}},
		{Name: "lost", Dvr: &gatewayv1.Dvr{Path: "box", Server: "dvr-c:7002"}},
	}}
	first, second, old := box(t, "s", false, nil, 2, 3), box(t, "x", false, nil, 0, 1), box(t, "s", true, nil, 0, 1)
	addrs := strings.Join([]string{serve(t, o.register), first, second, old}, ",")
	var out bytes.Buffer
	err := operator.Status(t.Context(), dial(t, addrs, &out, false))
	if !errors.Is(err, operator.ErrDifference) {
		t.Errorf("Status: %v, want ErrDifference", err)
	}
	for _, want := range []string{
		"\ns  2026-11-23T09:00:00.000Z to 2026-11-23T09:00:24.000Z, 4 segments", "at " + first + ", " + old + "\n",
		"part of its archive is at " + old + ", which does not record it",
		"\nx  2026-11-23T09:00:00.000Z to 2026-11-23T09:00:12.000Z, 2 segments",
		"\nlost  nothing recorded", "no dvrsvc that was asked records it; it belongs to dvr-c:7002",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it says\n%s\nwant %q in it", out.String(), want)
		}
	}
	out.Reset()
	operator.Status(t.Context(), dial(t, addrs, &out, true)) //nolint:errcheck // as above
	var told struct {
		Sites []struct{ Streams []struct{ Stream string } }
	}
	if err := json.Unmarshal(out.Bytes(), &told); err != nil || len(told.Sites[0].Streams) != 3 {
		t.Errorf("as JSON it says %s, %v", out.String(), err)
	}
}

func TestTwoThatRecordOneStream(t *testing.T) {
	first, second := box(t, "s", false, nil, 0), box(t, "s", false, nil, 1)
	var out bytes.Buffer
	operator.Status(t.Context(), dial(t, first+","+second, &out, false)) //nolint:errcheck // others are missing
	if want := "recorded by " + first + " and by " + second; !strings.Contains(out.String(), want) {
		t.Errorf("it says\n%s\nwant %q in it", out.String(), want)
	}
}

// What is asked of a stream is asked of the boxes that know it, whatever the order of the addresses.
func TestStreamOnAnotherBox(t *testing.T) {
	bad := &dvrv1.VerifyResponse{Copies: 2, Bytes: 1000}
	first, second, old := box(t, "x", false, bad, 0, 1), box(t, "s", false, bad, 2, 3), box(t, "s", true, bad, 0, 1)
	addrs := strings.Join([]string{first, old, second}, ",")
	var out bytes.Buffer
	if err := dial(t, addrs, &out, false).Ranges(t.Context(), "s", archive.Range{}); err != nil || !strings.Contains(out.String(), "09:00:06.000Z  2026-11-23T09:00:18.000Z         12s  intact") || strings.Contains(out.String(), "missing") {
		t.Errorf("Ranges: %v\n%s", err, out.String())
	}
	out.Reset()
	if err := dial(t, addrs, &out, false).Verify(t.Context(), "s", ""); err != nil || !strings.Contains(out.String(), "4 copies, 2.0 kB read") {
		t.Errorf("Verify: %v\n%s", err, out.String())
	}
	out.Reset()
	file := filepath.Join(t.TempDir(), "out.mp4")
	if err := dial(t, addrs, &out, false).Export(t.Context(), "s", archive.Range{}, file, false); err != nil || !strings.Contains(out.String(), "4 segments, 0 gaps") {
		t.Errorf("Export: %v\n%s", err, out.String())
	}
	if st, err := os.Stat(file); err != nil || st.Size() == 0 {
		t.Error(err)
	}
	err := dial(t, addrs, &out, false).Ranges(t.Context(), "none", archive.Range{})
	if err == nil || errors.Is(err, operator.ErrDifference) {
		t.Errorf("Ranges of a stream that nobody has: %v", err)
	}
}

// Where an address does not answer, what the others have is shown, and does not pass for all.
func TestStreamWithABoxAway(t *testing.T) {
	there := box(t, "s", false, &dvrv1.VerifyResponse{Copies: 2}, 2, 3)
	var out bytes.Buffer
	s := dial(t, there+",127.0.0.1:1", &out, false)
	for name, err := range map[string]error{
		"Ranges": s.Ranges(t.Context(), "s", archive.Range{}), "Verify": s.Verify(t.Context(), "s", ""),
	} {
		if err == nil || errors.Is(err, operator.ErrDifference) || !strings.Contains(err.Error(), "127.0.0.1:1 does not answer") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if strings.Count(out.String(), "intact") != 2 || !strings.Contains(out.String(), "2 copies") {
		t.Errorf("it says\n%s", out.String())
	}
}

// What is on any dvrsvc has to be elsewhere, before a site is taken away; and what one has that does not record the stream is compared with
// nobody.
func TestRetireAsksEveryBox(t *testing.T) {
	o := &others{comparisons: []*replv1.Comparison{{Slots: 2}}}
	repl := serve(t, o.register)
	first, second, old := box(t, "x", false, nil, 0, 1), box(t, "s", false, nil, 2, 3), box(t, "s", true, nil, 0, 1)
	var out bytes.Buffer
	if err := dial(t, strings.Join([]string{repl, first, second}, ","), &out, false).Retire(t.Context(), ""); err != nil ||
		!strings.Contains(out.String(), "x: 2 slots, all") || !strings.Contains(out.String(), "s: 2 slots, all") {
		t.Errorf("Retire: %v\n%s", err, out.String())
	}
	out.Reset()
	err := dial(t, strings.Join([]string{repl, first, second, old}, ","), &out, false).Retire(t.Context(), "s")
	if want := "s: 4 segments are here alone: part of its archive is at " + old; !errors.Is(err, operator.ErrDifference) || !strings.Contains(out.String(), want) {
		t.Errorf("Retire: %v\n%s\nwant %q in it", err, out.String(), want)
	}
	out.Reset()
	err = dial(t, strings.Join([]string{repl, first, "127.0.0.1:1"}, ","), &out, false).Retire(t.Context(), "")
	if err == nil || errors.Is(err, operator.ErrDifference) || !strings.Contains(err.Error(), "127.0.0.1:1 does not answer") || !strings.Contains(out.String(), "x: 2 slots") {
		t.Errorf("Retire: %v\n%s", err, out.String())
	}
}

// hung is an archive that lists its streams and no segments.
type hung struct{ *archivetest.Server }

func (hung) Locate(*dvrv1.LocateRequest, grpc.ServerStreamingServer[dvrv1.LocateResponse]) error {
	return status.Error(codes.Unavailable, "the storage hangs")
}

// An export that lacks what a box has, as that does not answer any more, does not pass for whole.
func TestExportWithoutABox(t *testing.T) {
	there, left := box(t, "s", false, nil, 2, 3), &archivetest.Server{Name: "s", Left: true}
	left.Add(archivetest.Place{Start: timeline.Wrap, Length: 540000, UTC: utc})
	addr := serve(t, func(r grpc.ServiceRegistrar) {
		dvrv1.RegisterIndexServiceServer(r, left)
		dvrv1.RegisterSegmentServiceServer(r, hung{left})
	})
	var out bytes.Buffer
	err := dial(t, there+","+addr, &out, false).Export(t.Context(), "s", archive.Range{}, filepath.Join(t.TempDir(), "out.mp4"), false)
	if err == nil || errors.Is(err, operator.ErrDifference) || !strings.Contains(err.Error(), addr) || !strings.Contains(out.String(), "2 segments") {
		t.Errorf("Export: %v\n%s", err, out.String())
	}
}
