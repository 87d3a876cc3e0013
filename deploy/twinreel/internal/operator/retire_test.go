package operator

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// A slot is here alone where every peer lacks something of it, whatever the reason, and not where one has it all.
func TestElsewhere(t *testing.T) {
	diff := func(second int64, covered bool, here ...string) *replv1.Difference {
		return &replv1.Difference{Start: &timestamppb.Timestamp{Seconds: second}, Here: here, CoveredThere: covered, Kind: "deleted_there"}
	}
	one := &replv1.Comparison{Slots: 10, Differences: []*replv1.Difference{diff(1, false, "a"), diff(2, false, "b"), diff(3, true, "c"), diff(4, true), diff(5, false, "d")}}
	two := &replv1.Comparison{Slots: 9, Differences: []*replv1.Difference{diff(2, false, "b"), diff(3, false, "c"), diff(5, false, "e")}}
	for _, c := range []struct {
		of    []*replv1.Comparison
		alone []string
	}{
		{[]*replv1.Comparison{one}, []string{"1970-01-01T00:00:01.000Z", "1970-01-01T00:00:02.000Z", "1970-01-01T00:00:05.000Z"}},
		{[]*replv1.Comparison{one, two}, []string{"1970-01-01T00:00:02.000Z"}},
		{[]*replv1.Comparison{{Slots: 10}}, []string{}},
	} {
		if slots, alone := elsewhere(c.of); slots != 10 || !slices.Equal(alone, c.alone) {
			t.Errorf("%d slots, alone %q, want %q", slots, alone, c.alone)
		}
	}
}
