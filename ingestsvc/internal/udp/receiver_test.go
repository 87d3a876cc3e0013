package udp

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/pkg/clock"
)

// manual is a clock whose ticker fires when the test says so; idle tells when Run waits for it.
type manual struct {
	clock.System
	tick chan time.Time
	idle chan struct{}
}

func newManual() manual {
	return manual{tick: make(chan time.Time), idle: make(chan struct{}, 1)}
}

func (m manual) NewTicker(time.Duration) clock.Ticker { return m }
func (m manual) C() <-chan time.Time                  { m.idle <- struct{}{}; return m.tick }
func (m manual) Stop()                                {}
func (m manual) Mono() time.Duration                  { return 42 * time.Second }

var _ clock.Clock = manual{}

// batchOf is one call of the sink.
type batchOf struct {
	mono    time.Duration
	numbers []uint32
	dropped uint32
}

// running is a receiver under test: drain makes it empty its socket and returns what the sink was given.
type running struct {
	*Receiver
	clock manual
	got   []batchOf
	done  chan error
}

func start(t *testing.T, a Address) *running {
	t.Helper()
	r, err := NewSockets().Open(a)
	if err != nil {
		t.Fatal(err)
	}
	u := &running{Receiver: r, clock: newManual(), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		u.done <- r.Run(ctx, u.clock, func(mono time.Duration, datagrams [][]byte, dropped uint32) {
			if len(datagrams) == 0 && dropped == 0 {
				return // it tells the time
			}
			b := batchOf{mono: mono, dropped: dropped}
			for _, d := range datagrams {
				b.numbers = append(b.numbers, binary.BigEndian.Uint32(d))
			}
			u.got = append(u.got, b)
		})
	}()
	<-u.clock.idle
	t.Cleanup(func() {
		cancel()
		<-u.done
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
	})
	return u
}

// drain makes Run empty the socket and returns what the sink was given.
func (u *running) drain() []batchOf {
	u.got = nil
	u.clock.tick <- time.Time{}
	<-u.clock.idle
	return u.got
}

func (u *running) numbers() (all []uint32) {
	for _, b := range u.drain() {
		all = append(all, b.numbers...)
	}
	return all
}

// sender sends numbered datagrams; to a group over lo.
type sender struct {
	t  *testing.T
	fd int
	to unix.SockaddrInet4
}

func newSender(t *testing.T, to Address) *sender {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, [4]byte{127, 0, 0, 1}); err != nil {
		t.Fatal(err)
	}
	return &sender{t: t, fd: fd, to: unix.SockaddrInet4{Port: int(to.Port), Addr: to.Host.As4()}}
}

func (s *sender) send(number uint32, size int) {
	s.t.Helper()
	b := make([]byte, size)
	binary.BigEndian.PutUint32(b, number)
	if err := unix.Sendto(s.fd, b, 0, &s.to); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sender) burst(from, n int) {
	for i := range n {
		s.send(uint32(from+i), 1316)
	}
}

func loopback(port uint16) Address {
	return Address{Host: netip.MustParseAddr("127.0.0.1"), Port: port}
}

func group(last byte, port uint16) Address {
	return Address{Host: netip.AddrFrom4([4]byte{239, 255, 77, last}), Port: port, InterfaceIP: netip.MustParseAddr("127.0.0.1")}
}

func sequence(t *testing.T, got []uint32, from, n int) {
	t.Helper()
	if len(got) != n {
		t.Fatalf("%d datagrams, want %d", len(got), n)
	}
	for i, v := range got {
		if v != uint32(from+i) {
			t.Fatalf("datagram %d is number %d, want %d", i, v, from+i)
		}
	}
}

// I1: order, over several system calls.
func TestUnicastInOrder(t *testing.T) {
	r := start(t, loopback(0))
	s := newSender(t, r.Address())
	s.burst(0, 3*batchSize+5)
	sequence(t, r.numbers(), 0, 3*batchSize+5)
	s.burst(500, 2)
	got := r.drain()
	if len(got) != 1 || got[0].mono != 42*time.Second || got[0].dropped != 0 {
		t.Fatalf("batches %+v, want one at the clock's 42 s without drops", got)
	}
	sequence(t, got[0].numbers, 500, 2)
	if st := r.Stats(); st.Datagrams != 3*batchSize+7 || st.Bytes != st.Datagrams*1316 || st.Dropped != 0 {
		t.Errorf("stats %+v", st)
	}
}

// I3: two receivers share a group; neither gets another group on the same port.
func TestMulticastSharedAndSeparate(t *testing.T) {
	a := start(t, group(1, 0))
	port := a.Address().Port
	b := start(t, group(1, port))
	other := start(t, Address{Host: group(2, 0).Host, Port: port, InterfaceName: "lo"})

	newSender(t, group(1, port)).burst(0, 10)
	newSender(t, group(2, port)).burst(100, 10)
	newSender(t, loopback(port)).burst(200, 10) // nobody's
	sequence(t, a.numbers(), 0, 10)
	sequence(t, b.numbers(), 0, 10)
	sequence(t, other.numbers(), 100, 10)
}

// I2: what the kernel drops is told with the first datagram after the hole.
func TestDropsAreToldInPlace(t *testing.T) {
	r := start(t, loopback(0))
	s := newSender(t, r.Address())
	if err := unix.SetsockoptInt(r.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 32<<10); err != nil {
		t.Fatal(err)
	}
	const sent = 200
	s.burst(0, sent)
	kept := len(r.numbers())
	if kept == 0 || kept >= sent {
		t.Fatalf("the small buffer kept %d of %d", kept, sent)
	}
	s.burst(sent, 3)
	got := r.drain()
	if len(got) != 1 || got[0].dropped != uint32(sent-kept) {
		t.Fatalf("batches %+v, want one behind %d dropped", got, sent-kept)
	}
	sequence(t, got[0].numbers, sent, 3)
	s.burst(sent+3, 1)
	if got := r.drain(); len(got) != 1 || got[0].dropped != 0 {
		t.Fatalf("batches %+v, want one without drops: they were told", got)
	}
	if st := r.Stats(); st.Dropped != uint64(sent-kept) {
		t.Errorf("dropped %d, want %d", st.Dropped, sent-kept)
	}
}

// I2: a drop between datagrams of one batch parts it.
func TestDropWithinABatch(t *testing.T) {
	r := start(t, loopback(0))
	s := newSender(t, r.Address())
	if err := unix.SetsockoptInt(r.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 32<<10); err != nil {
		t.Fatal(err)
	}
	const sent = 100
	s.burst(0, sent)
	b := make([]byte, maxDatagram)
	const taken = 12 // room for three more; the kernel gives memory back by the quarter of the buffer
	for range taken {
		if _, _, err := unix.Recvfrom(r.socket.fd, b, unix.MSG_DONTWAIT); err != nil {
			t.Fatal(err)
		}
	}
	s.burst(sent, 3)
	got := r.drain()
	if len(got) != 2 || got[0].dropped != 0 || got[1].dropped == 0 {
		t.Fatalf("batches %+v, want one before the drop and one behind it", got)
	}
	if n := len(got[0].numbers); taken+n+int(got[1].dropped) != sent {
		t.Errorf("%d taken, %d before the drop, %d dropped, want %d together", taken, n, got[1].dropped, sent)
	}
	sequence(t, got[1].numbers, sent, 3)
}

// A datagram that is longer than we take is a loss in its place.
func TestTruncatedIsALoss(t *testing.T) {
	r := start(t, loopback(0))
	s := newSender(t, r.Address())
	s.send(1, 1316)
	s.send(2, maxDatagram+1)
	s.send(3, maxDatagram)
	got := r.drain()
	if len(got) != 2 || got[0].dropped != 0 || got[1].dropped != 1 {
		t.Fatalf("batches %+v, want the second behind one dropped", got)
	}
	if got[0].numbers[0] != 1 || got[1].numbers[0] != 3 {
		t.Errorf("batches %+v", got)
	}
	s.send(4, maxDatagram+1)
	if got := r.drain(); len(got) != 1 || got[0].dropped != 1 || len(got[0].numbers) != 0 {
		t.Errorf("batches %+v, want a drop alone", got)
	}
}

func TestOpenErrors(t *testing.T) {
	taken := start(t, loopback(0)).Address()
	for _, c := range []struct {
		name string
		addr Address
		want error
	}{
		{"port in use", taken, ErrInUse},
		{"not ours", Address{Host: netip.MustParseAddr("198.51.100.7"), Port: 5000}, ErrNotLocal},
		{"interface IP not ours", Address{Host: group(3, 0).Host, Port: 5000, InterfaceIP: netip.MustParseAddr("198.51.100.7")}, ErrNotLocal},
		{"no such interface", Address{Host: group(3, 0).Host, Port: 5000, InterfaceName: "nosuch0"}, ErrNoInterface},
		{"unicast with interface", Address{Host: netip.MustParseAddr("127.0.0.1"), Port: 5000, InterfaceName: "lo"}, ErrUnicast},
		{"families", Address{Host: netip.MustParseAddr("ff05::1"), Port: 5000, InterfaceIP: netip.MustParseAddr("127.0.0.1")}, ErrFamily},
		{"families of sources", Address{Host: netip.MustParseAddr("239.0.0.1"), Port: 5000, Sources: "::1"}, ErrFamily},
		{"unicast with sources", Address{Host: netip.MustParseAddr("127.0.0.1"), Port: 5000, Sources: "127.0.0.2"}, ErrUnicast},
		{"link-local group without interface", Address{Host: netip.MustParseAddr("ff02::99"), Port: 5000}, ErrNoRoute},
		{"zone that is no interface", Address{Host: netip.MustParseAddr("fe80::1%nosuch0"), Port: 5000}, ErrNoInterface},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := NewSockets().Open(c.addr)
			if err == nil {
				r.Close()
			}
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), c.addr.String()) {
				t.Errorf("%q is not one line with the address %s", err, c.addr)
			}
		})
	}
}

func TestBufferIsReported(t *testing.T) {
	r := start(t, loopback(0))
	size, advice := r.Buffer()
	if size < 4<<10 {
		t.Errorf("buffer of %d bytes", size)
	}
	if small := size < WantedBuffer; small != strings.Contains(advice, "net.core.rmem_max") {
		t.Errorf("buffer of %d bytes with advice %q", size, advice)
	}
}

func TestSmallBufferIsEmptiedMoreOften(t *testing.T) {
	for granted, want := range map[int]time.Duration{
		208 << 10: SmallDrainInterval, // what Debian grants without a word of the administrator
		roomy:     DrainInterval,
	} {
		if got := (&Receiver{socket: &socket{granted: granted}}).every(); got != want {
			t.Errorf("a buffer of %d bytes is emptied each %s, want %s", granted, got, want)
		}
	}
}

func TestCloseEndsRun(t *testing.T) {
	r, err := NewSockets().Open(loopback(0))
	if err != nil {
		t.Fatal(err)
	}
	clk := newManual()
	done := make(chan error, 1)
	go func() {
		done <- r.Run(context.Background(), clk, func(time.Duration, [][]byte, uint32) {})
	}()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	clk.tick <- time.Time{}
	if err := <-done; err != nil {
		t.Errorf("run ended with %v", err)
	}
}

// Receivers that drain one after the other need one batch between them, and mix nothing up.
func TestReceiversShareABatch(t *testing.T) {
	sockets := NewSockets()
	for i := range 3 {
		r, err := sockets.Open(loopback(0))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		newSender(t, r.Address()).burst(10*i, 2)
		var got []uint32
		_, err = r.drain(t.Context(), clock.System{}, func(_ time.Duration, datagrams [][]byte, _ uint32) {
			for _, d := range datagrams {
				got = append(got, binary.BigEndian.Uint32(d))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		sequence(t, got, 10*i, 2)
		if n := len(sockets.batches.free); n != 1 {
			t.Errorf("%d batches after %d receivers, want 1", n, i+1)
		}
	}
}

// The wildcard takes unicast to every address of the machine.
func TestAllAddresses(t *testing.T) {
	r := start(t, Address{})
	s := newSender(t, Address{Host: netip.MustParseAddr("127.0.0.1"), Port: r.Address().Port})
	s.burst(0, 2)
	sequence(t, r.numbers(), 0, 2)
}

func BenchmarkDrain(b *testing.B) {
	r, err := NewSockets().Open(loopback(0))
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(r.Address().Port)})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	payload := make([]byte, 1316)
	got := 0
	sink := func(_ time.Duration, d [][]byte, _ uint32) { got += len(d) }
	b.SetBytes(1316 * batchSize)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for range batchSize {
			if _, err := c.Write(payload); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if _, err := r.drain(context.Background(), clock.System{}, sink); err != nil {
			b.Fatal(err)
		}
	}
	if got == 0 {
		b.Fatal("nothing received")
	}
}
