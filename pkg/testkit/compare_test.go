package testkit

import (
	"strings"
	"testing"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

func TestContiguous(t *testing.T) {
	source := strings.Split("a b c d d e f g h", " ")
	for _, c := range []struct {
		name, got string
		at        int
		bad       string // part of the complaint; empty: good
	}{
		{"all", "a b c d d e f g h", 0, ""},
		{"inner part", "c d d e", 2, ""},
		{"one that comes twice in the source", "d e f", 4, ""},
		{"nothing", "", 0, "nothing to compare"},
		{"not of the source", "x a b", 0, "not in the source"},
		{"missing", "b c d e f", 1, "1 are missing"},
		{"doubled", "b c c d", 1, "comes twice"},
		{"strange", "b c x", 1, "not of the source"},
	} {
		at, err := Contiguous(source, strings.Fields(c.got))
		switch {
		case c.bad == "" && (err != nil || at != c.at):
			t.Errorf("%s: got %d, %v, want %d", c.name, at, err, c.at)
		case c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.bad)
		}
	}
}

func TestOverlap(t *testing.T) {
	seg := func(digest string, turn int32, start, end int64) *dvrv1.Segment {
		return &dvrv1.Segment{Digest: digest, Timeline: "r", Turn: turn, StartTicks: start + 1<<33, EndTicks: end + 1<<33}
	}
	for _, c := range []struct {
		name string
		segs []*dvrv1.Segment
		bad  bool
	}{
		{"in a row", []*dvrv1.Segment{seg("a", 0, 0, 5), seg("b", 0, 5, 9)}, false},
		{"over the wrap", []*dvrv1.Segment{seg("a", 0, 1<<33-5, 1<<33+5), seg("b", 1, 5, 9)}, false},
		{"overlap", []*dvrv1.Segment{seg("a", 0, 0, 5), seg("b", 0, 4, 9)}, true},
		{"twice", []*dvrv1.Segment{seg("a", 0, 0, 5), seg("a", 1, 0, 5)}, true},
	} {
		if err := Overlap(c.segs); (err != nil) != c.bad {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}
