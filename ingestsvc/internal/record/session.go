package record

import (
	"math"
	"slices"
	"time"

	"github.com/twinreel/twinreel/ingestsvc/internal/ring"
)

// atOnce is before every reading of the monotonic clock.
const atOnce time.Duration = math.MinInt64

// session decides what is sent next within one call. Not for concurrent use.
type session struct {
	ring *ring.Ring

	welcome   bool          // dvrsvc has answered Hello
	slowUntil time.Duration // monotonic: until then media is held back

	epoch  uint64 // of the newest role
	active bool
	live   ring.Cursor   // while active: what is streamed for the live tail
	wants  []ring.Cursor // asked for: the first that does not come live is being sent
	// announced is the number of the newest segment that dvrsvc has heard of in this call: all sealed ones up to it.
	announced uint64
	pending   []message // withdrawals and offers that come before anything else
}

// message is one thing to send: exactly one field is set.
type message struct {
	withdraw *ring.Withdrawal
	offer    *ring.Segment
	item     *ring.Item
}

// newSession begins a call and returns what the ring holds. What of it Hello has no room for is offered.
func newSession(r *ring.Ring) (*session, []ring.Segment) {
	r.Withdrawals() // of an earlier call: the ring tells what is left
	return &session{ring: r, slowUntil: atOnce}, r.Sealed(0)
}

// role takes a decision of dvrsvc and reports whether it is news.
func (s *session) role(r role) bool {
	if r.epoch < s.epoch {
		return false // overtaken by a later one
	}
	s.epoch = r.epoch
	was := s.active
	s.active = r.active
	switch {
	case !r.active:
	case r.fromSeq > 0:
		s.live = ring.At(r.fromSeq)
	case r.after != nil:
		s.live = ring.At(s.ring.FindFrom(r.after.stretch, r.after.start))
	case !was:
		s.live = ring.At(s.ring.Newest())
	}
	return true
}

// want takes a request for a segment. One that is about to be streamed is kept too: the role may end before it is.
func (s *session) want(seq uint64) {
	switch {
	case slices.ContainsFunc(s.wants, func(c ring.Cursor) bool { return c.Seq == seq }):
	case !s.ring.Contains(seq):
		s.pending = append(s.pending, message{withdraw: &ring.Withdrawal{Seq: seq, Reason: ring.ReasonGone}})
	default:
		s.wants = append(s.wants, ring.At(seq))
	}
}

// comesLive reports whether a segment is being streamed for the live tail, or will be.
func (s *session) comesLive(seq uint64) bool { return s.active && seq >= s.live.Seq }

// release takes the end of a segment.
func (s *session) release(seq uint64) {
	s.ring.Release(seq)
	s.settle(seq)
}

// settle forgets that a segment was asked for.
func (s *session) settle(seq uint64) {
	s.wants = slices.DeleteFunc(s.wants, func(c ring.Cursor) bool { return c.Seq == seq })
}

// next returns what is to be sent now; false: nothing. While media is false only the small messages are due.
func (s *session) next(media bool) (message, bool) {
	for _, w := range s.ring.Withdrawals() {
		s.pending = append(s.pending, message{withdraw: &w})
		s.settle(w.Seq)
	}
	s.offers()
	if len(s.pending) > 0 {
		m := s.pending[0]
		s.pending = s.pending[1:]
		return m, true
	}
	if !media {
		return message{}, false
	}
	if s.active {
		if item, ok := s.ring.Read(&s.live); ok {
			if item.Seal != nil {
				s.announced = max(s.announced, item.Seq)
				s.settle(item.Seq)
			}
			return message{item: &item}, true
		}
	}
	return s.wanted()
}

// offers queues an offer of each sealed segment that dvrsvc has not heard of and that will not be streamed.
func (s *session) offers() {
	if s.active && s.announced+1 >= s.live.Seq {
		return
	}
	for _, seg := range s.ring.Sealed(s.announced + 1) {
		if s.active && seg.Key.Seq >= s.live.Seq {
			return
		}
		s.announced = seg.Key.Seq
		s.pending = append(s.pending, message{offer: &seg})
	}
}

// wanted returns the next part of the first segment that was asked for and does not come live.
func (s *session) wanted() (message, bool) {
	for i := 0; i < len(s.wants); {
		c := &s.wants[i]
		seq := c.Seq
		if s.comesLive(seq) {
			i++
			continue
		}
		item, ok := s.ring.Read(c)
		if gone := !ok || item.Seq != seq; gone || item.Seal != nil {
			s.wants = slices.Delete(s.wants, i, i+1)
			if gone {
				continue
			}
		}
		return message{item: &item}, true
	}
	return message{}, false
}
