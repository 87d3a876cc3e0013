package boxes

import (
	"context"
	"errors"
	"io"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/pkg/rpcerr"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// source is a stream of segments with the next one in hand.
type source struct {
	take func() (proto.Message, error)
	head proto.Message // nil: it has ended
	from int64         // of head, nanoseconds since 1970
	to   int64
}

func (s *source) next() error {
	m, err := s.take()
	if isEOF(err) {
		s.head = nil
		return nil
	}
	if err != nil {
		return err
	}
	s.head = m
	s.from, s.to = span(m)
	return nil
}

// span is the UTC of a segment by the mapping of the box that has it.
func span(m any) (from, to int64) {
	switch m := m.(type) {
	case *dvrv1.LocateResponse:
		return m.GetHead().GetStartUtcNanos(), m.GetEndUtcNanos()
	case *dvrv1.ListSegmentsResponse:
		return m.GetSegment().GetStart().AsTime().UnixNano(), m.GetSegment().GetEnd().AsTime().UnixNano()
	case *dvrv1.ListEventsResponse:
		return m.GetStart().AsTime().UnixNano(), m.GetEnd().AsTime().UnixNano()
	}
	return 0, 0
}

// fresh is an empty message of the kind that answers a request.
func fresh(req any) proto.Message {
	switch req.(type) {
	case *dvrv1.LocateRequest:
		return &dvrv1.LocateResponse{}
	case *dvrv1.ListEventsRequest:
		return &dvrv1.ListEventsResponse{}
	}
	return &dvrv1.ListSegmentsResponse{}
}

// merge opens the stream of each box and gives the next segment of all, by time. What has no end is live: it is not given
// without the box that records it.
func (s *answer) merge() (func(m any) error, error) {
	var worst error
	var found []*source
	all := make([]chan begun, len(s.g.list))
	for i, b := range s.g.list {
		all[i] = s.begin(b)
	}
	for i := range all {
		src, err := s.begun(i, all[i])
		switch {
		case s.ctx.Err() != nil:
			return nil, s.ctx.Err()
		case err == nil:
			found = append(found, src)
			continue
		case nothing(err):
		case !away(err), i == 0 && s.live():
			return nil, err
		case s.g.without != nil:
			s.g.without(s.g.list[i].Name, err)
		}
		worst = s.g.worse(i, worst, err)
	}
	if len(found) == 0 {
		return nil, s.g.none(worst)
	}
	one := found[len(found)-1]
	for i := len(found) - 2; i >= 0; i-- {
		two := &source{take: pair(found[i], one)}
		if err := two.next(); err != nil {
			return nil, err
		}
		one = two
	}
	if _, events := s.req.(*dvrv1.ListEventsRequest); one.head == nil && !events { // of those there may well be none
		worst = s.g.none(worst)
	}
	if one.head == nil && worst != nil && !nothing(worst) {
		return nil, worst // those that answered have nothing: the one that did not may
	}
	return func(m any) error {
		if one.head == nil {
			return io.EOF
		}
		out := m.(proto.Message) //nolint:forcetypeassert // it is the answer of a gRPC call
		proto.Reset(out)
		proto.Merge(out, one.head)
		return one.next()
	}, nil
}

// live reports whether the request reaches to the newest.
func (s *answer) live() bool {
	switch m := s.req.(type) {
	case *dvrv1.LocateRequest:
		return m.GetToUtcNanos() == 0
	case *dvrv1.ListSegmentsRequest:
		return m.GetTo() == nil
	case *dvrv1.ListEventsRequest:
		return m.GetTo() == nil
	}
	return false
}

type begun struct {
	src *source
	err error
}

// begin asks a box, and waits for its first segment beside the others.
func (s *answer) begin(b Box) chan begun {
	out := make(chan begun, 1)
	go func() {
		cs, err := s.ask(s.ctx, b)
		src := &source{}
		if err == nil {
			src.take = taking(cs, s.req)
			err = src.next()
		}
		out <- begun{src, rpcerr.FromStatus(err)}
	}()
	return out
}

func taking(cs grpc.ClientStream, req any) func() (proto.Message, error) {
	return func() (proto.Message, error) {
		m := fresh(req)
		return m, cs.RecvMsg(m)
	}
}

func (s *answer) begun(i int, c chan begun) (*source, error) {
	late, cancel := context.WithTimeout(s.ctx, s.g.within(i))
	defer cancel()
	select {
	case b := <-c:
		return b.src, b.err
	case <-late.Done():
		return nil, late.Err()
	}
}

// pair merges two streams by time. Of b only those segments are given that have something which a has not: where each has a
// part of the same time, what both have is there twice rather than what one has is lost.
func pair(a, b *source) func() (proto.Message, error) {
	covered := int64(math.MinInt64) // end of what of a was given
	return func() (proto.Message, error) {
		for a.head != nil || b.head != nil {
			from := a
			if b.head != nil && (a.head == nil || b.from < a.from) {
				from = b
				lacks := b.to
				if a.head != nil {
					lacks = min(lacks, a.from)
				}
				if lacks-max(b.from, covered) <= min(int64(seam), (b.to-b.from)/2) {
					if err := b.next(); err != nil {
						return nil, err
					}
					continue
				}
			}
			m := from.head
			if from == a {
				covered = max(covered, a.to)
			}
			return m, from.next()
		}
		return nil, io.EOF
	}
}
