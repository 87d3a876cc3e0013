package m4fclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
)

const (
	redialFirst   = 250 * time.Millisecond
	redialMax     = 2 * time.Second
	redialRefused = 10 * time.Second
	helloTimeout  = 5 * time.Second
	storePoll     = 50 * time.Millisecond
)

// Conn is a connection that can be closed.
type Conn interface {
	grpc.ClientConnInterface
	Close() error
}

// Config says who calls whom.
type Config struct {
	Addr    string // HOST:PORT of the peer
	Archive string // HOST:PORT of it for what is fetched from its archive; empty: Addr
	Node    string // our own id
	Key     func() auth.Key
	StoreID func() string // of our own store, raw bytes; empty while it is not known
	// Stores reports whether there is to be a store of our own, so that it is waited for; nil: there is.
	Stores func() bool
	Dial   func(addr string) (Conn, error)
	Clock  clock.Clock
	Log    *slog.Logger
}

// Status is how it stands with a peer.
type Status struct {
	State   string // connecting, connected, refused
	Problem string // the last error, empty when connected
	Node    string // the peer's id, once known
	Offset  time.Duration
}

// The states of a peer.
const (
	Connecting = "connecting"
	Connected  = "connected"
	RefusedUs  = "refused"
)

// Peer keeps a session with one peer.
type Peer struct {
	cfg Config

	mu      sync.Mutex // protects the fields below
	session *Session
	changed chan struct{} // closed when session changes
	status  Status
}

// NewPeer makes a peer; Run connects it.
func NewPeer(cfg Config) *Peer {
	return &Peer{cfg: cfg, changed: make(chan struct{}), status: Status{State: Connecting}}
}

// Status is how it stands now.
func (p *Peer) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil {
		p.status.Offset = p.session.Offset()
	}
	return p.status
}

// Now is what the peer's wall clock shows, as Session.Now; false: there is no session.
func (p *Peer) Now() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil {
		return time.Time{}, false
	}
	return p.session.Now(), true
}

// Session returns the session, or waits for one.
func (p *Peer) Session(ctx context.Context) (*Session, error) {
	for {
		p.mu.Lock()
		s, changed := p.session, p.changed
		p.mu.Unlock()
		if s != nil && s.ctx.Err() == nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Run keeps a session open until ctx ends.
func (p *Peer) Run(ctx context.Context) {
	delay, lastProblem := redialFirst, ""
	if !p.awaitStore(ctx) {
		return
	}
	for {
		s, err := connect(ctx, p.cfg)
		if err == nil {
			delay, lastProblem = redialFirst, ""
			p.cfg.Log.Info("peer connected", "peer", p.cfg.Addr, "peer_node", s.Node, "clock_offset", s.Offset())
			p.set(s, Status{State: Connected, Node: s.Node})
			<-s.ctx.Done()
			s.Close()
			err = context.Cause(s.ctx)
		}
		if ctx.Err() != nil {
			p.set(nil, p.Status())
			return
		}
		state, wait := Connecting, jitter(delay)
		if refused(err) {
			state, wait = RefusedUs, jitter(redialRefused)
		}
		delay = min(2*delay, redialMax)
		if problem := err.Error(); problem != lastProblem {
			p.cfg.Log.Warn("peer not connected", "peer", p.cfg.Addr, "state", state, "err", err)
			lastProblem = problem
		}
		st := p.Status()
		p.set(nil, Status{State: state, Problem: err.Error(), Node: st.Node, Offset: st.Offset})
		t := p.cfg.Clock.NewTimer(wait)
		select {
		case <-t.C():
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// awaitStore waits until our own store is known: a peer that is told none cannot tell us from another node of our name,
// and without a dvrsvc there is nothing that could be done with a session. A site without streams has no store, and has to ask its
// sources for some.
func (p *Peer) awaitStore(ctx context.Context) bool {
	t := p.cfg.Clock.NewTicker(storePoll)
	defer t.Stop()
	for p.cfg.StoreID() == "" && (p.cfg.Stores == nil || p.cfg.Stores()) {
		p.set(nil, Status{State: Connecting, Problem: "the store of dvrsvc is not known yet"})
		select {
		case <-t.C():
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// refused reports whether trying again soon is of no use.
func refused(err error) bool {
	for _, e := range []error{errs.ErrBadKey, errs.ErrOwnID, errs.ErrNodeConflict, errs.ErrNoCommonVersion} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// jitter spreads d over [d/2, 3d/2), so that peers that fell together do not rise together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

func (p *Peer) set(s *Session, st Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session, p.status = s, st
	close(p.changed)
	p.changed = make(chan struct{})
}

// Connect opens a session once, for a comparison with a peer that is not configured. Close it.
func Connect(ctx context.Context, cfg Config) (*Session, error) { return connect(ctx, cfg) }

func connect(ctx context.Context, cfg Config) (*Session, error) {
	s := &Session{cfg: cfg, terms: map[string]agreed{}}
	for _, c := range []*Conn{&s.conns.control, &s.conns.live, &s.conns.backfill} {
		addr := cfg.Addr
		if c == &s.conns.backfill {
			addr = cmp.Or(cfg.Archive, addr)
		}
		cc, err := cfg.Dial(addr)
		if err != nil {
			s.closeConns()
			return nil, fmt.Errorf("dial peer %s: %w: %w", addr, errs.ErrPeerUnreachable, err)
		}
		*c = cc
	}
	hello, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	if err := s.hello(hello); err != nil {
		s.closeConns()
		return nil, fmt.Errorf("say hello to peer %s: %w", cfg.Addr, err)
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s, nil
}
