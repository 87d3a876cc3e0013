package event

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
)

// Kind is what has happened.
type Kind string

// The kinds of events.
const (
	Started  Kind = "started"   // something is missing here, and is being fetched
	Progress Kind = "progress"  // so far it has come
	Finished Kind = "finished"  // nothing more is to be fetched
	Failed   Kind = "failed"    // segments could not be fetched or were not taken; they are asked for again
	Conflict Kind = "conflict"  // more slots have different whole copies than before
	Lost     Kind = "lost"      // a stretch that no site has
	Behind   Kind = "behind"    // for long it is not known that nothing is missing
	CaughtUp Kind = "caught_up" // it is again, after Behind
)

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{Started, Progress, Finished, Failed, Conflict, Lost, Behind, CaughtUp}
}

// Event is one thing that has happened.
type Event struct {
	Number       uint64
	Time         time.Time
	Kind         Kind
	Stream, Peer string // the peer's URL; empty: of no peer alone
	PeerNode     string
	Backlog      Backlog
	Segments     uint64 // fetched since Started
	Bytes        uint64 // of them
	Count        uint64 // of Failed: how many times; of Conflict: how many slots there are now; of Behind: for how many seconds
	Problem      string // of Failed: the last one; of Lost: the reason that the archive gives; of Behind: why
	From, To     time.Time
}

// Backlog is what is still to be fetched.
type Backlog struct {
	Segments, Bytes uint64
	Seconds         float64
	BytesPerSecond  uint64
	ETASeconds      int64 // -1: not known
}

// kept is how many events are kept for those who come later.
const kept = 1000

// Hub hands events on.
type Hub struct {
	clk clock.Clock

	mu   sync.Mutex // protects the fields below
	next uint64
	past []Event
	subs map[*Subscription]bool
}

// NewHub makes a hub.
func NewHub(clk clock.Clock) *Hub {
	return &Hub{clk: clk, next: uint64(max(1, clk.Now().UnixMicro())), subs: map[*Subscription]bool{}}
}

// Emit hands an event on; its number and time are set.
func (h *Hub) Emit(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.Number, e.Time = h.next, h.clk.Now()
	h.next++
	if h.past = append(h.past, e); len(h.past) > kept {
		h.past = slices.Delete(h.past, 0, len(h.past)-kept)
	}
	for s := range h.subs {
		s.push(e)
	}
}

// Subscription is one who listens.
type Subscription struct {
	hub   *Hub
	wants func(*Event) bool
	size  int
	came  chan struct{} // capacity 1

	queue  []Event // with missed under hub.mu
	missed uint64
}

// Subscribe begins with what is kept and has a number after after; 0: with what comes. size bounds what waits to be taken.
func (h *Hub) Subscribe(after uint64, size int, wants func(*Event) bool) *Subscription {
	s := &Subscription{hub: h, wants: wants, size: size, came: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.past {
		if after > 0 && e.Number > after {
			s.push(e)
		}
	}
	h.subs[s] = true
	return s
}

// push queues an event, in the place of the oldest when there is no room. hub.mu is held.
func (s *Subscription) push(e Event) {
	if !s.wants(&e) {
		return
	}
	if s.queue = append(s.queue, e); len(s.queue) > s.size {
		s.queue = slices.Delete(s.queue, 0, 1)
		s.missed++
	}
	select {
	case s.came <- struct{}{}:
	default:
	}
}

// Next waits for an event; missed is how many were dropped before it. The error is that of ctx.
func (s *Subscription) Next(ctx context.Context) (e Event, missed uint64, err error) {
	for {
		s.hub.mu.Lock()
		if len(s.queue) > 0 {
			e, missed, s.missed = s.queue[0], s.missed, 0
			s.queue = slices.Delete(s.queue, 0, 1)
			s.hub.mu.Unlock()
			return e, missed, nil
		}
		s.hub.mu.Unlock()
		select {
		case <-s.came:
		case <-ctx.Done():
			return Event{}, 0, ctx.Err()
		}
	}
}

// Close ends it.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.subs, s)
}
