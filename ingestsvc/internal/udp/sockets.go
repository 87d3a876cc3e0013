package udp

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/pkg/clock"
)

// queueBytes is what is kept for a receiver that does not come for it: as much as the socket would.
const queueBytes = WantedBuffer

// keptRuns is how many runs of a socket are kept to be used again.
const keptRuns = 16

// A group that is silent is joined again, at first after firstRejoin, then more and more rarely.
const firstRejoin, lastRejoin = 10 * time.Second, 5 * time.Minute

// errClosed says that the receiver was closed.
var errClosed = errors.New("the receiver is closed")

// Sockets are the sockets of a process, one for each address, whoever receives from it. Safe for concurrent use.
type Sockets struct {
	batches *Batches

	mu   sync.Mutex // protects the field below; taken before that of a socket
	open map[Address]*socket
}

// NewSockets returns no socket yet.
func NewSockets() *Sockets {
	return &Sockets{batches: NewBatches(), open: make(map[Address]*socket)}
}

// socket is one that is bound, and those who receive from it. There is no goroutine of its own: whoever of them comes
// first takes what is queued, keeps it, and lays it down for the others too. What they do with it, they do outside of the
// lock; so one that is slow, or stands still, costs the others nothing.
type socket struct {
	owner   *Sockets
	batches *Batches
	addr    Address
	granted int

	mu        sync.Mutex    // protects the fields below
	fd        int           // -1 closed
	failed    error         // of the system, for all
	ifindex   int           // on which the group was joined; 0: as the routing table had it
	heard     time.Duration // when a datagram was last taken, or the group last joined; 0: not yet
	patience  time.Duration // how long after that it is joined again
	receivers []*Receiver
	lastDrops uint32 // the kernel's count when last told
	free      []*run
}

// run is datagrams in a row, without a drop among them.
type run struct {
	mono      time.Duration
	datagrams [][]byte
	bytes     int
	dropped   uint32 // just before the first
	truncated uint32 // of these

	shared bool // for several receivers, which do not own the batch
	data   []byte
	refs   int
}

// queued is a run for one receiver.
type queued struct {
	run    *run
	before uint32 // dropped, with what this receiver lost alone
}

// Open binds the address and joins the group, or takes a part in the socket that has done so. The kernel queues from here
// on, so Run should follow soon.
func (s *Sockets) Open(a Address) (*Receiver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.open[a]
	if x == nil {
		fd, granted, err := open(a)
		if err != nil {
			return nil, fmt.Errorf("receive from %s: %w", a, err)
		}
		x = &socket{owner: s, batches: s.batches, addr: a, granted: granted, fd: fd}
		if x.ifindex, err = interfaceIndex(a); err != nil {
			x.ifindex = 0 // it went away just now, which shows when the group is silent
		}
		if a.Port != 0 {
			s.open[a] = x
		}
	}
	r := &Receiver{socket: x}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.receivers = append(x.receivers, r)
	return r, nil
}

// close takes a receiver away.
func (s *Sockets) close(r *Receiver) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := r.socket
	x.mu.Lock()
	defer x.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	for _, q := range r.queue {
		x.unref(q.run)
	}
	r.queue = nil
	x.receivers = slices.DeleteFunc(x.receivers, func(o *Receiver) bool { return o == r })
	if len(x.receivers) > 0 {
		return nil
	}
	if s.open[x.addr] == x {
		delete(s.open, x.addr)
	}
	fd := x.fd
	x.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close %s: %w", x.addr, err)
	}
	return nil
}

// forget lets the next Open make a new socket: this one has failed.
func (s *Sockets) forget(x *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[x.addr] == x {
		delete(s.open, x.addr)
	}
}

func (x *socket) address() Address {
	a := x.addr
	if a.Port != 0 {
		return a
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch sa, _ := unix.Getsockname(x.fd); in := sa.(type) {
	case *unix.SockaddrInet4:
		a.Port = uint16(in.Port)
	case *unix.SockaddrInet6:
		a.Port = uint16(in.Port)
	}
	return a
}

// take returns what is next for a receiver: what was laid down for it, else up to a batch from the socket. more says that
// there may be more.
func (x *socket) take(r *Receiver, b *batch, clk clock.Clock) (got []queued, more bool, err error) {
	x.mu.Lock()
	if r.closed {
		x.mu.Unlock()
		return nil, false, errClosed
	}
	if len(r.queue) > 0 {
		got = append(b.out[:0], r.queue[0])
		r.bytes -= r.queue[0].run.bytes
		r.queue[0].run = nil
		if r.queue = r.queue[1:]; len(r.queue) == 0 {
			r.queue = nil
		}
		x.mu.Unlock()
		return got, true, nil
	}
	if x.failed != nil {
		x.mu.Unlock()
		return nil, false, x.failed
	}
	n, err := b.receive(x.fd)
	switch err {
	case nil:
	case unix.EINTR:
		x.mu.Unlock()
		return nil, true, err
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM: // or the kernel is short of memory: at the next tick
		if err = x.silent(clk.Mono()); err == nil {
			x.mu.Unlock()
			return nil, false, nil
		}
		fallthrough
	default:
		x.failed = err
		x.mu.Unlock()
		x.owner.forget(x)
		return nil, false, err
	}
	mono := clk.Mono()
	x.heard, x.patience = mono, firstRejoin
	got = x.cut(b, n, mono)
	for i := range got {
		got[i].before += r.lost
		r.lost = 0
		if len(x.receivers) > 1 {
			x.share(r, got[i].run)
		}
	}
	x.mu.Unlock()
	return got, n == batchSize, nil
}

// silent notes that nothing is queued. x.mu is held.
func (x *socket) silent(now time.Duration) error {
	switch {
	case !x.addr.Host.IsMulticast():
	case x.patience == 0:
		x.heard, x.patience = now, firstRejoin
	case now-x.heard >= x.patience:
		x.heard, x.patience = now, min(2*x.patience, lastRejoin)
		ifindex, err := rejoin(x.fd, x.addr, x.ifindex)
		if err != nil {
			return err
		}
		x.ifindex = ifindex
	}
	return nil
}

// cut parts the first n datagrams of b into runs that begin where something was dropped. x.mu is held.
func (x *socket) cut(b *batch, n int, mono time.Duration) []queued {
	out, runs := b.out[:0], b.runs[:0]
	list := b.datagrams[:0]
	now := run{mono: mono}
	flush := func() {
		if len(now.datagrams) > 0 {
			runs = append(runs, now)
			now = run{mono: mono}
		}
	}
	for i := range n {
		data, drops, truncated := b.message(i)
		if lost := drops - x.lastDrops; drops != 0 && lost != 0 {
			flush()
			x.lastDrops = drops
			now.dropped += lost
		}
		if truncated {
			flush()
			now.truncated++
			now.dropped++
			continue
		}
		list = append(list, data)
		now.datagrams = list[len(list)-1-len(now.datagrams):]
		now.bytes += len(data)
	}
	if len(now.datagrams) > 0 || now.dropped > 0 {
		runs = append(runs, now)
	}
	b.runs, b.datagrams = runs, list
	for i := range runs {
		out = append(out, queued{&runs[i], runs[i].dropped})
	}
	b.out = out
	return out
}

// share lays a copy of a run down for all but the one that took it. x.mu is held.
func (x *socket) share(taker *Receiver, of *run) {
	var c *run
	if n := len(x.free); n > 0 {
		c, x.free = x.free[n-1], x.free[:n-1]
	} else {
		c = &run{}
	}
	c.mono, c.dropped, c.truncated, c.bytes, c.shared = of.mono, of.dropped, of.truncated, of.bytes, true
	c.data, c.datagrams = slices.Grow(c.data[:0], of.bytes), c.datagrams[:0]
	for _, d := range of.datagrams {
		at := len(c.data)
		c.data = append(c.data, d...)
		c.datagrams = append(c.datagrams, c.data[at:len(c.data):len(c.data)])
	}
	c.refs = 1 // ours, until it is laid down
	for _, r := range x.receivers {
		if r == taker {
			continue
		}
		if r.bytes+c.bytes > queueBytes || len(r.queue) >= queueBytes/1316 {
			r.lost += uint32(len(c.datagrams)) + c.dropped
			r.overrun.Add(uint64(len(c.datagrams)))
			continue
		}
		r.queue = append(r.queue, queued{c, c.dropped + r.lost})
		r.lost = 0
		r.bytes += c.bytes
		c.refs++
	}
	x.unref(c)
}

// release gives a shared run back.
func (x *socket) release(c *run) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unref(c)
}

func (x *socket) unref(c *run) {
	if c.refs--; c.refs == 0 && len(x.free) < keptRuns && cap(c.data) <= batchSize*2048 {
		x.free = append(x.free, c)
	}
}
