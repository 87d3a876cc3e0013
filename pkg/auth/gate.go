package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
)

// Metadata of a call.
const (
	mdNode      = "m4f-node"
	mdSession   = "m4f-session-bin"
	mdNonce     = "m4f-nonce-bin"
	mdProof     = "m4f-proof-bin"
	mdChallenge = "m4f-challenge-bin"
	// MDWelcome is the header in which a server proves the key in turn.
	MDWelcome = "m4f-welcome-bin"
)

const (
	maxSessions = 4096
	idLen       = 16
)

// Caller is who is calling, as far as it is known.
type Caller struct {
	Node      string // empty before it is proved or, without a key, said
	Session   string // empty in the call that opens one
	Store     string // of the node, as it was said when the session was opened
	Proved    bool   // by the key, or there is none
	Challenge []byte // that the server is to answer with Key.Welcome
}

type callerKey struct{}

// FromContext is the caller of a call that passed a gate.
func FromContext(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Gate lets calls pass that belong to a session and prove the key. Make it with NewGate.
type Gate struct {
	node   string
	opener string // full name of the method that needs no session
	key    func() Key
	clk    clock.Clock
	nonces nonces
	// refused is told who was refused and why.
	refused func(node string, err error)

	mu       sync.Mutex // protects the fields below
	sessions map[string]*session
}

type session struct {
	node, store string
	called      bool          // since it was opened
	used        time.Duration // mono
}

// before reports whether a session goes before another one where they are too many: those over which nobody has called go first, since
// who asks a question in Hello opens one each time; then the one that was not used for longest.
func (s *session) before(o *session) bool {
	if s.called != o.called {
		return o.called
	}
	return s.used < o.used
}

// NewGate guards node; only opener, a full method name, is let in without a session. key is asked at every call;
// refused, which may be nil, is told of each refusal that is not a matter of an old session.
func NewGate(node, opener string, key func() Key, clk clock.Clock, refused func(node string, err error)) *Gate {
	if refused == nil {
		refused = func(string, error) {}
	}
	return &Gate{
		node: node, opener: opener, key: key, clk: clk, nonces: newNonces(clk), refused: refused, sessions: make(map[string]*session),
	}
}

// Nonce makes one up; see nonces.
func (g *Gate) Nonce() []byte { return g.nonces.make() }

// Open makes a session for a node that may have one, and the store that it says it has.
func (g *Gate) Open(node, store string) []byte {
	id := make([]byte, idLen)
	rand.Read(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.sessions) >= maxSessions {
		var oldest string
		for k, s := range g.sessions {
			if oldest == "" || s.before(g.sessions[oldest]) {
				oldest = k
			}
		}
		delete(g.sessions, oldest)
	}
	g.sessions[string(id)] = &session{node: node, store: store, used: g.clk.Mono()}
	return id
}

// touch returns whose session it is.
func (g *Gate) touch(id string) (Caller, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.sessions[id]
	if !ok {
		return Caller{}, false
	}
	s.called, s.used = true, g.clk.Mono()
	return Caller{Node: s.node, Session: id, Store: s.store, Proved: true}, true
}

// admit says who calls, given the hash of the request. Errors: errs.ErrBadKey, errs.ErrNoSession.
func (g *Gate) admit(ctx context.Context, method string, body [sha256.Size]byte) (context.Context, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	key, proof := g.key(), []byte(firstOf(md, mdProof))
	if method == g.opener {
		c := Caller{Node: firstOf(md, mdNode), Proved: key.IsZero(), Challenge: []byte(firstOf(md, mdChallenge))}
		if len(proof) > 0 && !key.IsZero() {
			nonce := []byte(firstOf(md, mdNonce))
			if !g.nonces.check(nonce) {
				return ctx, fmt.Errorf("check nonce of node %q: it is not ours or has expired: %w", c.Node, errs.ErrNoSession)
			}
			if err := key.Check(Claim{Method: method, From: c.Node, To: g.node, Nonce: nonce, Body: body}, proof); err != nil {
				g.refused(c.Node, err)
				return ctx, err
			}
			c.Proved = true
		}
		return context.WithValue(ctx, callerKey{}, c), nil
	}
	id := firstOf(md, mdSession)
	c, ok := g.touch(id)
	if !ok {
		return ctx, fmt.Errorf("look up session: %w", errs.ErrNoSession)
	}
	if !key.IsZero() {
		if err := key.Check(Claim{Method: method, From: c.Node, To: g.node, Nonce: []byte(id), Body: body}, proof); err != nil {
			g.refused(c.Node, err)
			return ctx, err
		}
	}
	return context.WithValue(ctx, callerKey{}, c), nil
}

func firstOf(md metadata.MD, k string) string {
	if v := md.Get(k); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Unary is the interceptor for unary calls.
func (g *Gate) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		body, err := bodyHash(req)
		if err != nil {
			return nil, rpcerr.ToStatus(fmt.Errorf("%w: %w", errs.ErrInvalid, err))
		}
		if ctx, err = g.admit(ctx, info.FullMethod, body); err != nil {
			return nil, rpcerr.ToStatus(err)
		}
		return next(ctx, req)
	}
}

// Stream is the interceptor for streams: the handler's first Recv fails when the proof does not fit the message.
func (g *Gate) Stream() grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		return next(srv, &guardedStream{ServerStream: ss, gate: g, method: info.FullMethod, ctx: ss.Context()})
	}
}

// guardedStream admits at the first message: before it there is nothing that the proof could be compared with, and
// nothing is sent to a caller from whom nothing was received.
type guardedStream struct {
	grpc.ServerStream
	gate     *Gate
	method   string
	ctx      context.Context // replaced at the first message, which every handler reads before anything else
	admitted bool
}

func (s *guardedStream) Context() context.Context { return s.ctx }

func (s *guardedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if s.admitted {
		return nil
	}
	body, err := bodyHash(m)
	if err != nil {
		return rpcerr.ToStatus(fmt.Errorf("%w: %w", errs.ErrInvalid, err))
	}
	ctx, err := s.gate.admit(s.ctx, s.method, body)
	if err != nil {
		return rpcerr.ToStatus(err)
	}
	s.ctx, s.admitted = ctx, true
	return nil
}

func (s *guardedStream) SendMsg(m any) error {
	if !s.admitted {
		return rpcerr.ToStatus(fmt.Errorf("send before the first message was admitted: %w", errs.ErrNoSession))
	}
	return s.ServerStream.SendMsg(m)
}

// Protect wraps a registrar, so that a service is guarded wherever it is registered: on its own server or, in one box,
// beside services that have no gate.
func (g *Gate) Protect(r grpc.ServiceRegistrar) grpc.ServiceRegistrar { return protected{r, g} }

type protected struct {
	next grpc.ServiceRegistrar
	gate *Gate
}

// RegisterService implements grpc.ServiceRegistrar.
func (p protected) RegisterService(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		inner := m.Handler
		m.Handler = func(srv any, ctx context.Context, dec func(any) error, outer grpc.UnaryServerInterceptor) (any, error) {
			return inner(srv, ctx, dec, chain(outer, p.gate.Unary()))
		}
		d.Methods[i] = m
	}
	d.Streams = make([]grpc.StreamDesc, len(desc.Streams))
	for i, s := range desc.Streams {
		inner, method := s.Handler, "/"+desc.ServiceName+"/"+s.StreamName
		s.Handler = func(srv any, ss grpc.ServerStream) error {
			return p.gate.Stream()(srv, ss, &grpc.StreamServerInfo{FullMethod: method}, inner)
		}
		d.Streams[i] = s
	}
	p.next.RegisterService(&d, impl)
}

// chain runs the server's own interceptors, which count and log, before the gate.
func chain(outer, inner grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	if outer == nil {
		return inner
	}
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		return outer(ctx, req, info, func(ctx context.Context, req any) (any, error) { return inner(ctx, req, info, next) })
	}
}
