package input

import (
	"time"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// stallTime is how long the head may stand still before its next move counts as a gap rather than as media.
const stallTime = time.Second

// meter follows the head of the media: how far it is, when it moved, and since when without loss. Times are monotonic.
type meter struct {
	run     uint32
	stretch uint32
	head    timeline.Ticks // T; 0: none yet
	moved   time.Duration
	clean   timeline.Ticks // of media since the last loss

	spanAt   time.Duration  // when the span of paceSpan in hand began
	spanHead timeline.Ticks // where the head was then
	stuck    bool           // in the span before, media went by at less than a tenth of its pace
}

// paceSpan is how long the pace of the head is measured over: a source that sends the same time over and over, or next to
// it, stands still though its head changes.
const paceSpan = time.Second

// advance takes the newest head. lost says that something was lost since the last call.
func (m *meter) advance(now time.Duration, stretch uint32, head timeline.Ticks, lost bool) {
	first := m.head == 0
	jumped := first || stretch != m.stretch
	if jumped {
		m.spanAt, m.spanHead, m.stuck = now, head, false
	} else if d := now - m.spanAt; d >= paceSpan {
		m.stuck = timeline.Unwrap(head-m.spanHead, 0) < timeline.FromDuration(d/10)
		m.spanAt, m.spanHead = now, head
	}
	moved := jumped || head != m.head && !m.stuck
	if lost || jumped || moved && now-m.moved > stallTime {
		m.clean = 0
	} else {
		m.clean += max(timeline.Unwrap(head-m.head, 0), 0) // T falls back where the clock wraps
	}
	m.stretch, m.head = stretch, head
	if moved {
		m.moved = now
	}
}

// gapless is how much media came without loss up to the head.
func (m *meter) gapless() time.Duration { return m.clean.Duration() }

// alive reports whether the head moved within d.
func (m *meter) alive(now, d time.Duration) bool { return m.head != 0 && now-m.moved < d }

// rateSpan is how many seconds a rate is taken over.
const rateSpan = 5

// rate is bits a second over the last seconds.
type rate struct {
	at    [rateSpan + 1]time.Duration
	bytes [rateSpan + 1]uint64
	n     int
}

// add takes the count of bytes so far; call it often.
func (r *rate) add(now time.Duration, bytes uint64) {
	if r.n > 0 && now-r.at[(r.n-1)%len(r.at)] < time.Second {
		return
	}
	r.at[r.n%len(r.at)], r.bytes[r.n%len(r.at)] = now, bytes
	r.n++
}

// bits returns the rate up to now, with the count of bytes now.
func (r *rate) bits(now time.Duration, bytes uint64) uint64 {
	for k := min(r.n, len(r.at)); k > 0; k-- {
		i := (r.n - k) % len(r.at)
		d := now - r.at[i]
		if d > (rateSpan+1)*time.Second {
			continue // from before a pause
		}
		if d <= 0 {
			break
		}
		return uint64(float64(bytes-r.bytes[i]) * 8 / d.Seconds())
	}
	return 0
}
