package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// open returns a bound socket and the receive buffer it was granted.
func open(a Address) (fd, granted int, err error) {
	host := a.Host
	if !host.IsValid() {
		host = netip.IPv4Unspecified()
	}
	sources := a.Sources.All()
	if a.InterfaceIP.IsValid() && a.InterfaceIP.Is4() != host.Is4() ||
		slices.ContainsFunc(sources, func(s netip.Addr) bool { return s.Is4() != host.Is4() }) {
		return -1, 0, ErrFamily
	}
	named := a.InterfaceIP.IsValid() || a.InterfaceName != ""
	if (named || len(sources) > 0) && !host.IsMulticast() {
		return -1, 0, ErrUnicast
	}
	ifindex, err := interfaceIndex(a)
	if err != nil {
		return -1, 0, err
	}
	family := unix.AF_INET
	if host.Is6() {
		family = unix.AF_INET6
	}

	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
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
	local, err := localAddress(host, a.Port, ifindex)
	if err != nil {
		return -1, 0, err
	}
	if host.Is6() { // or :: would take IPv4 too, whose port may be another input's
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return -1, 0, reason("bind", err)
		}
	}
	// Bound to the group, the socket gets no other group's datagrams on the same port.
	if err := unix.Bind(fd, local); err != nil {
		return -1, 0, reason("bind", err)
	}
	if !host.IsMulticast() {
		return fd, granted, nil
	}
	if err := join(fd, host, ifindex, sources); err != nil {
		return -1, 0, reason("join the group", err)
	}
	return fd, granted, nil
}

// localAddress is what to bind. A link-local address means something only with its interface.
func localAddress(host netip.Addr, port uint16, ifindex int) (unix.Sockaddr, error) {
	if host.Is4() {
		return &unix.SockaddrInet4{Port: int(port), Addr: host.As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(port), Addr: host.As16()}
	switch {
	case host.Zone() != "":
		i, err := net.InterfaceByName(host.Zone())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", host.Zone(), ErrNoInterface)
		}
		sa.ZoneId = uint32(i.Index)
	case host.IsLinkLocalMulticast() || host.IsInterfaceLocalMulticast():
		if ifindex == 0 {
			return nil, ErrNoRoute
		}
		sa.ZoneId = uint32(ifindex)
	}
	return sa, nil
}

// rejoin leaves the group of a socket on an interface and joins it again, on the one that now has the name or address.
// The kernel drops a membership with its interface, and says nothing.
func rejoin(fd int, a Address, before int) (ifindex int, err error) {
	ifindex, err = interfaceIndex(a)
	if err != nil {
		return 0, err
	}
	level := unix.IPPROTO_IP
	if a.Host.Is6() {
		level = unix.IPPROTO_IPV6
	}
	_ = unix.SetsockoptString(fd, level, mcastLeaveGroup, string(membership(a.Host, before))) // it may be gone already
	if err := join(fd, a.Host, ifindex, a.Sources.All()); err != nil && !errors.Is(err, unix.EADDRINUSE) {
		return 0, reason("join the group again", err)
	}
	return ifindex, nil
}

// membership writes a group_req: the interface and the group.
func membership(group netip.Addr, ifindex int) []byte {
	request := binary.NativeEndian.AppendUint64(nil, 0) // the interface, and what aligns the address
	binary.NativeEndian.PutUint32(request, uint32(ifindex))
	return appendSockaddr(request, group)
}

// Options of <linux/in.h> and <linux/in6.h>, for both families.
const (
	mcastJoinGroup       = 42
	mcastLeaveGroup      = 45
	mcastJoinSourceGroup = 46
	ipv6MulticastAll     = 29
	sockaddrStorage      = 128
)

// join joins a group on an interface, from all senders or from some (RFC 3678).
func join(fd int, group netip.Addr, ifindex int, sources []netip.Addr) error {
	// Without this a socket gets what any other on this machine joined, on whatever interface and from whatever sender.
	level, all := unix.IPPROTO_IP, unix.IP_MULTICAST_ALL
	if group.Is6() {
		level, all = unix.IPPROTO_IPV6, ipv6MulticastAll
	}
	if err := unix.SetsockoptInt(fd, level, all, 0); err != nil {
		return err
	}
	request := membership(group, ifindex)
	if len(sources) == 0 {
		return unix.SetsockoptString(fd, level, mcastJoinGroup, string(request))
	}
	for _, s := range sources {
		err := unix.SetsockoptString(fd, level, mcastJoinSourceGroup, string(appendSockaddr(slices.Clip(request), s)))
		if errors.Is(err, unix.ENOBUFS) {
			return ErrSources
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// appendSockaddr writes a sockaddr_storage.
func appendSockaddr(b []byte, a netip.Addr) []byte {
	end := len(b) + sockaddrStorage
	if a.Is4() {
		b = binary.NativeEndian.AppendUint16(b, unix.AF_INET)
		b = append(b, 0, 0) // port
	} else {
		b = binary.NativeEndian.AppendUint16(b, unix.AF_INET6)
		b = append(b, 0, 0, 0, 0, 0, 0) // port, flow
	}
	b = append(b, a.AsSlice()...)
	return append(b, make([]byte, end-len(b))...)
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
