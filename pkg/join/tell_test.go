package join

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestWhatAPictureHolds: packets are of a picture where it alone has the bytes of each of them that tell; stuffing, and what may have held a
// start code, tell nothing.
func TestWhatAPictureHolds(t *testing.T) {
	rnd := testkit.Rand(t)
	noise := func() []byte {
		b := make([]byte, 184)
		for i := range b {
			b[i] = byte(2 + rnd.IntN(253))
		}
		return b
	}
	a, b, c, strange := noise(), noise(), noise(), noise()
	stuffing := bytes.Repeat([]byte{0xFF}, 184)
	code := slices.Clone(a)
	copy(code[90:], []byte{0, 0, 1})
	half := slices.Clone(strange)
	half[len(half)-1] = 0
	l := &lane{samples: []sample{
		{dts: 1, data: slices.Concat([]byte{9, 9}, a, b, stuffing)},
		{dts: 2, data: slices.Concat([]byte{8}, c, b, stuffing)},
		{dts: 3, reason: segment.ReasonContinuity, data: strange},
	}}
	of := contents([]*lane{l, {samples: []sample{{dts: 1, data: l.samples[0].data}}}})
	for _, x := range []struct {
		name string
		data [][]byte
		want timeline.Ticks // 0: none
	}{
		{"its bytes", [][]byte{a}, 1},
		{"of the second", [][]byte{c}, 2},
		{"in both", [][]byte{b}, 0},
		{"of one and the other", [][]byte{a, c}, 0},
		{"of one, and of neither", [][]byte{a, strange}, 0},
		{"damaged", [][]byte{strange}, 0},
		{"stuffing alone", [][]byte{stuffing}, 0},
		{"and stuffing", [][]byte{a, stuffing}, 1},
		{"and a start code", [][]byte{code, a}, 1},
		{"and half of one", [][]byte{a, half}, 1},
		{"short", [][]byte{a[:20]}, 0},
	} {
		var chain []item
		for _, d := range x.data {
			chain = append(chain, item{Packet: &segment.Packet{Data: d}})
		}
		if got, ok := of(chain); ok != (x.want != 0) || got != x.want && ok {
			t.Errorf("%s: of %d, %v, want %d", x.name, got, ok, x.want)
		}
	}
}

// TestTellBounded: however many packets a peer says that a recorder has in a row, and however much it has of pictures, it is soon told of which they
// are, or that nobody can know.
func TestTellBounded(t *testing.T) {
	rnd := testkit.Rand(t)
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(2 + rnd.IntN(253))
		}
		return b
	}
	const n, size = 15_000, 184
	long := noise(n * size)
	again := bytes.Repeat(noise(92), 2*n)
	for name, data := range map[string][]byte{"noise": long, "what comes again and again": again} {
		l := &lane{samples: []sample{{dts: begin, data: noise(4 << 20)}, {dts: begin + frame, data: data}, {dts: begin + 2*frame, data: noise(4 << 20)}}}
		r := run(0, 0)
		r.Packets = append(r.Packets, segment.Packet{At: 1, Counter: 1, Data: noise(size)})
		for i := range n {
			r.Packets = append(r.Packets, segment.Packet{At: uint32(2 + i), Counter: uint8(2+i) & 0x0F, Follows: i > 0, Data: data[i*size : (i+1)*size]})
		}
		r.Holes = []segment.Hole{{From: 0, To: 1}, {From: 0, To: 2}}
		done := time.Now()
		assemble([]segment.Run{r}, contents([]*lane{l}))
		if d := time.Since(done); d > 10*time.Second {
			t.Errorf("%s: it took %v", name, d)
		}
	}
}
