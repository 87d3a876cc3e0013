package packager

import (
	"crypto/sha256"
	"hash"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/sampler"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Sink takes what the packager makes, in the order Begin, Chunk..., Seal of one segment, then of the next.
type Sink interface {
	// Begin announces a segment once its tracks are known.
	Begin(key segment.Key, inits []segment.Init, tracks []segment.Track, startUncertain, independent bool)
	// Chunk gives the next bytes of the segment. data is the sink's to keep. evidence is what is known against the samples
	// of this chunk; what is known only later is in Seal.
	Chunk(seq uint64, c segment.Chunk, data []byte, evidence segment.Evidence)
	// Seal ends the segment. info is the sink's to keep.
	Seal(seq uint64, info segment.Info)
	// Head tells the decode time (T) of the newest access unit of the reference track.
	Head(stretch uint32, head timeline.Ticks)
}

// Options limit a Packager. The zero value is ready to use.
type Options struct {
	// MaxPending bounds the bytes of samples that wait for other tracks (default 64 MiB). Beyond it nothing waits for those
	// that are more than a second behind; where that is not enough, everything that waits is sealed as it is, and the
	// packager starts anew.
	MaxPending int
}

// Constants of the rules (FORMAT.md).
const (
	// silence is how far the newest decode time of any track runs ahead of one that nothing waits for any more.
	silence = 2 * timeline.CellTicks
	// grace is how long a track that was announced and has shown nothing is waited for.
	grace = timeline.Ticks(1 << 17)
	// maxBack and maxAhead bound the steps that are not jumps of the source clock.
	maxBack  = timeline.TicksPerSecond / 10
	maxAhead = 10 * timeline.TicksPerSecond
	// maxReordered bounds the steps back of pictures that are sent with their presentation times alone, and maxLate how
	// many may come in a row.
	maxReordered = 1 * timeline.TicksPerSecond
	maxLate      = 16
	// jumpTogether is within which time the tracks of a program make the same jump.
	jumpTogether = 5 * timeline.TicksPerSecond
	// maxLost bounds a step that lost packets explain.
	maxLost = 60 * timeline.TicksPerSecond
	// maxStep bounds any step: the duration of a sample has 32 bits.
	maxStep = timeline.Wrap / 4
	// maxHeld and maxHeldUnits bound what waits to know whether a jump is one: a second of sound of five tracks, and no more than a few of one
	// where no picture follows.
	maxHeld      = 8 << 20
	maxHeldUnits = 256
	// maxGone bounds the tracks that left the program while their samples wait.
	maxGone = 32
	// maxQueue bounds the samples of one track that wait.
	maxQueue = 1 << 16
)

// Stats counts since New.
type Stats struct {
	Segments  uint64 // sealed
	Whole     uint64 // of these nothing is known against
	Samples   uint64 // in chunks
	Dropped   uint64 // access units that found no place: before the first RAP, late, outside the timeline
	Jumps     uint64 // of the source clock
	Overflows uint64 // MaxPending was reached
}

// Packager cuts access units into chunks and segments. Not for concurrent use.
type Packager struct {
	opts   Options
	sink   Sink
	tracks []*track // of the program in force, by PID; also those that left it, until their segments are sealed
	byPID  map[uint16]*track
	ref    *track
	mark   mark // where data belongs now

	cut     cutter
	stretch uint32
	starts  uint64 // segments started
	seq     uint64 // segments announced
	head    *seg   // the oldest that is not sealed
	tail    *seg   // the newest
	open    *seg   // the same, while it goes on; nil: no RAP yet
	begun   time.Duration
	hasTime bool
	newest  timeline.Ticks // greatest decode time of any track
	pending int            // bytes of samples that wait

	held      []mpegts.AccessUnit // from one on that shows a jump, until the next of the reference track tells whether it is one
	heldBytes int                 // of those behind the first

	kept      []kept // packets around losses
	keptBytes int

	cellSets []segment.InitSet // configurations in which segments started in the cell of the last start
	hash     hash.Hash
	samples  []fmp4.Sample // used again for each chunk
	header   []byte        // of the chunk at hand
	stats    Stats
}

var _ mpegts.Handler = (*Packager)(nil)

// New returns a packager that delivers to sink.
func New(opts Options, sink Sink) *Packager {
	if opts.MaxPending <= 0 {
		opts.MaxPending = 64 << 20
	}
	return &Packager{opts: opts, sink: sink, byPID: map[uint16]*track{}, hash: sha256.New()}
}

// Stats returns the counts so far.
func (p *Packager) Stats() Stats { return p.stats }

// Program implements mpegts.Handler. Nothing happens to tracks that stay as they are.
func (p *Packager) Program(prog mpegts.Program) {
	p.release(nil)
	keep := make(map[uint16]bool, len(prog.Streams))
	for _, s := range prog.Streams {
		if s.Codec == mpegts.CodecNone {
			continue
		}
		keep[s.PID] = true
		if t := p.byPID[s.PID]; t != nil && t.is(s) {
			t.role = s.Role // of the segments that begin from now on: it is not in the bytes
			continue
		}
		p.remove(s.PID)
		t := newTrack(s)
		if s.Codec.Data() {
			if t = newSparse(s); t == nil {
				continue
			}
		}
		p.byPID[s.PID] = t
		p.tracks = insertByPID(p.tracks, t)
	}
	for pid := range p.byPID {
		if !keep[pid] {
			p.remove(pid)
		}
	}
	if want := p.announcedReference(); want != p.ref && (p.ref == nil || p.ref.removed || !want.video) {
		p.settleAll()
		p.refer(want)
	}
	p.prune()
	if len(p.tracks)-len(p.byPID) > maxGone {
		p.overflow()
	}
}

// remove takes a track out of the program. It stays in the list for as long as a segment holds samples of it.
func (p *Packager) remove(pid uint16) {
	if t := p.byPID[pid]; t != nil {
		t.removed = true
		delete(p.byPID, pid)
	}
}

// prune forgets the tracks that left the program and have nothing left in it. The open segment's stay until it is closed:
// that they are gone is news to the next RAP.
func (p *Packager) prune() {
	p.tracks = slices.DeleteFunc(p.tracks, func(t *track) bool {
		if !t.removed || len(t.q) > 0 || t == p.ref || t.sparse != nil && len(t.sparse.waiting) > 0 {
			return false
		}
		if p.open == nil {
			return true
		}
		st := p.open.track(t.pid)
		return st == nil || st.t != t
	})
}

// announcedReference is the reference track by the program map: the lowest video PID, else the lowest audio PID.
func (p *Packager) announcedReference() *track {
	var best *track
	for _, t := range p.tracks {
		if !t.removed && t.sparse == nil && (best == nil || t.video && !best.video) {
			best = t
		}
	}
	return best
}

// refer makes t the reference track. Everything that waits is sealed: where the new one cuts, nobody knows yet.
func (p *Packager) refer(t *track) {
	p.finish()
	p.ref = t
	p.cut.reset(t)
}

// AccessUnit implements mpegts.Handler.
func (p *Packager) AccessUnit(u *mpegts.AccessUnit) {
	switch t := p.byPID[u.PID]; {
	case len(p.held) > 0:
		p.hold(u)
		if u.PID == p.held[0].PID || p.heldBytes > maxHeld || len(p.held) > maxHeldUnits {
			p.release(u)
		}
	case t != nil && t == p.ref && t.video && t.seen && u.HasPTS && p.jumped(timeline.Unwrap(timeline.Ticks(u.DTS), t.dts), u, t):
		p.hold(u)
	default:
		p.unit(u)
	}
}

// hold keeps a unit until it is known whether the source's clock has jumped.
func (p *Packager) hold(u *mpegts.AccessUnit) {
	c := *u
	c.Data, c.Config = slices.Clone(u.Data), slices.Clone(u.Config)
	if len(p.held) > 0 {
		p.heldBytes += len(u.Data)
	}
	p.held = append(p.held, c)
}

// release goes on with what is held. Where the next picture goes on from before the first that is, with room for that between, the time of this alone
// was wrong: it is damaged, and in its place. next is nil where there is none.
func (p *Packager) release(next *mpegts.AccessUnit) {
	if len(p.held) == 0 {
		return
	}
	list := p.held
	p.held, p.heldBytes = nil, 0
	u := &list[0]
	if t := p.byPID[u.PID]; t != nil && t == p.ref && t.seen && next != nil && next.PID == u.PID && next.HasPTS {
		if step := timeline.Unwrap(timeline.Ticks(next.DTS), t.dts) - t.dts; step > t.step && step <= maxAhead {
			u.Damage |= mpegts.DamageSyntax
			if u.HasPTS = abs(step-2*t.step) <= 2; u.HasPTS { // that is as good as told, also where steps are 1501 and 1502
				offset := u.PTS - u.DTS
				u.DTS = int64(t.dts+step/2) & (1<<33 - 1)
				u.PTS = (u.DTS + offset) & (1<<33 - 1)
			}
		}
	}
	p.unit(u)
	for i := range list[1:] {
		p.AccessUnit(&list[1+i])
	}
}

// unit takes a unit of which the time is as it says.
func (p *Packager) unit(u *mpegts.AccessUnit) {
	t := p.byPID[u.PID]
	if t == nil {
		return
	}
	if t.sparse != nil {
		p.data(t, u)
		return
	}
	if t == p.ref {
		p.settle(u.Order, t.between(u))
	}
	s, ok := p.place(t, u)
	if !ok {
		p.stats.Dropped++
		t.broken = true
		return
	}
	before := len(t.buf)
	if !t.convert(u, &s) {
		t.buf = t.buf[:before]
		p.stats.Dropped++
		t.broken = true
		return
	}
	p.newest = max(p.newest, s.dts)
	if better := p.betterReference(t, s.rap); better != p.ref {
		unit := slices.Clone(t.buf[before:]) // finish empties the queues
		t.buf = t.buf[:before]
		p.settle(u.Order, 0)
		p.refer(better)
		before = len(t.buf)
		t.buf = append(t.buf, unit...)
	}
	p.pending += len(t.buf) - before
	lost := t.push(s, u)
	if t == p.ref {
		p.reference(t, lost)
		p.mark = p.newMark(t)
		p.sink.Head(p.stretch, tForm(t.dts))
	}
	p.advance()
	if p.pending > p.opts.MaxPending {
		p.giveUp()
	}
	if p.pending > p.opts.MaxPending || len(t.q) > maxQueue {
		p.overflow()
	}
}

// giveUp has nothing wait any more for the other tracks that are far behind, as if they had been silent for longer: what waits for
// them is too much.
func (p *Packager) giveUp() {
	for _, t := range p.tracks {
		if t != p.ref && t.seen && p.waits(t) && p.newest-t.dts > timeline.TicksPerSecond {
			t.givenUp = true
		}
	}
	p.advance()
}

// overflow lets go of everything that waits.
func (p *Packager) overflow() {
	p.stats.Overflows++
	p.Flush()
}

// betterReference is the reference track as it should be now that t shows a sample: the one there is, unless it is silent
// or t is a video track before it in order and may begin a segment.
func (p *Packager) betterReference(t *track, rap bool) *track {
	switch {
	case p.ref == nil:
		return t
	case t == p.ref:
		return t
	case t.video && rap && (!p.ref.video || t.pid < p.ref.pid && p.ref.seen):
		return t
	case p.ref.seen && !p.ref.silent(p.newest):
		return p.ref
	case !p.ref.seen && (p.waits(p.ref) || p.ref.video && p.newest < p.ref.graceEnd-grace+silence):
		// Video shows nothing before its first parameter sets; until they must have come, a recording of the audio alone
		// would only be in the way of the one with both.
		return p.ref
	}
	best := t
	for _, c := range p.tracks {
		if c != p.ref && c.live(p.newest) && c.video && !best.video {
			best = c
		}
	}
	return best
}

// place gives a sample its time on the timeline, or says that it has none.
func (p *Packager) place(t *track, u *mpegts.AccessUnit) (s sample, ok bool) {
	dts, pts := timeline.Ticks(u.DTS), timeline.Ticks(u.PTS)
	if !u.HasPTS {
		if !t.seen {
			return s, false
		}
		dts = t.dts + t.step
		pts = dts
		s.guessed = true
	}
	if !t.video {
		dts = pts // audio has no other order, and its chunks no field for one
	}
	odd := p.watch(t, dts, u.HasPTS)
	offset, wrong := sampler.Offset(int64(pts), int64(dts))
	if wrong {
		s.reason |= segment.ReasonSyntax
	}
	switch {
	case t == p.ref && t.seen:
		s.dts = timeline.Unwrap(dts, t.dts)
		if p.jumped(s.dts, u, t) {
			p.jump(s.dts-t.dts, u)
		} else if t.timed-s.dts < maxBack {
			t.late = 0
		} else {
			t.late++
		}
	case !p.hasTime:
		p.hasTime = true
		s.dts = dts&(timeline.Wrap-1) + 4*timeline.Wrap // room before it, so that nothing is ever negative
		p.newest = s.dts
	case p.ref != nil && p.ref.seen:
		if s.dts, ok = p.follow(t, dts, odd); !ok {
			return s, false
		}
	default:
		s.dts = timeline.Unwrap(dts, p.newest)
		if d := s.dts - p.newest; d > silence || d < -silence {
			p.newest = s.dts // before there is a reference, the newest word counts
			for _, o := range p.tracks {
				p.pending -= o.clear()
				o.seen = false // one with a clock of its own is not to be taken for one that went there step by step
			}
		}
	}
	t.jump = 0 // also where there was no reference to tell that it followed
	if t.seen && t != p.ref && s.dts <= t.dts-maxBack {
		s.guessed = true // it gives way, and a recorder that joined since would not know to what
	}
	s.pts = s.dts + offset
	t.arrived = u.Arrived
	return s, true
}

// jumped reports whether the reference track's next decode time shows a jump of the source clock (FORMAT.md, rule 8).
func (p *Packager) jumped(dts timeline.Ticks, u *mpegts.AccessUnit, t *track) bool {
	step, back := dts-t.dts, t.timed-dts
	switch {
	case step > maxStep:
		return true
	case step > maxAhead:
		elapsed := timeline.FromDuration(u.Arrived - t.arrived)
		return abs(step-elapsed) > timeline.TicksPerSecond && (!u.Lost || step > maxLost)
	case back < maxBack:
		return false
	}
	reordered := t.video && u.DTS == u.PTS && t.late < maxLate
	return !reordered || back > maxReordered
}

// jump ends the stretch with u: what waits is sealed, and the other tracks are expected to make the same step.
func (p *Packager) jump(step timeline.Ticks, u *mpegts.AccessUnit) {
	follows := p.open != nil && !u.Lost && !p.ref.broken
	p.finish()
	p.stats.Jumps++
	p.stretch++
	p.cut.reset(p.ref)
	p.cut.follows = follows
	p.newest = p.ref.dts + step
	for _, t := range p.tracks {
		p.pending -= t.clear() // what came before the first RAP
		switch {
		case t == p.ref || !t.seen:
		case p.ref.dts-t.oddAt < jumpTogether && abs(t.odd-step) < abs(t.odd):
			t.seen = false // it was there first
		default:
			t.jump, t.jumpAt = step, p.newest
		}
		t.broken, t.odd = true, 0
	}
	p.ref.dts = p.newest - 1 // the sample that jumped follows it
	p.ref.timed, p.ref.guesses, p.ref.late = p.ref.dts, 0, 0
}

// watch returns how far the track's clock is from where its last sample ended, and remembers it where it is far.
func (p *Packager) watch(t *track, raw timeline.Ticks, known bool) (odd timeline.Ticks) {
	if !known {
		t.raw += t.step
		return 0
	}
	if t.seen {
		odd = timeline.Unwrap(raw-t.raw, 0) - t.step
	}
	t.raw = raw
	if abs(odd) >= maxBack/2 && p.ref != nil {
		t.odd, t.oddAt = odd, p.ref.dts
	}
	return odd
}

// follow gives the decode time of a sample of a track that is not the reference.
func (p *Packager) follow(t *track, raw, odd timeline.Ticks) (timeline.Ticks, bool) {
	if t.jump != 0 {
		// Until this track has made the reference's step, its samples are of the old stretch: too late for it.
		if abs(odd) < abs(odd-t.jump) && p.ref.dts < t.jumpAt+jumpTogether {
			return 0, false
		}
		t.jump, t.odd, t.seen = 0, 0, false
	}
	dts := timeline.Unwrap(raw, p.ref.dts)
	if abs(dts-p.ref.dts) > silence && (!t.seen || abs(dts-t.dts) > maxAhead) {
		return 0, false // unless it went there step by step: then it is the reference track that fell silent
	}
	if t.seen && dts < t.dts-maxReordered && !t.silent(p.newest) {
		return 0, false
	}
	return dts, true
}

func abs(t timeline.Ticks) timeline.Ticks { return max(t, -t) }

// tForm is T of a time that stands alone: in [2^33, 2^34).
func tForm(t timeline.Ticks) timeline.Ticks { return t&(timeline.Wrap-1) + timeline.Wrap }

// Flush seals what is open: the source ended, or the packager is about to stop. What comes after starts anew.
func (p *Packager) Flush() {
	p.release(nil)
	p.settleAll()
	p.refer(p.ref)
	for _, t := range p.tracks { // where there is no segment yet, they still wait
		p.stats.Dropped += uint64(len(t.q))
		p.pending -= t.clear()
	}
	p.prune()
}
