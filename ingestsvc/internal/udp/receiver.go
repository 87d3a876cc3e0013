package udp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/pkg/clock"
)

// DrainInterval is how often the socket is emptied.
const DrainInterval = 20 * time.Millisecond

// WantedBuffer is the receive buffer that is asked for: seconds of a stream, since a process may be held up for long.
const WantedBuffer = 8 << 20

// Errors of Open. Each comes wrapped with the address it is about.
var (
	ErrInUse       = errors.New("the port is in use by another receiver")
	ErrNotLocal    = errors.New("the address is not one of this machine")
	ErrNoInterface = errors.New("no such interface")
	ErrNoRoute     = errors.New("no interface for the group: name one")
	ErrUnicast     = errors.New("an interface can be named only with a multicast group")
	ErrNotIPv4     = errors.New("only IPv4 is supported")
	ErrPermission  = errors.New("the system does not permit it")
)

// Address says where to receive.
type Address struct {
	Host netip.Addr // a multicast group, an address of this machine, or the zero Addr or 0.0.0.0 for all of them
	Port uint16
	// InterfaceIP or InterfaceName is where to join the group; neither leaves it to the routing table.
	InterfaceIP   netip.Addr
	InterfaceName string
}

func (a Address) String() string {
	host := a.Host
	if !host.IsValid() {
		host = netip.IPv4Unspecified()
	}
	s := netip.AddrPortFrom(host, a.Port).String()
	switch {
	case a.InterfaceIP.IsValid():
		s += "/" + a.InterfaceIP.String()
	case a.InterfaceName != "":
		s = a.InterfaceName + "@" + s
	}
	return s
}

// Sink takes what arrived, in order. mono is the clock's reading when the batch was taken from the socket. dropped
// datagrams were lost by the kernel just before the first of this batch. The datagrams are reused after the call.
type Sink func(mono time.Duration, datagrams [][]byte, dropped uint32)

// Stats counts since Open.
type Stats struct {
	Datagrams uint64
	Bytes     uint64
	Dropped   uint64 // by the kernel, as its buffer was full or a checksum was wrong
	Truncated uint64 // longer than any we take; counted as dropped too
}

// Receiver is an open socket.
type Receiver struct {
	addr    Address
	granted int
	batches *Batches

	mu sync.Mutex // protects fd against Close during a receive
	fd int        // -1 closed

	lastDrops uint32 // the kernel's count when last told
	datagrams atomic.Uint64
	bytes     atomic.Uint64
	dropped   atomic.Uint64
	truncated atomic.Uint64
}

// Open binds the address and joins the group. The kernel queues from here on, so Run should follow soon.
func Open(a Address, batches *Batches) (*Receiver, error) {
	fd, granted, err := open(a)
	if err != nil {
		return nil, fmt.Errorf("receive from %s: %w", a, err)
	}
	return &Receiver{addr: a, fd: fd, granted: granted, batches: batches}, nil
}

// Address returns what was opened; a port of 0 has become the one that the system chose.
func (r *Receiver) Address() Address {
	a := r.addr
	if a.Port == 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		if sa, err := unix.Getsockname(r.fd); err == nil {
			if in, ok := sa.(*unix.SockaddrInet4); ok {
				a.Port = uint16(in.Port)
			}
		}
	}
	return a
}

// Buffer returns the size of the receive buffer in bytes, and advice if it is smaller than WantedBuffer.
func (r *Receiver) Buffer() (size int, advice string) {
	if r.granted < WantedBuffer {
		advice = fmt.Sprintf("the receive buffer is %d KiB of the %d KiB wanted: raise the sysctl net.core.rmem_max to %d",
			r.granted>>10, WantedBuffer>>10, WantedBuffer)
	}
	return r.granted, advice
}

// Stats returns the counts so far.
func (r *Receiver) Stats() Stats {
	return Stats{
		Datagrams: r.datagrams.Load(),
		Bytes:     r.bytes.Load(),
		Dropped:   r.dropped.Load(),
		Truncated: r.truncated.Load(),
	}
}

// Run drains the socket each DrainInterval until the context ends (nil), the receiver is closed (nil) or the socket
// fails.
func (r *Receiver) Run(ctx context.Context, clk clock.Clock, sink Sink) error {
	tick := clk.NewTicker(DrainInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		}
		open, err := r.drain(ctx, clk, sink)
		if err != nil {
			return fmt.Errorf("receive from %s: %w", r.addr, err)
		}
		if !open {
			return nil
		}
	}
}

// drain takes all that is queued.
func (r *Receiver) drain(ctx context.Context, clk clock.Clock, sink Sink) (open bool, err error) {
	b := r.batches.get()
	defer r.batches.put(b)
	for ctx.Err() == nil {
		r.mu.Lock()
		if r.fd < 0 {
			r.mu.Unlock()
			return false, nil
		}
		n, err := b.receive(r.fd)
		r.mu.Unlock()
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN, err == unix.ENOBUFS, err == unix.ENOMEM: // the kernel is short of memory: at the next tick
			return true, nil
		case err != nil:
			return true, err
		}
		r.deliver(clk.Mono(), b, n, sink)
		if n < batchSize {
			return true, nil
		}
	}
	return true, nil
}

// deliver hands the first n datagrams of b on, in runs that begin where something was dropped.
func (r *Receiver) deliver(mono time.Duration, b *batch, n int, sink Sink) {
	run := b.datagrams[:0]
	var before uint32 // dropped before the run
	flush := func() {
		if len(run) > 0 {
			sink(mono, run, before)
			run, before = run[len(run):], 0
		}
	}
	for i := range n {
		r.datagrams.Add(1)
		data, drops, truncated := b.message(i)
		r.bytes.Add(uint64(len(data)))
		if lost := drops - r.lastDrops; drops != 0 && lost != 0 {
			flush()
			r.lastDrops = drops
			r.dropped.Add(uint64(lost))
			before += lost
		}
		if truncated {
			flush()
			r.truncated.Add(1)
			r.dropped.Add(1)
			before++
			continue
		}
		run = append(run, data)
	}
	if len(run) == 0 && before > 0 {
		sink(mono, nil, before)
		return
	}
	flush()
}

// Close ends Run and frees the socket. It may be called again.
func (r *Receiver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return nil
	}
	fd := r.fd
	r.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close %s: %w", r.addr, err)
	}
	return nil
}
