package boxes_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/boxes"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const length = 540000 // of a segment: 6 s

var utc = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func at(k int) time.Time { return utc.Add(time.Duration(k) * 6 * time.Second) }

// holding is the archive of a box: segments by number, on a clock that is off by skew.
func holding(row byte, skew time.Duration, segments ...int) *archivetest.Server {
	srv := &archivetest.Server{Name: "tv"}
	for _, k := range segments {
		srv.Add(archivetest.Place{Row: row, Start: timeline.Wrap + timeline.Ticks(k)*length, Length: length, UTC: at(k).Add(skew)})
	}
	return srv
}

// host is a box on a port, which counts what it is asked.
type host struct {
	addr string
	stop func()

	mu    sync.Mutex
	asked map[string]int
	hang  chan struct{} // not nil: until it is closed nothing is answered
	hangs string        // not empty: only this method is not
}

func (h *host) count(method string) {
	h.mu.Lock()
	name := method[strings.LastIndexByte(method, '/')+1:]
	h.asked[name]++
	hang := h.hang
	if h.hangs != "" && h.hangs != name {
		hang = nil
	}
	h.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

func (h *host) calls(method string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[method]
}

func hosted(t *testing.T, srv *archivetest.Server) *host {
	t.Helper()
	h := &host{asked: map[string]int{}}
	s, err := grpcx.NewServer(grpcx.ServerOptions{
		Unary: []grpc.UnaryServerInterceptor{func(ctx context.Context, m any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			h.count(info.FullMethod)
			return next(ctx, m)
		}},
		Stream: []grpc.StreamServerInterceptor{func(x any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			h.count(info.FullMethod)
			return next(x, ss)
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dvrv1.RegisterIndexServiceServer(s, srv)
	dvrv1.RegisterSegmentServiceServer(s, srv)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(ctx, lis) //nolint:errcheck // ends with the test
	}()
	h.addr, h.stop = lis.Addr().String(), func() { cancel(); <-done }
	t.Cleanup(h.stop)
	return h
}

// site is a router over the site's own dvrsvc and two more, a and b.
type site struct {
	*boxes.Router
	own, a, b *host
	log       bytes.Buffer
}

func siteOf(t *testing.T, own, a, b *archivetest.Server, stream string) *site {
	t.Helper()
	return siteAt(t, hosted(t, own), hosted(t, a), hosted(t, b), stream)
}

func siteAt(t *testing.T, own, a, b *host, stream string) *site {
	t.Helper()
	s := &site{own: own, a: a, b: b}
	conf, err := streamconf.Parse("t", []byte(fmt.Sprintf("dvr a { root x; server %s; }\ndvr b { root x; server %s; }\n%s", a.addr, b.addr, stream)))
	if err != nil {
		t.Fatal(err)
	}
	conns := &grpcx.Conns{}
	t.Cleanup(func() { conns.Close() }) //nolint:errcheck // the test is over
	c, err := conns.To(own.addr, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	s.Router = boxes.New(boxes.Options{
		Own: c, Conns: conns, Config: func() *streamconf.Config { return conf }, Logger: slog.New(slog.NewTextHandler(&s.log, nil)),
	})
	return s
}

func (s *site) ranges(t *testing.T) (text, problems string) {
	t.Helper()
	m, err := dvrv1.NewIndexServiceClient(s).GetRanges(t.Context(), &dvrv1.GetRangesRequest{Stream: "tv"})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i, r := range m.GetRanges() {
		f, to := r.GetFrom().AsTime().Sub(utc), r.GetTo().AsTime().Sub(utc)
		if i > 0 && m.GetRanges()[i-1].GetTo().AsTime().Equal(r.GetFrom().AsTime()) {
			out[len(out)-1] = out[len(out)-1][:strings.LastIndexByte(out[len(out)-1], '-')] + "-" + to.String()
			continue
		}
		out = append(out, f.String()+"-"+to.String())
	}
	return strings.Join(out, " "), strings.Join(m.GetProblems(), "; ")
}

func (s *site) segments(t *testing.T, r archive.Range) []archive.Segment {
	t.Helper()
	return s.segmentsOf(t, s, r)
}

func (s *site) segmentsOf(t *testing.T, conn grpc.ClientConnInterface, r archive.Range) []archive.Segment {
	t.Helper()
	var out []archive.Segment
	for x, err := range archive.New(conn, "tv").Locate(t.Context(), r) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	return out
}

// numbers gives segments by number and row.
func numbers(list []archive.Segment) string {
	var out []string
	for _, x := range list {
		out = append(out, fmt.Sprintf("%d/%d", (x.Info.Start-timeline.Wrap)/length, x.Slot.Timeline[0]))
	}
	return strings.Join(out, " ")
}

const (
	onB     = "stream tv { input udp://:1; dvr @b 3d replicate; }"
	nowhere = ""
)

// After dvr @a became dvr @b, what a has is found by every way of reading, and the status says where it is.
func TestMovedStreamKeepsItsArchive(t *testing.T) {
	skew := 40 * time.Millisecond
	a, b := holding(1, 0, 0, 1, 2), holding(2, skew, 2, 3, 4) // segment 2 was being recorded as it moved
	a.Left = true
	s := siteOf(t, &archivetest.Server{}, a, b, onB)
	if got, problems := s.ranges(t); got != "0s-30.04s" || problems != "" {
		t.Errorf("ranges %s, want all from 0s to 30.04s; problems %q", got, problems)
	}
	list := s.segments(t, archive.Range{})
	if got := numbers(list); got != "0/1 1/1 2/2 3/2 4/2" {
		t.Errorf("segments %s", got)
	}
	if got := numbers(s.segments(t, archive.Range{From: at(0), To: at(2)})); got != "0/1 1/1" {
		t.Errorf("segments of the first 12 s: %s", got)
	}
	for _, x := range list {
		if _, data, err := archive.New(s, "tv").ReadDigest(t.Context(), x.Info.Digest); err != nil || segment.Sum(data) != x.Info.Digest {
			t.Errorf("segment at %s: %v", x.Start, err)
		}
		if _, err := archive.New(s, "tv").ReadInit(t.Context(), x.Info.Tracks[0].Init); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := archive.New(s, "tv").ReadDigest(t.Context(), segment.Digest{1}); !errors.Is(err, errs.ErrUnknown) {
		t.Errorf("a segment that nobody has: %v", err)
	}
	gaps, err := dvrv1.NewIndexServiceClient(s).FindGaps(t.Context(), &dvrv1.FindGapsRequest{Stream: "tv"})
	if err != nil || len(gaps.GetGaps()) != 0 {
		t.Errorf("gaps %v, %v", gaps, err)
	}
	rpc, err := dvrv1.NewIndexServiceClient(s).ListSegments(t.Context(), &dvrv1.ListSegmentsRequest{Stream: "tv"})
	n := 0
	for err == nil {
		if _, err = rpc.Recv(); err == nil {
			n++
		}
	}
	if n != 5 {
		t.Errorf("%d segments are listed: %v", n, err)
	}
	events, err := dvrv1.NewIndexServiceClient(s).ListEvents(t.Context(), &dvrv1.ListEventsRequest{Stream: "tv"})
	n = 0
	for err == nil {
		var m *dvrv1.ListEventsResponse
		if m, err = events.Recv(); err == nil {
			n += len(m.GetEvents())
		}
	}
	if n != 5 || !errors.Is(err, io.EOF) {
		t.Errorf("%d events are listed: %v", n, err)
	}
	l, err := dvrv1.NewIndexServiceClient(s).ListStreams(t.Context(), &dvrv1.ListStreamsRequest{})
	if err != nil || len(l.GetStreams()) != 2 { // the nameless one is that of the empty archive
		t.Fatalf("streams %v, %v", l, err)
	}
	tv := l.GetStreams()[1]
	if !tv.GetFirst().AsTime().Equal(at(0)) || !tv.GetLast().AsTime().Equal(at(5).Add(skew)) || tv.GetSegments() != 6 ||
		!tv.GetConfigured() || tv.GetActiveInput() == "" || tv.GetProblem() != "part of its archive is on dvrsvc "+s.a.addr+", which does not record it" {
		t.Errorf("status: %v", tv)
	}
	if got := strings.Count(s.log.String(), "has an archive on another dvrsvc"); got != 1 {
		t.Errorf("it is logged %d times:\n%s", got, s.log.String())
	}
}

// Where two boxes have the same, the one that records has the word; what it lacks comes from the other.
func TestHolesAreFilledFromAnotherBox(t *testing.T) {
	s := siteOf(t, &archivetest.Server{}, holding(1, 0, 0, 1, 2, 3, 4, 5), holding(2, -30*time.Millisecond, 1, 3, 4, 8), onB)
	if got := numbers(s.segments(t, archive.Range{})); got != "0/1 1/2 2/1 3/2 4/2 5/1 8/2" {
		t.Errorf("segments %s", got)
	}
	if got, _ := s.ranges(t); got != "0s-36s 47.97s-53.97s" {
		t.Errorf("ranges %s", got)
	}
	gaps, err := dvrv1.NewIndexServiceClient(s).FindGaps(t.Context(), &dvrv1.FindGapsRequest{Stream: "tv"})
	if err != nil || len(gaps.GetGaps()) != 1 || gaps.GetGaps()[0].GetReason() != "timeline_change" || !gaps.GetGaps()[0].GetFrom().AsTime().Equal(at(6)) {
		t.Errorf("gaps %v, %v", gaps, err)
	}
}

// What the site's own dvrsvc had before the stream went to a box, and what a box has of a stream that left the config.
func TestArchiveOfOtherConfigs(t *testing.T) {
	s := siteOf(t, holding(1, -40*time.Millisecond, 0, 1), &archivetest.Server{}, holding(2, 0, 2, 3), onB)
	if got := numbers(s.segments(t, archive.Range{})); got != "0/1 1/1 2/2 3/2" {
		t.Errorf("segments of own and b: %s", got)
	}
	if got, _ := s.ranges(t); got != "-40ms-24s" {
		t.Errorf("ranges %s: two clocks are no gap", got)
	}
	s = siteOf(t, &archivetest.Server{}, &archivetest.Server{}, holding(2, 0, 2, 3), nowhere)
	if got := numbers(s.segments(t, archive.Range{})); got != "2/2 3/2" {
		t.Errorf("segments of a stream that left the config: %s", got)
	}
	l, err := dvrv1.NewIndexServiceClient(s).ListStreams(t.Context(), &dvrv1.ListStreamsRequest{})
	if err != nil || len(l.GetStreams()) != 2 || l.GetStreams()[1].GetConfigured() || l.GetStreams()[1].GetProblem() != "" {
		t.Errorf("status: %v, %v", l, err)
	}
	_, err = dvrv1.NewIndexServiceClient(s).GetRanges(t.Context(), &dvrv1.GetRangesRequest{Stream: "other"})
	if !errors.Is(err, errs.ErrStreamUnknown) {
		t.Errorf("a stream that nobody has: %v", err)
	}
}

// A box is asked for nothing that it does not have.
func TestOneBoxIsOneCall(t *testing.T) {
	s := siteOf(t, &archivetest.Server{}, &archivetest.Server{}, holding(2, 0, 0, 1, 2), onB)
	for range 3 {
		for _, x := range s.segments(t, archive.Range{}) {
			if _, _, err := archive.New(s, "tv").ReadDigest(t.Context(), x.Info.Digest); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, h := range []*host{s.own, s.a} {
		if h.calls("Locate")+h.calls("ReadSegment") != 0 || h.calls("ListStreams") > 1 {
			t.Errorf("a box without the stream was asked %v", h.asked)
		}
	}
	if s.b.calls("ReadSegment") != 9 {
		t.Errorf("the box was asked %v", s.b.asked)
	}
}

// A box that is away is told, and what the others have is given.
func TestBoxAway(t *testing.T) {
	s := siteOf(t, &archivetest.Server{}, holding(1, 0, 0, 1), holding(2, 0, 2, 3), onB)
	list, past := s.segments(t, archive.Range{}), error(nil)
	if got := numbers(list); got != "0/1 1/1 2/2 3/2" {
		t.Fatalf("segments %s", got)
	}
	s.a.stop()
	for range 2 {
		began := time.Now()
		if got := numbers(s.segments(t, archive.Range{})); got != "2/2 3/2" {
			t.Errorf("segments without a: %s", got)
		}
		if got, problems := s.ranges(t); got != "12s-24s" || !strings.Contains(problems, s.a.addr) {
			t.Errorf("ranges without a: %s, problems %q", got, problems)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %s", took)
		}
	}
	l, err := dvrv1.NewIndexServiceClient(s).ListStreams(t.Context(), &dvrv1.ListStreamsRequest{})
	if err != nil || !strings.Contains(l.GetStreams()[1].GetProblem(), s.a.addr) || l.GetStreams()[1].GetActiveInput() == "" {
		t.Errorf("status without a: %v, %v", l, err)
	}
	if _, _, err := archive.New(s, "tv").ReadDigest(t.Context(), list[0].Info.Digest); !errors.Is(err, errs.ErrNotReady) {
		t.Errorf("what a has passes for what nobody has: %v", err)
	}
	if _, err := archive.New(s, "tv").ReadInit(t.Context(), segment.Digest{1}); !errors.Is(err, errs.ErrNotReady) {
		t.Errorf("what a may have passes for what nobody has: %v", err)
	}
	if _, _, err := archive.New(s, "tv").ReadDigest(t.Context(), list[2].Info.Digest); err != nil {
		t.Errorf("what b has: %v", err)
	}
	for _, err := range archive.New(s, "tv").Locate(t.Context(), archive.Range{From: at(0), To: at(2)}) {
		past = err
	}
	if !errors.Is(past, errs.ErrNotReady) {
		t.Errorf("a window of which a has all is said to be empty: %v", past)
	}
	if n := strings.Count(s.log.String(), "does not answer"); n != 1 {
		t.Errorf("it is logged %d times:\n%s", n, s.log.String())
	}
}

// Without the box that records, the archive of another is still there, but not as if it were live.
func TestRecordingBoxAway(t *testing.T) {
	s := siteOf(t, &archivetest.Server{}, holding(1, 0, 0, 1), holding(2, 0, 2, 3), onB)
	s.segments(t, archive.Range{})
	s.b.stop()
	if got := numbers(s.segments(t, archive.Range{From: at(0), To: at(2)})); got != "0/1 1/1" {
		t.Errorf("segments without b: %s", got)
	}
	if got, problems := s.ranges(t); got != "0s-12s" || !strings.Contains(problems, s.b.addr) {
		t.Errorf("ranges without b: %s, problems %q", got, problems)
	}
	for _, err := range archive.New(s, "tv").Locate(t.Context(), archive.Range{From: at(0)}) {
		if err == nil {
			t.Error("the newest of the old archive passes for live")
		}
	}
}

// A box that takes calls and does not answer any more holds up what others have once, for as long as it may take.
func TestBoxThatFallsSilent(t *testing.T) {
	s := siteOf(t, &archivetest.Server{}, holding(1, 0, 0, 1), holding(2, 0, 2, 3), onB)
	s.segments(t, archive.Range{})
	s.a.mu.Lock()
	s.a.hang = make(chan struct{})
	s.a.mu.Unlock()
	defer close(s.a.hang)
	began := time.Now()
	if got, problems := s.ranges(t); got != "12s-24s" || problems == "" {
		t.Errorf("ranges %s, problems %q", got, problems)
	}
	first := time.Since(began)
	for range 10 {
		if got := numbers(s.segments(t, archive.Range{})); got != "2/2 3/2" {
			t.Errorf("segments %s", got)
		}
	}
	if took := time.Since(began); first > 3*time.Second || took-first > time.Second {
		t.Errorf("the first answer took %s, ten more %s", first, took-first)
	}
	l, err := dvrv1.NewIndexServiceClient(s).ListStreams(t.Context(), &dvrv1.ListStreamsRequest{})
	if err != nil || !strings.Contains(l.GetStreams()[1].GetProblem(), s.a.addr) || time.Since(began) > 8*time.Second {
		t.Errorf("status: %v, %v", l, err)
	}
}

// A box that takes connections and never answers holds up no stream that is not on it.
func TestBoxThatHangs(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	s := siteAt(t, hosted(t, &archivetest.Server{}), &host{addr: lis.Addr().String()}, hosted(t, holding(2, 0, 2, 3)), onB)
	began := time.Now()
	if got, _ := s.ranges(t); got != "12s-24s" {
		t.Errorf("ranges %s", got)
	}
	first := time.Since(began)
	for range 10 {
		s.ranges(t)
	}
	if took := time.Since(began); first > 4*time.Second || took-first > time.Second {
		t.Errorf("the first answer took %s, ten more %s", first, took-first)
	}
}

// What records, and what speaks of rows and slots, goes to the box of the config alone.
func TestRowsAreOfTheBoxThatRecords(t *testing.T) {
	s := siteOf(t, &archivetest.Server{}, holding(1, 0, 0), holding(2, 0, 1), onB)
	_, err := dvrv1.NewIndexServiceClient(s).ListTimelines(t.Context(), &dvrv1.ListTimelinesRequest{Stream: "tv"})
	if err == nil || s.b.calls("ListTimelines") != 1 || s.a.calls("ListTimelines") != 0 {
		t.Errorf("asked a %d times and b %d times", s.a.calls("ListTimelines"), s.b.calls("ListTimelines"))
	}
	if got := numbers(s.segmentsOf(t, s.Others(t.Context(), "tv"), archive.Range{})); got != "0/1" {
		t.Errorf("the others have %s", got)
	}
	if s.Others(t.Context(), "other") != nil {
		t.Error("others have a stream that nobody has")
	}
}

// gaps gives what is missing, with the reasons.
func (s *site) gaps(t *testing.T) (text, problems string) {
	t.Helper()
	m, err := dvrv1.NewIndexServiceClient(s).FindGaps(t.Context(), &dvrv1.FindGapsRequest{Stream: "tv"})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, g := range m.GetGaps() {
		out = append(out, fmt.Sprintf("%s-%s %s", g.GetFrom().AsTime().Sub(utc), g.GetTo().AsTime().Sub(utc), g.GetReason()))
	}
	return strings.Join(out, ", "), strings.Join(m.GetProblems(), "; ")
}

// What is missing within one box is told with the reason that this one knows, though what follows goes over to another box.
func TestReasonOfTheLastGapBeforeTheMove(t *testing.T) {
	s := siteOf(t, &archivetest.Server{}, holding(1, 0, 0, 2), holding(2, 0, 3, 4), onB)
	if got, _ := s.gaps(t); got != "6s-12s no_source" {
		t.Errorf("gaps: %s", got)
	}
	s = siteOf(t, &archivetest.Server{}, holding(1, 0, 0, 1, 2), holding(2, 0, 3, 5), onB)
	if got, _ := s.gaps(t); got != "24s-30s no_source" {
		t.Errorf("gaps behind the move: %s", got)
	}
	s = siteOf(t, &archivetest.Server{}, holding(1, 0, 3), holding(2, 0, 0, 2, 4), onB) // it was there and came back
	if got, _ := s.gaps(t); got != "6s-12s no_source" {
		t.Errorf("gaps around a piece of another box: %s", got)
	}
}

// A box that has said what it covers, and not what it lacks, is told: gaps that are not known are not no gaps.
func TestGapsOfABoxThatFallsSilent(t *testing.T) {
	s := siteOf(t, &archivetest.Server{}, holding(1, 0, 0, 2), holding(2, 0, 3, 4), onB)
	s.segments(t, archive.Range{})
	hang := make(chan struct{})
	defer close(hang)
	s.a.mu.Lock()
	s.a.hang, s.a.hangs = hang, "FindGaps"
	s.a.mu.Unlock()
	if got, problems := s.gaps(t); !strings.Contains(problems, s.a.addr) || got != "6s-12s unknown" {
		t.Errorf("gaps %q, problems %q", got, problems)
	}
}

// The box that records falls silent: what another one has of the past is read without a wait for each segment of it.
func TestRecordingBoxThatFallsSilent(t *testing.T) {
	s := siteOf(t, &archivetest.Server{}, holding(1, 0, 0, 1), holding(2, 0, 2, 3), onB)
	past := archive.Range{From: at(0), To: at(2)}
	list := s.segments(t, past)
	hang := make(chan struct{})
	defer close(hang)
	s.b.mu.Lock()
	s.b.hang = hang
	s.b.mu.Unlock()
	var took []time.Duration
	for i := range 3 {
		began := time.Now()
		if got := numbers(s.segments(t, past)); got != "0/1 1/1" {
			t.Errorf("segments %s", got)
		}
		if _, _, err := archive.New(s, "tv").ReadDigest(t.Context(), list[i%2].Info.Digest); err != nil {
			t.Error(err)
		}
		if _, err := archive.New(s, "tv").ReadInit(t.Context(), list[i%2].Info.Tracks[0].Init); err != nil {
			t.Error(err)
		}
		took = append(took, time.Since(began))
	}
	if took[1] > 3*time.Second || took[2] > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

// Two boxes have parts of one cell, as where the recording went over in the middle of a segment, or where one was away: what one of
// them has can be had, though what both have comes twice.
func TestNothingIsLeftOutAtTheSeam(t *testing.T) {
	part := func(srv *archivetest.Server, row byte, from, length time.Duration) {
		srv.Add(archivetest.Place{
			Row: row, Start: timeline.Wrap + timeline.FromDuration(from), Length: timeline.FromDuration(length), UTC: utc.Add(from),
		})
	}
	for name, c := range map[string]struct {
		fill func(a, b *archivetest.Server)
		want int
	}{
		"a move": {func(a, b *archivetest.Server) {
			part(a, 1, 12*time.Second, 4*time.Second)
			part(b, 2, 13900*time.Millisecond, 4100*time.Millisecond)
		}, 2},
		"a hole in the middle": {func(a, b *archivetest.Server) {
			part(a, 1, 12*time.Second, 6*time.Second)
			part(b, 2, 12*time.Second, 2*time.Second)
			part(b, 2, 16*time.Second, 2*time.Second)
		}, 3},
		"the same by another clock": {func(a, b *archivetest.Server) {
			part(a, 1, 12*time.Second, 6*time.Second)
			part(b, 2, 12300*time.Millisecond, 6*time.Second)
		}, 1},
	} {
		a, b := holding(1, 0, 0, 1), holding(2, 0)
		before := 2
		c.fill(a, b)
		s := siteOf(t, &archivetest.Server{}, a, b, onB)
		list := s.segments(t, archive.Range{})
		if len(list) != before+c.want {
			t.Errorf("%s: %d segments, want %d", name, len(list), before+c.want)
		}
		end := utc
		for _, seg := range list {
			if hole := seg.Start.Sub(end); hole > 500*time.Millisecond {
				t.Errorf("%s: nothing is given from %s to %s", name, end.Sub(utc), seg.Start.Sub(utc))
			}
			if seg.End.After(end) {
				end = seg.End
			}
		}
		if end.Before(utc.Add(18 * time.Second)) {
			t.Errorf("%s: it ends at %s", name, end.Sub(utc))
		}
	}
}
