package testkit

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/tsplay"
)

// Source plays a clip at its own pace to any number of outputs, each of which may lose what the test wants lost.
type Source struct {
	player *tsplay.Player
	done   chan struct{}
}

// Play starts the source; it ends with the clip, by Stop, or with the test.
func Play(t testing.TB, path string, opts tsplay.Options, outs ...*Output) *Source {
	t.Helper()
	for _, o := range outs {
		opts.To = append(opts.To, o)
	}
	player, err := tsplay.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	s := &Source{player: player, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		if err := player.Run(context.Background()); err != nil {
			t.Errorf("play %s: %v", path, err)
		}
	}()
	t.Cleanup(func() {
		s.Stop()
		if n := player.Stats().Holdups; n > 0 && t.Failed() {
			t.Logf("this machine was too busy: the source was held up %d times", n)
		}
	})
	return s
}

// Stop ends the source.
func (s *Source) Stop() {
	s.player.Stop()
	<-s.done
}

// Wait returns when the clip has been played.
func (s *Source) Wait(t testing.TB) {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(s.player.Length() + time.Minute):
		t.Fatal("the source does not end")
	}
}

// Stats returns the counts so far.
func (s *Source) Stats() tsplay.Stats { return s.player.Stats() }

// Output sends to a loopback port what Keep lets pass.
type Output struct {
	conn *net.UDPConn
	mu   sync.Mutex // protects the field below
	keep func(datagram []byte) bool
}

var _ io.Writer = (*Output)(nil)

// NewOutput returns an output that lets everything pass.
func NewOutput(t testing.TB, port int) *Output {
	t.Helper()
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatalf("open output: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return &Output{conn: conn}
}

// Write implements io.Writer. A receiver that is not there is no error: so it is with UDP.
func (o *Output) Write(datagram []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keep == nil || o.keep(datagram) {
		o.conn.Write(datagram)
	}
	return len(datagram), nil
}

// Send sends a datagram that the source has not made; of use in Keep.
func (o *Output) Send(datagram []byte) {
	o.conn.Write(datagram) //nolint:errcheck // as Write
}

// Keep decides for each datagram whether it passes; nil: all do.
func (o *Output) Keep(keep func(datagram []byte) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keep = keep
}

// Nothing is a Keep that loses everything.
func Nothing([]byte) bool { return false }

// LoseRAPs is a Keep that loses the n-th datagram (from 0) in which a random access point of a PID begins: a packet
// that starts a PES and has random_access_indicator.
func LoseRAPs(pid uint16, n ...int) func([]byte) bool {
	lose := make(map[int]bool)
	for _, k := range n {
		lose[k] = true
	}
	seen := 0
	return func(datagram []byte) bool {
		keep := true
		for p := datagram; len(p) >= 188; p = p[188:] {
			start := p[1]&0x40 != 0 && uint16(p[1]&0x1F)<<8|uint16(p[2]) == pid
			if start && p[3]&0x20 != 0 && p[4] > 0 && p[5]&0x40 != 0 {
				keep = keep && !lose[seen]
				seen++
			}
		}
		return keep
	}
}

// nextPort makes FreePort hand out no port twice in one process; where it begins differs between processes.
var nextPort atomic.Uint32

// FreePort returns a loopback port that is free for UDP and for TCP. It lies below the range from which the kernel takes
// the local ports of outgoing connections: one of those could be taken again before the test listens on it.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		nextPort.CompareAndSwap(0, 1+rand.Uint32N(15000))
		port := 15000 + int(nextPort.Add(1)%15000)
		lis, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		lis.Close()
		if err == nil {
			udp.Close()
			return port
		}
	}
	t.Fatal("find a free port: none in 100 tries")
	return 0
}
