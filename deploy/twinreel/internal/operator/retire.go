package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twinreel/twinreel/pkg/errs"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// kept is what of a stream is here, and how much of it on no other site.
type kept struct {
	Stream  string   `json:"stream"`
	Slots   uint64   `json:"slots"`
	Alone   []string `json:"alone"` // when the slots begin that no peer has as they are here
	Problem string   `json:"problem,omitempty"`
}

// Retire says whether all that is intact here exists on another site, too: of one stream, or of all that have an archive. What is
// here alone is ErrDifference. It changes nothing.
func (s *Site) Retire(ctx context.Context, stream string) error {
	p, err := s.find(ctx, replication)
	if err != nil {
		return err
	}
	all, missing, err := s.archives(ctx, stream)
	if err != nil {
		return err
	}
	var out []kept
	alone := 0
	for _, x := range all {
		k := kept{Stream: x.stream, Alone: []string{}}
		m, err := replv1.NewReplicationServiceClient(p.conn).Compare(ctx, &replv1.CompareRequest{Stream: x.stream})
		switch err = p.asked("compare", err); {
		case errors.Is(err, errs.ErrStreamUnknown):
			k.Problem = "it is not configured: which peers have it is not known"
		case err != nil:
			return err
		case len(m.GetComparisons()) == 0:
			k.Problem = "it has no peer"
		case len(x.apart) > 0:
			k.Problem = fmt.Sprintf("part of its archive is at %s, which does not record it, and is compared with nobody", strings.Join(x.apart, ", "))
		default:
			k.Slots, k.Alone = elsewhere(m.GetComparisons())
		}
		if k.Problem != "" {
			k.Slots = x.segments
			alone++
		}
		alone += len(k.Alone)
		out = append(out, k)
	}
	if s.json {
		if err := s.printJSON(map[string]any{"streams": out}); err != nil {
			return err
		}
	} else {
		for _, k := range out {
			s.printKept(k)
		}
	}
	if len(missing) > 0 {
		return errors.New(strings.Join(missing, "; "))
	}
	if alone > 0 {
		return fmt.Errorf("%w: not all that is here exists on another site", ErrDifference)
	}
	return nil
}

// stored is what of a stream is here, on whatever dvrsvc.
type stored struct {
	stream   string
	segments uint64
	apart    []string // where something of it is that the comparison does not see: that is of what records the stream
}

// archives are the streams that have something here, and why it is not known of some.
func (s *Site) archives(ctx context.Context, stream string) (out []*stored, missing []string, err error) {
	all, err := s.list(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range s.parts {
		if p.err != nil {
			missing = append(missing, p.err.Error())
		}
	}
	for _, l := range all {
		if l.err != nil {
			missing = append(missing, l.err.Error())
		}
		for _, st := range l.streams {
			if st.GetSegments() == 0 || stream != "" && st.GetStream() != stream {
				continue
			}
			i := slices.IndexFunc(out, func(x *stored) bool { return x.stream == st.GetStream() })
			if i < 0 {
				i, out = len(out), append(out, &stored{stream: st.GetStream()})
			}
			x := out[i]
			x.segments += st.GetSegments()
			if len(all) > 1 && !st.GetConfigured() {
				x.apart = append(x.apart, l.part.addr)
			}
		}
	}
	if stream != "" && len(out) == 0 && len(missing) == 0 {
		return nil, nil, fmt.Errorf("%w: nothing of %s is stored", ErrDifference, stream)
	}
	return out, missing, nil
}

// elsewhere gives how many slots are here, about, and those that no peer has all of.
func elsewhere(cs []*replv1.Comparison) (slots uint64, alone []string) {
	lack := map[string]int{} // by slot: how many peers lack something of it
	alone = []string{}
	for _, c := range cs {
		slots = max(slots, c.GetSlots())
		for _, d := range c.GetDifferences() {
			if len(d.GetHere()) == 0 || d.GetCoveredThere() {
				continue
			}
			key := clock(d.GetStart()) + " " + strings.Join(d.GetHere(), " ")
			if lack[key]++; lack[key] == len(cs) {
				alone = append(alone, clock(d.GetStart()))
			}
		}
	}
	return slots, alone
}

func (s *Site) printKept(k kept) {
	switch {
	case k.Problem != "":
		s.printf("%s: %d segments are here alone: %s\n", k.Stream, k.Slots, k.Problem)
	case len(k.Alone) == 0:
		s.printf("%s: %d slots, all of them elsewhere, too\n", k.Stream, k.Slots)
	default:
		for _, at := range k.Alone {
			s.printf("%s  %s  here alone\n", k.Stream, at)
		}
		s.printf("%s: %d of %d slots are here alone\n", k.Stream, len(k.Alone), k.Slots)
	}
}
