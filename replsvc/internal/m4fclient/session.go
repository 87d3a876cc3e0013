package m4fclient

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// Version is the protocol version that this program speaks.
const Version = 1

// termsFor is how long what a peer said of a stream holds.
const termsFor = time.Minute

// callTimeout is for calls with one small answer: a peer that needs longer is as good as gone.
const callTimeout = 15 * time.Second

// Session is an open connection to a peer that let us in.
type Session struct {
	Node    string
	StoreID string // raw bytes

	cfg    Config
	conns  struct{ control, live, backfill Conn }
	creds  auth.Credentials
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu     sync.Mutex // protects the fields below
	terms  map[string]agreed
	offset time.Duration
	theirs time.Time     // what the peer's wall clock showed when our monotonic one showed at
	at     time.Duration // see theirs
	limit  uint64
}

// agreed is what a peer said of a stream, and when.
type agreed struct {
	terms Terms
	at    time.Duration
}

var _ inventory.Archive = (*Session)(nil)

// Offset is the peer's wall clock less ours, as it was measured last.
func (s *Session) Offset() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offset
}

// Now is what the peer's wall clock shows, as it was measured last: a leap of ours since does not move it.
func (s *Session) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.theirs.Add(s.cfg.Clock.Mono() - s.at)
}

// Limit is bits a second that the peer grants for backfill, as it was told last; 0: no limit.
func (s *Session) Limit() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit
}

// told takes what a head says of the limit, which may have changed since Hello.
func (s *Session) told(m *m4fv1.FetchResponse) {
	if m.LimitBitsPerSecond == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = m.GetLimitBitsPerSecond()
}

// Context ends when the session has failed or was closed; its cause says why.
func (s *Session) Context() context.Context { return s.ctx }

// Fail ends the session for all who use it, and has the peer dialled again.
func (s *Session) Fail(err error) { s.cancel(err) }

// Close ends the session and its connections.
func (s *Session) Close() {
	s.cancel(context.Canceled)
	s.closeConns()
}

func (s *Session) closeConns() {
	for _, c := range []Conn{s.conns.control, s.conns.live, s.conns.backfill} {
		if c != nil {
			_ = c.Close() // nothing is lost: what was not received is asked for again
		}
	}
}

// check fails the session when err says that it is dead, and returns err.
func (s *Session) check(err error) error {
	switch {
	case err == nil, s.ctx.Err() != nil:
	case errors.Is(err, errs.ErrNoSession), refused(err), gone(err):
		s.Fail(err)
	}
	return err
}

// gone reports whether an error is that of a connection.
func gone(err error) bool {
	return status.Code(err) == codes.Unavailable && !errors.Is(err, errs.ErrNotReady)
}

// hello opens the session: in two rounds where the peer has a key.
func (s *Session) hello(ctx context.Context) error {
	s.creds = auth.Credentials{Key: s.cfg.Key(), From: s.cfg.Node}
	welcome, err := s.greet(ctx, nil)
	if err != nil {
		return err
	}
	if len(welcome.GetSession()) == 0 {
		return fmt.Errorf("it gave no session: %w", errs.ErrNoSession)
	}
	s.Node, s.StoreID = welcome.GetNode(), string(welcome.GetStoreId())
	s.creds.To, s.creds.Session, s.creds.Nonce, s.creds.Challenge = s.Node, welcome.GetSession(), nil, nil
	return nil
}

// greet says Hello about some streams and returns the Welcome. It measures the clock on the round that was answered.
func (s *Session) greet(ctx context.Context, streams []*m4fv1.StreamTerms) (*m4fv1.HelloResponse, error) {
	creds := auth.Credentials{Key: s.cfg.Key(), From: s.cfg.Node, Challenge: make([]byte, 16)}
	rand.Read(creds.Challenge)
	for range 2 {
		sent, began := s.cfg.Clock.Now(), s.cfg.Clock.Mono()
		var header metadata.MD
		m, err := m4fv1.NewM4FServiceClient(creds.Conn(s.conns.control)).Hello(ctx, &m4fv1.HelloRequest{
			Versions: []uint32{Version}, Node: s.cfg.Node, StoreId: []byte(s.cfg.StoreID()),
			UtcNanos: sent.UnixNano(), Streams: streams,
		}, grpc.Header(&header))
		if err != nil {
			return nil, err
		}
		took := s.cfg.Clock.Mono() - began
		if m.GetNode() == s.cfg.Node {
			return nil, fmt.Errorf("the peer is node %q as we are: %w", m.GetNode(), errs.ErrOwnID)
		}
		if nonce := m.GetNonce(); len(nonce) > 0 {
			if creds.Key.IsZero() {
				return nil, fmt.Errorf("the peer wants a cluster key and none is configured here: %w", errs.ErrBadKey)
			}
			creds.To, creds.Nonce = m.GetNode(), bytes.Clone(nonce)
			continue
		}
		if m.GetVersion() != Version {
			return nil, fmt.Errorf("the peer chose version %d: %w", m.GetVersion(), errs.ErrNoCommonVersion)
		}
		if !creds.Key.IsZero() {
			var proof []byte
			if v := header.Get(auth.MDWelcome); len(v) > 0 {
				proof = []byte(v[0])
			}
			if err := creds.Key.CheckWelcome(m.GetNode(), s.cfg.Node, creds.Challenge, m.GetSession(), proof); err != nil {
				return nil, fmt.Errorf("the peer does not prove the cluster key: %w", err)
			}
		}
		s.mu.Lock()
		s.offset = time.Unix(0, m.GetUtcNanos()).Sub(sent.Add(took / 2))
		s.theirs, s.at = time.Unix(0, m.GetUtcNanos()), began+took/2
		s.limit = m.GetLimitBitsPerSecond()
		s.mu.Unlock()
		return m, nil
	}
	return nil, fmt.Errorf("the peer asked for a proof twice: %w", errs.ErrBadKey)
}

// Terms is what a peer says of a stream.
type Terms struct {
	Format    uint32
	Packaging string // raw bytes of the hash
	Retention time.Duration
	Withheld  bool // it gives no media of it
}

// Packages reports whether the peer makes the same segments of the same source as a node with this packaging.
func (t Terms) Packages(packaging []byte) bool {
	return t.Format == segment.Format && t.Packaging == string(packaging)
}

// Terms asks how the peer has a stream. Errors: errs.ErrStreamUnknown.
func (s *Session) Terms(ctx context.Context, stream string) (Terms, error) {
	now := s.cfg.Clock.Mono()
	s.mu.Lock()
	known, ok := s.terms[stream]
	s.mu.Unlock()
	if ok && now-known.at < termsFor {
		return known.terms, nil
	}
	terms, err := s.askTerms(ctx, stream)
	if err != nil {
		return Terms{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.terms[stream] = agreed{terms, now}
	return terms, nil
}

func (s *Session) askTerms(ctx context.Context, stream string) (Terms, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	// The session that it opens is forgotten at once: sessions are cheap and the terms of one stream must not disturb the
	// others.
	m, err := s.greet(ctx, []*m4fv1.StreamTerms{{Stream: stream}})
	if err != nil {
		return Terms{}, s.check(fmt.Errorf("ask terms of %s: %w", stream, err))
	}
	for _, t := range m.GetStreams() {
		if t.GetStream() == stream {
			return Terms{
				Format: t.GetFormat(), Packaging: string(t.GetPackagingHash()), Retention: time.Duration(t.GetRetentionNanos()), Withheld: t.GetWithheld(),
			}, nil
		}
	}
	return Terms{}, fmt.Errorf("ask terms of %s: %w", stream, errs.ErrStreamUnknown)
}

// Measure has the peer's clock read anew: it may have been set since Hello, or ours.
func (s *Session) Measure(ctx context.Context) error {
	ctx, cancel := s.call(ctx)
	defer cancel()
	if _, err := s.greet(ctx, nil); err != nil {
		return s.check(fmt.Errorf("ask peer %s for the time: %w", s.Node, err))
	}
	return nil
}

// call bounds a call by the session and the timeout.
func (s *Session) call(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

func (s *Session) over(c Conn) m4fv1.M4FServiceClient {
	return m4fv1.NewM4FServiceClient(s.creds.Conn(c))
}

// Offered is what a peer has for one that takes all of it.
type Offered struct {
	Version []byte
	Streams []streamconf.Found // as it says, and itself behind each; nil where nothing has changed since known
}

// Streams asks for all streams of the peer. What it says is not checked but for its length.
func (s *Session) Streams(ctx context.Context, known []byte) (o Offered, unchanged bool, err error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	m, err := s.over(s.conns.control).Streams(ctx, &m4fv1.StreamsRequest{KnownVersion: known})
	if err != nil {
		return o, false, s.check(fmt.Errorf("list streams of peer %s: %w", s.Node, err))
	}
	o.Version = bytes.Clone(m.GetVersion())
	for _, x := range m.GetStreams() {
		o.Streams = append(o.Streams, streamconf.Found{Name: x.GetName(), Via: append(slices.Clone(x.GetVia()), s.Node)})
	}
	return o, m.GetUnchanged(), nil
}

// Rows implements inventory.Archive.
func (s *Session) Rows(ctx context.Context, stream string) (inventory.Rows, error) {
	return s.rows(ctx, &m4fv1.TimelinesRequest{Stream: stream, WithoutSamples: true})
}

// Sampled implements inventory.Archive.
func (s *Session) Sampled(ctx context.Context, stream string) (inventory.Rows, error) {
	return s.rows(ctx, &m4fv1.TimelinesRequest{Stream: stream})
}

func (s *Session) rows(ctx context.Context, of *m4fv1.TimelinesRequest) (inventory.Rows, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	m, err := s.over(s.conns.control).Timelines(ctx, of)
	if err != nil {
		return inventory.Rows{}, s.check(fmt.Errorf("list timelines of %s on peer %s: %w", of.GetStream(), s.Node, err))
	}
	rows, err := inventory.FromTimelines(m.GetTimelines())
	return inventory.Rows{
		StoreID: string(m.GetStoreId()), Rows: rows, LowWater: time.Unix(0, m.GetLowWaterNanos()).UTC(), Deleted: inventory.ToSpans(m.GetDeleted()),
	}, err
}

// Digests implements inventory.Archive.
func (s *Session) Digests(ctx context.Context, stream string, row segment.TimelineID, from, to int64) ([]inventory.Block, error) {
	ctx, cancel := s.call(ctx)
	defer cancel()
	m, err := s.over(s.conns.control).Digests(ctx, &m4fv1.DigestsRequest{
		Stream: stream, Timeline: row[:], FromBlock: from, ToBlock: to,
	})
	if err != nil {
		return nil, s.check(fmt.Errorf("get digests of %s on peer %s: %w", stream, s.Node, err))
	}
	return inventory.FromBlocks(m.GetBlocks(), from, to)
}

// Slots implements inventory.Archive.
func (s *Session) Slots(ctx context.Context, stream string, row segment.TimelineID, from, to int64) ([]inventory.Slot, error) {
	return inventory.InParts(from, to, func(from, to int64) ([]inventory.Slot, error) {
		ctx, cancel := s.call(ctx)
		defer cancel()
		m, err := s.over(s.conns.control).Slots(ctx, &m4fv1.SlotsRequest{
			Stream: stream, Timeline: row[:], FromBlock: from, ToBlock: to,
		})
		if err != nil {
			return nil, s.check(fmt.Errorf("list slots of %s on peer %s: %w", stream, s.Node, err))
		}
		return inventory.FromSlots(m.GetSlots(), row, from, to)
	})
}
