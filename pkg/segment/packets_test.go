package segment

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

func anyRuns(rnd *rand.Rand) (out []Run) {
	for range rnd.IntN(4) {
		r := Run{PID: uint16(256 + rnd.IntN(2)), DTS: timeline.Wrap + timeline.Ticks(rnd.IntN(3))*3600, Sender: uint64(rnd.IntN(2)), Cut: uint32(rnd.IntN(2))}
		for range rnd.IntN(2) {
			r.Links = append(r.Links, Link{DTS: r.DTS - timeline.Ticks(3600*rnd.IntN(2)), At: uint32(rnd.IntN(3)), Whole: rnd.IntN(2) == 0, Sure: rnd.IntN(2) == 0})
		}
		for range rnd.IntN(2) {
			r.Holes = append(r.Holes, Hole{From: uint32(rnd.IntN(2)), To: uint32(2 + rnd.IntN(2)), Sure: rnd.IntN(2) == 0})
		}
		for range rnd.IntN(6) {
			at := rnd.IntN(5)
			r.Packets = append(r.Packets, Packet{
				At: uint32(at), Counter: uint8(at), Start: at == 0, Follows: rnd.IntN(2) == 0, Seq: uint32(r.Sender) * PlaceSeq(uint16(rnd.IntN(2)-1), at), Data: make([]byte, rnd.IntN(3)),
				Before: uint16(rnd.IntN(2)), After: uint16(rnd.IntN(2)),
			})
		}
		out = append(out, r)
	}
	return UniteRuns(out)
}

// TestUniteRuns: runs are united in any order.
func TestUniteRuns(t *testing.T) {
	rnd := testkit.Rand(t)
	for range 2000 {
		a, b, c := anyRuns(rnd), anyRuns(rnd), anyRuns(rnd)
		all := UniteRuns(a, b, c)
		for law, got := range map[string][]Run{
			"commutative": UniteRuns(c, a, b), "associative": UniteRuns(a, UniteRuns(b, c)), "from the left": UniteRuns(UniteRuns(a, b), c),
			"idempotent": UniteRuns(all, b, all),
		} {
			if !reflect.DeepEqual(got, all) {
				t.Fatalf("not %s: %+v, %+v", law, got, all)
			}
		}
		got, err := ParseRuns(AppendRuns(nil, all))
		if err != nil || !reflect.DeepEqual(UniteRuns(got), all) {
			t.Fatalf("read %v, %+v, want %+v", err, got, all)
		}
	}
}

// TestParseRunsBounded: a few bytes make no many packets.
func TestParseRunsBounded(t *testing.T) {
	many := Run{PID: 256, DTS: timeline.Wrap, Packets: make([]Packet, maxPackets+1)}
	if _, err := ParseRuns(AppendRuns(nil, []Run{many})); err == nil {
		t.Error("it is read")
	}
	if _, err := ParseRuns([]byte{0}); err == nil {
		t.Error("what the first version wrote is read")
	}
	if _, err := ParseRuns(make([]byte, MaxRunsEncoded+1)); err == nil {
		t.Error("what is too long is read")
	}
}

// FuzzParseRuns: what is not written by AppendRuns is refused, or read for what it is.
func FuzzParseRuns(f *testing.F) {
	f.Add(AppendRuns(nil, []Run{{
		PID: 256, DTS: timeline.Wrap, Sender: 7, Links: []Link{{DTS: timeline.Wrap - 3600, At: 4, Whole: true, Sure: true}}, Holes: []Hole{{From: 0, To: 2}},
		Packets: []Packet{{Counter: 3, Start: true, Seq: PlaceSeq(65535, 6), Data: []byte("abc")}, {At: 2, Counter: 5, Seq: PlaceSeq(1, 0)}},
	}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		runs, err := ParseRuns(b)
		if err != nil {
			return
		}
		again, err := ParseRuns(AppendRuns(nil, runs))
		if err != nil || !reflect.DeepEqual(UniteRuns(again), UniteRuns(runs)) {
			t.Fatalf("%v: %+v, %+v", err, again, runs)
		}
	})
}
