package transfer

import (
	"maps"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

// streamState is what is remembered of one stream in one store of ours. How long it holds goes by the monotonic clock.
type streamState struct {
	store    string
	inFlight map[segment.Digest]bool
	refused  map[plan.Refusal]refusal
	lowWater time.Time
	locked   inventory.Spans
	here     map[plan.Place]here
	told     int // of those in flight: evidence, without bytes
	// pause is how long dvrsvc is left alone when it takes nothing, and then brought one copy at a time; 0: it does take.
	pause  time.Duration
	paused time.Duration // until
}

// here is a copy that counts as here, whatever the comparisons show.
type here struct {
	plan.Held
	until time.Duration
}

// refusal is why a copy is not asked for now.
type refusal struct {
	until   time.Duration
	wait    time.Duration // how long that was
	expired bool          // it was too old, by the low water and the locks of streamState
}

// refuse has a copy not asked for until the wait of a verdict is over.
func (st *streamState) refuse(by plan.Refusal, v verdict, now time.Duration) {
	wait := v.wait
	if v.damaged {
		wait = min(max(wait, 2*st.refused[by].wait), refusedBad)
	}
	st.refused[by] = refusal{now + wait, wait, v.expired}
}

// waits reports whether dvrsvc is left alone now.
func (st *streamState) waits(now time.Duration) bool { return st.pause > 0 && now < st.paused }

// stateOf is what is remembered; nothing when our store is another than before. A fetch that began before ends with the
// state that it began with.
func (t *Transfer) stateOf(stream, store string) *streamState {
	s := t.streams[stream]
	if s == nil || store != "" && s.store != store {
		s = &streamState{
			store: store, inFlight: map[segment.Digest]bool{}, refused: map[plan.Refusal]refusal{}, here: map[plan.Place]here{},
		}
		t.streams[stream] = s
	}
	return s
}

// state adds to what is known what is being done, and forgets what has expired.
func (t *Transfer) state() plan.State {
	streams := t.sites.Streams()
	now, wall := t.clk.Mono(), t.clk.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prune(streams)
	for i := range streams {
		st := t.stateOf(streams[i].Name, streams[i].Store)
		streams[i].Paused = streams[i].Paused || st.waits(now)
		t.pauses(&streams[i])
		for a := range t.asked {
			if a.stream == streams[i].Name {
				streams[i].Asked = append(streams[i].Asked, a.Span)
			}
		}
		streams[i].InFlight = make(map[segment.Digest]bool, len(st.inFlight))
		for d := range st.inFlight {
			streams[i].InFlight[d] = true
		}
		st.reachesBack(&streams[i], now)
		streams[i].Refused = make(map[plan.Refusal]time.Time, len(st.refused))
		for by, r := range st.refused {
			if r.until > now {
				streams[i].Refused[by] = wall.Add(r.until - now)
			} else if r.until+r.wait < now { // until then it may be damaged once more
				delete(st.refused, by)
			}
		}
		streams[i].Here = make(map[plan.Place]plan.Held, len(st.here))
		for at, h := range st.here {
			if h.until > now {
				streams[i].Here[at] = h.Held
			} else {
				delete(st.here, at)
			}
		}
	}
	return plan.State{Now: wall, Streams: streams}
}

// reachesBack forgets what was refused since it was too old, when that is another question by now, and doubts what was taken: it
// may have gone meanwhile.
func (st *streamState) reachesBack(s *plan.Stream, now time.Duration) {
	if s.LowWater.IsZero() { // nothing is known now
		return
	}
	if s.LowWater.Before(st.lowWater) || !slices.Equal(s.Locked, st.locked) {
		maps.DeleteFunc(st.refused, func(_ plan.Refusal, r refusal) bool { return r.expired })
		st.doubt(now)
	}
	st.lowWater, st.locked = s.LowWater, s.Locked
}

// doubt has what was taken judged by what comparisons list that begin from now on.
func (st *streamState) doubt(now time.Duration) {
	for at, h := range st.here {
		h.Doubted = now
		st.here[at] = h
	}
}

// prune forgets what is not configured any more. t.mu is held.
func (t *Transfer) prune(streams []plan.Stream) {
	configured := func(stream string) bool {
		return slices.ContainsFunc(streams, func(s plan.Stream) bool { return s.Name == stream })
	}
	maps.DeleteFunc(t.streams, func(name string, st *streamState) bool { return len(st.inFlight) == 0 && !configured(name) })
	maps.DeleteFunc(t.stats, func(r route, s *Stats) bool {
		_, ok := t.sites.Route(r.stream, r.peer)
		if s.InFlight > 0 || ok {
			return false
		}
		delete(t.stalls, r)
		return true
	})
}
