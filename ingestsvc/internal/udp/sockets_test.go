package udp

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// collect empties what there is for a receiver.
func collect(t *testing.T, r *Receiver) (numbers []uint32, dropped uint32) {
	t.Helper()
	_, err := r.drain(t.Context(), clock.System{}, func(_ time.Duration, datagrams [][]byte, lost uint32) {
		dropped += lost
		for _, d := range datagrams {
			numbers = append(numbers, binary.BigEndian.Uint32(d))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return numbers, dropped
}

// share opens a group for several receivers of one process.
func share(t *testing.T, n int, a Address) (*Sockets, []*Receiver) {
	t.Helper()
	if a.Port == 0 { // a port of 0 is a socket for each
		probe, err := NewSockets().Open(a)
		if err != nil {
			t.Fatal(err)
		}
		a.Port = probe.Address().Port
		probe.Close()
	}
	s := NewSockets()
	var list []*Receiver
	for range n {
		r, err := s.Open(a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		list = append(list, r)
	}
	return s, list
}

// I4: one socket, and each receiver has everything, whoever takes it from the socket. Unicast ports too.
func TestReceiversShareASocket(t *testing.T) {
	for _, a := range []Address{group(8, 0), loopback(0)} {
		s, list := share(t, 3, a)
		if len(s.open) != 1 || list[0].socket != list[2].socket {
			t.Fatalf("%d sockets for one address", len(s.open))
		}
		out := newSender(t, list[0].Address())
		var got [3][]uint32
		sent := 0
		for round, order := range [][]int{{0, 1, 2}, {2, 0, 1}, {1}, {1, 2}, {0, 2}, {0, 1, 2}} {
			n := 1 + round*50
			out.burst(sent, n)
			sent += n
			for _, i := range order {
				numbers, dropped := collect(t, list[i])
				if dropped != 0 {
					t.Errorf("receiver %d: %d dropped", i, dropped)
				}
				got[i] = append(got[i], numbers...)
			}
		}
		for i := range got {
			sequence(t, got[i], 0, sent)
		}
		list[0].Close()
		list[1].Close()
		out.burst(sent, 5)
		numbers, _ := collect(t, list[2])
		sequence(t, numbers, sent, 5)
		list[2].Close()
		if len(s.open) != 0 {
			t.Error("the socket outlives its receivers")
		}
	}
}

// mono is a clock that stands where the test puts it.
type mono struct {
	clock.System
	at time.Duration
}

func (m *mono) Mono() time.Duration { return m.at }

// A group is joined again after a silence: a membership goes with its interface, and the kernel tells nobody. What comes
// meanwhile is no reason, and a group that has only fallen silent loses nothing by it.
func TestGroupIsJoinedAgain(t *testing.T) {
	for _, sources := range []streamconf.Addrs{"", "127.0.0.1"} {
		a := group(21, 0)
		a.Sources = sources
		_, list := share(t, 2, a)
		r, clk := list[0], &mono{at: time.Hour}
		out := newSender(t, r.Address())
		drain := func() (n int) {
			t.Helper()
			if _, err := r.drain(t.Context(), clk, func(_ time.Duration, d [][]byte, _ uint32) { n += len(d) }); err != nil {
				t.Fatal(err)
			}
			return n
		}
		out.burst(0, 1)
		if drain() != 1 {
			t.Fatal("the group does not arrive")
		}
		request := binary.NativeEndian.AppendUint64(nil, 1) // lo
		request = appendSockaddr(request, a.Host)
		if err := unix.SetsockoptString(r.socket.fd, unix.IPPROTO_IP, 45, string(request)); err != nil { // MCAST_LEAVE_GROUP
			t.Fatal(err)
		}
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{0, 0}, {firstRejoin - time.Second, 0}, {2 * time.Second, 1}, {firstRejoin + time.Second, 1}, {time.Hour, 1}} {
			clk.at += step.after
			drain() // is where it is joined again
			out.burst(0, 1)
			if got := drain(); got != step.want {
				t.Errorf("sources %q, %v later: %d datagrams, want %d", sources, step.after, got, step.want)
			}
		}
	}
}

// I4: a receiver that stands still loses its own, which it is told in place, and holds a bounded queue.
func TestSlowReceiverHarmsNobody(t *testing.T) {
	t.Run("another takes what comes next", func(t *testing.T) { slowReceiver(t, false) })
	t.Run("it takes what comes next", func(t *testing.T) { slowReceiver(t, true) })
}

func slowReceiver(t *testing.T, takes bool) {
	_, list := share(t, 2, loopback(0))
	good, slow := list[0], list[1]
	out := newSender(t, good.Address())
	const size = 12 << 10
	sent := 0
	for sent*size < 2*queueBytes {
		for range 16 {
			out.send(uint32(sent), size)
			sent++
		}
		numbers, dropped := collect(t, good)
		if len(numbers) != 16 || dropped != 0 {
			t.Fatalf("the good receiver got %d of 16 and lost %d", len(numbers), dropped)
		}
	}
	if slow.bytes > queueBytes {
		t.Errorf("%d bytes are queued", slow.bytes)
	}
	numbers, dropped := collect(t, slow)
	if dropped != 0 || len(numbers) < queueBytes/size-16 || len(numbers) >= sent {
		t.Fatalf("the slow one has %d of %d, and %d dropped before them", len(numbers), sent, dropped)
	}
	sequence(t, numbers, 0, len(numbers))
	out.burst(sent, 1)
	if !takes {
		collect(t, good)
	}
	last, dropped := collect(t, slow)
	sequence(t, last, sent, 1)
	if int(dropped) != sent-len(numbers) {
		t.Errorf("%d told as lost, want %d", dropped, sent-len(numbers))
	}
	if st := slow.Stats(); int(st.Overrun) != sent-len(numbers) || st.Dropped != st.Overrun {
		t.Errorf("stats %+v", st)
	}
}

// I4: a receiver that never returns from its sink does not hold up another, nor its end.
func TestHungReceiverHarmsNobody(t *testing.T) {
	_, list := share(t, 2, loopback(0))
	out := newSender(t, list[0].Address())
	hang, entered := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	clk := newManual()
	go func() {
		first := true
		done <- list[1].Run(context.Background(), clk, func(time.Duration, [][]byte, uint32) {
			if first {
				first = false
				close(entered)
				<-hang
			}
		})
	}()
	out.burst(0, 3)
	<-clk.idle
	clk.tick <- time.Time{}
	<-entered
	out.burst(3, 3)
	numbers, _ := collect(t, list[0])
	sequence(t, numbers, 0, 6)
	list[1].Close()
	close(hang)
	<-clk.idle
	clk.tick <- time.Time{}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A socket that fails is replaced by the next Open, while others still hold it.
func TestFailedSocketIsReplaced(t *testing.T) {
	s, list := share(t, 2, group(9, 0))
	fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(fd, list[0].socket.fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	for _, r := range list {
		if _, err := r.drain(t.Context(), clock.System{}, nil); err == nil || errors.Is(err, errClosed) {
			t.Fatalf("got %v from a broken socket", err)
		}
	}
	r, err := s.Open(list[0].Address())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.socket == list[0].socket {
		t.Fatal("the broken socket was given out again")
	}
	list[0].Close()
	list[1].Close()
	newSender(t, r.Address()).burst(0, 2)
	numbers, _ := collect(t, r)
	sequence(t, numbers, 0, 2)
}

// from sends from an address of the loopback network.
func from(t *testing.T, source string, to Address) *sender {
	t.Helper()
	s := newSender(t, to)
	if err := unix.Bind(s.fd, &unix.SockaddrInet4{Addr: netip.MustParseAddr(source).As4()}); err != nil {
		t.Fatal(err)
	}
	return s
}

// Source-specific multicast: each receiver gets what its senders send, on one group and port.
func TestSources(t *testing.T) {
	g := group(10, 0)
	any := start(t, g)
	g.Port = any.Address().Port
	only := func(sources streamconf.Addrs) *running {
		a := g
		a.Sources = sources
		return start(t, a)
	}
	one, two := only("127.0.0.2"), only("127.0.0.2,127.0.0.3")
	for i, source := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		from(t, source, g).burst(10*i, 2)
	}
	if got := any.numbers(); !slices.Equal(got, []uint32{0, 1, 10, 11, 20, 21}) {
		t.Errorf("from all: %v", got)
	}
	if got := one.numbers(); !slices.Equal(got, []uint32{10, 11}) {
		t.Errorf("from one: %v", got)
	}
	if got := two.numbers(); !slices.Equal(got, []uint32{10, 11, 20, 21}) {
		t.Errorf("from two: %v", got)
	}
}

func send6(t *testing.T, source string, to netip.AddrPort, number uint32) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	index := 1
	if i, err := net.InterfaceByName("d0"); err == nil {
		index = i.Index
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.MustParseAddr(source).As16()}); err != nil {
		t.Fatal(err)
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 8), number)
	sa := &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if to.Addr().IsLinkLocalMulticast() {
		sa.ZoneId = uint32(index)
	}
	if err = unix.Sendto(fd, b, 0, sa); err != nil {
		t.Fatal(err)
	}
}

// isolate gives the test a network of its own, with a pair of interfaces that lead to each other: the loopback interface
// passes no IPv6 multicast on. The thread ends with the test's goroutine, as it stays locked.
func isolate(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network of its own for the test: %v", err)
	}
	for _, args := range []string{
		"link add d0 type veth peer name d1", "link set d0 up", "link set d1 up", "addr add fd00::1/64 dev d0 nodad",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v: %s", args, err, out)
		}
	}
}

func TestIPv6(t *testing.T) {
	ip := netip.MustParseAddr
	t.Run("unicast", func(t *testing.T) {
		r := start(t, Address{Host: ip("::1")})
		send6(t, "::1", netip.AddrPortFrom(ip("::1"), r.Address().Port), 7)
		sequence(t, r.numbers(), 7, 1)
	})
	t.Run("all addresses, beside IPv4 on the port", func(t *testing.T) {
		r := start(t, Address{Host: ip("::")})
		port := r.Address().Port
		four := start(t, Address{Port: port})
		send6(t, "::1", netip.AddrPortFrom(ip("::1"), port), 7)
		newSender(t, loopback(port)).burst(9, 1)
		sequence(t, r.numbers(), 7, 1)
		sequence(t, four.numbers(), 9, 1)
	})
	for _, g := range []string{"ff02::4:77", "ff05::4:77", "ff3e::8000:77"} {
		t.Run("group "+g, func(t *testing.T) {
			isolate(t)
			byName := start(t, Address{Host: ip(g), InterfaceName: "d0"})
			port := byName.Address().Port
			byIP := start(t, Address{Host: ip(g), Port: port, InterfaceIP: ip("fd00::1")})
			ours := start(t, Address{Host: ip(g), Port: port, InterfaceName: "d0", Sources: "fd00::1"})
			others := start(t, Address{Host: ip(g), Port: port, InterfaceName: "d0", Sources: "fd00::77"})
			other := start(t, Address{Host: ip("ff05::4:78"), Port: port, InterfaceName: "d0"})
			send6(t, "fd00::1", netip.AddrPortFrom(ip(g), port), 7)
			sequence(t, byName.numbers(), 7, 1)
			sequence(t, byIP.numbers(), 7, 1)
			sequence(t, ours.numbers(), 7, 1)
			for _, r := range []*running{others, other} {
				if got := r.numbers(); len(got) > 0 {
					t.Errorf("%s got %v", r.Address(), got)
				}
			}
		})
	}
}
