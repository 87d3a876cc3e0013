package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

// event is what came of a subscription: its beginning (with the peer's store), a message, or its end.
type event struct {
	msg   *m4fv1.SubscribeResponse
	err   error
	store string
}

// subscription keeps a subscription open. It always begins with offers; the relay asks for more when it is active.
type subscription struct {
	cfg      *Config
	in       chan event
	wantFull chan bool // wishes in order: offers and then everything again makes the open segment begin again
	differs  atomic.Bool
	withheld atomic.Bool  // the peer gives no media of the stream
	heard    atomic.Int64 // when the peer said anything last, whether or not the relay has taken it
}

// lastHeard is when the peer said anything last.
func (s *subscription) lastHeard() time.Duration { return time.Duration(s.heard.Load()) }

// degraded reports whether the peer packages the stream in another way.
func (s *subscription) degraded() bool { return s.differs.Load() }

// setFull asks for another mode.
func (s *subscription) setFull(full bool) {
	select {
	case s.wantFull <- full:
	default: // a peer that does not even take wishes is about to be dialled again
	}
}

// forgetWishes drops those that were for an earlier subscription.
func (s *subscription) forgetWishes() {
	for {
		select {
		case <-s.wantFull:
		default:
			return
		}
	}
}

func (s *subscription) run(ctx context.Context) {
	delay, last := retryFirst, ""
	for ctx.Err() == nil {
		session, err := s.cfg.Peer.Session(ctx)
		if err != nil {
			return
		}
		began := s.cfg.Clock.Mono()
		err = s.follow(ctx, session)
		if ctx.Err() != nil {
			return
		}
		if s.cfg.Clock.Mono()-began > retryMax {
			delay, last = retryFirst, ""
		}
		if msg := err.Error(); msg != last && !quiet(err) {
			s.cfg.Log.Warn("live subscription ended", "input", s.cfg.Input, "peer_node", session.Node, "err", err)
			last = msg
		}
		if delay, err = retry(ctx, s.cfg.Clock, delay); err != nil {
			return
		}
	}
}

// follow is one subscription.
func (s *subscription) follow(ctx context.Context, session *m4fclient.Session) (err error) {
	terms, err := session.Terms(ctx, s.cfg.PeerStream)
	if err != nil {
		return err
	}
	differs := !terms.Packages(s.cfg.Packaging)
	s.differs.Store(differs)
	if differs {
		s.cfg.Log.Error("peer packages the stream in another way", "input", s.cfg.Input, "peer_node", session.Node,
			"format", terms.Format)
		select {
		case <-session.Context().Done():
		case <-ctx.Done():
		}
		return fmt.Errorf("follow %s: %w", s.cfg.PeerStream, errs.ErrFormat)
	}
	s.withheld.Store(terms.Withheld)
	if terms.Withheld {
		s.cfg.Log.Info("peer gives no media of the stream", "input", s.cfg.Input, "peer_node", session.Node)
		return s.awaitMedia(ctx, session)
	}
	relay := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(session.Context(), cancel)()
	rows, err := session.Rows(ctx, s.cfg.PeerStream)
	if err != nil {
		return err
	}
	sub, err := session.Subscribe(ctx, s.cfg.PeerStream, nil, false)
	if err != nil {
		return err
	}
	s.forgetWishes()
	if !s.tell(ctx, event{store: rows.StoreID}) {
		return ctx.Err()
	}
	defer func() { s.tell(relay, event{err: err}) }()
	go func() {
		for {
			select {
			case full := <-s.wantFull:
				if sub.SetMode(full) != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return s.carry(ctx, sub, func() error { // the store may have been replaced before the feed began; after that the feed ends with the store
		now, err := session.Rows(ctx, s.cfg.PeerStream)
		if err == nil && now.StoreID != rows.StoreID {
			err = fmt.Errorf("follow %s: the peer is on another store: %w", s.cfg.PeerStream, errs.ErrNotReady)
		}
		return err
	}, session.Fail)
}

// askAgain is how often a peer that gives no media of the stream is asked whether it does by now.
const askAgain = 30 * time.Second

// awaitMedia waits until the peer gives media of the stream.
func (s *subscription) awaitMedia(ctx context.Context, session *m4fclient.Session) error {
	t := s.cfg.Clock.NewTicker(askAgain)
	defer t.Stop()
	for {
		select {
		case <-t.C():
		case <-session.Context().Done():
			return context.Cause(session.Context())
		case <-ctx.Done():
			return ctx.Err()
		}
		terms, err := session.Terms(ctx, s.cfg.PeerStream)
		if err != nil {
			return err
		}
		if !terms.Withheld {
			return fmt.Errorf("follow %s: it gives media by now: %w", s.cfg.PeerStream, errs.ErrNotReady)
		}
	}
}

const (
	// maxQueued and maxQueuedBytes bound what waits for a relay that waits for dvrsvc: some ten seconds of media.
	maxQueued      = 1024
	maxQueuedBytes = 16 << 20
)

// errBehind ends a subscription of which more waits than is kept. The next one begins anew: the rest is backfill.
var errBehind = errors.New("the recorder does not keep up with the live feed")

// source is what comes from the peer.
type source interface {
	Recv() (*m4fv1.SubscribeResponse, error)
	Close()
}

var _ source = (*m4fclient.Subscription)(nil)

// carry hands over what comes from the peer until that ends; nothing if sure fails, which is asked when the first has come. It receives
// ahead of the relay, so that a dvrsvc that is slow does not make the peer look dead.
func (s *subscription) carry(ctx context.Context, from source, sure func() error, fail func(error)) error {
	receiving, stop := context.WithCancel(ctx)
	heard := make(chan struct{}, 1)
	go s.watch(receiving, heard, fail)
	queue, bytes := make(chan *m4fv1.SubscribeResponse, maxQueued), atomic.Int64{}
	var ended error // of receiving, once the queue is closed
	go func() {
		defer close(queue)
		defer from.Close() // nothing of it may fill the connection that others share
		defer stop()
		for {
			m, err := from.Recv()
			if err != nil {
				ended = err
				return
			}
			s.heard.Store(int64(s.cfg.Clock.Mono()))
			select {
			case heard <- struct{}{}:
			default:
			}
			if bytes.Add(size(m)) > maxQueuedBytes || len(queue) == maxQueued {
				ended = errBehind
				return
			}
			queue <- m
		}
	}()
	asked := false
	for m := range queue {
		if !asked {
			if err := sure(); err != nil {
				return err
			}
			asked = true
		}
		if !s.tell(ctx, event{msg: m}) {
			return context.Cause(ctx)
		}
		bytes.Add(-size(m))
	}
	if errors.Is(ended, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return ended
}

func size(m *m4fv1.SubscribeResponse) int64 { return int64(len(m.GetChunk().GetData())) }

// tell hands over to the relay.
func (s *subscription) tell(ctx context.Context, e event) bool {
	select {
	case s.in <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// watch fails the session when nothing was heard for three beats, whatever its connection says: a peer that vanished
// without a word leaves a connection that looks well for minutes.
func (s *subscription) watch(ctx context.Context, heard <-chan struct{}, fail func(error)) {
	t := s.cfg.Clock.NewTimer(beatsLost)
	defer t.Stop()
	for {
		select {
		case <-heard:
			t.Reset(beatsLost)
		case <-t.C():
			fail(fmt.Errorf("nothing was heard for %s: %w", beatsLost.Round(time.Second), errs.ErrPeerUnreachable))
			return
		case <-ctx.Done():
			return
		}
	}
}
