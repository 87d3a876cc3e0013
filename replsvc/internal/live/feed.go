package live

import (
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// feed is what is known of the peer's media, whether it is streamed here or not.
type feed struct {
	subscribed bool
	since      time.Duration // when the subscription began
	withheld   bool
	alive      bool // as the peer says
	path       []string
	row        segment.TimelineID
	head       timeline.Ticks // T
	moved      time.Duration  // when the head moved last
	heard      time.Duration  // when the peer said anything last
	gapless    time.Duration  // since when the head moves without loss
	known      bool           // row and head are set
	placed     bool           // the subscription has told a head, which may have stood for long
	moving     bool           // and another one since: it is heard of when it is reached
}

// begin takes the beginning or the end of a subscription.
func (f *feed) begin(now time.Duration, subscribed bool) {
	f.subscribed, f.since, f.withheld, f.alive, f.placed, f.moving = subscribed, now, false, false, false, false
}

// at takes a new place of the head. A jump to another row is a gap, and so is a stop.
func (f *feed) at(now time.Duration, row segment.TimelineID, head timeline.Ticks) {
	first := !f.placed
	f.placed = true
	switch {
	case !f.known || row != f.row:
		f.gapless = now
	case timeline.Unwrap(head, f.head) <= f.head:
		return
	case now-f.moved > beatsLost:
		f.gapless = now
	}
	f.row, f.head, f.moved, f.known, f.moving = row, head, now, true, f.moving || !first
}

// lossy begins a new count of media without a gap.
func (f *feed) lossy(now time.Duration) { f.gapless = now }

// progress is Progress for dvrsvc. A feed that is not alive keeps its place, so that its age tells how long it has stood.
func (f *feed) progress(now time.Duration, node string, rows map[segment.TimelineID]uint32) *dvrv1.Progress {
	alive := f.subscribed && f.known && f.moving && f.alive && !f.withheld && now-f.heard < beatsLost &&
		len(f.path) > 0 && !slices.Contains(f.path, node)
	p := &dvrv1.Progress{Path: f.path, Alive: alive}
	if f.known {
		p.Stretch, p.HeadTicks, p.AgeNanos = rows[f.row], int64(f.head), int64(now-f.moved)
	}
	if alive {
		p.GaplessNanos = int64(max(0, f.moved-f.gapless))
	}
	return p
}
