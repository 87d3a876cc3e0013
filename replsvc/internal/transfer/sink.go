package transfer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/record"
)

const (
	// slowFor bounds how long one Slow holds media back when dvrsvc says nothing more.
	slowFor = time.Second
	// welcomeWithin bounds the wait for an answer to Hello.
	welcomeWithin = 5 * time.Second
	// durableWithin bounds the wait for Release: a dvrsvc that needs longer has lost the segment.
	durableWithin = time.Minute
)

// RefusedError is Release that is not durable.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "the recorder refused the segment: " + e.Reason }

// Unwrap gives the sentinel of the reason.
func (e *RefusedError) Unwrap() error { return rpcerr.Sentinel(e.Reason) }

// UnableError is that the recorder takes nothing now, whatever it is brought: it is away, starting, or full.
type UnableError struct{ Err error }

func (e *UnableError) Error() string { return "the recorder takes nothing: " + e.Err.Error() }

// Unwrap gives the cause.
func (e *UnableError) Unwrap() error { return e.Err }

func takesNothing(err error) bool {
	var unable *UnableError
	return errors.As(err, &unable)
}

// Sink is a backfill producer of one stream and peer. Its call is opened when there is something to bring. Safe for
// concurrent use; what is brought at once is sent segment by segment.
type Sink struct {
	stream, input string
	priority      func() uint32
	packaging     []byte
	rpc           dvrv1.RecordingServiceClient
	clk           clock.Clock

	sending sync.Mutex // held while a segment is sent

	mu          sync.Mutex // protects the fields below
	call        *sinkCall  // nil: there is none
	closed      bool
	seq         uint64
	incarnation uint64
	waiting     map[uint64]chan outcome
	slow        time.Duration // until
}

// sinkCall is one call of Record.
type sinkCall struct {
	grpc.BidiStreamingClient[dvrv1.RecordRequest, dvrv1.RecordResponse]
	cancel   context.CancelFunc
	welcomed chan struct{} // closed by Welcome
	ended    chan struct{} // closed after err is set
	err      error
}

type outcome struct {
	release *dvrv1.Release
	err     error
}

// NewSink makes a producer for a stream; input is the URL of the peer.
func NewSink(dvr grpc.ClientConnInterface, stream, input string, priority func() uint32, incarnation uint64, packaging []byte, clk clock.Clock) *Sink {
	return &Sink{
		stream: stream, input: input, priority: priority, incarnation: incarnation, packaging: packaging,
		rpc: dvrv1.NewRecordingServiceClient(dvr), clk: clk, waiting: map[uint64]chan outcome{},
	}
}

// Close ends the call, and no other is opened.
func (s *Sink) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.call != nil {
		s.call.cancel()
	}
}

// Open has a call ready: what is fetched can be brought. Errors: *UnableError.
func (s *Sink) Open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, welcomeWithin)
	defer cancel()
	s.mu.Lock()
	call, err := s.ready()
	s.mu.Unlock()
	if err == nil {
		select {
		case <-call.welcomed:
			return nil
		case <-call.ended:
			err = fmt.Errorf("open backfill call: %w", call.err)
		case <-ctx.Done():
			err = fmt.Errorf("open backfill call: %w", ctx.Err())
		}
	}
	return &UnableError{err}
}

// Put records a verified copy and waits until it is durable here, or contained in what is. sent, if not nil, is called when
// all of it was sent. Errors: *RefusedError, *UnableError.
func (s *Sink) Put(ctx context.Context, slot segment.Slot, d *m4fclient.Download, sent func()) error {
	seq, done, err := s.send(ctx, slot, d)
	if err == nil {
		if sent != nil {
			sent()
		}
		err = s.await(ctx, seq, done)
	}
	if err != nil {
		return fmt.Errorf("record segment %s: %w", d.Digest, err)
	}
	return nil
}

// Tell brings what a peer knows against bytes that are here, without the bytes, and waits until the smaller evidence is
// durable. info may come without path and chunk table. Errors: *RefusedError, *UnableError.
func (s *Sink) Tell(ctx context.Context, set segment.InitSet, info segment.Info) error {
	seq, done, err := s.offer(set, info)
	if err == nil {
		err = s.await(ctx, seq, done)
	}
	if err != nil {
		return fmt.Errorf("tell evidence of segment %s: %w", info.Digest, err)
	}
	return nil
}

// await waits for the answer to what was sent. Errors: *RefusedError, *UnableError.
func (s *Sink) await(ctx context.Context, seq uint64, done <-chan outcome) error {
	defer s.forget(seq)
	t := s.clk.NewTimer(durableWithin)
	defer t.Stop()
	select {
	case o := <-done:
		switch {
		case o.err != nil:
			return &UnableError{o.err}
		case o.release.GetDurable():
			return nil
		}
		refused := &RefusedError{Reason: o.release.GetReason()}
		if errors.Is(refused, errs.ErrFull) || errors.Is(refused, errs.ErrNotReady) {
			return &UnableError{refused}
		}
		return refused
	case <-t.C():
		return &UnableError{fmt.Errorf("it was not made durable within %s: %w", durableWithin, errs.ErrNotReady)}
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Sink) forget(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, seq)
}

// send sends one segment whole. Errors: *UnableError.
func (s *Sink) send(ctx context.Context, slot segment.Slot, d *m4fclient.Download) (uint64, <-chan outcome, error) {
	s.sending.Lock()
	defer s.sending.Unlock()
	call, seq, done, err := s.begin()
	if err != nil {
		return 0, nil, &UnableError{err}
	}
	key := segment.Key{Seq: seq, Start: d.Info.Start, InitSet: slot.InitSet, Slot: &slot}
	for _, m := range record.Messages(key, d) {
		if m.GetChunk() != nil {
			if err := s.easy(ctx); err != nil {
				return 0, nil, &UnableError{err}
			}
		}
		if call.SendMsg(record.Shared(m)) != nil {
			break // the receiving side tells why
		}
	}
	return seq, done, nil
}

// offer sends a segment without its bytes: dvrsvc finds its copy by the digest, whatever the slot. Errors: *UnableError.
func (s *Sink) offer(set segment.InitSet, info segment.Info) (uint64, <-chan outcome, error) {
	s.sending.Lock()
	defer s.sending.Unlock()
	call, seq, done, err := s.begin()
	if err != nil {
		return 0, nil, &UnableError{err}
	}
	_ = call.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Offer{Offer: &dvrv1.Offer{ // the receiving side tells why
		Key: segmentpb.Key(segment.Key{Seq: seq, Start: info.Start, InitSet: set}), Info: segmentpb.Info(info),
	}}})
	return seq, done, nil
}

// easy waits while dvrsvc wants less.
func (s *Sink) easy(ctx context.Context) error {
	s.mu.Lock()
	wait := s.slow - s.clk.Mono()
	s.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	t := s.clk.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin gives the call and a number on it.
func (s *Sink) begin() (*sinkCall, uint64, <-chan outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	call, err := s.ready()
	if err != nil {
		return nil, 0, nil, err
	}
	s.seq++
	done := make(chan outcome, 1)
	s.waiting[s.seq] = done
	return call, s.seq, done, nil
}

// ready gives the call, and opens it where there is none. s.mu is held.
func (s *Sink) ready() (*sinkCall, error) {
	switch {
	case s.call != nil:
		return s.call, nil
	case s.closed: // what is still on its way comes over the link that takes its place, if any
		return nil, fmt.Errorf("open backfill call: the input of %s has ended: %w", s.stream, errs.ErrNotReady)
	}
	ctx, cancel := context.WithCancel(context.Background()) // the call outlives the fetch that opens it
	rpc, err := s.rpc.Record(ctx)
	if err == nil {
		err = rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: &dvrv1.Hello{
			Stream: s.stream, Input: s.input, Priority: s.priority(), Incarnation: s.incarnation,
			Kind: dvrv1.Kind_KIND_BACKFILL, Format: segment.Format, PackagingHash: s.packaging,
		}}})
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open backfill call: %w", rpcerr.FromStatus(err))
	}
	s.call = &sinkCall{BidiStreamingClient: rpc, cancel: cancel, welcomed: make(chan struct{}), ended: make(chan struct{})}
	go s.receive(s.call)
	return s.call, nil
}

// receive hands out releases until the call ends.
func (s *Sink) receive(call *sinkCall) {
	defer call.cancel()
	welcome := sync.OnceFunc(func() { close(call.welcomed) })
	for {
		m, err := call.Recv()
		s.mu.Lock()
		if err != nil {
			call.err = rpcerr.FromStatus(err)
			close(call.ended)
			for _, done := range s.waiting {
				done <- outcome{err: call.err}
			}
			clear(s.waiting)
			s.call = nil
			s.mu.Unlock()
			return
		}
		s.slow = 0
		switch m := m.GetMessage().(type) {
		case *dvrv1.RecordResponse_Welcome:
			welcome()
		case *dvrv1.RecordResponse_Slow:
			s.slow = s.clk.Mono() + slowFor
		case *dvrv1.RecordResponse_Release:
			if done := s.waiting[m.Release.GetSeq()]; done != nil {
				delete(s.waiting, m.Release.GetSeq())
				done <- outcome{release: m.Release}
			}
		}
		s.mu.Unlock()
	}
}
