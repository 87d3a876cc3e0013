package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// State is everything that a ledger depends on.
type State struct {
	From, To time.Time // of the window; to: not later than Edge
	Ranges   []Range   // what is here, none longer than an hour and all of one kind
	Gaps     []Gap     // what is not, without what was deleted
	Wanted   []Span    // what peers have and this site lacks, or has not intact
	Peers    []Peer
}

// Span is a half-open stretch.
type Span struct{ From, To time.Time }

// Range is a stretch of what is here.
type Range struct {
	Span
	Damaged timeline.Ticks // faulty or lacking in it
	Late    timeline.Ticks // came from a peer later than live
}

// Gap is a stretch of what is not here. NoRoom: for want of room on the disk.
type Gap struct {
	Span
	NoRoom bool
}

// Peer is how far a peer is known.
type Peer struct {
	Compared time.Time     // when all of it was compared last; zero: it is not known
	Keeps    time.Duration // its retention; 0: any
	Since    time.Time     // what was before has expired there, or gone for want of room
	Deleted  []Span        // what was deleted there
	Now      time.Time
}

// settles is how long before a comparison something ended that counts as compared: a peer may not have sealed it yet.
const settles = 30 * time.Second

// knows reports whether what the peer lacks of a stretch it lacks for having lost it.
func (p Peer) knows(s Span) bool {
	return !p.Compared.IsZero() && s.To.Add(settles).Before(p.Compared) && (p.Keeps == 0 || s.From.After(p.Now.Add(-p.Keeps))) &&
		!s.From.Before(p.Since) && !slices.ContainsFunc(p.Deleted, func(d Span) bool { return d.From.Before(s.To) && s.From.Before(d.To) })
}

// Hour is an hour of the ledger.
type Hour struct {
	Start                                time.Time
	Expected, Clean, Damaged, Missing    timeline.Ticks
	Repaired                             timeline.Ticks // of what is here, from peers later than live
	Pending                              timeline.Ticks // of what is damaged or missing, what a peer has
	LostUpstream, LostLocal, LostUnknown timeline.Ticks
}

// Lost is what no peer is known to have.
func (h *Hour) Lost() timeline.Ticks { return h.LostUpstream + h.LostLocal + h.LostUnknown }

// Add takes another hour into a sum.
func (h *Hour) Add(o Hour) {
	if h.Start.IsZero() || o.Start.Before(h.Start) {
		h.Start = o.Start
	}
	h.Expected, h.Clean, h.Damaged, h.Missing = h.Expected+o.Expected, h.Clean+o.Clean, h.Damaged+o.Damaged, h.Missing+o.Missing
	h.Repaired, h.Pending = h.Repaired+o.Repaired, h.Pending+o.Pending
	h.LostUpstream, h.LostLocal, h.LostUnknown = h.LostUpstream+o.LostUpstream, h.LostLocal+o.LostLocal, h.LostUnknown+o.LostUnknown
}

// Make gives the hours of which anything should be here, by time.
func Make(s State) []Hour {
	m := maker{state: s, wanted: union(s.Wanted), hours: map[int64]*Hour{}}
	here := make([]Span, 0, len(s.Ranges)+len(s.Gaps))
	for _, r := range s.Ranges {
		here = append(here, r.Span)
		m.each(r.Span, func(h *Hour, part Span, share float64) { m.stored(h, part, r, share) })
	}
	for _, g := range s.Gaps {
		here = append(here, g.Span)
		m.each(g.Span, func(h *Hour, part Span, _ float64) { m.missing(h, part, g.NoRoom) })
	}
	here = union(here)
	for _, w := range m.wanted { // before the beginning of the archive, or behind its end
		for _, x := range without(w, here) {
			m.each(x, func(h *Hour, part Span, _ float64) { m.missing(h, part, false) })
		}
	}
	out := make([]Hour, 0, len(m.hours))
	for _, h := range m.hours {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b Hour) int { return a.Start.Compare(b.Start) })
	return out
}

type maker struct {
	state  State
	wanted []Span
	hours  map[int64]*Hour
}

// each cuts a stretch at the window and at full hours; share is the part of it.
func (m *maker) each(s Span, f func(h *Hour, part Span, share float64)) {
	whole := s.To.Sub(s.From)
	from, to := s.From, s.To
	if !m.state.From.IsZero() && from.Before(m.state.From) {
		from = m.state.From
	}
	if !m.state.To.IsZero() && to.After(m.state.To) {
		to = m.state.To
	}
	for from.Before(to) {
		start := from.UTC().Truncate(time.Hour)
		end := start.Add(time.Hour)
		if end.After(to) {
			end = to
		}
		h := m.hours[start.Unix()]
		if h == nil {
			h = &Hour{Start: start}
			m.hours[start.Unix()] = h
		}
		f(h, Span{from, end}, float64(end.Sub(from))/float64(whole))
		from = end
	}
}

func (m *maker) stored(h *Hour, part Span, r Range, share float64) {
	length := ticks(part)
	damaged := min(length, timeline.Ticks(float64(r.Damaged)*share))
	h.Expected += length
	h.Clean += length - damaged
	h.Damaged += damaged
	h.Repaired += min(length, timeline.Ticks(float64(r.Late)*share))
	if damaged > 0 {
		had := timeline.Ticks(float64(damaged) * float64(m.had(part)) / float64(length))
		h.Pending += had
		m.lose(h, part, damaged-had, false)
	}
}

func (m *maker) missing(h *Hour, part Span, noRoom bool) {
	length, had := ticks(part), m.had(part)
	h.Expected += length
	h.Missing += length
	h.Pending += had
	m.lose(h, part, length-had, noRoom)
}

// had is how much of a stretch a peer has.
func (m *maker) had(s Span) (n timeline.Ticks) {
	i, _ := slices.BinarySearchFunc(m.wanted, s.From, func(w Span, at time.Time) int { return w.To.Compare(at) })
	for ; i < len(m.wanted) && m.wanted[i].From.Before(s.To); i++ {
		n += ticks(cut(m.wanted[i], s))
	}
	return min(n, ticks(s))
}

func (m *maker) lose(h *Hour, part Span, n timeline.Ticks, noRoom bool) {
	switch {
	case noRoom:
		h.LostLocal += n
	case len(m.state.Peers) == 0 || slices.ContainsFunc(m.state.Peers, func(p Peer) bool { return !p.knows(part) }):
		h.LostUnknown += n
	default:
		h.LostUpstream += n
	}
}

func ticks(s Span) timeline.Ticks {
	if !s.From.Before(s.To) {
		return 0
	}
	return timeline.FromDuration(s.To.Sub(s.From))
}

func cut(s, by Span) Span {
	if s.From.Before(by.From) {
		s.From = by.From
	}
	if s.To.After(by.To) {
		s.To = by.To
	}
	return s
}

// union joins stretches, in order.
func union(in []Span) (out []Span) {
	all := slices.Clone(in)
	slices.SortFunc(all, func(a, b Span) int { return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To)) })
	for _, s := range all {
		if n := len(out); n > 0 && !s.From.After(out[n-1].To) {
			if s.To.After(out[n-1].To) {
				out[n-1].To = s.To
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// without gives what of s is in none of by, which are in order.
func without(s Span, by []Span) (out []Span) {
	for _, b := range by {
		if !b.To.After(s.From) {
			continue
		}
		if !b.From.Before(s.To) {
			break
		}
		if s.From.Before(b.From) {
			out = append(out, Span{s.From, b.From})
		}
		s.From = b.To
	}
	if s.From.Before(s.To) {
		out = append(out, s)
	}
	return out
}
