package recorder

import (
	"slices"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// near is how far apart two local inputs of one source may be.
	near = time.Second
	// peerLag is how far a feed that comes through a peer may trail one that comes directly.
	peerLag = 5 * time.Second
	// catchUp is how long a peer's feed that is on none of our rows may take to come to one.
	catchUp = 30 * time.Second
	// restartDrift is how far the source's clock and ours may have drifted apart while dvrsvc was away.
	restartDrift = 5 * time.Second
	// ringAge is how old a segment that a live producer still holds may be.
	ringAge = 2 * time.Minute

	// rowsKept is how many rows may still be matched with a producer: an encoder that restarts each few seconds makes
	// rows without end.
	rowsKept = 256

	// slewFrom is the error from which the UTC mapping of a row is corrected, over slewSpan of media, and by no more
	// than slewMax of it: a jump of the local clock never tears a timeline.
	slewFrom = 100 * time.Millisecond
	slewSpan = time.Minute
	slewMax  = 200 // one part in

	// setRightFrom is the error from which a row that began by a wrong clock is set right as a whole.
	setRightFrom = time.Minute
)

// sighting is one access unit of a producer: where it is on the source's clock and when it arrived.
type sighting struct {
	t       timeline.Ticks // T; only its value modulo 2^33 counts
	arrived time.Duration  // monotonic
	late    time.Duration  // it may have arrived earlier by as much
	peer    bool           // it came through a peer
	by      string         // the producer
}

// row is a timeline row with what this process knows of where its source is now.
type row struct {
	store.Row
	order  int            // greater for a row that was made, or taken up again, later
	sealed timeline.Ticks // U up to which the live stream is sealed on it

	// The freshest producer's newest access unit. After a start there is none, and the wall clock serves.
	sighted bool
	u       timeline.Ticks
	at      time.Duration
	by      string
	byPeer  bool

	// The newest access unit that came directly: what comes so again is where that tells, however late a feed of a peer is that was followed since.
	direct struct {
		known bool
		u     timeline.Ticks
		at    time.Duration
	}
}

// namer knows the rows of a stream. It decides; making a row durable is for its owner.
type namer struct {
	rows []*row // by order
	next int
}

func (n *namer) add(r store.Row) *row {
	added := &row{Row: r}
	n.putLast(added)
	return added
}

// takeUp makes a row the youngest again.
func (n *namer) takeUp(r *row) {
	n.rows = slices.DeleteFunc(n.rows, func(o *row) bool { return o == r })
	n.putLast(r)
}

func (n *namer) putLast(r *row) {
	n.next++
	r.order = n.next
	n.rows = append(n.rows, r)
}

func (n *namer) row(id segment.TimelineID) *row {
	for _, r := range n.rows {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// match finds the youngest row on which the source is now where the sighting says, and its place there. Excluded rows
// are those that the same producer has already left by a jump of the source's clock. now are the monotonic and the wall
// clock.
func (n *namer) match(x sighting, mono time.Duration, wall time.Time, excluded func(*row, timeline.Ticks) bool) (*row, timeline.Ticks) {
	for i, r := range slices.Backward(n.rows) {
		if len(n.rows)-i > rowsKept {
			break
		}
		want, early, late := r.predict(x, mono, wall)
		u := timeline.Unwrap(x.t, want)
		if u-want <= timeline.FromDuration(early) && want-u <= timeline.FromDuration(late+x.late) && !excluded(r, u) {
			return r, u
		}
		if d := &r.direct; !x.peer && r.byPeer && d.known {
			want := d.u + timeline.FromDuration(x.arrived-d.at)
			u := timeline.Unwrap(x.t, want)
			if u-want <= timeline.FromDuration(restartDrift) && want-u <= timeline.FromDuration(restartDrift+x.late) && !excluded(r, u) {
				return r, u
			}
		}
	}
	return nil, 0
}

// predict gives where the source was on the row when x arrived, and how far x may be ahead of that or behind it.
func (r *row) predict(x sighting, mono time.Duration, wall time.Time) (u timeline.Ticks, early, late time.Duration) {
	early, late = near, near
	if x.peer {
		late = peerLag
	}
	if !r.sighted {
		return r.Mapping.At(wall.Add(x.arrived - mono)), max(early, restartDrift), max(late, restartDrift)
	}
	if r.byPeer {
		early = peerLag
	}
	if x.arrived-r.at > 2*near {
		// Nobody has seen the source since: it may have been held up, as after a restart of ours.
		early, late = max(early, restartDrift), max(late, restartDrift)
	}
	return r.u + timeline.FromDuration(x.arrived-r.at), early, late
}

// trails reports whether a feed through a peer is later than any should be, while it was seen not long ago where the source is: what comes directly
// again would be found ahead of it, on no row.
func (r *row) trails(x sighting, u timeline.Ticks, mono time.Duration, wall time.Time) bool {
	want, _, late := r.predict(x, mono, wall)
	return x.peer && r.by != x.by && want-u > timeline.FromDuration(late) && x.arrived-r.at < catchUp
}

// see keeps the sighting of the freshest producer. It reports whether x became it.
func (r *row) see(x sighting, u timeline.Ticks) bool {
	fresher := u >= r.u+timeline.FromDuration(x.arrived-r.at)
	if r.sighted && !fresher && r.by != x.by && x.arrived-r.at < 2*peerLag {
		return false
	}
	r.sighted, r.u, r.at, r.by, r.byPeer = true, u, x.arrived, x.by, x.peer
	if !x.peer {
		r.direct.known, r.direct.u, r.direct.at = true, u, x.arrived
	}
	return true
}

// slew corrects the mapping towards what the sighting that was just seen says. It reports whether it did, and the
// error that it met. The past is never moved: the correction begins at u and is spread over what comes.
func (r *row) slew(u timeline.Ticks, utc time.Time) (corrected bool, off time.Duration) {
	off = utc.Sub(r.Mapping.UTC(u))
	if n := len(r.Mapping); n > 0 && u <= r.Mapping[n-1].U || off.Abs() < slewFrom {
		return false, off
	}
	by := min(max(off, -slewSpan/slewMax), slewSpan/slewMax)
	from := timeline.Point{U: u, UTC: r.Mapping.UTC(u).UnixNano()}
	to := timeline.Point{U: u + timeline.FromDuration(slewSpan), UTC: from.UTC + int64(slewSpan+by)}
	if m, ok := r.Mapping.With(from); ok {
		if m, ok = m.With(to); ok {
			r.Mapping = m
			return true, off
		}
	}
	return false, off
}

// wrongBy gives by how much a row that another process recorded, when nobody could say that the clock is right, is to be moved. known is what a
// row of this process was moved by, or 0. Where none tells, all of the row was recorded by now, and stays for the whole retention. A row whose
// times may be true is left alone.
func (r *row) wrongBy(last timeline.Ticks, known time.Duration, now time.Time, retention time.Duration) time.Duration {
	end := r.Mapping.UTC(last)
	future := end.After(now)
	switch {
	case !end.Add(known).After(now) && (known > 0 || known < 0 && future):
		return known
	case future, retention > 0 && end.Before(now.Add(-retention)):
		return now.Sub(end)
	}
	return 0
}

// setRight moves all of a row that began by a clock that was wrong, as that of a host that starts without one: what was
// recorded by it, and what comes, would be as old or as new as the error for as long as the source's clock does not jump. u is now.
func (r *row) setRight(u timeline.Ticks, off time.Duration) {
	m := slices.Clone(r.Mapping)
	for i := range m {
		m[i].UTC += int64(off)
	}
	u = max(u, m[len(m)-1].U+1)
	r.Mapping, _ = m.With(timeline.Point{U: u, UTC: m.UTC(u).UnixNano()}) // of two mappings of a row the longer is the newer
}

// place gives the slot of a segment that starts at u on the row, and T of that start.
func (r *row) place(u timeline.Ticks, set segment.InitSet) segment.Slot {
	t := segmentT(u)
	return segment.Slot{
		Timeline: r.ID, Turn: int32((u - t) / timeline.Wrap), Cell: uint16(t.Cell()), InitSet: set,
	}
}

// segmentT gives the T of a segment's start: the value in [2^33, 2^34) that equals u modulo 2^33.
func segmentT(u timeline.Ticks) timeline.Ticks { return timeline.Unwrap(u, 3*timeline.Wrap/2) }

// startU gives the place on the row of a segment with that slot and start.
func startU(s segment.Slot, start timeline.Ticks) timeline.Ticks {
	return segmentT(start) + timeline.Ticks(s.Turn)*timeline.Wrap
}
