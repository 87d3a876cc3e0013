package verdict

import (
	"cmp"
	"slices"

	"github.com/twinreel/twinreel/deploy/twinreel/witness"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// edge is by how much the tracks of an archive may begin and end apart: a picture is decoded up to a second before it
// is shown with its sound (H.264 allows 16 frames).
const edge = timeline.TicksPerSecond

// window is what of one track is judged; the zero value is none yet.
type window struct {
	from, to timeline.Ticks
	set      bool
}

// judgement is what both sites are held to.
type judgement struct {
	clock       timeline.Ticks // near it all times are unwrapped
	first, last timeline.Ticks // of all that was sent
	all         window
	windows     map[uint16]window // by PID, of every PID that was counted or recorded
	due         []unit            // what was sent within the windows
	sent        map[uint16]int    // its number by PID
	blind       map[uint16]bool   // PIDs that the witness cannot count
}

// unit is an access unit on the unwrapped clock.
type unit struct {
	at timeline.Ticks
	content
}

// content is an access unit whenever it was sent.
type content struct {
	pid  uint16
	hash witness.Hash
}

func newJudgement(log witness.Log, sites [2]Site) *judgement {
	j := &judgement{clock: timeline.Ticks(log.Units[0].DTS), sent: make(map[uint16]int), blind: make(map[uint16]bool)}
	for _, s := range log.Streams {
		j.blind[s.PID] = !s.Counted
	}
	j.first, j.last = j.clock, j.clock
	units := make([]unit, len(log.Units))
	for i, u := range log.Units {
		units[i] = j.unit(u)
		j.first, j.last = min(j.first, units[i].at), max(j.last, units[i].at)
	}
	j.open(units, sites)
	for _, u := range units {
		if j.judged(u) {
			j.due = append(j.due, u)
			j.sent[u.pid]++
		}
	}
	return j
}

func (j *judgement) unit(u witness.Unit) unit {
	return unit{timeline.Unwrap(timeline.Ticks(u.DTS), j.clock), content{u.PID, u.Hash}}
}

// judged says whether a unit lies in the window of its track.
func (j *judgement) judged(u unit) bool {
	w := j.windows[u.pid]
	return u.at >= w.from && u.at < w.to && !j.blind[u.pid]
}

// open finds what is judged of each track, and over all tracks. A track that the archives do not have, or only for a
// part of the time, is judged over all of it: nobody recorded it, and that is a loss.
func (j *judgement) open(sent []unit, sites [2]Site) {
	j.windows = make(map[uint16]window)
	extend := func(w window, from, to timeline.Ticks, whole bool) window {
		if !w.set {
			w = window{from, from, true}
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
				from := timeline.Unwrap(t.Start, j.clock)
				j.windows[t.PID] = extend(j.windows[t.PID], from, from+t.End-t.Start, g.Whole)
				j.all = extend(j.all, from, from+t.End-t.Start, g.Whole)
			}
		}
	}
	for _, u := range sent {
		if !j.windows[u.pid].set {
			j.windows[u.pid] = j.all
		}
	}
	for pid, w := range j.windows {
		if w.from > j.all.from+edge {
			w.from = j.all.from
		}
		if w.to < j.all.to-edge {
			w.to = j.all.to
		}
		j.windows[pid] = w
	}
}

// count counts what a site holds of what was sent, first by time and content; what then is left over on both sides may
// be the same content at a slightly other time. lost takes the losses by PID.
func (j *judgement) count(s Site, lost map[uint16]int) Count {
	c := Count{Site: s.Name}
	open := make(map[unit]int) // sent, and not found yet
	for _, u := range j.due {
		open[u]++
	}
	was := make(map[unit]bool)
	for u := range open {
		was[u] = true
	}
	var strange []unit
	for _, g := range s.Segments {
		for _, w := range g.Units {
			u := j.unit(w)
			if !j.judged(u) {
				continue
			}
			c.Recorded++
			switch {
			case open[u] > 0:
				open[u]--
			case was[u]:
				c.Doubled++
			default:
				strange = append(strange, u)
			}
		}
	}
	missing := make(map[content][]timeline.Ticks)
	for u, n := range open {
		for range n {
			missing[u.content] = append(missing[u.content], u.at)
		}
	}
	j.pair(&c, strange, missing)
	for x, at := range missing {
		c.Lost += len(at)
		lost[x.pid] += len(at)
	}
	return c
}

// pair finds what was only moved, and takes it out of missing.
func (j *judgement) pair(c *Count, strange []unit, missing map[content][]timeline.Ticks) {
	for _, at := range missing {
		slices.Sort(at)
	}
	slices.SortFunc(strange, func(a, b unit) int { return cmp.Compare(a.at, b.at) })
	for _, u := range strange {
		at := missing[u.content]
		k := slices.IndexFunc(at, func(t timeline.Ticks) bool { return (t - u.at).Duration().Abs() <= MaxMoved })
		if k < 0 {
			c.Foreign++
			continue
		}
		c.Moved++
		c.MovedBy = max(c.MovedBy, (at[k] - u.at).Duration().Abs().Seconds())
		missing[u.content] = slices.Delete(at, k, k+1)
	}
}
