package playback

import (
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// maxWindows is how many windows are counted at once; the one that nobody asked for longest is forgotten.
const maxWindows = 4096

// counted is what a live playlist says of what lay before its first segment (RFC 8216, 4.3.3.2 and 4.3.3.3).
type counted struct {
	segments int64
	cuts     uint64
}

// counters knows the windows whose playlists are asked for again and again.
type counters struct {
	mu      sync.Mutex // protects the fields below
	windows map[string]*counter
	clock   uint64
}

type counter struct {
	asked  uint64
	first  int64   // number of its first segment
	gone   uint64  // discontinuities that the window has lost at its head
	listed []int64 // UTC of the segments that begin with one
}

// count takes note of a listing of a window and says what it has lost.
func (c *counters) count(window string, l *playlist) *counted {
	head := &l.segments[0]
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.windows == nil {
		c.windows = make(map[string]*counter)
	}
	w := c.windows[window]
	if w == nil {
		if len(c.windows) >= maxWindows {
			c.forget()
		}
		w = &counter{}
		c.windows[window] = w
	}
	c.clock++
	w.asked = c.clock
	for len(w.listed) > 0 && w.listed[0] <= head.Start.UnixNano() {
		w.gone, w.listed = w.gone+1, w.listed[1:]
	}
	w.listed = nil
	for i := 1; i < len(l.segments); i++ {
		if cut(&l.segments[i-1], &l.segments[i]) {
			w.listed = append(w.listed, l.segments[i].Start.UnixNano())
		}
	}
	w.first = max(w.first, number(head))
	return &counted{segments: w.first, cuts: w.gone}
}

func (c *counters) forget() {
	var oldest string
	for name, w := range c.windows {
		if oldest == "" || w.asked < c.windows[oldest].asked {
			oldest = name
		}
	}
	delete(c.windows, oldest)
}

// number counts the cells of the segment's timeline, beginning where UTC has 0 on it: so it needs no memory, and on one
// timeline each cell is one, recorded or missing. (A GOP that is longer than a cell leaves some out: then the numbers
// jump ahead when the head expires.)
func number(s *archive.Segment) int64 {
	zero := timeline.FromDuration(time.Duration(s.Start.UnixNano())) - s.U(s.Info.Start)
	return int64((zero+timeline.CellTicks/2)/timeline.CellTicks) + s.Slot.AbsCell()
}
