package record

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/ingestsvc/internal/ring"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

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
