package record

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/ingestsvc/internal/ring"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// fakeDVR is a RecordingService that notes what it gets and says what the test tells it to.
type fakeDVR struct {
	dvrv1.UnimplementedRecordingServiceServer

	mu    sync.Mutex // protects the fields below
	log   []string   // since it was last taken
	hello *dvrv1.Hello
	beats int
	call  dvrv1.RecordingService_RecordServer
	end   chan error
	hung  chan struct{} // while not nil: nothing is read until it is closed
}

func (d *fakeDVR) Record(stream dvrv1.RecordingService_RecordServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	end := make(chan error, 1)
	d.mu.Lock()
	d.hello, d.call, d.end = first.GetHello(), stream, end
	var held []uint64
	for _, o := range d.hello.GetRing() {
		held = append(held, o.GetKey().GetSeq())
	}
	d.log = append(d.log, fmt.Sprint("hello ", held))
	d.mu.Unlock()
	if err := stream.Send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Welcome{Welcome: &dvrv1.Welcome{}}}); err != nil {
		return err
	}
	go func() {
		for {
			d.mu.Lock()
			hung := d.hung
			d.mu.Unlock()
			if hung != nil {
				<-hung
			}
			m, err := stream.Recv()
			if err != nil {
				end <- err
				return
			}
			d.note(m)
		}
	}()
	return <-end
}

func (d *fakeDVR) note(m *dvrv1.RecordRequest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch m := m.GetMessage().(type) {
	case *dvrv1.RecordRequest_Progress:
		d.beats++
	case *dvrv1.RecordRequest_Begin:
		d.log = append(d.log, fmt.Sprint("begin ", m.Begin.GetKey().GetSeq()))
	case *dvrv1.RecordRequest_Chunk:
		d.log = append(d.log, fmt.Sprint("chunk ", m.Chunk.GetSeq()))
	case *dvrv1.RecordRequest_Seal:
		d.log = append(d.log, fmt.Sprint("seal ", m.Seal.GetSeq()))
	case *dvrv1.RecordRequest_Offer:
		d.log = append(d.log, fmt.Sprint("offer ", m.Offer.GetKey().GetSeq()))
	case *dvrv1.RecordRequest_Withdraw:
		d.log = append(d.log, fmt.Sprint("withdraw ", m.Withdraw.GetSeq(), " ", m.Withdraw.GetReason()))
	}
}

// site is one client, its ring and its dvrsvc, all in one synctest bubble.
type site struct {
	t    *testing.T
	dvr  *fakeDVR
	ring *ring.Ring
	w    *ring.Writer
	*Client
	roles []bool
	mu    sync.Mutex // protects roles
}

func (s *site) Progress() Progress { return Progress{Head: timeline.Wrap, Alive: true} }

func (s *site) Role(active bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles = append(s.roles, active)
}

// inBubble runs a test with a site whose client is already running.
func inBubble(t *testing.T, test func(*site)) {
	synctest.Test(t, func(t *testing.T) {
		pipe := grpcx.NewPipe()
		srv, err := grpcx.NewServer(grpcx.ServerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s := &site{t: t, dvr: &fakeDVR{}, ring: ring.New(10<<20, clock.System{})}
		s.w = s.ring.Writer()
		dvrv1.RegisterRecordingServiceServer(srv, s.dvr)
		go srv.Server.Serve(pipe.Listener())
		defer srv.Stop()
		conn, err := pipe.Dial(grpcx.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		s.Client = New(Config{Stream: "tv", Input: "udp://239.0.0.1:1234", Priority: 1, Incarnation: 7, Node: "a"},
			conn, s.ring, s, clock.System{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.Run(ctx) }()
		defer func() { cancel(); <-done }()
		s.want("hello []")
		test(s)
	})
}

// want checks what dvrsvc got since the last time.
func (s *site) want(lines ...string) {
	s.t.Helper()
	synctest.Wait()
	s.dvr.mu.Lock()
	defer s.dvr.mu.Unlock()
	if !slices.Equal(s.dvr.log, lines) {
		s.t.Errorf("dvrsvc got\n\t%s\nwant\n\t%s", strings.Join(s.dvr.log, ", "), strings.Join(lines, ", "))
	}
	s.dvr.log = nil
}

func (s *site) say(m *dvrv1.RecordResponse) {
	s.t.Helper()
	s.dvr.mu.Lock()
	call := s.dvr.call
	s.dvr.mu.Unlock()
	if err := call.Send(m); err != nil {
		s.t.Fatalf("send to producer: %v", err)
	}
	synctest.Wait()
}

func (s *site) role(r *dvrv1.Role) {
	s.t.Helper()
	s.say(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Role{Role: r}})
}

func (s *site) wants(seq uint64) {
	s.t.Helper()
	s.say(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Want{Want: &dvrv1.Want{Seq: seq}}})
}

func (s *site) release(seq uint64) {
	s.t.Helper()
	s.say(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Release{Release: &dvrv1.Release{Seq: seq, Durable: true}}})
}

func (s *site) slow() {
	s.t.Helper()
	s.say(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Slow{Slow: &dvrv1.Slow{}}})
}

// restart ends the call as a killed dvrsvc would, and waits for the next one.
func (s *site) restart() {
	s.dvr.end <- context.Canceled
	time.Sleep(lastRetry)
	synctest.Wait()
}

func (s *site) begin(seq uint64) {
	s.w.Begin(ring.Begin{Key: segment.Key{Seq: seq, Start: timeline.Wrap + timeline.Ticks(seq)*timeline.CellTicks}})
}

func (s *site) chunk(size int) { s.w.Chunk(ring.Chunk{Data: make([]byte, size)}) }

func (s *site) seal(seq uint64) {
	start := timeline.Wrap + timeline.Ticks(seq)*timeline.CellTicks
	s.w.Seal(segment.Info{Start: start, End: start + timeline.CellTicks})
}

func (s *site) segment(seq uint64) {
	s.begin(seq)
	s.chunk(10)
	s.seal(seq)
}
