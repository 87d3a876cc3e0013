package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twinreel/twinreel/pkg/errs"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
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
	all, err := s.archives(ctx, stream)
	if err != nil {
		return err
	}
	var out []kept
	alone := 0
	for _, st := range all {
		k := kept{Stream: st.GetStream(), Alone: []string{}}
		m, err := replv1.NewReplicationServiceClient(p.conn).Compare(ctx, &replv1.CompareRequest{Stream: st.GetStream()})
		switch err = p.asked("compare", err); {
		case errors.Is(err, errs.ErrStreamUnknown):
			k.Problem = "it is not configured: which peers have it is not known"
		case err != nil:
			return err
		case len(m.GetComparisons()) == 0:
			k.Problem = "it has no peer"
		default:
			k.Slots, k.Alone = elsewhere(m.GetComparisons())
		}
		if k.Problem != "" {
			k.Slots = st.GetSegments()
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
	if alone > 0 {
		return fmt.Errorf("%w: not all that is here exists on another site", ErrDifference)
	}
	return nil
}

// archives are the streams that have something here.
func (s *Site) archives(ctx context.Context, stream string) (out []*dvrv1.StreamSummary, err error) {
	p, err := s.find(ctx, index)
	if err != nil {
		return nil, err
	}
	m, err := dvrv1.NewIndexServiceClient(p.conn).ListStreams(ctx, &dvrv1.ListStreamsRequest{})
	if err != nil {
		return nil, p.asked("list streams", err)
	}
	for _, st := range m.GetStreams() {
		if st.GetSegments() > 0 && (stream == "" || st.GetStream() == stream) {
			out = append(out, st)
		}
	}
	if stream != "" && len(out) == 0 {
		return nil, fmt.Errorf("%w: nothing of %s is stored", ErrDifference, stream)
	}
	return out, nil
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
