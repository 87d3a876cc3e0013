package pack

import (
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Span is the UTC from the first to the last segment, by the mapping of the store from which they come.
type Span struct{ From, To time.Time }

func (s *Span) add(from, to time.Time) {
	if s.From.IsZero() || from.Before(s.From) {
		s.From = from
	}
	if to.After(s.To) {
		s.To = to
	}
}

// u moves a T of a copy to the count of its row.
func u(p *store.Packed, t timeline.Ticks) timeline.Ticks {
	return t + timeline.Ticks(p.Slot.Turn)*timeline.Wrap
}
