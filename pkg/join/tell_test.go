package join

import (
	"bytes"
	"slices"
	"testing"

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
