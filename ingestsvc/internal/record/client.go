package record

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/ingestsvc/internal/ring"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	progressEvery = 500 * time.Millisecond
	// slowFor bounds how long one Slow holds media back when dvrsvc says nothing more.
	slowFor = time.Second
	// inboxSize messages may wait for the sending side; then the receiver waits with the next.
	inboxSize = 64

	// Fields of RecordRequest and of Chunk.
	chunkField, dataField = 4, 15
	// Retries start fast, since a dvrsvc that was restarted is back within a second.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Config names the producer.
type Config struct {
	Stream        string
	Input         string // URL in canonical form
	Priority      uint32
	Incarnation   uint64
	Node          string
	PackagingHash segment.Digest
}

// Progress is how far the media of the input has come.
type Progress struct {
	Run     uint32
	Stretch uint32
	Head    timeline.Ticks // T of the newest access unit of the reference track
	Age     time.Duration  // since it arrived
	Alive   bool
	Gapless time.Duration // of media without loss up to the head
	Fault   string        // why the input should be left although its media moves
}

// Source is the input that the client speaks for. Its methods are called by the client's goroutines.
type Source interface {
	// Progress is asked for each 500 ms.
	Progress() Progress
	// Role is told at each decision of dvrsvc. The loss of the call is no decision: the input goes on as it was.
	Role(active bool)
}

// State is what the client shows.
type State struct {
	Connected bool
	Reached   bool // it was connected once
	Active    bool
	Problem   string // why it is not connected, or empty
}

// Client brings one ring to dvrsvc.
type Client struct {
	cfg   Config
	rpc   dvrv1.RecordingServiceClient
	ring  *ring.Ring
	src   Source
	clock clock.Clock
	log   *slog.Logger

	mu     sync.Mutex // protects the fields below
	state  State
	redial context.CancelFunc // of the current call, or nil
}

// New returns a client that does nothing until Run.
func New(cfg Config, conn grpc.ClientConnInterface, r *ring.Ring, src Source, clk clock.Clock, log *slog.Logger) *Client {
	return &Client{
		cfg: cfg, rpc: dvrv1.NewRecordingServiceClient(conn), ring: r, src: src, clock: clk, log: log,
		state: State{Problem: "not connected to dvrsvc yet"},
	}
}

// State returns what the client shows.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *Client) setState(s State) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Reached = s.Connected || c.state.Reached
	changed = c.state != s
	c.state = s
	return changed
}

// SetPriority changes the priority of the input: dvrsvc learns of it by a new call, at once.
func (c *Client) SetPriority(priority uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.Priority == priority {
		return
	}
	c.cfg.Priority = priority
	if c.redial != nil {
		c.redial()
	}
}

// Redial makes the call anew, at once: another dvrsvc records the stream.
func (c *Client) Redial() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.redial != nil {
		c.redial()
	}
}

// errRedial ends a call that is to be made anew at once.
var errRedial = errors.New("the call is made anew")

// Run makes one call after the other until ctx is done.
func (c *Client) Run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		err := c.call(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRedial) {
			continue
		}
		if c.State().Connected {
			retry = firstRetry
		}
		if c.setState(State{Problem: err.Error()}) {
			c.log.Warn("recording interrupted", "error", err)
		}
		wait(ctx, c.clock, retry/2+rand.N(retry))
		retry = min(2*retry, lastRetry)
	}
}

func wait(ctx context.Context, clk clock.Clock, d time.Duration) {
	t := clk.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C():
	}
}

// call carries one Record call to its end.
func (c *Client) call(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	cfg := c.cfg
	c.redial = func() { cancel(errRedial) }
	c.mu.Unlock()
	stream, err := c.rpc.Record(ctx)
	if err != nil {
		return fmt.Errorf("call dvrsvc: %w", err)
	}
	s, held := newSession(c.ring)
	hello, announced := c.helloMessage(cfg, held)
	s.announced = announced
	if err := stream.Send(hello); err != nil {
		return fmt.Errorf("send hello: %w", cause(stream, err))
	}

	inbox := make(chan *dvrv1.RecordResponse, inboxSize)
	failed := make(chan error, 1)
	go func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case inbox <- m:
			case <-ctx.Done():
				failed <- ctx.Err()
				return
			}
		}
	}()
	err = c.serve(ctx, stream, s, inbox, failed)
	if errors.Is(context.Cause(ctx), errRedial) {
		return errRedial
	}
	return err
}

// cause returns the status behind the io.EOF that Send gives when the call has ended.
func cause(stream grpc.BidiStreamingClient[dvrv1.RecordRequest, dvrv1.RecordResponse], err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

// ended returns why the call has ended. The receiver comes to that only behind what it has for the inbox; dvrsvc says it
// anew in the next call.
func ended(inbox <-chan *dvrv1.RecordResponse, failed <-chan error) error {
	for {
		select {
		case <-inbox:
		case err := <-failed:
			return err
		}
	}
}

// serve is the sending side of one call.
func (c *Client) serve(
	ctx context.Context, stream grpc.BidiStreamingClient[dvrv1.RecordRequest, dvrv1.RecordResponse],
	s *session, inbox <-chan *dvrv1.RecordResponse, failed <-chan error,
) error {
	tick := clock.NewGrid(c.clock, progressEvery)
	defer tick.Stop()
	send := func(m *dvrv1.RecordRequest) error {
		var out any = m
		if m.GetChunk() != nil {
			out = grpcx.Shared(m, chunkField, dataField) // the ring's bytes go to the connection as they are
		}
		if err := stream.SendMsg(out); err != nil {
			if errors.Is(err, io.EOF) {
				err = ended(inbox, failed)
			}
			return fmt.Errorf("send to dvrsvc: %w", err)
		}
		return nil
	}
	progress := true
	for {
		// Whatever came in is taken before the next thing goes out: a release may make it needless.
		for len(inbox) > 0 {
			c.take(<-inbox, s)
		}
		select {
		case <-tick.C():
			tick.Next()
			progress = true
		default:
		}
		if s.welcome && progress {
			progress = false
			if err := send(c.progressMessage(c.src.Progress())); err != nil {
				return err
			}
		}
		if s.welcome {
			if m, ok := s.next(c.clock.Mono() >= s.slowUntil); ok {
				for _, req := range c.requests(m) {
					if err := send(req); err != nil {
						return err
					}
				}
				continue
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return fmt.Errorf("receive from dvrsvc: %w", err)
		case m := <-inbox:
			c.take(m, s)
		case <-tick.C():
			tick.Next()
			progress = true
		case <-c.ring.Notify():
		}
	}
}

// take handles one message of dvrsvc.
func (c *Client) take(m *dvrv1.RecordResponse, s *session) {
	switch m := m.GetMessage().(type) {
	case *dvrv1.RecordResponse_Welcome:
		s.welcome = true
		if c.setState(State{Connected: true}) {
			c.log.Info("recording", "dvr_node", m.Welcome.GetNode())
		}
	case *dvrv1.RecordResponse_Role:
		if r := toRole(m.Role); s.role(r) {
			if c.setState(State{Connected: true, Active: r.active}) {
				c.log.Info("role changed", "active", r.active, "epoch", r.epoch, "from_seq", s.live.Seq)
			}
			c.src.Role(r.active)
		}
	case *dvrv1.RecordResponse_Want:
		s.want(m.Want.GetSeq())
	case *dvrv1.RecordResponse_Release:
		if !m.Release.GetDurable() {
			c.log.Warn("segment refused", "seq", m.Release.GetSeq(), "reason", m.Release.GetReason())
		}
		s.release(m.Release.GetSeq())
	case *dvrv1.RecordResponse_Slow:
		s.slowUntil = c.clock.Mono() + slowFor
	}
}
