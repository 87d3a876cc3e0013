package verdict

import (
	"fmt"
	"slices"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/witness"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// MaxUnjudged is how much may have been sent before and after what is judged: two cells and a long GOP.
const MaxUnjudged = 15 * time.Second

// Site is the archive of one site: its sealed, presented segments in order.
type Site struct {
	Name     string
	Segments []Segment
}

// Segment is one of them, as its bytes say.
type Segment struct {
	Digest segment.Digest // of the bytes that came
	At     time.Time
	Start  timeline.Ticks // T
	Whole  bool
	Tracks []segment.Track
	Units  []witness.Unit
}

// Until is the site without what begins after t: where the source goes on, the two are read at different moments.
func (s Site) Until(t timeline.Ticks) Site {
	i := slices.IndexFunc(s.Segments, func(g Segment) bool { return timeline.Unwrap(g.Start, t) > t })
	if i >= 0 {
		s.Segments = s.Segments[:i]
	}
	return s
}

// Verdict is the outcome.
type Verdict struct {
	Sent      int            `json:"sent"` // units that were judged
	Sites     [2]Count       `json:"sites"`
	Slots     int            `json:"slots"` // compared
	Different []Difference   `json:"different"`
	Judged    float64        `json:"judged_seconds"`
	Head      float64        `json:"head_seconds"` // sent before what is judged
	Tail      float64        `json:"tail_seconds"` // sent after it
	Missed    uint64         `json:"witness_missed"`
	Untimed   uint64         `json:"witness_untimed"`
	Tracks    map[uint16]int `json:"sent_by_pid"`
}

// Count is what one site holds of what was sent.
type Count struct {
	Site     string `json:"site"`
	Recorded int    `json:"recorded"`
	Lost     int    `json:"lost"`
	Doubled  int    `json:"doubled"`
	Foreign  int    `json:"foreign"` // recorded, but never sent so
}

// Difference is a slot that is not alike. A zero digest: the site has no segment there.
type Difference struct {
	At      time.Time         `json:"at"`
	Digests [2]segment.Digest `json:"-"`
	Text    string            `json:"difference"`
}

// window is what of one track is judged.
type window struct{ from, to timeline.Ticks }

// Judge compares two sites with what was sent.
func Judge(sent witness.Log, a, b Site) Verdict {
	v := Verdict{Missed: sent.Missed, Untimed: sent.Untimed, Different: []Difference{}, Tracks: make(map[uint16]int)}
	sites := [2]Site{a, b}
	if len(sent.Units) == 0 {
		v.Sites = [2]Count{{Site: a.Name}, {Site: b.Name}}
		return v
	}
	clock := timeline.Ticks(sent.Units[0].DTS)
	windows, all := windows(clock, sites)

	due := make(map[witness.Unit]int)
	first, last := timeline.Ticks(sent.Units[0].DTS), timeline.Ticks(sent.Units[0].DTS)
	for _, u := range sent.Units {
		at := timeline.Unwrap(timeline.Ticks(u.DTS), clock)
		first, last = min(first, at), max(last, at)
		if w, ok := windows[u.PID]; ok && at >= w.from && at < w.to {
			due[u]++
			v.Sent++
			v.Tracks[u.PID]++
		}
	}
	if all.to > all.from {
		v.Judged = (all.to - all.from).Duration().Seconds()
		v.Head, v.Tail = (all.from - first).Duration().Seconds(), (last - all.to).Duration().Seconds()
	}
	for i, s := range sites {
		v.Sites[i] = count(clock, windows, due, s)
	}
	v.Slots, v.Different = compare(clock, sites)
	return v
}

// windows finds what is judged of each track, and over all tracks.
func windows(clock timeline.Ticks, sites [2]Site) (map[uint16]window, window) {
	byPID := make(map[uint16]window)
	all := window{}
	extend := func(w window, ok bool, from, to timeline.Ticks, whole bool) window {
		if !ok {
			w = window{from, from}
		}
		w.from = min(w.from, from)
		if whole {
			w.to = max(w.to, to)
		}
		return w
	}
	for _, s := range sites {
		for _, g := range s.Segments {
			for _, t := range g.Tracks {
				from := timeline.Unwrap(t.Start, clock)
				w, ok := byPID[t.PID]
				byPID[t.PID] = extend(w, ok, from, from+t.End-t.Start, g.Whole)
				all = extend(all, all != window{}, from, from+t.End-t.Start, g.Whole)
			}
		}
	}
	return byPID, all
}

func count(clock timeline.Ticks, windows map[uint16]window, due map[witness.Unit]int, s Site) Count {
	c := Count{Site: s.Name}
	held := make(map[witness.Unit]int)
	for _, g := range s.Segments {
		for _, u := range g.Units {
			at := timeline.Unwrap(timeline.Ticks(u.DTS), clock)
			if w := windows[u.PID]; at < w.from || at >= w.to {
				continue
			}
			c.Recorded++
			held[u]++
			switch n := due[u]; {
			case n == 0:
				c.Foreign++
			case held[u] > n:
				c.Doubled++
			}
		}
	}
	for u, n := range due {
		c.Lost += max(0, n-held[u])
	}
	return c
}

// compare compares slot by slot, with the one that was open when the source stopped.
func compare(clock timeline.Ticks, sites [2]Site) (int, []Difference) {
	type slot struct {
		at      time.Time
		digests [2]segment.Digest
	}
	byStart := make(map[timeline.Ticks]slot)
	for i, s := range sites {
		for _, g := range s.Segments {
			start := timeline.Unwrap(g.Start, clock)
			x, ok := byStart[start]
			if !ok {
				x.at = g.At
			}
			x.digests[i] = g.Digest
			byStart[start] = x
		}
	}
	different := []Difference{}
	for _, x := range byStart {
		if x.digests[0] == x.digests[1] {
			continue
		}
		d := Difference{At: x.at, Digests: x.digests}
		switch {
		case x.digests[0].IsZero():
			d.Text = fmt.Sprintf("only %s has %.12s…", sites[1].Name, x.digests[1])
		case x.digests[1].IsZero():
			d.Text = fmt.Sprintf("only %s has %.12s…", sites[0].Name, x.digests[0])
		default:
			d.Text = fmt.Sprintf("%s has %.12s…, %s has %.12s…", sites[0].Name, x.digests[0], sites[1].Name, x.digests[1])
		}
		different = append(different, d)
	}
	slices.SortFunc(different, func(a, b Difference) int { return a.At.Compare(b.At) })
	return len(byStart), different
}

// Identical says whether both sites hold the same bytes in every slot.
func (v *Verdict) Identical() bool { return v.Slots > 0 && len(v.Different) == 0 }

// Lost is what the site that lost most has lost.
func (v *Verdict) Lost() int { return max(v.Sites[0].Lost, v.Sites[1].Lost) }

// Doubled is what the site that doubled most holds twice.
func (v *Verdict) Doubled() int { return max(v.Sites[0].Doubled, v.Sites[1].Doubled) }

// Problems is everything that is not as it should be. None: the promise was kept.
func (v *Verdict) Problems() []string {
	var p []string
	say := func(bad bool, format string, args ...any) {
		if bad {
			p = append(p, fmt.Sprintf(format, args...))
		}
	}
	say(v.Sent == 0, "nothing was sent that could be judged")
	say(v.Missed > 0, "the witness itself missed %d packets: it cannot judge this run", v.Missed)
	say(v.Untimed > 0, "the witness saw %d access units without a time: it cannot judge this stream", v.Untimed)
	for _, s := range v.Sites {
		say(s.Lost > 0, "%s lost %d of %d access units", s.Site, s.Lost, v.Sent)
		say(s.Doubled > 0, "%s holds %d access units twice", s.Site, s.Doubled)
		say(s.Foreign > 0, "%s holds %d access units that were not sent so", s.Site, s.Foreign)
	}
	say(v.Slots == 0, "no slot could be compared")
	say(len(v.Different) > 0, "%d of %d slots differ", len(v.Different), v.Slots)
	limit := MaxUnjudged.Seconds()
	say(v.Head > limit, "%.1f s were sent before the first recorded unit, more than %.0f s", v.Head, limit)
	say(v.Tail > limit, "%.1f s were sent after the last whole segment, more than %.0f s", v.Tail, limit)
	return p
}
