package sim

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/grpcx"
)

// network joins sites by name. What goes from one to another is held up as the link between them says.
type network struct {
	mu        sync.Mutex // protects the fields below
	links     map[[2]string]*link
	listeners map[string]*listener
}

// link is what happens to bytes from one site to another. Several connections of it do not wait for each other.
type link struct {
	mu       sync.Mutex // protects the fields below
	blocked  bool       // nothing passes, and nobody is told
	refused  bool       // no new connection
	delay    time.Duration
	rate     int           // bytes a second; 0: any
	cutAfter int           // the next connection to carry so many bytes more is reset; 0: none
	changed  chan struct{} // closed at each change
	jitter   func(time.Duration) time.Duration

	carried atomic.Uint64
}

func newNetwork() *network {
	return &network{links: map[[2]string]*link{}, listeners: map[string]*listener{}}
}

func (n *network) link(from, to string) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[[2]string{from, to}]
	if l == nil {
		l = &link{changed: make(chan struct{})}
		n.links[[2]string{from, to}] = l
	}
	return l
}

// set changes a link.
func (l *link) set(change func(*link)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) heal() {
	l.set(func(l *link) { l.blocked, l.refused, l.delay, l.rate, l.cutAfter = false, false, 0, 0, 0 })
}

// carriedTotal is how many bytes all links have carried between sites.
func (n *network) carriedTotal() (sum uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for k, l := range n.links {
		if k[0] != k[1] {
			sum += l.carried.Load()
		}
	}
	return sum
}

// listen takes the address; close gives it up and resets what was accepted.
func (n *network) listen(addr string) *listener {
	l := &listener{net: n, addr: addr, accepted: make(chan *conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[addr] = l
	return l
}

// dial gives a gRPC connection of a site to an address of another, or of its own.
func (n *network) dial(from, to, addr string, media bool) (*grpc.ClientConn, error) {
	return grpcx.Dial("passthrough:///"+addr, grpcx.DialOptions{Media: media, Extra: []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return n.connect(ctx, from, to, addr) }),
	}})
}

func (n *network) connect(ctx context.Context, from, to, addr string) (net.Conn, error) {
	out, back := n.link(from, to), n.link(to, from)
	for _, l := range []*link{out, back} {
		if err := l.pass(ctx); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	lis := n.listeners[addr]
	n.mu.Unlock()
	if lis == nil {
		return nil, syscall.ECONNREFUSED
	}
	there, here := newHalf(out), newHalf(back)
	client, server := &conn{in: here, out: there}, &conn{in: there, out: here}
	select {
	case lis.accepted <- server:
		return client, nil
	case <-lis.done:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pass waits until a first packet has passed.
func (l *link) pass(ctx context.Context) error {
	for {
		l.mu.Lock()
		blocked, refused, delay, changed := l.blocked, l.refused, l.delay, l.changed
		l.mu.Unlock()
		if refused {
			return syscall.ECONNREFUSED
		}
		if !blocked {
			t := time.NewTimer(delay)
			defer t.Stop()
			select {
			case <-t.C:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type listener struct {
	net      *network
	addr     string
	accepted chan *conn
	done     chan struct{}
	once     sync.Once

	mu    sync.Mutex // protects conns
	conns []*conn
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. As the end of a process it resets all connections.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.mu.Lock()
		if l.net.listeners[l.addr] == l {
			delete(l.net.listeners, l.addr)
		}
		l.net.mu.Unlock()
	})
	return nil
}

// reset cuts all connections.
func (l *listener) reset() {
	l.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.reset()
	}
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return address(l.addr) }

type address string

// Network implements net.Addr.
func (a address) Network() string { return "sim" }

// String implements net.Addr.
func (a address) String() string { return string(a) }

// maxQueued is what a connection holds that is under way in one direction.
const maxQueued = 256 << 10

// half is one direction of a connection.
type half struct {
	link *link

	mu       sync.Mutex // protects the fields below
	queue    []packet
	queued   int
	last     time.Time // when the last byte that was written will have come
	closed   bool      // by the writer: EOF behind what is queued
	err      error     // reset
	deadline time.Time
	changed  chan struct{}
}

type packet struct {
	at   time.Time
	data []byte
}

func newHalf(l *link) *half { return &half{link: l, changed: make(chan struct{})} }

// tell wakes all who wait. h.mu is held.
func (h *half) tell() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *half) write(p []byte) (int, error) {
	h.mu.Lock()
	for h.err == nil && !h.closed && h.queued > maxQueued {
		changed := h.changed
		h.mu.Unlock()
		<-changed
		h.mu.Lock()
	}
	defer h.mu.Unlock()
	if h.err != nil {
		return 0, h.err
	}
	if h.closed {
		return 0, io.ErrClosedPipe
	}
	l := h.link
	l.mu.Lock()
	delay, rate, cut := l.delay, l.rate, false
	if l.cutAfter > 0 {
		if l.cutAfter -= len(p); l.cutAfter <= 0 {
			p, cut, l.cutAfter = p[:len(p)+l.cutAfter], true, 0
		}
	}
	if l.jitter != nil && delay > 0 {
		delay = l.jitter(delay)
	}
	l.mu.Unlock()
	now := time.Now()
	at := now.Add(delay)
	if at.Before(h.last) {
		at = h.last
	}
	if rate > 0 {
		at = at.Add(time.Duration(len(p)) * time.Second / time.Duration(rate))
	}
	h.last = at
	l.carried.Add(uint64(len(p)))
	h.queue = append(h.queue, packet{at, append([]byte(nil), p...)})
	h.queued += len(p)
	if cut {
		h.err = syscall.ECONNRESET
	}
	h.tell()
	if cut {
		return len(p), h.err
	}
	return len(p), nil
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		h.link.mu.Lock()
		blocked, linked := h.link.blocked, h.link.changed
		h.link.mu.Unlock()
		now := time.Now()
		wait := time.Duration(-1)
		switch {
		case !h.deadline.IsZero() && !now.Before(h.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(h.queue) > 0 && !blocked:
			q := &h.queue[0]
			if wait = q.at.Sub(now); wait <= 0 {
				n := copy(p, q.data)
				if q.data = q.data[n:]; len(q.data) == 0 {
					h.queue = h.queue[1:]
				}
				h.queued -= n
				h.tell()
				return n, nil
			}
		case h.err != nil:
			return 0, h.err
		case h.closed && !blocked:
			return 0, io.EOF
		}
		if !h.deadline.IsZero() {
			if left := h.deadline.Sub(now); wait < 0 || left < wait {
				wait = left
			}
		}
		changed := h.changed
		h.mu.Unlock()
		if wait < 0 {
			select {
			case <-changed:
			case <-linked:
			}
		} else {
			t := time.NewTimer(wait)
			select {
			case <-changed:
			case <-linked:
			case <-t.C:
			}
			t.Stop()
		}
		h.mu.Lock()
	}
}

func (h *half) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil { // what is under way does not come
		h.err, h.queue = cmp.Or(h.err, err), nil
	}
	h.closed = true
	h.tell()
}

// conn is one end of a connection.
type conn struct{ in, out *half }

var _ net.Conn = (*conn)(nil)

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	for done := 0; ; {
		n, err := c.out.write(p[done:min(len(p), done+32<<10)])
		if done += n; err != nil || done == len(p) {
			if err != nil && !errors.Is(err, io.ErrClosedPipe) { // who may not write any more is not left to read for ever
				c.in.end(syscall.ECONNRESET)
			}
			return done, err
		}
	}
}

// Close implements net.Conn: the other side reads to the end, this one no more.
func (c *conn) Close() error {
	c.out.end(nil)
	c.in.end(net.ErrClosed)
	return nil
}

func (c *conn) reset() {
	c.out.end(syscall.ECONNRESET)
	c.in.end(syscall.ECONNRESET)
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return address("here") }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return address("there") }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.deadline = t
	c.in.tell()
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
