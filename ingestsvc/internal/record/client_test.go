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
		s := &site{t: t, dvr: &fakeDVR{}, ring: ring.New(10 << 20)}
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

// I2.
func TestStandbyOffersAndSendsOnWant(t *testing.T) {
	inBubble(t, func(s *site) {
		s.role(&dvrv1.Role{Epoch: 1})
		s.segment(1)
		s.begin(2)
		s.chunk(10)
		s.want("offer 1")
		s.wants(1)
		s.want("begin 1", "chunk 1", "seal 1")
		s.seal(2)
		s.want("offer 2")
		s.release(1)
		s.wants(1)
		s.want("withdraw 1 GONE")
	})
}

// I3.
func TestActiveStreamsChunkByChunk(t *testing.T) {
	inBubble(t, func(s *site) {
		s.role(&dvrv1.Role{Epoch: 1, Active: true})
		s.begin(1)
		s.chunk(10)
		s.want("begin 1", "chunk 1")
		s.chunk(10)
		s.want("chunk 1")
		s.seal(1)
		s.want("seal 1")
		s.wants(1) // it was lost on the other side
		s.want("begin 1", "chunk 1", "chunk 1", "seal 1")
	})
}

func TestTakeoverStartsAtTheOpenSegmentsStart(t *testing.T) {
	inBubble(t, func(s *site) {
		s.role(&dvrv1.Role{Epoch: 1})
		s.segment(1)
		s.begin(2)
		s.chunk(10)
		s.chunk(10)
		s.want("offer 1")
		s.role(&dvrv1.Role{Epoch: 2, Active: true, FromSeq: 2})
		s.want("begin 2", "chunk 2", "chunk 2")
	})
}

func TestTakeoverSendsSealedSegmentsFirst(t *testing.T) {
	inBubble(t, func(s *site) {
		s.role(&dvrv1.Role{Epoch: 1})
		for seq := uint64(1); seq <= 3; seq++ {
			s.segment(seq)
		}
		s.begin(4)
		s.chunk(10)
		s.want("offer 1", "offer 2", "offer 3")
		at := int64(timeline.Wrap + 2*timeline.CellTicks + 1)
		s.role(&dvrv1.Role{Epoch: 2, Active: true, After: &dvrv1.Position{StartTicks: at}})
		s.want("begin 2", "chunk 2", "seal 2", "begin 3", "chunk 3", "seal 3", "begin 4", "chunk 4")
		s.role(&dvrv1.Role{Epoch: 3}) // back to standby in mid-segment: it is offered once it is sealed
		s.chunk(10)
		s.seal(4)
		s.want("offer 4")
		s.role(&dvrv1.Role{Epoch: 1, Active: true}) // overtaken
		s.begin(5)
		s.want()
	})
}

// I1, I2.
func TestRestartOfDVRResendsWhatWasNotReleased(t *testing.T) {
	inBubble(t, func(s *site) {
		s.role(&dvrv1.Role{Epoch: 1, Active: true})
		s.segment(1)
		s.segment(2)
		s.begin(3)
		s.chunk(10)
		s.want("begin 1", "chunk 1", "seal 1", "begin 2", "chunk 2", "seal 2", "begin 3", "chunk 3")
		s.release(1)
		s.restart()
		s.want("hello [2]")
		s.mu.Lock()
		if want := []bool{true}; !slices.Equal(s.roles, want) {
			t.Errorf("roles %v, want %v", s.roles, want)
		}
		s.mu.Unlock()
		s.role(&dvrv1.Role{Epoch: 1, Active: true, FromSeq: 2})
		s.want("begin 2", "chunk 2", "seal 2", "begin 3", "chunk 3")
	})
}

// I2, whatever the ring holds: no message is beyond what dvrsvc takes.
func TestRingThatDoesNotFitHelloIsOffered(t *testing.T) {
	inBubble(t, func(s *site) {
		s.role(&dvrv1.Role{Epoch: 1})
		faulty := make([]segment.FaultySample, 4096)
		for i := range faulty {
			faulty[i] = segment.FaultySample{PID: 256, DTS: timeline.Wrap + timeline.Ticks(i), Reason: segment.ReasonContinuity}
		}
		const n = 30
		for seq := uint64(1); seq <= n; seq++ {
			s.begin(seq)
			s.w.Seal(segment.Info{Start: timeline.Wrap, End: timeline.Wrap + 1, Evidence: segment.Evidence{Faulty: faulty}})
		}
		synctest.Wait()
		s.restart()
		s.dvr.mu.Lock()
		defer s.dvr.mu.Unlock()
		announced := len(s.dvr.hello.GetRing())
		if announced == 0 || announced == n {
			t.Errorf("hello carries %d of %d segments", announced, n)
		}
		for _, line := range s.dvr.log[slices.IndexFunc(s.dvr.log, func(l string) bool { return strings.HasPrefix(l, "hello") })+1:] {
			if strings.HasPrefix(line, "offer") {
				announced++
			}
		}
		if announced != n {
			t.Errorf("%d of %d segments were announced", announced, n)
		}
	})
}

func TestHungDVRDoesNotBlockThePacketPath(t *testing.T) {
	inBubble(t, func(s *site) {
		s.role(&dvrv1.Role{Epoch: 1, Active: true})
		hung := make(chan struct{})
		s.dvr.mu.Lock()
		s.dvr.hung = hung
		s.dvr.mu.Unlock()
		for seq := uint64(1); seq <= 50; seq++ { // 50 MB into a ring of 10: returns, or the bubble deadlocks
			s.begin(seq)
			s.chunk(1 << 20)
			s.seal(seq)
		}
		if st := s.ring.Stats(); st.Overruns == 0 || st.Bytes > st.Limit {
			t.Errorf("%d overruns, %d bytes of %d", st.Overruns, st.Bytes, st.Limit)
		}
		close(hung)
		synctest.Wait()
		s.dvr.mu.Lock()
		defer s.dvr.mu.Unlock()
		if got, want := s.dvr.log[len(s.dvr.log)-1], "seal 50"; got != want {
			t.Errorf("last message %q, want %q", got, want)
		}
		if !slices.Contains(s.dvr.log, "withdraw 10 RING_OVERRUN") {
			t.Errorf("overrun was not told: %v", s.dvr.log)
		}
	})
}

// I4: dvrsvc ends while the client waits to send, and had said more before than the client had taken.
func TestEndOfTheCallIsHeardBehindWhatWasNotTaken(t *testing.T) {
	inBubble(t, func(s *site) {
		s.role(&dvrv1.Role{Epoch: 1, Active: true})
		hung := make(chan struct{})
		s.dvr.mu.Lock()
		s.dvr.hung = hung
		s.dvr.mu.Unlock()
		s.begin(1)
		for range 5 {
			s.chunk(1 << 20)
		}
		for range 2 * inboxSize {
			s.release(1000)
		}
		s.dvr.mu.Lock()
		s.dvr.log, s.dvr.hung = nil, nil
		s.dvr.mu.Unlock()
		s.dvr.end <- context.Canceled
		close(hung)
		time.Sleep(lastRetry)
		synctest.Wait()
		s.dvr.mu.Lock()
		defer s.dvr.mu.Unlock()
		if !slices.Contains(s.dvr.log, "hello []") {
			t.Errorf("no new call: state %+v, dvrsvc got %v", s.State(), s.dvr.log)
		}
	})
}

func TestProgressAndPriority(t *testing.T) {
	inBubble(t, func(s *site) {
		time.Sleep(2*time.Second + time.Millisecond)
		synctest.Wait()
		s.dvr.mu.Lock()
		if s.dvr.beats != 5 {
			t.Errorf("%d beats in 2 s, want 5", s.dvr.beats)
		}
		s.dvr.mu.Unlock()
		s.SetPriority(3)
		s.want("hello []")
		if got := s.dvr.hello.GetPriority(); got != 3 {
			t.Errorf("priority %d, want 3", got)
		}
	})
}

func TestSlowHoldsMediaBackForAWhile(t *testing.T) {
	inBubble(t, func(s *site) {
		s.role(&dvrv1.Role{Epoch: 1, Active: true})
		s.slow()
		s.release(1000) // is no word of being faster
		s.begin(1)
		s.want()
		time.Sleep(2 * slowFor)
		s.want("begin 1")
	})
}

// I2: a segment that the live tail was to bring, asked for before it did, is brought though the role ends before it.
func TestWantOutlivesTheRole(t *testing.T) {
	inBubble(t, func(s *site) {
		s.segment(1)
		s.segment(2)
		s.segment(3)
		s.want("offer 1", "offer 2", "offer 3")
		s.slow()
		s.role(&dvrv1.Role{Epoch: 1, Active: true, FromSeq: 1})
		for seq := range uint64(3) {
			s.wants(seq + 1)
		}
		s.want()
		time.Sleep(2 * slowFor)
		s.want("begin 1", "chunk 1", "seal 1", "begin 2", "chunk 2", "seal 2", "begin 3", "chunk 3", "seal 3")
		s.begin(4)
		s.want("begin 4")

		s.restart()
		s.want("hello [1 2 3]")
		s.slow()
		s.role(&dvrv1.Role{Epoch: 1, Active: true, FromSeq: 1})
		s.wants(2)
		s.role(&dvrv1.Role{Epoch: 2})
		time.Sleep(2 * slowFor)
		s.want("begin 2", "chunk 2", "seal 2")
	})
}

func TestLargeChunkTravelsInPieces(t *testing.T) {
	c := &Client{cfg: Config{Node: "a"}}
	reqs := c.pieces(4, &ring.Chunk{Chunk: segment.Chunk{PID: 256, CRC: 9}, Data: make([]byte, 2*maxPiece+5)})
	var at uint32
	for _, r := range reqs {
		ch := r.GetChunk()
		if ch.GetOffset() != at || ch.GetSize() != 2*maxPiece+5 || ch.GetCrc32C() != 9 || len(ch.GetData()) > maxPiece {
			t.Errorf("piece at %d: offset %d, size %d, crc %d, %d bytes", at, ch.GetOffset(), ch.GetSize(), ch.GetCrc32C(), len(ch.GetData()))
		}
		at += uint32(len(ch.GetData()))
	}
	if len(reqs) != 3 || at != 2*maxPiece+5 {
		t.Errorf("%d pieces with %d bytes", len(reqs), at)
	}
}
