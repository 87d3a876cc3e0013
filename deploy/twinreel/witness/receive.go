package witness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// receiveBuffer is asked of the kernel: seconds of a stream, so that a busy machine does not make the witness blind.
const receiveBuffer = 16 << 20

// Socket is a receiver of a multicast group.
type Socket struct{ conn *net.UDPConn }

// Listen joins group on the interface that has the address iface, or where the routes lead when iface is invalid.
func Listen(group netip.AddrPort, iface netip.Addr) (*Socket, error) {
	ifi, err := interfaceOf(iface)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenMulticastUDP("udp4", ifi, net.UDPAddrFromAddrPort(group))
	if err != nil {
		return nil, fmt.Errorf("join %s: %w", group, err)
	}
	if err := conn.SetReadBuffer(receiveBuffer); err != nil {
		conn.Close() //nolint:errcheck // already failed
		return nil, fmt.Errorf("set receive buffer: %w", err)
	}
	return &Socket{conn: conn}, nil
}

func interfaceOf(addr netip.Addr) (*net.Interface, error) {
	if !addr.IsValid() {
		return nil, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, ifi := range all {
		addrs, err := ifi.Addrs()
		if err != nil {
			continue
		}
		if slices.ContainsFunc(addrs, func(a net.Addr) bool {
			n, ok := a.(*net.IPNet)
			return ok && n.IP.Equal(addr.AsSlice())
		}) {
			return &ifi, nil
		}
	}
	return nil, fmt.Errorf("no interface has the address %s", addr)
}

// Run hands every datagram to w until ctx is done, then closes the socket.
func (s *Socket) Run(ctx context.Context, w *Witness) error {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() }) //nolint:errcheck // ends Read
	defer stop()
	buf := make([]byte, 65536)
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("receive: %w", err)
		}
		w.Datagram(buf[:n])
	}
}
