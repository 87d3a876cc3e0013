package operator

import (
	"context"
	"fmt"
	"strings"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/export"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// Ranges prints what is recorded and what is not; damage and gaps are a difference. What could not be asked comes first.
func (s *Site) Ranges(ctx context.Context, stream string, r archive.Range) error {
	h, err := s.holders(ctx, index, stream)
	if err != nil {
		return err
	}
	p := h.one()
	client := dvrv1.NewIndexServiceClient(p.conn)
	ranges, err := client.GetRanges(ctx, &dvrv1.GetRangesRequest{Stream: stream, From: stamp(r.From), To: stamp(r.To)})
	if err != nil {
		return p.asked("get ranges", err)
	}
	gaps, err := client.FindGaps(ctx, &dvrv1.FindGapsRequest{Stream: stream, From: stamp(r.From), To: stamp(r.To)})
	if err != nil {
		return p.asked("find gaps", err)
	}
	h.missing = append(h.missing, ranges.GetProblems()...)
	if s.json {
		err = s.printJSON(map[string]any{
			"stream": stream, "ranges": raws(ranges.GetRanges()), "gaps": raws(gaps.GetGaps()), "problems": append([]string{}, h.missing...),
		})
	} else {
		s.printRanges(ranges.GetRanges(), gaps.GetGaps())
	}
	if err != nil {
		return err
	}
	if err := h.incomplete(); err != nil {
		return err
	}
	if len(ranges.GetRanges()) == 0 {
		return fmt.Errorf("%w: %w", ErrDifference, export.ErrNothing)
	}
	return faults(ranges.GetRanges(), gaps.GetGaps())
}

// faults says what is wrong in a list of ranges. A hole is as bad as damage.
func faults(ranges []*dvrv1.Range, gaps []*dvrv1.Gap) error {
	var found []string
	damaged := 0
	for _, r := range ranges {
		if r.GetState() == dvrv1.Range_DAMAGED {
			damaged++
		}
	}
	if damaged > 0 {
		found = append(found, fmt.Sprintf("%d ranges have damage", damaged))
	}
	missing := 0
	for _, g := range gaps {
		if g.GetReason() != "deleted" { // that is as it should be
			missing++
		}
	}
	if missing > 0 {
		found = append(found, fmt.Sprintf("%d gaps", missing))
	}
	if len(found) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDifference, strings.Join(found, ", "))
}

// printRanges merges both lists in order of time.
func (s *Site) printRanges(ranges []*dvrv1.Range, gaps []*dvrv1.Gap) {
	for len(ranges)+len(gaps) > 0 {
		if len(gaps) > 0 && (len(ranges) == 0 || gaps[0].GetFrom().AsTime().Before(ranges[0].GetFrom().AsTime())) {
			g := gaps[0]
			gaps = gaps[1:]
			s.printf("%s  %s  %10s  missing: %s\n", clock(g.GetFrom()), clock(g.GetTo()), span(g.GetFrom(), g.GetTo()), g.GetReason())
			continue
		}
		r := ranges[0]
		ranges = ranges[1:]
		s.printf("%s  %s  %10s  %s", clock(r.GetFrom()), clock(r.GetTo()), span(r.GetFrom(), r.GetTo()), state(r.GetState()))
		if n := r.GetDamagedTicks(); n > 0 {
			s.printf(", %s of it", seconds(n))
		}
		if n := r.GetReplicatedTicks(); n > 0 {
			s.printf(", %s from a peer", seconds(n))
		}
		s.printf("\n")
	}
}

func state(s dvrv1.Range_State) string {
	if s == dvrv1.Range_DAMAGED {
		return "damaged"
	}
	return "intact"
}
