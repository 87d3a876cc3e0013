package boxes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// How long a box may take for the first word of an answer before the others answer without it: the one that records a
// stream, and one that has something of it.
const (
	firstWithin = 5 * time.Second
	otherWithin = 2 * time.Second
)

// Box is one dvrsvc.
type Box struct {
	Name string // for people
	Conn grpc.ClientConnInterface

	away bool // it did not answer when it was asked last
}

// Gather reads a stream from several boxes as if they were one. The first has the word: where it covers a moment, what
// others have of that moment is left out; and what is not read from the archive goes to it alone. There is at least one.
func Gather(list ...Box) grpc.ClientConnInterface { return &gathered{list: list} }

// GatherTelling is Gather, and tells of each box that did not answer, without whose part a list of segments is given.
func GatherTelling(without func(box string, err error), list ...Box) grpc.ClientConnInterface {
	return &gathered{list: list, without: without}
}

type gathered struct {
	list    []Box
	missing []string                    // what is known to be away
	failed  func(box string, err error) // hears of a box that did not answer; nil: nobody does
	without func(box string, err error) // hears of a box whose part of a list is not given; nil: nobody does
}

var _ grpc.ClientConnInterface = (*gathered)(nil)

// Invoke implements grpc.ClientConnInterface.
func (g *gathered) Invoke(ctx context.Context, method string, req, reply any, opts ...grpc.CallOption) error {
	switch reply := reply.(type) {
	case *dvrv1.GetRangesResponse:
		c, err := g.ranges(ctx, req.(*dvrv1.GetRangesRequest), opts...)
		if err == nil {
			reply.Ranges, reply.Problems = c.all(), c.problems
		}
		return err
	case *dvrv1.FindGapsResponse:
		return g.gaps(ctx, req.(*dvrv1.FindGapsRequest), reply, opts...)
	case *dvrv1.ReadInitResponse:
		return g.first(func(ctx context.Context, b Box) error {
			return b.Conn.Invoke(ctx, method, req, reply, opts...)
		})(ctx)
	}
	return g.list[0].Conn.Invoke(ctx, method, req, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface. The streams that are gathered are answers to one message.
func (g *gathered) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if !gathers(method) {
		return g.list[0].Conn.NewStream(ctx, desc, method, opts...)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &answer{ctx: ctx, cancel: cancel, g: g}
	s.ask = func(ctx context.Context, b Box) (grpc.ClientStream, error) {
		cs, err := b.Conn.NewStream(ctx, desc, method, opts...)
		if err != nil {
			return nil, err
		}
		if err := cs.SendMsg(s.req); err != nil && !isEOF(err) { // the cause of an end comes with RecvMsg
			return nil, err
		}
		return cs, cs.CloseSend()
	}
	return s, nil
}

// gathers reports whether the answer to a method is made of those of several boxes.
func gathers(method string) bool {
	return slices.Contains([]string{
		dvrv1.IndexService_GetRanges_FullMethodName, dvrv1.IndexService_FindGaps_FullMethodName,
		dvrv1.IndexService_ListSegments_FullMethodName, dvrv1.IndexService_ListEvents_FullMethodName,
		dvrv1.SegmentService_Locate_FullMethodName,
		dvrv1.SegmentService_ReadSegment_FullMethodName, dvrv1.SegmentService_ReadInit_FullMethodName,
	}, method)
}

// within is how long a box may take where the others wait for it.
func (g *gathered) within(i int) time.Duration {
	if i == 0 && !g.list[i].away {
		return firstWithin
	}
	return otherWithin
}

// order is that in which boxes are asked one after the other: those that did not answer last.
func (g *gathered) order() []int {
	out := make([]int, len(g.list))
	for i := range out {
		out[i] = i
	}
	slices.SortStableFunc(out, func(a, b int) int {
		switch {
		case g.list[a].away == g.list[b].away:
			return 0
		case g.list[a].away:
			return 1
		}
		return -1
	})
	return out
}

// first asks one box after the other until one has what is asked for. Where none has it and one did not answer, now or when it
// was asked last, the error is that of the one that did not: it may have it.
func (g *gathered) first(ask func(context.Context, Box) error) func(context.Context) error {
	return func(ctx context.Context) error {
		var worst error
		for _, i := range g.order() {
			one, cancel := context.WithTimeout(ctx, g.within(i))
			err := ask(one, g.list[i])
			cancel()
			if err == nil {
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if worst = g.worse(i, worst, err); !elsewhere(err) {
				break
			}
		}
		return g.none(worst)
	}
}

// none is why nothing was found: what is known to be away may have it.
func (g *gathered) none(worst error) error {
	if len(g.missing) > 0 && (worst == nil || nothing(worst) || errors.Is(worst, errs.ErrUnknown)) {
		return fmt.Errorf("%w: %s", errs.ErrNotReady, g.missing[0])
	}
	return worst
}

// worse is the error that says more of why nothing was found.
func (g *gathered) worse(i int, before, err error) error {
	err = rpcerr.FromStatus(err)
	if away(err) && g.failed != nil && !errors.Is(err, errs.ErrNotReady) { // one storage of it is not ready: others may be
		g.failed(g.list[i].Name, err)
	}
	if before == nil || status.Code(before) == codes.NotFound && away(err) {
		return err
	}
	return before
}

// elsewhere reports whether another box may have what this one does not give.
func elsewhere(err error) bool {
	c := status.Code(rpcerr.ToStatus(err))
	return away(err) || c == codes.NotFound || c == codes.DataLoss
}

// away reports whether a box did not answer, in time or at all.
func away(err error) bool {
	c := status.Code(rpcerr.ToStatus(err))
	return c == codes.Unavailable || c == codes.DeadlineExceeded || c == codes.Canceled
}

// nothing reports whether a box says that it has nothing of the stream.
func nothing(err error) bool { return errors.Is(rpcerr.FromStatus(err), errs.ErrStreamUnknown) }

// each asks all boxes at once.
func (g *gathered) each(ctx context.Context, ask func(ctx context.Context, i int, b Box) error) []error {
	out := make([]error, len(g.list))
	var wait sync.WaitGroup
	for i, b := range g.list {
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, g.within(i))
			defer cancel()
			out[i] = rpcerr.FromStatus(ask(ctx, i, b))
		})
	}
	wait.Wait()
	return out
}

// judge tells which boxes did not answer; an error when none did, or when what was asked for is wrong.
func (g *gathered) judge(ctx context.Context, found []error) (problems []string, err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	problems = slices.Clone(g.missing)
	var worst error
	answered := false
	for i, err := range found {
		switch {
		case err == nil:
			answered = true
			continue
		case !nothing(err) && !away(err):
			return nil, err
		case away(err):
			problems = append(problems, fmt.Sprintf("dvrsvc %s: %v", g.list[i].Name, err))
		}
		worst = g.worse(i, worst, err)
	}
	if !answered {
		return nil, g.none(worst)
	}
	return problems, nil
}

// answer is a stream of answers to one message, out of those of several boxes.
type answer struct {
	ctx    context.Context //nolint:containedctx // it is the call's
	cancel context.CancelFunc
	g      *gathered
	ask    func(context.Context, Box) (grpc.ClientStream, error)
	req    any
	recv   func(m any) error // once the first message is wanted
}

func (s *answer) SendMsg(m any) error          { s.req = m; return nil }
func (s *answer) CloseSend() error             { return nil }
func (s *answer) Context() context.Context     { return s.ctx }
func (s *answer) Header() (metadata.MD, error) { return metadata.MD{}, nil }
func (s *answer) Trailer() metadata.MD         { return metadata.MD{} }

func (s *answer) RecvMsg(m any) error {
	err := s.next(m)
	if err != nil {
		s.cancel()
	}
	return err
}

func (s *answer) next(m any) error {
	if s.recv != nil {
		return s.recv(m)
	}
	if _, one := s.req.(*dvrv1.ReadSegmentRequest); one {
		return s.firstThatHas(m)
	}
	next, err := s.merge()
	if err != nil {
		return err
	}
	s.recv = next
	return next(m)
}

// firstThatHas takes the stream of the first box that gives a first message.
func (s *answer) firstThatHas(m any) error {
	var worst error
	for _, i := range s.g.order() {
		ctx, cancel := context.WithCancel(s.ctx)
		late := time.AfterFunc(s.g.within(i), cancel)
		cs, err := s.ask(ctx, s.g.list[i])
		if err == nil {
			err = cs.RecvMsg(m)
		}
		switch inTime := late.Stop(); {
		case err == nil && inTime:
			s.recv = cs.RecvMsg // ctx ends with the answer
			return nil
		case err == nil: // the rest does not come any more
			err = context.DeadlineExceeded
		}
		cancel()
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		if worst = s.g.worse(i, worst, err); !elsewhere(err) {
			break
		}
	}
	return s.g.none(worst)
}
