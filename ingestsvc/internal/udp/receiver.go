package udp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// DrainInterval is how often a socket is emptied that was granted a buffer of roomy bytes, SmallDrainInterval any other:
// waking up is most of what a stream costs, but a small buffer must not fill meanwhile.
const (
	DrainInterval      = 40 * time.Millisecond
	SmallDrainInterval = 20 * time.Millisecond
	roomy              = 2 << 20 // takes 40 ms of 400 Mbit/s
)

// WantedBuffer is the receive buffer that is asked for: seconds of a stream, since a process may be held up for long.
const WantedBuffer = 8 << 20

// Errors of Open. Each comes wrapped with the address it is about.
var (
	ErrInUse       = errors.New("the port is in use by another receiver")
	ErrNotLocal    = errors.New("the address is not one of this machine")
	ErrNoInterface = errors.New("no such interface")
	ErrNoRoute     = errors.New("no interface for the group: name one")
	ErrUnicast     = errors.New("an interface and sources can be named only with a multicast group")
	ErrFamily      = errors.New("the addresses are of IPv4 and IPv6, want one of them")
	ErrSources     = errors.New("the system takes fewer sources: raise the sysctl net.ipv4.igmp_max_msf or net.ipv6.mld_max_msf")
	ErrPermission  = errors.New("the system does not permit it")
)

// Address says where to receive. Equal addresses with a port share a socket.
type Address struct {
	Host netip.Addr // a multicast group, an address of this machine, or the zero Addr, 0.0.0.0 or :: for all of them
	Port uint16
	// InterfaceIP or InterfaceName is where to join the group; neither leaves it to the routing table.
	InterfaceIP   netip.Addr
	InterfaceName string
	// Sources are the senders from which the group is joined (IGMPv3, MLDv2); none: all.
	Sources streamconf.Addrs
}

// AddressOf is where an input of the config listens.
func AddressOf(u streamconf.UDP) Address {
	return Address{Host: u.Addr, Port: u.Port, InterfaceIP: u.IfIP, InterfaceName: u.Iface, Sources: u.Sources}
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
	if a.Sources != "" {
		s += "?sources=" + string(a.Sources)
	}
	return s
}

// Sink takes what arrived, in order. mono is the clock's reading when the batch was taken from the socket. dropped
// datagrams were lost just before the first of this batch: by the kernel, or because this receiver was too slow. Without
// datagrams and drops it only tells the time, on a tick that brought nothing. The datagrams are reused after the call.
type Sink func(mono time.Duration, datagrams [][]byte, dropped uint32)

// Stats counts since Open.
type Stats struct {
	Datagrams uint64
	Bytes     uint64
	Dropped   uint64 // by the kernel, as its buffer was full or a checksum was wrong; and Overrun
	Truncated uint64 // longer than any we take; counted as dropped too
	Overrun   uint64 // taken for this receiver, which did not come for them before its queue was full
}

// Receiver is one of those who receive from a socket.
type Receiver struct {
	socket *socket

	// The fields below are protected by socket.mu.
	closed bool
	queue  []queued // what another receiver of the socket took meanwhile
	bytes  int      // in it
	lost   uint32   // not taken into it, since its last entry

	datagrams atomic.Uint64
	received  atomic.Uint64
	dropped   atomic.Uint64
	truncated atomic.Uint64
	overrun   atomic.Uint64
}

// Address returns what was opened; a port of 0 has become the one that the system chose.
func (r *Receiver) Address() Address { return r.socket.address() }

// Buffer returns the size of the receive buffer in bytes, and advice if it is smaller than WantedBuffer.
func (r *Receiver) Buffer() (size int, advice string) {
	granted := r.socket.granted
	if granted < WantedBuffer {
		advice = fmt.Sprintf("the receive buffer is %d KiB of the %d KiB wanted: raise the sysctl net.core.rmem_max to %d",
			granted>>10, WantedBuffer>>10, WantedBuffer)
	}
	return granted, advice
}

// Stats returns the counts so far.
func (r *Receiver) Stats() Stats {
	return Stats{
		Datagrams: r.datagrams.Load(),
		Bytes:     r.received.Load(),
		Dropped:   r.dropped.Load(),
		Truncated: r.truncated.Load(),
		Overrun:   r.overrun.Load(),
	}
}

// every is how often the socket is emptied.
func (r *Receiver) every() time.Duration {
	if r.socket.granted < roomy {
		return SmallDrainInterval
	}
	return DrainInterval
}

// Run drains the socket, as often as its buffer asks for, until the context ends (nil), the receiver is closed (nil) or the socket
// fails.
func (r *Receiver) Run(ctx context.Context, clk clock.Clock, sink Sink) error {
	tick := clock.NewGrid(clk, r.every())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
			tick.Next()
		}
		open, err := r.drain(ctx, clk, sink)
		if err != nil {
			return fmt.Errorf("receive from %s: %w", r.socket.addr, err)
		}
		if !open {
			return nil
		}
	}
}

// drain takes all that is queued: first what others took from the socket, then what is left in it.
func (r *Receiver) drain(ctx context.Context, clk clock.Clock, sink Sink) (open bool, err error) {
	s := r.socket
	b := s.batches.get()
	defer s.batches.put(b)
	idle := true
	for ctx.Err() == nil {
		got, more, err := s.take(r, b, clk)
		switch {
		case err == unix.EINTR:
			continue
		case err == errClosed:
			return false, nil
		case err != nil:
			return true, err
		}
		idle = idle && len(got) == 0
		r.hand(got, sink)
		if !more {
			break
		}
	}
	if idle {
		sink(clk.Mono(), nil, 0)
	}
	return true, nil
}

// hand gives runs of datagrams to the sink, outside of all locks: it may take its time.
func (r *Receiver) hand(got []queued, sink Sink) {
	for _, q := range got {
		r.datagrams.Add(uint64(len(q.run.datagrams)))
		r.received.Add(uint64(q.run.bytes))
		r.dropped.Add(uint64(q.before))
		r.truncated.Add(uint64(q.run.truncated))
		sink(q.run.mono, q.run.datagrams, q.before)
		if q.run.shared {
			r.socket.release(q.run)
		}
	}
}

// Close ends Run; the last receiver frees the socket. It may be called again.
func (r *Receiver) Close() error { return r.socket.owner.close(r) }
