package event

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
)

const (
	// lookEvery is how often it is looked what has changed.
	lookEvery = time.Second
	// progressEvery is how often Progress is told, failedEvery how often Failed is at most (I4).
	progressEvery = 10 * time.Second
	failedEvery   = 10 * time.Second
	// comparedWithin is how long a comparison, of which there is one each 10 minutes, speaks for a peer.
	comparedWithin = 15 * time.Minute
	// behindAfter is from when on Behind is told, behindEvery how often it is again.
	behindAfter = 15 * time.Minute
	behindEvery = time.Hour
	// gapsEvery is how often gaps are asked for, within gapsWithin.
	gapsEvery  = time.Minute
	gapsWithin = 10 * time.Second
	// settled is how long ago a gap ended that counts as compared: the newest block of a timeline is left out of digests (I3).
	settled = time.Hour
	// toldBefore is how long before the start a gap ended that was told by the process before.
	toldBefore = 2 * time.Hour
)

// Peer is how it stands with a stream of a peer.
type Peer struct {
	Stream, URL, Node string
	Backlog           Backlog
	InFlight          int
	Segments, Bytes   uint64 // fetched
	Failed            uint64
	LastError         string
	Conflicts         int
	Connected         bool
	Agreed            bool // nothing is missing here, and nothing differs
	Compared          time.Time
}

// Gap is a stretch of a stream that is not here.
type Gap struct {
	From, To time.Time
	Reason   string
}

// Source is what is watched. Its consumer is Watcher alone.
type Source interface {
	Peers() []Peer
	Gaps(ctx context.Context, stream string) ([]Gap, error)
}

// Watcher makes events of how it stands.
type Watcher struct {
	src   Source
	hub   *Hub
	clk   clock.Clock
	began time.Time
	lost  map[string]map[Gap]bool // that were told, by stream; lookGaps alone uses it

	mu    sync.Mutex // protects the field below and what is in it
	links map[[2]string]*link
}

// link is what was last seen of a stream of a peer.
type link struct {
	last                       Peer
	active                     bool
	segments, bytes            uint64 // when it began
	progressAt, failedAt       time.Duration
	failedTold, conflictsKnown uint64
	goodAt                     time.Duration // when it was last known that nothing can be fetched
	good                       bool
	behind                     bool          // it was told
	behindAt                   time.Duration // when it was told last
}

// NewWatcher makes a watcher; Run starts it.
func NewWatcher(src Source, hub *Hub, clk clock.Clock) *Watcher {
	return &Watcher{src: src, hub: hub, clk: clk, began: clk.Now(), links: map[[2]string]*link{}, lost: map[string]map[Gap]bool{}}
}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	var gaps sync.WaitGroup
	gaps.Go(func() { // apart: a dvrsvc that hangs is waited for, stream by stream
		w.each(ctx, gapsEvery, func() { w.lookGaps(ctx, w.src.Peers()) })
	})
	w.each(ctx, lookEvery, func() { w.look(w.src.Peers()) })
	gaps.Wait()
}

// each does something again and again until ctx ends.
func (w *Watcher) each(ctx context.Context, every time.Duration, do func()) {
	t := w.clk.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C():
			do()
		case <-ctx.Done():
			return
		}
	}
}

// look tells what has changed since the last time.
func (w *Watcher) look(peers []Peer) {
	now := w.clk.Mono()
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[[2]string]bool{}
	for _, p := range peers {
		k := [2]string{p.Stream, p.URL}
		seen[k] = true
		l := w.links[k]
		if l == nil {
			l = &link{failedAt: now - failedEvery, goodAt: now}
			w.links[k] = l
		}
		w.lookAt(l, p, now)
	}
	maps.DeleteFunc(w.links, func(k [2]string, _ *link) bool { return !seen[k] })
}

func (w *Watcher) lookAt(l *link, p Peer, now time.Duration) {
	e := Event{Stream: p.Stream, Peer: p.URL, PeerNode: p.Node, Backlog: p.Backlog}
	tell := func(kind Kind) {
		e.Kind, e.Segments, e.Bytes = kind, p.Segments-l.segments, p.Bytes-l.bytes
		w.hub.Emit(e)
	}
	if !l.active && (p.InFlight > 0 && p.Backlog.Segments > 0 || p.Segments > l.last.Segments) {
		l.active, l.segments, l.bytes, l.progressAt = true, l.last.Segments, l.last.Bytes, now
		tell(Started)
	}
	switch {
	case l.active && p.Backlog.Segments == 0 && p.InFlight == 0:
		l.active = false
		tell(Finished)
	case l.active && now-l.progressAt >= progressEvery:
		l.progressAt = now
		tell(Progress)
	}
	if p.Failed > l.failedTold && now-l.failedAt >= failedEvery {
		e.Count, e.Problem = p.Failed-l.failedTold, p.LastError
		l.failedTold, l.failedAt = p.Failed, now
		tell(Failed)
	}
	if n := uint64(p.Conflicts); n != l.conflictsKnown { //nolint:gosec // a count
		if e.Count, e.Problem = n, ""; n > l.conflictsKnown {
			tell(Conflict)
		}
		l.conflictsKnown = n
	}
	l.last = p
	l.good = p.Connected && p.Backlog.Segments == 0 && p.Compared.Add(comparedWithin).After(w.clk.Now())
	switch {
	case l.good && l.behind:
		l.behind = false
		e.Count, e.Problem = 0, ""
		tell(CaughtUp)
	case !l.good && now-l.goodAt >= behindAfter && (!l.behind || now-l.behindAt >= behindEvery):
		l.behind, l.behindAt = true, now
		e.Count, e.Problem = uint64((now-l.goodAt)/time.Second), p.why() //nolint:gosec // not negative
		tell(Behind)
	}
	if l.good {
		l.goodAt = now
	}
}

// why says why it is not known that nothing is missing.
func (p *Peer) why() string {
	switch {
	case !p.Connected:
		return "the peer is not connected"
	case p.Backlog.Segments > 0:
		return "segments that it has are missing here"
	}
	return "the archives were not compared for long"
}

// Behind is for how long it is not known that nothing can be fetched of a stream from a peer; 0: it is known.
func (w *Watcher) Behind(stream, url string) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.links[[2]string{stream, url}]
	if l == nil || l.good {
		return 0
	}
	return w.clk.Mono() - l.goodAt
}

// lookGaps tells which gaps are for good (I3).
func (w *Watcher) lookGaps(ctx context.Context, peers []Peer) {
	compared := map[string]time.Time{} // the least of all peers of a stream; zero: not all agree
	for _, p := range peers {
		at, known := compared[p.Stream]
		switch {
		case !p.Agreed:
			compared[p.Stream] = time.Time{}
		case !known || p.Compared.Before(at):
			compared[p.Stream] = p.Compared
		}
	}
	maps.DeleteFunc(w.lost, func(stream string, _ map[Gap]bool) bool { _, ok := compared[stream]; return !ok })
	for stream, at := range compared {
		if at.IsZero() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, gapsWithin)
		gaps, err := w.src.Gaps(ctx, stream)
		cancel()
		if err != nil {
			continue // dvrsvc is away; it is asked again
		}
		told := map[Gap]bool{}
		for _, g := range gaps {
			if g.To.Add(settled).After(at) || g.To.Before(w.began.Add(-toldBefore)) {
				continue
			}
			if told[g] = true; !w.lost[stream][g] {
				w.hub.Emit(Event{Kind: Lost, Stream: stream, From: g.From, To: g.To, Problem: g.Reason})
			}
		}
		w.lost[stream] = told
	}
}
