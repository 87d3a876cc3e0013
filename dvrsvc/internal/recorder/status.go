package recorder

import (
	"slices"
	"strings"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/segment"
)

// Switch tells that another input became active.
type Switch struct {
	Time  time.Time
	Input string
}

// Follow follows the live tail from the slot after the given one, or from the start of the open one.
// why is what it is counted for.
func (s *Stream) Follow(after *segment.Slot, sealsOnly bool, why stats.Purpose) *Follower {
	return s.tail.follow(after, sealsOnly, why)
}

// WatchSwitches tells each change of the active input until stop is called. Only the newest one waits for the reader.
func (s *Stream) WatchSwitches() (switches <-chan Switch, stop func()) {
	w := make(chan Switch, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[w] = struct{}{}
	return w, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, w)
	}
}

// InputState is one producer as it is now.
type InputState struct {
	Input         string
	Priority      int
	Alive, Active bool
	Path          []string
	Unreleased    int
	Fault         string // why it should be left although its media moves
}

// Inputs gives the connected live producers, the best first.
func (s *Stream) Inputs() []InputState {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Mono()
	var out []InputState
	for key, p := range s.producers {
		if key.kind != Live || p.call == nil {
			continue
		}
		c := p.candidate()
		out = append(out, InputState{
			Input: key.input, Priority: p.in.Priority, Alive: c.alive(now), Active: p == s.active(),
			Path: p.path, Unreleased: len(p.offers), Fault: p.fault,
		})
	}
	slices.SortFunc(out, func(a, b InputState) int {
		if a.Priority != b.Priority {
			return a.Priority - b.Priority
		}
		return strings.Compare(a.Input, b.Input)
	})
	return out
}
