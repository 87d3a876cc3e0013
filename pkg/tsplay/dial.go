package tsplay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Errors of ParseDestination and Dial.
var (
	ErrURL         = errors.New("want udp://HOST:PORT, udp://GROUP:PORT/INTERFACE-IP or udp://INTERFACE@GROUP:PORT")
	ErrNoInterface = errors.New("no interface of this machine is meant")
)

// Destination is where datagrams go.
type Destination struct {
	Addr netip.AddrPort
	// InterfaceIP or InterfaceName is where a group's datagrams leave; neither leaves it to the routing table.
	InterfaceIP   netip.Addr
	InterfaceName string
}

// six says whether datagrams go over IPv6.
func (d Destination) six() bool { return d.Addr.Addr().Is6() && !d.Addr.Addr().Is4In6() }

// ParseDestination reads the URL of a destination.
func ParseDestination(url string) (Destination, error) {
	var d Destination
	rest, ok := strings.CutPrefix(url, "udp://")
	if !ok {
		return d, fmt.Errorf("%s: %w", url, ErrURL)
	}
	var err error
	if name, after, ok := strings.Cut(rest, "@"); ok {
		d.InterfaceName, rest = name, after
	}
	if before, ip, ok := strings.Cut(rest, "/"); ok && ip != "" {
		rest = before
		if d.InterfaceIP, err = netip.ParseAddr(ip); err != nil {
			return d, fmt.Errorf("%s: %w", url, ErrURL)
		}
	} else {
		rest = before
	}
	rest = strings.Replace(rest, "localhost:", "127.0.0.1:", 1)
	if d.Addr, err = netip.ParseAddrPort(rest); err != nil || d.Addr.Port() == 0 {
		return d, fmt.Errorf("%s: %w", url, ErrURL)
	}
	if (d.InterfaceIP.IsValid() || d.InterfaceName != "") && !d.Addr.Addr().IsMulticast() {
		return d, fmt.Errorf("%s: an interface is for a multicast group: %w", url, ErrURL)
	}
	return d, nil
}

// Conn sends datagrams to one destination.
type Conn struct {
	conn *net.UDPConn
	to   netip.AddrPort
}

// Dial opens a socket for the destination. It isn't connected: a connected one would answer every other Write with an
// error, and swallow the datagram, while nobody listens.
func Dial(d Destination) (*Conn, error) {
	network := "udp4"
	if d.six() {
		network = "udp6"
	}
	c, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	if err := route(c, d); err != nil {
		_ = c.Close() // the error that is returned says more
		return nil, fmt.Errorf("send to %s: %w", d.Addr, err)
	}
	return &Conn{conn: c, to: d.Addr}, nil
}

// DialURL parses the URL and opens a socket for it.
func DialURL(url string) (*Conn, error) {
	d, err := ParseDestination(url)
	if err != nil {
		return nil, err
	}
	return Dial(d)
}

// Write sends one datagram.
func (c *Conn) Write(b []byte) (int, error) { return c.conn.WriteToUDPAddrPort(b, c.to) }

// Close frees the socket.
func (c *Conn) Close() error { return c.conn.Close() }

// route names the interface on which a group's datagrams leave. Receivers on this machine get them too, by default.
func route(c *net.UDPConn, d Destination) error {
	if !d.InterfaceIP.IsValid() && d.InterfaceName == "" {
		return nil
	}
	index, err := interfaceIndex(d)
	if err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if d.six() {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index)
			return
		}
		failed = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)})
	})
	return errors.Join(err, failed)
}

func interfaceIndex(d Destination) (int, error) {
	if d.InterfaceName != "" {
		i, err := net.InterfaceByName(d.InterfaceName)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", d.InterfaceName, ErrNoInterface)
		}
		return i.Index, nil
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return 0, fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == d.InterfaceIP {
				return i.Index, nil
			}
		}
	}
	return 0, fmt.Errorf("%s: %w", d.InterfaceIP, ErrNoInterface)
}
