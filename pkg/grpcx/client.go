package grpcx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	"github.com/twinreel/twinreel/pkg/rpcerr"
)

// DialOptions is what a connection needs. The zero value is a plaintext connection.
type DialOptions struct {
	Metrics *grpcprom.ClientMetrics // nil: none; one for all connections of a process
	Media   bool                    // wide windows, for connections that carry media
	TLS     TLS                     // zero: plaintext, unless Secure
	Secure  bool                    // TLS in any case: without TLS.CA the machine's authorities are believed
	Name    string                  // in the server's certificate; empty: the host that is dialled
	Extra   []grpc.DialOption       // later ones win, as credentials do
}

// Dial gives a connection to HOST:PORT. It connects when it is first used, and again for as long as it is open, with
// a wait that grows from 0.2 to 3 s.
func Dial(addr string, o DialOptions) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if o.Secure || o.TLS.Enabled() {
		var err error
		if creds, err = o.TLS.Client(o.Name); err != nil {
			return nil, fmt.Errorf("dial %s: %w", addr, err)
		}
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MaxMessage),
			grpc.MaxCallSendMsgSize(MaxMessage),
			grpc.ForceCodecV2(codec{})),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithIdleTimeout(0),
		grpc.WithChainUnaryInterceptor(unaryClientErrors),
		grpc.WithChainStreamInterceptor(streamClientErrors),
	}
	if o.Metrics != nil {
		options = append(options,
			grpc.WithChainUnaryInterceptor(o.Metrics.UnaryClientInterceptor()),
			grpc.WithChainStreamInterceptor(o.Metrics.StreamClientInterceptor()))
	}
	if o.Media {
		options = append(options, grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(2*window),
			grpc.WithWriteBufferSize(256<<10), grpc.WithReadBufferSize(256<<10), experimental.WithBufferPool(frames))
	}
	conn, err := grpc.NewClient(addr, append(options, o.Extra...)...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return conn, nil
}

// Pipe joins a server and its clients in one process.
type Pipe struct{ lis *bufconn.Listener }

// NewPipe makes a pipe; give Listener to [Server.Serve].
func NewPipe() *Pipe { return &Pipe{lis: bufconn.Listen(1 << 20)} }

// Listener is the server's end.
func (p *Pipe) Listener() net.Listener { return p.lis }

// Dial is [Dial] to the server at the other end. Calls before it serves wait for it.
func (p *Pipe) Dial(o DialOptions) (*grpc.ClientConn, error) {
	o.TLS, o.Secure = TLS{}, false
	o.Extra = append([]grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.lis.DialContext(ctx) }),
	}, o.Extra...)
	return Dial("passthrough:///in-process", o)
}

func unaryClientErrors(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return rpcerr.FromStatus(next(ctx, method, req, reply, cc, opts...))
}

func streamClientErrors(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := next(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, rpcerr.FromStatus(err)
	}
	return errStream{s}, nil
}

// errStream translates the end of a stream. SendMsg gives io.EOF when the stream has ended: RecvMsg has the cause.
type errStream struct{ grpc.ClientStream }

func (s errStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil || err == io.EOF {
		return err
	}
	return rpcerr.FromStatus(err)
}

func (s errStream) SendMsg(m any) error { return rpcerr.FromStatus(s.ClientStream.SendMsg(m)) }

// Conns opens the connections of one process to other services of its site, all with the same credentials. Nil opens
// plaintext connections and forgets them.
type Conns struct {
	Options DialOptions                                             // of each
	Wrap    func(grpc.ClientConnInterface) grpc.ClientConnInterface // nil: none; proves who calls

	mu     sync.Mutex // protects the field below
	opened []*grpc.ClientConn
}

// To gives the given connection, as in one box, or else a new one to HOST:PORT.
func (c *Conns) To(addr string, given grpc.ClientConnInterface, media bool) (grpc.ClientConnInterface, error) {
	if given != nil {
		return given, nil
	}
	if c == nil {
		return Dial(addr, DialOptions{Media: media})
	}
	o := c.Options
	o.Media = media
	conn, err := Dial(addr, o)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.opened = append(c.opened, conn)
	c.mu.Unlock()
	if c.Wrap != nil {
		return c.Wrap(conn), nil
	}
	return conn, nil
}

// Close closes what was opened. Idempotent.
func (c *Conns) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []error
	for _, conn := range c.opened {
		all = append(all, conn.Close())
	}
	c.opened = nil
	return errors.Join(all...)
}
