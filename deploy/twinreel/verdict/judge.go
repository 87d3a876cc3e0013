package verdict

import (
	"fmt"
	"slices"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/witness"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// MaxUnjudged is how much may have been sent before and after what is judged: two cells and a long GOP.
	MaxUnjudged = 15 * time.Second
	// MaxMoved is by how much a unit may have another time than it was sent with: where a source's times overlap, as at
	// the seam of a loop, a recorder puts one audio frame behind the other. More could be seen (ITU-R BT.1359).
	MaxMoved = 100 * time.Millisecond
	// sameMoment is how far the UTC of one slot may differ between two sites (FORMAT.md).
	sameMoment = 5 * time.Second
)

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
	Sent      int          `json:"sent"` // units that were judged
	Sites     [2]Count     `json:"sites"`
	Slots     int          `json:"slots"` // compared
	Different []Difference `json:"different"`
	Judged    float64      `json:"judged_seconds"`
	Head      float64      `json:"head_seconds"` // sent before what is judged
	Tail      float64      `json:"tail_seconds"` // sent after it
	Missed    uint64       `json:"witness_missed"`
	Untimed   uint64       `json:"witness_untimed"`
	Tracks    []Track      `json:"tracks"`
	NotJudged []string     `json:"not_judged"` // elementary streams that the witness cannot count
}

// Track is what was judged of one elementary stream.
type Track struct {
	Name string `json:"name"`
	Sent int    `json:"sent"`
	Lost [2]int `json:"lost"` // by site
}

// Count is what one site holds of what was sent.
type Count struct {
	Site     string  `json:"site"`
	Recorded int     `json:"recorded"`
	Lost     int     `json:"lost"`
	Doubled  int     `json:"doubled"`
	Foreign  int     `json:"foreign"`       // recorded, but never sent so
	Moved    int     `json:"moved"`         // recorded with another time than it was sent with
	MovedBy  float64 `json:"moved_seconds"` // at most
}

// Difference is a slot that is not alike. A zero digest: the site has no segment there.
type Difference struct {
	At      time.Time         `json:"at"`
	Digests [2]segment.Digest `json:"-"`
	Text    string            `json:"difference"`
}

// Judge compares two sites with what was sent.
func Judge(sent witness.Log, a, b Site) Verdict {
	v := Verdict{Missed: sent.Missed, Untimed: sent.Untimed, Different: []Difference{}, Tracks: []Track{}, NotJudged: []string{}}
	sites := [2]Site{a, b}
	if len(sent.Units) == 0 {
		v.Sites = [2]Count{{Site: a.Name}, {Site: b.Name}}
		return v
	}
	j := newJudgement(sent, sites)
	v.Sent = len(j.due)
	if w := j.all; w.to > w.from {
		v.Judged = (w.to - w.from).Duration().Seconds()
		v.Head, v.Tail = (w.from - j.first).Duration().Seconds(), (j.last - w.to).Duration().Seconds()
	}
	lost := [2]map[uint16]int{{}, {}}
	for i, s := range sites {
		v.Sites[i] = j.count(s, lost[i])
	}
	for _, s := range sent.Streams {
		if !s.Counted {
			v.NotJudged = append(v.NotJudged, s.String())
			continue
		}
		v.Tracks = append(v.Tracks, Track{Name: s.String(), Sent: j.sent[s.PID], Lost: [2]int{lost[0][s.PID], lost[1][s.PID]}})
	}
	v.Slots, v.Different = compare(j.clock, sites)
	return v
}

// compare compares slot by slot, with the one that was open when the source stopped. A source whose clock was set back
// comes by the same T again: two segments are of one slot only when they are also of one moment.
func compare(clock timeline.Ticks, sites [2]Site) (int, []Difference) {
	type slot struct {
		at      time.Time
		digests [2]segment.Digest
	}
	byStart := make(map[timeline.Ticks][]*slot)
	var all []*slot
	for i, s := range sites {
		for _, g := range s.Segments {
			start := timeline.Unwrap(g.Start, clock)
			same := slices.IndexFunc(byStart[start], func(x *slot) bool { return g.At.Sub(x.at).Abs() < sameMoment && x.digests[i].IsZero() })
			if same < 0 {
				x := &slot{at: g.At}
				x.digests[i] = g.Digest
				byStart[start], all = append(byStart[start], x), append(all, x)
				continue
			}
			byStart[start][same].digests[i] = g.Digest
		}
	}
	different := []Difference{}
	for _, x := range all {
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
	return len(all), different
}

// Identical says whether both sites hold the same bytes in every slot.
func (v *Verdict) Identical() bool { return v.Slots > 0 && len(v.Different) == 0 }

// Lost is what the site that lost most has lost.
func (v *Verdict) Lost() int { return max(v.Sites[0].Lost, v.Sites[1].Lost) }

// Doubled is what the site that doubled most holds twice.
func (v *Verdict) Doubled() int { return max(v.Sites[0].Doubled, v.Sites[1].Doubled) }

// Void says that the witness did not see enough to judge: then nothing is proven, neither good nor bad.
func (v *Verdict) Void() bool { return v.Sent == 0 || v.Missed > 0 || v.Untimed > 0 }

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
