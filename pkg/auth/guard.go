package auth

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
)

// open are the services, and single methods of others, that anyone may call who reaches the port: they read. Whatever
// is not named here changes something or tells a secret, and needs the key. M4F has a gate of its own.
var open = []string{
	"/grpc.health.v1.Health/",
	"/grpc.reflection.v1.ServerReflection/",
	"/grpc.reflection.v1alpha.ServerReflection/",
	"/m4f.v1.M4FService/",
	"/twinreel.node.v1.NodeService/",
	"/twinreel.dvr.v1.IndexService/",
	"/twinreel.dvr.v1.SegmentService/",
	"/twinreel.dvr.v1.MaintenanceService/GetStatistics",
	"/twinreel.ingest.v1.IngestService/",
	"/twinreel.gateway.v1.ConfigService/Get",
	"/twinreel.gateway.v1.ConfigService/List",
	"/twinreel.gateway.v1.ConfigService/ListChanges",
	"/twinreel.gateway.v1.ConfigService/Validate",
	"/twinreel.gateway.v1.ConfigService/Watch",
	"/twinreel.repl.v1.ReplicationService/GetLedger",
	"/twinreel.repl.v1.ReplicationService/GetLimits",
	"/twinreel.repl.v1.ReplicationService/GetStatus",
	"/twinreel.repl.v1.ReplicationService/Plan",
	"/twinreel.repl.v1.ReplicationService/WatchEvents",
}

// needsKey reports whether a method is for those who prove the key.
func needsKey(method string) bool {
	return !slices.ContainsFunc(open, func(o string) bool {
		return method == o || strings.HasSuffix(o, "/") && strings.HasPrefix(method, o)
	})
}

// Guard lets the services of one site prove the cluster key to each other. What changes an archive or a config passes
// only with a proof; what reads passes always, and so does a call within this process. Without a key all pass.
//
// A caller takes a nonce from an answer of the health service and proves the key for one call: over the method, the
// nonce and the first message. A nonce serves once. Make it with NewGuard; safe for concurrent use.
type Guard struct {
	key    func() Key
	nonces nonces

	mu   sync.Mutex               // protects the field below
	used map[string]time.Duration // nonces that have served, until they expire: only a proof costs memory
}

// NewGuard makes a guard; key is asked at every call.
func NewGuard(key func() Key, clk clock.Clock) *Guard {
	return &Guard{key: key, nonces: newNonces(clk), used: map[string]time.Duration{}}
}

const healthCheck = "/grpc.health.v1.Health/Check"

// Unary is the interceptor for unary calls.
func (g *Guard) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		key := g.key()
		if info.FullMethod == healthCheck && !key.IsZero() {
			if err := grpc.SetHeader(ctx, metadata.Pairs(mdNonce, string(g.nonces.make()))); err != nil {
				return nil, err
			}
		}
		if !g.passes(ctx, info.FullMethod, key) {
			if err := g.admit(ctx, info.FullMethod, key, req); err != nil {
				return nil, rpcerr.ToStatus(err)
			}
		}
		return next(ctx, req)
	}
}

// Stream is the interceptor for streams: the handler's first Recv fails when the proof does not fit the message.
func (g *Guard) Stream() grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		key := g.key()
		if g.passes(ss.Context(), info.FullMethod, key) {
			return next(srv, ss)
		}
		return next(srv, &guardedCall{ServerStream: ss, admit: func(first any) error {
			return g.admit(ss.Context(), info.FullMethod, key, first)
		}})
	}
}

// passes reports whether a call needs no proof.
func (g *Guard) passes(ctx context.Context, method string, key Key) bool {
	return key.IsZero() || !needsKey(method) || inProcess(ctx)
}

// inProcess reports whether a call comes over a pipe within this process.
func inProcess(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	_, isTCP := p.Addr.(*net.TCPAddr)
	return !isTCP && p.Addr.Network() == "bufconn"
}

// admit checks the proof of a call. Errors: errs.ErrBadKey.
func (g *Guard) admit(ctx context.Context, method string, key Key, first any) error {
	md, _ := metadata.FromIncomingContext(ctx)
	node, nonce := firstOf(md, mdNode), []byte(firstOf(md, mdNonce))
	if len(nonce) == 0 {
		return fmt.Errorf("call %s: it needs a proof of the cluster key, and has none: %w", method, errs.ErrBadKey)
	}
	if !g.nonces.check(nonce) {
		return fmt.Errorf("call %s of node %q: its nonce is not ours or has expired: %w", method, node, errs.ErrBadKey)
	}
	body, err := bodyHash(first)
	if err != nil {
		return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
	}
	claim := Claim{Method: method, From: node, Nonce: nonce, Body: body}
	if err := key.Check(claim, []byte(firstOf(md, mdProof))); err != nil {
		return err
	}
	if !g.spend(nonce) {
		return fmt.Errorf("call %s of node %q: its nonce has served before: %w", method, node, errs.ErrBadKey)
	}
	return nil
}

// spend takes a nonce out of use. It reports false where it was.
func (g *Guard) spend(nonce []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.nonces.clk.Mono()
	for n, end := range g.used {
		if end < now {
			delete(g.used, n)
		}
	}
	if _, was := g.used[string(nonce)]; was {
		return false
	}
	g.used[string(nonce)] = g.nonces.end(nonce)
	return true
}

// guardedCall admits a stream at its first message.
type guardedCall struct {
	grpc.ServerStream
	admit    func(first any) error
	admitted bool
}

func (c *guardedCall) RecvMsg(m any) error {
	if err := c.ServerStream.RecvMsg(m); err != nil || c.admitted {
		return err
	}
	if err := c.admit(m); err != nil {
		return rpcerr.ToStatus(err)
	}
	c.admitted = true
	return nil
}

func (c *guardedCall) SendMsg(m any) error {
	if !c.admitted {
		return rpcerr.ToStatus(fmt.Errorf("send before the first message was admitted: %w", errs.ErrBadKey))
	}
	return c.ServerStream.SendMsg(m)
}

// Proving wraps a connection to a service of the same site: calls that need it carry a proof of the key. node is who we
// are. Without a key it is the connection itself.
func Proving(cc grpc.ClientConnInterface, node string, key Key) grpc.ClientConnInterface {
	if key.IsZero() {
		return cc
	}
	return proving{cc, node, key}
}

type proving struct {
	grpc.ClientConnInterface
	node string
	key  Key
}

// prove gives a connection that proves the key for one call.
func (p proving) prove(ctx context.Context, method string, opts []grpc.CallOption) (grpc.ClientConnInterface, error) {
	var header metadata.MD
	_, err := healthpb.NewHealthClient(p.ClientConnInterface).Check(ctx, &healthpb.HealthCheckRequest{}, append(slices.Clone(opts), grpc.Header(&header))...)
	if err != nil {
		return nil, fmt.Errorf("ask for a nonce to call %s: %w", method, rpcerr.FromStatus(err))
	}
	return Credentials{Key: p.key, From: p.node, Nonce: []byte(firstOf(header, mdNonce))}.Conn(p.ClientConnInterface), nil
}

func (p proving) Invoke(ctx context.Context, method string, req, reply any, opts ...grpc.CallOption) error {
	if !needsKey(method) {
		return p.ClientConnInterface.Invoke(ctx, method, req, reply, opts...)
	}
	conn, err := p.prove(ctx, method, nil)
	if err != nil {
		return err
	}
	return conn.Invoke(ctx, method, req, reply, opts...)
}

func (p proving) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if !needsKey(method) {
		return p.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	}
	conn, err := p.prove(ctx, method, nil)
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, desc, method, opts...)
}
