package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// open returns a bound socket and the receive buffer it was granted.
func open(a Address) (fd, granted int, err error) {
	host := a.Host
	if !host.IsValid() {
		host = netip.IPv4Unspecified()
	}
	if !host.Is4() || a.InterfaceIP.IsValid() && !a.InterfaceIP.Is4() {
		return -1, 0, ErrNotIPv4
	}
	named := a.InterfaceIP.IsValid() || a.InterfaceName != ""
	if named && !host.IsMulticast() {
		return -1, 0, ErrUnicast
	}
	ifindex, err := interfaceIndex(a)
	if err != nil {
		return -1, 0, err
	}

	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, 0, reason("open socket", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd) // the error that is returned says more
		}
	}()
	if host.IsMulticast() {
		// Several receivers may share a group. A unicast datagram would go to the last of them alone.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return -1, 0, reason("share the port", err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1); err != nil {
		return -1, 0, reason("count drops", err)
	}
	if granted, err = growBuffer(fd); err != nil {
		return -1, 0, reason("size the buffer", err)
	}
	// Bound to the group, the socket gets no other group's datagrams on the same port.
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(a.Port), Addr: host.As4()}); err != nil {
		return -1, 0, reason("bind", err)
	}
	if !host.IsMulticast() {
		return fd, granted, nil
	}
	// Without this a socket gets what any other on this machine joined, on whatever interface.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0); err != nil {
		return -1, 0, reason("join the group", err)
	}
	request := &unix.IPMreqn{Multiaddr: host.As4(), Ifindex: int32(ifindex)}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, request); err != nil {
		return -1, 0, reason("join the group", err)
	}
	return fd, granted, nil
}

// interfaceIndex finds the interface that the address names; 0 if none is named.
func interfaceIndex(a Address) (int, error) {
	if !a.InterfaceIP.IsValid() && a.InterfaceName == "" {
		return 0, nil
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return 0, fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range interfaces {
		if a.InterfaceName != "" {
			if i.Name == a.InterfaceName {
				return i.Index, nil
			}
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away
		}
		for _, addr := range addrs {
			if p, err := netip.ParsePrefix(addr.String()); err == nil && p.Addr() == a.InterfaceIP {
				return i.Index, nil
			}
		}
	}
	if a.InterfaceName != "" {
		return 0, fmt.Errorf("%s: %w", a.InterfaceName, ErrNoInterface)
	}
	return 0, fmt.Errorf("%s: %w", a.InterfaceIP, ErrNotLocal)
}

// growBuffer asks for WantedBuffer, past the system's limit where we may, and returns what was granted.
func growBuffer(fd int) (int, error) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, WantedBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, WantedBuffer); err != nil {
			return 0, err
		}
	}
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return n / 2, err // the kernel doubles what it grants, for its own bookkeeping (socket(7))
}

// reason says what a failed system call means to whoever wrote the address.
func reason(action string, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return ErrInUse
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return ErrNotLocal
	case errors.Is(err, unix.ENODEV):
		return ErrNoRoute
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w", action, ErrPermission)
	}
	return fmt.Errorf("%s: %w", action, err)
}
