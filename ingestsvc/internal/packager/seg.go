package packager

import (
	"cmp"
	"hash/crc32"
	"math"
	"slices"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/sampler"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// seg is a segment that is not sealed.
type seg struct {
	order       uint64 // counts segments
	key         segment.Key
	start       timeline.Ticks  // B: PTS of the start
	dts         timeline.Ticks  // its DTS
	shift       timeline.Ticks  // T is the unwrapped time less this
	end         timeline.Ticks  // B of the next
	ref         *sampler.Config // of the reference track
	independent bool
	closed      bool // end is known
	begun       bool // Begin is out: the tracks are fixed
	sealed      bool
	next        *seg

	tracks   []segTrack // by PID
	chunks   []segment.Chunk
	bytes    uint64
	lastCell int64 // of the last chunk
	lastPID  uint16
	evidence segment.Evidence // times unwrapped
}

// segTrack is what one track has in a segment.
type segTrack struct {
	t          *track
	pid        uint16
	cfg        *sampler.Config
	role       mpegts.Role
	start, end timeline.Ticks
	samples    uint32
	bytes      uint64
}

func (g *seg) track(pid uint16) *segTrack {
	for i := range g.tracks {
		if g.tracks[i].pid == pid {
			return &g.tracks[i]
		}
	}
	return nil
}

func (g *seg) addTrack(t *track, first *sample) {
	g.tracks = append(g.tracks, segTrack{t: t, pid: t.pid, cfg: first.cfg, role: t.role, start: first.dts})
	slices.SortFunc(g.tracks, func(a, b segTrack) int { return cmp.Compare(a.pid, b.pid) })
}

// emitted reports whether the chunk to which a sample belongs, or a later one, is out already.
func (g *seg) emitted(dts timeline.Ticks, pid uint16) bool {
	cell := chunkCell(dts)
	return len(g.chunks) > 0 && (cell < g.lastCell || cell == g.lastCell && pid <= g.lastPID)
}

func chunkCell(t timeline.Ticks) int64 {
	return int64(floor(t, timeline.ChunkTicks) / timeline.ChunkTicks)
}

// maxEvidence bounds each list of evidence of a segment. Beyond it spans grow instead.
const maxEvidence = 4096

func (g *seg) late(t *track, s *sample) {
	g.addMissing(t.pid, s.dts, s.dts+max(t.step, 1), segment.ReasonLate)
}

func (g *seg) addMissing(pid uint16, from, to timeline.Ticks, why segment.Reason) {
	list := g.evidence.Missing
	for i := len(list) - 1; i >= 0; i-- {
		m := &list[i]
		if m.PID != pid {
			continue
		}
		if from <= m.To && to >= m.From && m.Reason == why || len(list) >= maxEvidence {
			m.From, m.To, m.Reason = min(m.From, from), max(m.To, to), m.Reason|why
			return
		}
		break
	}
	g.evidence.Missing = append(list, segment.MissingSpan{PID: pid, From: from, To: to, Reason: why})
}

func (g *seg) addFaulty(pid uint16, dts timeline.Ticks, why segment.Reason) {
	if len(g.evidence.Faulty) >= maxEvidence {
		g.addMissing(pid, dts, dts+1, why)
		return
	}
	g.evidence.Faulty = append(g.evidence.Faulty, segment.FaultySample{PID: pid, DTS: dts, Reason: why})
}

// passed reports whether the track has nothing more for the segment.
func (p *Packager) passed(t *track, g *seg) bool {
	if !g.closed {
		return false
	}
	return t == p.ref || t.cur != nil && t.cur.order > g.order || !t.video && t.known >= g.end
}

// waits reports whether segments wait for the track.
func (p *Packager) waits(t *track) bool {
	if t.removed || t.sparse != nil {
		return false
	}
	if t.jump != 0 { // its next sample is expected where the reference track jumped to
		return p.newest < t.jumpAt+grace
	}
	if t.seen {
		return !t.silent(p.newest)
	}
	if t.graceEnd == 0 {
		t.graceEnd = p.newest + grace
	}
	return p.newest < t.graceEnd
}

// emit lets out the next chunk of the oldest segment, or seals it. It reports whether it did either. With all, nothing is
// waited for.
func (p *Packager) emit(all bool) bool {
	g := p.head
	var best *track
	var bestCell int64
	for _, t := range p.tracks {
		if t.assigned > 0 && t.q[0].seg == g {
			if cell := chunkCell(t.q[0].dts); best == nil || cell < bestCell {
				best, bestCell = t, cell
			}
		} else if !all && !p.passed(t, g) && p.waits(t) {
			return false
		}
	}
	if best == nil {
		if !g.closed {
			return false
		}
		p.seal(g, all)
		return true
	}
	n := max(best.together, 1)
	for n < best.assigned && best.q[n].seg == g && chunkCell(best.q[n].dts) == bestCell {
		n++
	}
	best.together = n
	if best.sparse != nil && !all && !p.settled(g, bestCell) {
		return false
	}
	cutShort := best.sparse == nil && n == best.assigned && !p.passed(best, g)
	if !all && cutShort && (len(best.q) > n || p.waits(best)) {
		return false
	}
	if !g.begun {
		p.begin(g)
	}
	p.emitChunk(g, best, n, bestCell)
	if cutShort && !all { // how long its last sample is was guessed
		end := g.track(best.pid).end
		g.addMissing(best.pid, end, end+max(best.step, 1), segment.ReasonLate)
	}
	return true
}

// begin fixes the tracks of the segment and announces it.
func (p *Packager) begin(g *seg) {
	g.begun = true
	p.seq++
	g.key.Seq = p.seq
	p.hash.Reset()
	inits := make([]segment.Init, len(g.tracks))
	for i := range g.tracks {
		inits[i] = g.tracks[i].cfg.Init
	}
	tracks := g.infoTracks()
	g.key.Start = g.start - g.shift
	g.key.InitSet = segment.MakeInitSet(tracks)
	if g == p.tail {
		p.cellSets[len(p.cellSets)-1] = g.key.InitSet // what was wanted may not have come in time
	}
	p.sink.Begin(g.key, inits, tracks, g.evidence.StartUncertain, g.independent)
}

func (g *seg) infoTracks() []segment.Track {
	out := make([]segment.Track, len(g.tracks))
	for i, t := range g.tracks {
		out[i] = segment.Track{
			PID: t.pid, Codec: t.cfg.Codec, Language: t.t.language, Role: string(t.role), Init: t.cfg.Init.Hash,
			Start: t.start - g.shift, End: max(t.end, t.start) - g.shift, Samples: t.samples, Bytes: t.bytes,
		}
	}
	return out
}

// emitChunk writes the first n samples of a track as a chunk.
func (p *Packager) emitChunk(g *seg, t *track, n int, cell int64) {
	st := g.track(t.pid)
	p.samples = p.samples[:0]
	var evidence segment.Evidence
	first, size := t.q[0].dts, 0
	for i := range t.q[:n] {
		s := &t.q[i]
		d := t.duration(i, g)
		if t.sparse != nil {
			d = t.sparseDuration(i, n, g)
		}
		e := fmp4.Sample{Duration: uint32(d), Size: s.size, Flags: fmp4.FlagsNonSync, Offset: uint32(s.pts - s.dts)}
		if s.rap {
			e.Flags = fmp4.FlagsSync
		}
		p.samples = append(p.samples, e)
		size += int(s.size)
		if t.sparse != nil && st.samples == 0 && i == 0 {
			st.start = s.dts
		}
		st.end = s.dts + d
		if s.cfg.Init.Hash != st.cfg.Init.Hash {
			s.reason |= segment.ReasonConfiguration
		}
		if s.reason != 0 {
			g.addFaulty(t.pid, s.dts, s.reason)
			evidence.Faulty = append(evidence.Faulty,
				segment.FaultySample{PID: t.pid, DTS: s.dts - g.shift, Reason: s.reason})
		}
		if s.missing != 0 {
			evidence.Missing = append(evidence.Missing, segment.MissingSpan{
				PID: t.pid, From: s.missingFrom - g.shift, To: s.dts - g.shift, Reason: s.missing})
		}
	}
	kind := fmp4.Audio
	if t.video || t.sparse != nil {
		kind = fmp4.Video
	}
	p.header = fmp4.AppendHeader(p.header[:0], kind, t.pid, first-g.shift, p.samples)
	data := t.appendBytes(p.header[:len(p.header):len(p.header)], n, size)
	p.hash.Write(data)
	c := segment.Chunk{
		PID: t.pid, Cell: uint32(chunkCell(first - g.shift)), Offset: g.bytes, Size: uint32(len(data)),
		CRC: crc32.Checksum(data, castagnoli), TfdtOffset: fmp4.TfdtOffset,
	}
	g.chunks = append(g.chunks, c)
	g.bytes += uint64(len(data))
	g.lastCell, g.lastPID = cell, t.pid
	st.samples += uint32(n)
	st.bytes += uint64(len(data))
	p.stats.Samples += uint64(n)
	p.pending -= t.pop(n)
	p.sink.Chunk(g.key.Seq, c, data, evidence)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// duration is the distance to the next sample, also across a cut; an audio track's last one in a segment is as long as
// the frame says, for its next may be the first of another recorder.
func (t *track) duration(i int, g *seg) timeline.Ticks {
	s := &t.q[i]
	if i+1 < t.assigned && (t.video || t.q[i+1].seg == g) {
		return min(t.q[i+1].dts-s.dts, math.MaxUint32)
	}
	if t.video {
		return max(t.step, 1)
	}
	return timeline.Ticks(s.nominal)
}

// seal ends the oldest segment.
func (p *Packager) seal(g *seg, all bool) {
	for _, t := range p.tracks {
		if !t.seen || t.removed || t.sparse != nil || p.passed(t, g) {
			continue
		}
		if all {
			g.evidence.EndUncertain = true
			continue
		}
		// It stopped in this segment, or so little before it that the segment was to have it.
		if st := g.track(t.pid); st != nil {
			g.addMissing(t.pid, min(st.end, g.end-1), g.end, segment.ReasonStep)
		} else if t.dts >= g.dts-silence {
			g.addMissing(t.pid, g.start, g.end, segment.ReasonStep)
		}
	}
	g.sealed = true
	runs := p.runs(g)
	p.head = g.next
	if p.open == g {
		p.open = nil
	}
	for _, t := range p.tracks {
		t.fit()
		if t.cur == g {
			t.cur = nil // or a track that is silent for days would hold every segment since
		}
	}
	p.prune()
	if !g.begun {
		return // nothing of it came as far as a chunk
	}
	info := segment.Info{
		Start: g.start - g.shift, End: g.end - g.shift, Bytes: g.bytes, Tracks: g.infoTracks(),
		Evidence: g.inT(), Chunks: g.chunks, Independent: g.independent, Format: segment.Format,
	}
	if !info.Evidence.Whole() {
		info.Runs = runs
	}
	p.hash.Sum(info.Digest[:0])
	p.stats.Segments++
	if info.Evidence.Whole() {
		p.stats.Whole++
	}
	p.sink.Seal(g.key.Seq, info)
}

// inT is the evidence in T, sorted.
func (g *seg) inT() segment.Evidence {
	e := g.evidence
	for i := range e.Faulty {
		e.Faulty[i].DTS -= g.shift
	}
	for i := range e.Missing {
		e.Missing[i].From -= g.shift
		e.Missing[i].To -= g.shift
	}
	slices.SortFunc(e.Faulty, func(a, b segment.FaultySample) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.DTS, b.DTS))
	})
	slices.SortFunc(e.Missing, func(a, b segment.MissingSpan) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.From, b.From))
	})
	return e
}

// finish seals everything that waits, as it is.
func (p *Packager) finish() {
	for _, t := range p.tracks {
		if t != p.ref && t.sparse == nil && p.head != nil {
			p.assignAll(t, math.MaxInt64)
		}
	}
	if p.open != nil {
		p.close(p.open, max(p.ref.end, p.open.start+1), false)
	}
	for p.head != nil {
		p.emit(true)
	}
	p.open, p.tail = nil, nil
	p.mark = mark{}
	p.kept, p.keptBytes = nil, 0
	for _, t := range p.tracks {
		t.cur, t.known = nil, never
	}
}
