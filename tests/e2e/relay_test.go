package e2e

import (
	"math/rand/v2"
	"net"
	"testing"
)

// loss says of each datagram whether it is lost.
type loss func(*rand.Rand) bool

// share loses datagrams one by one.
func share(of float64) func() loss {
	return func() loss { return func(rnd *rand.Rand) bool { return rnd.Float64() < of } }
}

// bursts loses one to longest datagrams in a row, with about so many between.
func bursts(longest, between int) func() loss {
	return func() loss {
		left := 0
		return func(rnd *rand.Rand) bool {
			if left == 0 && rnd.IntN(between) == 0 {
				left = 1 + rnd.IntN(longest)
			}
			if left == 0 {
				return false
			}
			left--
			return true
		}
	}
}

// relay hands a source on to two sites, and loses other datagrams of it on the way to each.
type relay struct {
	rnd  *rand.Rand
	rtp  bool
	to   [2]*net.UDPConn
	lose [2]loss
	on   func() bool // whether datagrams are lost now

	lost [2][]bool // of each datagram
}

func newRelay(t *testing.T, seed uint64, rtp bool, ports [2]int, how func() loss, on func() bool) *relay {
	t.Helper()
	r := &relay{rnd: rand.New(rand.NewPCG(seed, 1)), rtp: rtp, on: on}
	for i, port := range ports {
		c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		r.to[i], r.lose[i] = c, how()
	}
	return r
}

// Write implements io.Writer. That nobody listens is no error: so it is with UDP.
func (r *relay) Write(b []byte) (int, error) {
	n := len(r.lost[0])
	out := b
	if r.rtp {
		out = make([]byte, 12, 12+len(b))
		out[0], out[1], out[2], out[3], out[11] = 0x80, 33, byte(n>>8), byte(n), 7 // version, MP2T, sequence, SSRC
		out = append(out, b...)
	}
	for i := range r.to {
		lost := r.lose[i](r.rnd) && r.on()
		if r.lost[i] = append(r.lost[i], lost); !lost {
			r.to[i].Write(out)
		}
	}
	return len(b), nil
}

// count gives how many each site lost, and how many both did.
func (r *relay) count() (a, b, both int) {
	for i := range r.lost[0] {
		if r.lost[0][i] {
			a++
		}
		if r.lost[1][i] {
			b++
		}
		if r.lost[0][i] && r.lost[1][i] {
			both++
		}
	}
	return a, b, both
}
