package m4fserver

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	"github.com/twinreel/twinreel/replsvc/internal/limit"
)

// version is the protocol version that this program speaks.
const version = 1

const (
	// lingers is how long a peer counts as connected after its last call, without a subscription.
	lingers = 3 * time.Second
	// maxFetches is how many fetches run at once; busyFor is when others may ask again.
	maxFetches = 16
	busyFor    = 250 * time.Millisecond
	// refusalEvery is how often a refused node is logged at most.
	refusalEvery = time.Minute
	maxRefusals  = 64
	// maxPresent bounds the nodes that are remembered, of which most are gone.
	maxPresent = 1024
	// maxBlocks bounds a request for slots; maxDigestBlocks one for digests (30 years).
	maxBlocks       = 8
	maxDigestBlocks = 1 << 19
)

// Terms is how this node has a stream.
type Terms struct {
	Packaging []byte
	Retention time.Duration
	Withheld  bool // it is given to nobody
	// Reads tells which nodes may know of it; nil: each. A caller with a certificate has to be named in it too.
	Reads func(node string) bool
}

// hidden reports whether the caller may not know of the stream.
func (t *Terms) hidden(ctx context.Context) bool {
	node := auth.FromContext(ctx).Node
	return t.Reads != nil && !(t.Reads(node) && names(ctx, node))
}

// names reports whether the certificate with which a call came names a node; without one each is who it says it is.
func names(ctx context.Context, node string) bool {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return true
	}
	tls, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(tls.State.VerifiedChains) == 0 {
		return true
	}
	leaf := tls.State.VerifiedChains[0][0]
	return leaf.Subject.CommonName == node || slices.Contains(leaf.DNSNames, node)
}

// Offered is a stream that a peer may take.
type Offered struct {
	Name string
	Via  []string // nodes over which we have it from one of which we take everything
}

// Config is what a Server needs.
type Config struct {
	Node    string
	StoreID func() string // raw bytes; empty while it is not known
	Key     func() auth.Key
	Terms   func(stream string) (Terms, bool)
	Streams func() ([]Offered, bool) // by name; false: not known yet
	Limit   func() uint64            // bits a second for backfill now, of all peers together; 0: no limit
	DVR     grpc.ClientConnInterface
	Clock   clock.Clock
	Log     *slog.Logger
}

// Server implements M4FService. Safe for concurrent use.
type Server struct {
	m4fv1.UnimplementedM4FServiceServer
	cfg      Config
	gate     *auth.Gate
	index    dvrv1.IndexServiceClient
	segments dvrv1.SegmentServiceClient
	fetches  chan struct{} // one for each that runs
	limits   *limit.Gate

	mu       sync.Mutex               // protects the fields below
	present  map[string]*presence     // by node id
	refusals map[string]time.Duration // node id → when it was logged last
}

// presence is a node that is or was connected.
type presence struct {
	store string
	subs  int
	seen  time.Duration
}

var _ m4fv1.M4FServiceServer = (*Server)(nil)

// New makes a server.
func New(cfg Config) *Server {
	s := &Server{
		cfg:      cfg,
		index:    dvrv1.NewIndexServiceClient(cfg.DVR),
		segments: dvrv1.NewSegmentServiceClient(cfg.DVR),
		fetches:  make(chan struct{}, maxFetches),
		limits:   limit.NewGate(cfg.Clock, func(limit.Flow) limit.Rates { return limit.Rates{Server: cfg.Limit()} }),
		present:  make(map[string]*presence),
		refusals: make(map[string]time.Duration),
	}
	s.gate = auth.NewGate(cfg.Node, m4fv1.M4FService_Hello_FullMethodName, cfg.Key, cfg.Clock, s.logRefusal)
	return s
}

// Register adds the guarded service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	m4fv1.RegisterM4FServiceServer(s.gate.Protect(r), s)
}

// logRefusal says once in a while who was refused: anyone may knock as often as he likes.
func (s *Server) logRefusal(node string, err error) {
	now := s.cfg.Clock.Mono()
	s.mu.Lock()
	last, ok := s.refusals[node]
	if ok && now-last < refusalEvery {
		s.mu.Unlock()
		return
	}
	if len(s.refusals) >= maxRefusals {
		clear(s.refusals)
	}
	s.refusals[node] = now
	s.mu.Unlock()
	s.cfg.Log.Warn("peer refused", "peer_node", node, "reason", rpcerr.Reason(err), "err", err)
}

// Hello implements M4FServiceServer.
func (s *Server) Hello(ctx context.Context, req *m4fv1.HelloRequest) (*m4fv1.HelloResponse, error) {
	caller := auth.FromContext(ctx)
	if !caller.Proved {
		return &m4fv1.HelloResponse{Version: version, Node: s.cfg.Node, Nonce: s.gate.Nonce()}, nil
	}
	own := s.cfg.StoreID()
	session, err := s.open(caller, req, own)
	if err != nil {
		if !errors.Is(err, errs.ErrNotReady) {
			s.logRefusal(req.GetNode(), err)
		}
		return nil, rpcerr.ToStatus(fmt.Errorf("hello of node %q: %w", req.GetNode(), err))
	}
	if key := s.cfg.Key(); !key.IsZero() && len(caller.Challenge) > 0 {
		proof := key.Welcome(s.cfg.Node, caller.Node, caller.Challenge, session)
		if err := grpc.SetHeader(ctx, metadata.Pairs(auth.MDWelcome, string(proof))); err != nil {
			return nil, fmt.Errorf("answer hello of node %q: %w", req.GetNode(), err)
		}
	}
	resp := &m4fv1.HelloResponse{
		Version: version, Node: s.cfg.Node, StoreId: []byte(own), UtcNanos: s.cfg.Clock.Now().UnixNano(),
		Session: session, LimitBitsPerSecond: s.cfg.Limit(),
	}
	for _, t := range req.GetStreams() {
		if terms, ok := s.cfg.Terms(t.GetStream()); ok {
			if terms.hidden(ctx) {
				terms.Withheld, terms.Retention = true, 0
			}
			resp.Streams = append(resp.Streams, &m4fv1.StreamTerms{
				Stream: t.GetStream(), Format: segment.Format,
				PackagingHash: terms.Packaging, RetentionNanos: int64(terms.Retention), Withheld: terms.Withheld,
			})
		}
	}
	return resp, nil
}

// open gives the caller a session, or says why not: first what waiting does not mend.
func (s *Server) open(caller auth.Caller, req *m4fv1.HelloRequest, own string) ([]byte, error) {
	node, store := req.GetNode(), string(req.GetStoreId())
	switch {
	case node == "" || node != caller.Node || len(node) > 255 || len(store) > 64:
		return nil, fmt.Errorf("node id in the message and in the metadata (%q) do not agree: %w", caller.Node, errs.ErrInvalid)
	case node == s.cfg.Node:
		return nil, errs.ErrOwnID
	case !slices.Contains(req.GetVersions(), version):
		return nil, fmt.Errorf("it speaks %v, this node %d: %w", req.GetVersions(), version, errs.ErrNoCommonVersion)
	case own == "":
		return nil, fmt.Errorf("the store of dvrsvc is not known yet: %w", errs.ErrNotReady)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock.Mono()
	p := s.present[node]
	switch {
	case p == nil:
		if len(s.present) >= maxPresent {
			maps.DeleteFunc(s.present, func(_ string, p *presence) bool { return p.subs == 0 && now-p.seen >= lingers })
		}
		p = &presence{store: store}
		s.present[node] = p
	case store != "" && p.store != "" && p.store != store && (p.subs > 0 || now-p.seen < lingers):
		return nil, fmt.Errorf("store %s wants in while store %s is connected: %w", short(store), short(p.store), errs.ErrNodeConflict)
	case p.store != "" && store != "" && p.store != store:
		s.cfg.Log.Info("peer has a new store", "peer_node", node, "old", short(p.store), "new", short(store))
	}
	p.store, p.seen = cmp.Or(store, p.store), now
	return s.gate.Open(node, store), nil
}

func short(store string) string { return hex.EncodeToString([]byte(store[:min(8, len(store))])) }

// touch notes that a caller is there, and for as long as a subscription lasts.
func (s *Server) touch(ctx context.Context, subs int) {
	c := auth.FromContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.present[c.Node]; p != nil && (p.store == c.Store || c.Store == "") {
		p.seen = s.cfg.Clock.Mono()
		p.subs += subs
	}
}

// readable refuses a stream that cannot be one, or that the caller may not read.
func (s *Server) readable(ctx context.Context, stream string) error {
	if err := streamconf.CheckName(stream); err != nil {
		return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
	}
	if t, ok := s.cfg.Terms(stream); ok && t.hidden(ctx) {
		return fmt.Errorf("stream %s: node %s is not one of its readers: %w", stream, auth.FromContext(ctx).Node, errs.ErrWithheld)
	}
	return nil
}

// given refuses the media of a stream that is given to nobody, or not to the caller.
func (s *Server) given(ctx context.Context, stream string) error {
	if err := s.readable(ctx, stream); err != nil {
		return err
	}
	if t, ok := s.cfg.Terms(stream); ok && t.Withheld {
		return fmt.Errorf("stream %s: %w", stream, errs.ErrWithheld)
	}
	return nil
}

// Streams implements M4FServiceServer.
func (s *Server) Streams(ctx context.Context, req *m4fv1.StreamsRequest) (*m4fv1.StreamsResponse, error) {
	s.touch(ctx, 0)
	list, ok := s.cfg.Streams()
	if !ok {
		return nil, rpcerr.ToStatus(fmt.Errorf("list streams: no stream config yet: %w", errs.ErrNotReady))
	}
	m := &m4fv1.StreamsResponse{}
	h := sha256.New()
	for _, x := range list {
		if t, ok := s.cfg.Terms(x.Name); ok && t.hidden(ctx) {
			continue
		}
		fmt.Fprintf(h, "%s %q\n", x.Name, x.Via)
		m.Streams = append(m.Streams, &m4fv1.OfferedStream{Name: x.Name, Via: x.Via})
	}
	if m.Version = h.Sum(nil); bytes.Equal(m.Version, req.GetKnownVersion()) {
		m.Streams, m.Unchanged = nil, true
	}
	return m, nil
}

// Timelines implements M4FServiceServer.
func (s *Server) Timelines(ctx context.Context, req *m4fv1.TimelinesRequest) (*m4fv1.TimelinesResponse, error) {
	s.touch(ctx, 0)
	if err := s.readable(ctx, req.GetStream()); err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	m, err := s.index.ListTimelines(ctx, &dvrv1.ListTimelinesRequest{Stream: req.GetStream(), WithoutSamples: req.GetWithoutSamples()})
	if err != nil {
		return nil, passOn("list timelines", err)
	}
	return &m4fv1.TimelinesResponse{Timelines: m.GetTimelines(), StoreId: m.GetStoreId(), LowWaterNanos: m.GetLowWaterNanos(), Deleted: m.GetDeleted()}, nil
}

// Digests implements M4FServiceServer.
func (s *Server) Digests(ctx context.Context, req *m4fv1.DigestsRequest) (*m4fv1.DigestsResponse, error) {
	s.touch(ctx, 0)
	if err := s.readable(ctx, req.GetStream()); err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	if n := req.GetToBlock() - req.GetFromBlock(); n < 0 || n > maxDigestBlocks {
		return nil, rpcerr.ToStatus(fmt.Errorf("get digests of %d blocks: %w", n, errs.ErrInvalid))
	}
	m, err := s.index.GetDigests(ctx, &dvrv1.GetDigestsRequest{
		Stream: req.GetStream(), Timeline: req.GetTimeline(), FromBlock: req.GetFromBlock(), ToBlock: req.GetToBlock(),
	})
	if err != nil {
		return nil, passOn("get digests", err)
	}
	return &m4fv1.DigestsResponse{Blocks: m.GetBlocks()}, nil
}

// Slots implements M4FServiceServer.
func (s *Server) Slots(ctx context.Context, req *m4fv1.SlotsRequest) (*m4fv1.SlotsResponse, error) {
	s.touch(ctx, 0)
	if err := s.readable(ctx, req.GetStream()); err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	if n := req.GetToBlock() - req.GetFromBlock(); n < 1 || n > maxBlocks {
		return nil, rpcerr.ToStatus(fmt.Errorf("list slots of %d blocks: %w", n, errs.ErrInvalid))
	}
	m, err := s.index.ListSlots(ctx, &dvrv1.ListSlotsRequest{
		Stream: req.GetStream(), Timeline: req.GetTimeline(), FromBlock: req.GetFromBlock(), ToBlock: req.GetToBlock(),
	})
	if err != nil {
		return nil, passOn("list slots", err)
	}
	return &m4fv1.SlotsResponse{Slots: m.GetSlots()}, nil
}

// passOn keeps the sentinel of an error of dvrsvc. A dvrsvc that is away is not a peer that is away.
func passOn(action string, err error) error {
	err = rpcerr.FromStatus(err)
	if rpcerr.Reason(err) == "" && unavailable(err) {
		err = fmt.Errorf("%w: %w", errs.ErrNotReady, err)
	}
	return rpcerr.ToStatus(fmt.Errorf("%s: %w", action, err))
}
