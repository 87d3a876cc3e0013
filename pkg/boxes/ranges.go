package boxes

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// seam is how much may be missing, by UTC, between what two boxes have, and still be nothing: each has a mapping of its
// own from media time to UTC, by its own clock and by when the first segment came to it.
const seam = 500 * time.Millisecond

// covered is what several boxes cover, by time, without overlap.
type covered struct {
	pieces   []piece
	problems []string
}

// piece is a range of one box.
type piece struct {
	from, to time.Time
	r        *dvrv1.Range // with the ticks of the piece
	box      int          // in which it begins
	end      int          // in which it ends: more than one may have had a part of it
}

func (c *covered) all() []*dvrv1.Range {
	var out []*dvrv1.Range
	for _, p := range c.pieces {
		out = append(out, p.r)
	}
	return out
}

// ranges asks all boxes, and cuts away what an earlier one covers.
func (g *gathered) ranges(ctx context.Context, req *dvrv1.GetRangesRequest, opts ...grpc.CallOption) (*covered, error) {
	answers := make([]*dvrv1.GetRangesResponse, len(g.list))
	problems, err := g.judge(ctx, g.each(ctx, func(ctx context.Context, i int, b Box) (err error) {
		answers[i], err = dvrv1.NewIndexServiceClient(b.Conn).GetRanges(ctx, req, opts...)
		return err
	}))
	if err != nil {
		return nil, err
	}
	c := &covered{problems: problems}
	for i, a := range answers {
		var more []piece
		for _, r := range a.GetRanges() {
			more = append(more, c.without(piece{r.GetFrom().AsTime(), r.GetTo().AsTime(), r, i, i})...)
		}
		c.pieces = append(c.pieces, more...)
		slices.SortStableFunc(c.pieces, func(a, b piece) int { return a.from.Compare(b.from) })
	}
	c.join()
	return c, nil
}

// without gives what of p is not covered yet.
func (c *covered) without(p piece) []piece {
	left := []piece{p}
	for _, have := range c.pieces {
		if have.box == p.box || !have.from.Before(p.to) || !p.from.Before(have.to) {
			continue
		}
		last := left[len(left)-1]
		left = left[:len(left)-1]
		for _, x := range []piece{cut(last, last.from, have.from), cut(last, have.to, last.to)} {
			if x.to.Sub(x.from) > seam { // less is the difference of two clocks
				left = append(left, x)
			}
		}
		if len(left) == 0 || left[len(left)-1].to != last.to {
			break // nothing is left after have
		}
	}
	return left
}

// cut gives a part of a piece, with its share of the ticks.
func cut(p piece, from, to time.Time) piece {
	from, to = latest(p.from, from), earliest(p.to, to)
	if !from.Before(to) {
		return piece{from: from, to: from}
	}
	share := float64(to.Sub(from)) / float64(p.to.Sub(p.from))
	r := &dvrv1.Range{
		From: timestamppb.New(from), To: timestamppb.New(to), State: p.r.GetState(),
		DamagedTicks: int64(float64(p.r.GetDamagedTicks()) * share), ReplicatedTicks: int64(float64(p.r.GetReplicatedTicks()) * share),
		LateTicks: int64(float64(p.r.GetLateTicks()) * share),
	}
	return piece{from, to, r, p.box, p.end}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// join closes the seams between boxes, and makes one of neighbours of one state.
func (c *covered) join() {
	var out []piece
	for _, p := range c.pieces {
		if len(out) > 0 {
			last := &out[len(out)-1]
			if hole := p.from.Sub(last.to); last.end != p.box && hole <= seam {
				last.r = proto.CloneOf(last.r)
				last.to, last.r.To = p.from, p.r.GetFrom()
				if last.r.GetState() == p.r.GetState() {
					last.to, last.r.To, last.end = p.to, p.r.GetTo(), p.end
					last.r.DamagedTicks += p.r.GetDamagedTicks()
					last.r.ReplicatedTicks += p.r.GetReplicatedTicks()
					last.r.LateTicks += p.r.GetLateTicks()
					continue
				}
			}
		}
		out = append(out, p)
	}
	c.pieces = out
}

// gaps gives what none covers. A gap within one box is told by that one, and without a reason where it answers no more; what lies between two of them is a change of the
// timeline, as they have no row in common.
func (g *gathered) gaps(ctx context.Context, req *dvrv1.FindGapsRequest, reply *dvrv1.FindGapsResponse, opts ...grpc.CallOption) error {
	c, err := g.ranges(ctx, &dvrv1.GetRangesRequest{Stream: req.GetStream()}, opts...)
	if err != nil {
		return err
	}
	answers := make([]*dvrv1.FindGapsResponse, len(g.list))
	problems, err := g.judge(ctx, g.each(ctx, func(ctx context.Context, i int, b Box) (err error) {
		answers[i], err = dvrv1.NewIndexServiceClient(b.Conn).FindGaps(ctx, &dvrv1.FindGapsRequest{Stream: req.GetStream()}, opts...)
		return err
	}))
	if err != nil {
		return err
	}
	var found []*dvrv1.Gap
	for i := 1; i < len(c.pieces); i++ {
		a, b := c.pieces[i-1], c.pieces[i]
		between := func(reason string) {
			if hole := b.from.Sub(a.to); hole > 0 {
				found = append(found, &dvrv1.Gap{
					From: timestamppb.New(a.to), To: timestamppb.New(b.from), Reason: reason, Ticks: int64(timeline.FromDuration(hole)),
				})
			}
		}
		switch {
		case a.end == b.box && answers[a.end] == nil: // it fell silent: that something is missing is known, but not why
			between("unknown")
		case a.end == b.box:
			for _, x := range answers[a.end].GetGaps() {
				found = append(found, cutGap(x, a.to, b.from)...)
			}
		case b.from.Sub(a.to) > seam:
			between("timeline_change")
		}
	}
	for _, p := range problems {
		if !slices.Contains(c.problems, p) {
			c.problems = append(c.problems, p)
		}
	}
	reply.Gaps, reply.Problems = nil, c.problems
	from, to := time.Unix(0, 0), time.Unix(1<<40, 0)
	if req.GetFrom() != nil {
		from = req.GetFrom().AsTime()
	}
	if req.GetTo() != nil {
		to = req.GetTo().AsTime()
	}
	for _, x := range found {
		reply.Gaps = append(reply.Gaps, cutGap(x, from, to)...)
	}
	slices.SortStableFunc(reply.Gaps, func(a, b *dvrv1.Gap) int {
		return cmp.Compare(a.GetFrom().AsTime().UnixNano(), b.GetFrom().AsTime().UnixNano())
	})
	return nil
}

// cutGap gives what of a gap lies in a window, or nothing.
func cutGap(x *dvrv1.Gap, from, to time.Time) []*dvrv1.Gap {
	f, t := x.GetFrom().AsTime(), x.GetTo().AsTime()
	a, b := latest(f, from), earliest(t, to)
	if !a.Before(b) {
		return nil
	}
	return []*dvrv1.Gap{{
		From: timestamppb.New(a), To: timestamppb.New(b), Reason: x.GetReason(),
		Ticks: int64(float64(x.GetTicks()) * (float64(b.Sub(a)) / float64(t.Sub(f)))),
	}}
}
