package live

import (
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// TestAlive holds I4.
func TestAlive(t *testing.T) {
	row := segment.TimelineID{1}
	const now = 100 * time.Second
	good := func() feed {
		return feed{
			subscribed: true, alive: true, known: true, moving: true, path: []string{"b"}, row: row,
			head: timeline.Wrap, moved: now - time.Second, heard: now - time.Second, gapless: now - 11*time.Second,
		}
	}
	for _, c := range []struct {
		name   string
		change func(*feed)
		want   bool
	}{
		{"it moves", func(*feed) {}, true},
		{"over another node", func(f *feed) { f.path = []string{"c", "b"} }, true},
		{"it passed us", func(f *feed) { f.path = []string{"c", "a", "b"} }, false},
		{"withheld", func(f *feed) { f.withheld = true }, false},
		{"without path", func(f *feed) { f.path = nil }, false},
		{"silent there", func(f *feed) { f.alive = false }, false},
		{"three beats missing", func(f *feed) { f.heard = now - beatsLost }, false},
		{"no subscription", func(f *feed) { f.subscribed = false }, false},
		{"nothing yet", func(f *feed) { f.known = false }, false},
		{"a head that may have stood since long ago", func(f *feed) { f.begin(0, true); f.alive = true; f.at(now, row, timeline.Wrap+1) }, false},
	} {
		f := good()
		c.change(&f)
		p := f.progress(now, "a", map[segment.TimelineID]uint32{row: 7})
		if p.GetAlive() != c.want {
			t.Errorf("%s: alive is %v", c.name, p.GetAlive())
		}
		if c.want && (p.GetStretch() != 7 || p.GetAgeNanos() != int64(time.Second) || p.GetGaplessNanos() != int64(10*time.Second)) {
			t.Errorf("%s: got %v", c.name, p)
		}
	}
}

func TestHead(t *testing.T) {
	row, other := segment.TimelineID{1}, segment.TimelineID{2}
	var f feed
	at := func(s time.Duration, r segment.TimelineID, head timeline.Ticks) time.Duration {
		f.at(s*time.Second, r, head)
		return s*time.Second - f.gapless
	}
	for _, c := range []struct {
		name    string
		gapless time.Duration
		want    time.Duration
	}{
		{"begins", at(10, row, 2*timeline.Wrap-90000), 0},
		{"moves", at(11, row, 2*timeline.Wrap-1), time.Second},
		{"does not go back", at(12, row, 2*timeline.Wrap-90000), 2 * time.Second},
		{"wraps", at(13, row, timeline.Wrap+90000), 3 * time.Second},
		{"stood still", at(17, row, timeline.Wrap+180000), 0},
		{"moves again", at(18, row, timeline.Wrap+270000), time.Second},
		{"jumps", at(19, other, timeline.Wrap), 0},
	} {
		if c.gapless != c.want {
			t.Errorf("%s: gapless for %s, want %s", c.name, c.gapless, c.want)
		}
	}
	if f.head != timeline.Wrap || f.row != other {
		t.Errorf("head is %d of %s", f.head, f.row)
	}
}

// TestFollows says which offers a takeover begins with.
func TestFollows(t *testing.T) {
	o := &offer{
		key:  segment.Key{Seq: 5, Stretch: 2, Start: timeline.Wrap + 1000},
		info: &dvrv1.SegmentInfo{EndTicks: int64(timeline.Wrap + 2000)},
	}
	after := func(stretch uint32, t timeline.Ticks) *dvrv1.Role {
		return &dvrv1.Role{Active: true, After: &dvrv1.Position{Stretch: stretch, StartTicks: int64(t)}}
	}
	for _, c := range []struct {
		name string
		role *dvrv1.Role
		want bool
	}{
		{"from it on", &dvrv1.Role{FromSeq: 5}, true},
		{"from the next on", &dvrv1.Role{FromSeq: 6}, false},
		{"from wherever", &dvrv1.Role{}, false},
		{"sealed before it", after(2, timeline.Wrap+1000), true},
		{"broken off within it", after(2, timeline.Wrap+1500), true},
		{"sealed behind it", after(2, timeline.Wrap+2000), false},
		{"sealed before it, across the wrap", after(2, 2*timeline.Wrap-5), true},
		{"an earlier stretch", after(1, timeline.Wrap+5000), true},
		{"a later stretch", after(3, timeline.Wrap), false},
	} {
		if got := follows(o, c.role); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

// TestHeadAfterSubscribing: where a subscription finds the peer may have been reached long before; from the next place on it is known
// when it was.
func TestHeadAfterSubscribing(t *testing.T) {
	row := segment.TimelineID{1}
	for name, known := range map[string]bool{"the first": false, "another one": true} {
		f := feed{known: known, row: row, head: timeline.Wrap, path: []string{"b"}}
		f.begin(0, true)
		for k, want := range []bool{false, true, true} {
			f.alive, f.heard = true, time.Minute
			f.at(time.Minute, row, timeline.Wrap+timeline.Ticks(k+1))
			if got := f.progress(time.Minute, "a", nil).GetAlive(); got != want {
				t.Errorf("%s subscription, head %d: alive is %v", name, k, got)
			}
		}
	}
}

// united is a binder that knows one row.
type united struct {
	binder
	row segment.TimelineID
}

func (u united) Translate(s segment.Slot) (segment.Slot, bool) { return s, s.Timeline == u.row }

// stopped is a clock that stands.
type stopped struct {
	clock.System
	now time.Duration
}

func (s stopped) Mono() time.Duration { return s.now }

// TestNothingBeginsBeforeItsPlaceIsKnown holds I6: what is under way as replsvc comes back may have begun longer ago than a feed
// may trail, and dvrsvc would take its beginning for that of another timeline.
func TestNothingBeginsBeforeItsPlaceIsKnown(t *testing.T) {
	row, other := segment.TimelineID{1}, segment.TimelineID{2}
	const begun = time.Minute
	for _, c := range []struct {
		name   string
		feed   feed
		united segment.TimelineID
		told   bool
		now    time.Duration
		want   bool
	}{
		{"nothing is heard yet", feed{subscribed: true}, row, false, begun + time.Second, false},
		{"no subscription", feed{}, row, false, begun + time.Minute, false},
		{"nothing is there", feed{subscribed: true}, row, false, begun + toldBy, true},
		{"a row that is united", feed{subscribed: true, known: true, row: row}, row, false, begun, true},
		{"one that is not", feed{subscribed: true, known: true, row: row}, other, false, begun + time.Minute, false},
		{"one of which Progress told", feed{subscribed: true, known: true, row: row}, other, true, begun, true},
	} {
		r := New(Config{Binder: united{row: c.united}, Clock: stopped{now: c.now}})
		r.sub = subscription{wantFull: make(chan bool, 1)}
		c.feed.since = begun
		r.feed, r.told, r.active, r.rec.call = c.feed, c.told, true, struct{ recordCall }{}
		r.next(t.Context())
		if r.full != c.want {
			t.Errorf("%s: everything is asked for: %v, want %v", c.name, r.full, c.want)
		}
	}
}
