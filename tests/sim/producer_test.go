package sim

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	input    = "udp://239.0.0.1:1234"
	tick     = 728 * time.Millisecond // two chunks
	ringSize = 10
)

// producer stands for ingestsvc: it receives the broadcast, holds what was not released, and does what dvrsvc says.
type producer struct {
	site        int
	cast        *broadcast
	conn        grpc.ClientConnInterface
	incarnation uint64
	released    func(*made)

	from     int // frame at which it joined
	ring     []*made
	open     *made
	seq      uint64
	lastK    int // the segment that was made last
	lastAt   time.Time
	broken   bool // something was lost before the next one
	muted    func() bool
	deaf     bool
	gapless  time.Time
	switches int

	stretch uint32 // of the segment that was made last: counted from when the producer began
	jumps   int    // of the source's clock before it
}

// run records until ctx ends.
func (p *producer) run(ctx context.Context) {
	p.from, p.lastK, p.broken, p.gapless = p.cast.at(time.Now())+1, -1, true, time.Now()
	p.jumps = p.cast.stretch(p.from / framesPerCell)
	for ctx.Err() == nil {
		p.call(ctx)
		p.wait(ctx, 300*time.Millisecond)
	}
}

// wait goes on receiving.
func (p *producer) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	p.receive()
}

// receive takes what the broadcast has sent.
func (p *producer) receive() {
	at := p.cast.at(time.Now())
	if p.muted() {
		p.deaf, p.open, p.broken = true, nil, true
		p.from, p.gapless = at+1, time.Now()
		p.lastK = p.from/framesPerCell - 1
		return
	}
	p.deaf = false
	for {
		k := max(p.lastK+1, p.from/framesPerCell)
		if p.open == nil {
			if at < k*framesPerCell {
				return
			}
			p.seq++
			m := p.cast.make(p.site, k, max(0, p.from-k*framesPerCell), p.seq, p.broken)
			if m == nil {
				p.seq--
				p.lastK, p.broken, p.gapless = k, true, time.Now()
				continue
			}
			p.follow(k)
			m.stretch = p.stretch
			if !p.lastAt.IsZero() {
				m.since = time.Since(p.lastAt)
			}
			p.open, p.lastAt, p.broken = m, time.Now(), false
		}
		if at < (p.open.k+1)*framesPerCell {
			return
		}
		p.open.sealed = time.Now()
		if p.ring = append(p.ring, p.open); len(p.ring) > ringSize {
			p.ring = p.ring[1:]
		}
		p.lastK, p.open = p.open.k, nil
	}
}

// follow counts the jumps of the source's clock up to a segment.
func (p *producer) follow(k int) {
	if n := p.cast.stretch(k); n != p.jumps {
		p.stretch, p.jumps = p.stretch+1, n
	}
}

// call is one Record call.
func (p *producer) call(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rpc, err := dvrv1.NewRecordingServiceClient(p.conn).Record(ctx)
	if err != nil {
		return
	}
	hello := &dvrv1.Hello{Stream: stream, Input: input, Priority: 1, Incarnation: p.incarnation, Kind: dvrv1.Kind_KIND_LIVE, Format: segment.Format}
	announced := uint64(0)
	for _, m := range p.ring {
		hello.Ring = append(hello.Ring, m.offer())
		announced = m.seq
	}
	if err := rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: hello}}); err != nil {
		return
	}
	inbox := make(chan *dvrv1.RecordResponse)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer close(inbox)
		for {
			m, err := rpc.Recv()
			if err != nil {
				return
			}
			select {
			case inbox <- m:
			case <-ctx.Done():
				return
			}
		}
	})
	s := &session{producer: p, rpc: rpc, announced: announced}
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-inbox:
			if !ok || !s.take(m) {
				return
			}
		case <-t.C:
		}
		p.receive()
		if s.welcome && !s.send() {
			return
		}
	}
}

// session is what one call knows.
type session struct {
	*producer
	rpc       grpc.BidiStreamingClient[dvrv1.RecordRequest, dvrv1.RecordResponse]
	welcome   bool
	announced uint64
	told      time.Time

	active bool
	live   uint64 // the segment that is streamed, or the next one
	sent   int    // messages of it
}

func (s *session) find(seq uint64) *made {
	for _, m := range s.ring {
		if m.seq == seq {
			return m
		}
	}
	return nil
}

func (s *session) take(m *dvrv1.RecordResponse) bool {
	switch m := m.GetMessage().(type) {
	case *dvrv1.RecordResponse_Welcome:
		s.welcome = true
	case *dvrv1.RecordResponse_Role:
		was := s.active
		s.active = m.Role.GetActive()
		s.switches++
		switch next := s.newest(); {
		case !s.active:
		case m.Role.GetFromSeq() > 0:
			s.live, s.sent = m.Role.GetFromSeq(), 0
		case m.Role.GetAfter() != nil:
			s.live, s.sent = next, 0
			for i := len(s.ring) - 1; i >= 0 && s.ring[i].follows(m.Role.GetAfter()); i-- {
				s.live = s.ring[i].seq
			}
		case !was:
			s.live, s.sent = next, 0
		}
	case *dvrv1.RecordResponse_Want:
		seq := m.Want.GetSeq()
		x := s.find(seq)
		if x == nil {
			return s.rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Withdraw{Withdraw: &dvrv1.Withdraw{Seq: seq, Reason: "GONE"}}}) == nil
		}
		if !s.active || seq < s.live {
			return s.whole(x)
		}
	case *dvrv1.RecordResponse_Release:
		if x := s.find(m.Release.GetSeq()); x != nil {
			if m.Release.GetDurable() {
				s.released(x)
			}
			for i := range s.ring {
				if s.ring[i] == x {
					s.ring = append(s.ring[:i:i], s.ring[i+1:]...)
					break
				}
			}
		}
	}
	return true
}

// follows reports whether a segment reaches beyond a place.
func (m *made) follows(at *dvrv1.Position) bool {
	if m.stretch != at.GetStretch() {
		return m.stretch > at.GetStretch()
	}
	return m.info.End > timeline.Ticks(at.GetStartTicks())
}

// newest is the number of the open segment, or of the next.
func (s *session) newest() uint64 {
	if s.open != nil {
		return s.open.seq
	}
	return s.seq + 1
}

func (s *session) whole(m *made) bool {
	for _, r := range append(append([]*dvrv1.RecordRequest{m.first()}, m.chunks...), m.seal()) {
		if s.rpc.Send(r) != nil {
			return false
		}
	}
	return true
}

// send sends what is due.
func (s *session) send() bool {
	if time.Since(s.told) >= 500*time.Millisecond {
		s.told = time.Now()
		until := time.Now()
		if s.deaf {
			until = s.gapless
		}
		head, k := s.cast.head(until)
		s.follow(k)
		p := &dvrv1.Progress{Stretch: s.stretch, HeadTicks: int64(head), Path: []string{siteName(s.site)}, Alive: !s.deaf, GaplessNanos: int64(time.Since(s.gapless))}
		if s.rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Progress{Progress: p}}) != nil {
			return false
		}
	}
	for _, m := range s.ring {
		if m.seq <= s.announced || s.active && m.seq >= s.live {
			continue
		}
		s.announced = m.seq
		if s.rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Offer{Offer: m.offer()}}) != nil {
			return false
		}
	}
	at := s.cast.at(time.Now())
	for s.active && s.live <= s.newest() {
		m := s.find(s.live)
		if m == nil && s.open != nil && s.open.seq == s.live {
			m = s.open
		}
		if m == nil {
			if s.live == s.newest() {
				return true
			}
			s.live, s.sent = s.live+1, 0
			continue
		}
		if s.sent == 0 {
			if s.rpc.Send(m.first()) != nil {
				return false
			}
			s.sent = 1
		}
		for ; s.sent <= len(m.chunks) && m.ends[s.sent-1] <= at; s.sent++ {
			if s.rpc.Send(m.chunks[s.sent-1]) != nil {
				return false
			}
		}
		if m == s.open {
			return true
		}
		if s.rpc.Send(m.seal()) != nil {
			return false
		}
		s.announced = max(s.announced, m.seq)
		s.live, s.sent = s.live+1, 0
	}
	return true
}
