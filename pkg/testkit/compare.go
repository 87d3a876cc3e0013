package testkit

import (
	"fmt"
	"slices"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// Contiguous checks that got is source from some place on without anything missing, doubled or strange, and returns
// that place.
func Contiguous(source, got []string) (int, error) {
	if len(got) == 0 {
		return 0, fmt.Errorf("nothing to compare: there is no media")
	}
	start := -1
	for i := range source {
		// One picture may look like another: the place is where the run is longest.
		if source[i] == got[0] && (start < 0 || run1(source[i:], got) > run1(source[start:], got)) {
			start = i
		}
	}
	if start < 0 {
		return 0, fmt.Errorf("the first of %d is not in the source", len(got))
	}
	if n := run1(source[start:], got); n < len(got) {
		return start, fmt.Errorf("after %d of %d (place %d of the source) the recording is not the source: %s",
			n, len(got), start+n, describe(source, got[n], start+n))
	}
	return start, nil
}

// run1 is how many are equal from the beginning.
func run1(a, b []string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func describe(source []string, got string, want int) string {
	at := slices.Index(source[min(want, len(source)):], got)
	switch {
	case at >= 0:
		return fmt.Sprintf("%d are missing", at)
	case slices.Contains(source, got):
		return "something comes twice"
	default:
		return "something is not of the source"
	}
}

// Overlap checks that segments in order of time do not overlap on any row, and that none comes twice.
func Overlap(segs []*dvrv1.Segment) error {
	seen := make(map[string]bool)
	end := make(map[string]int64)
	for _, s := range segs {
		if seen[s.GetDigest()] {
			return fmt.Errorf("segment %s is presented twice", s.GetDigest())
		}
		seen[s.GetDigest()] = true
		if at, ok := end[s.GetTimeline()]; ok && Media(s.GetTurn(), s.GetStartTicks()) < at {
			return fmt.Errorf("segment %s starts at %d, before %d where the one before it ends",
				s.GetDigest(), Media(s.GetTurn(), s.GetStartTicks()), at)
		}
		end[s.GetTimeline()] = Media(s.GetTurn(), s.GetEndTicks())
	}
	return nil
}

// Media is the place of T on its timeline, over the turns of the source's clock (FORMAT.md, rule 1: U).
func Media(turn int32, ticks int64) int64 { return ticks + int64(turn)<<33 }

// SameArchive compares two archives of one stream, up to the older of their newest segments: it can be asked while the
// source plays. Only the ends may be uncertain: the first one, where both joined, and one that has just been broken off.
func SameArchive(a, b []*dvrv1.Segment) error {
	if len(a) == 0 || len(b) == 0 {
		return fmt.Errorf("%d and %d segments", len(a), len(b))
	}
	short := min(len(a), len(b))
	if d := max(len(a), len(b)) - short; d > 1 {
		return fmt.Errorf("%d and %d segments", len(a), len(b))
	}
	for i := range short {
		if a[i].GetDigest() != b[i].GetDigest() {
			return fmt.Errorf("segment %d of %d: %s at %d and %s at %d", i, short,
				a[i].GetDigest()[:8], a[i].GetStartTicks(), b[i].GetDigest()[:8], b[i].GetStartTicks())
		}
		if i > 0 && i < short-1 && !(a[i].GetWhole() && b[i].GetWhole()) {
			return fmt.Errorf("segment %d of %d is not whole: %s and %s", i, short, evidence(a[i]), evidence(b[i]))
		}
	}
	return nil
}

// evidence is what is known against a segment, for people.
func evidence(s *dvrv1.Segment) string {
	return fmt.Sprintf("%s (start uncertain %t, end uncertain %t, %d samples damaged, %d ticks damaged, %d missing)", s.GetDigest()[:8],
		s.GetStartUncertain(), s.GetEndUncertain(), s.GetDamagedSamples(), s.GetDamagedTicks(), s.GetMissingTicks())
}
