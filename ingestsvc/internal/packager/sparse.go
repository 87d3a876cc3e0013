package packager

import (
	"math"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/sampler"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// sparse is what a track of data has beside its queue: units whose place is not known yet. A unit belongs with the last
// access unit of the reference track that began before it ended (FORMAT.md), and which that is shows when the next one comes.
type sparse struct {
	descriptors string
	waiting     []waiting
	buf         []byte // of these, one behind the other

	doubtful mark           // where units were lost
	doubt    segment.Reason // and how that is known
}

// waiting is a unit of data, or, without bytes, the news that some may have been lost.
type waiting struct {
	order  uint64
	size   int
	pts    timeline.Ticks // 33 bits
	hasPTS bool
	reason segment.Reason
	lost   segment.Reason // why others may be missing before it
}

// maxUnplaced bounds the bytes of data of one stream that wait while there is no segment for them: what ended before the
// picture or frame that begins one belongs nowhere, and no more than this comes while that one is being received.
const maxUnplaced = 128 << 10

// mark is the newest access unit of the reference track.
type mark struct {
	seg   *seg // nil: it has none
	dts   timeline.Ticks
	doubt segment.Reason // others may know another time for it
}

// dataCodecs has the names of segment.DataCodec.
var dataCodecs = map[mpegts.Codec]string{
	mpegts.CodecDVBSubtitles: segment.DVBSubtitles,
	mpegts.CodecTeletext:     segment.Teletext,
	mpegts.CodecID3:          segment.ID3,
	mpegts.CodecKLV:          segment.KLV,
	mpegts.CodecMetadata:     segment.Metadata,
	mpegts.CodecSCTE35:       segment.SCTE35,
}

// newSparse makes the track of a data stream, whose configuration is the program map's. Nil: it cannot be described.
func newSparse(s mpegts.Stream) *track {
	init, err := fmp4.DataInit(s.PID, s.Language, s.StreamType, []byte(s.Descriptors))
	if err != nil {
		return nil
	}
	t := newTrack(s)
	t.sparse = &sparse{descriptors: s.Descriptors}
	t.cfg = sampler.NewConfig(t.pid, init, segment.DataCodec+dataCodecs[s.Codec])
	return t
}

// data takes a unit of a data stream.
func (p *Packager) data(t *track, u *mpegts.AccessUnit) {
	d := t.sparse
	w := waiting{
		order: u.Order, size: len(u.Data), pts: timeline.Ticks(u.PTS), hasPTS: u.HasPTS, reason: segment.Reason(u.Damage),
	}
	if u.Lost {
		if w.lost = segment.Reason(u.LostReason); w.lost == 0 {
			w.lost = segment.ReasonContinuity
		}
	}
	if n := len(d.waiting); w.size == 0 && n > 1 && d.waiting[n-1].size == 0 && d.waiting[n-2].size == 0 {
		w.lost |= d.waiting[n-1].lost // of many holes one after the other the first and the last count
		d.waiting[n-1] = w
		return
	}
	d.waiting, d.buf = append(d.waiting, w), append(d.buf, u.Data...)
	p.pending += w.size
	if p.mark.seg == nil {
		p.unplaced(d)
	}
	if p.pending > p.opts.MaxPending || len(d.waiting) > maxQueue {
		p.overflow()
	}
}

// unplaced lets go of the oldest units where there is no segment yet, or none any more, and more wait than may belong to the
// next: a program may have nothing but data for hours.
func (p *Packager) unplaced(d *sparse) {
	if len(d.buf) <= maxUnplaced && len(d.waiting) <= maxUnplaced/64 {
		return
	}
	n, used := 0, 0
	for ; n < len(d.waiting)-1 && (len(d.buf)-used > maxUnplaced/2 || len(d.waiting)-n > maxUnplaced/128); n++ {
		used += d.waiting[n].size
		if d.waiting[n].size > 0 {
			p.stats.Dropped++
		}
	}
	p.pending -= used
	d.waiting = d.waiting[:copy(d.waiting, d.waiting[n:])]
	d.buf = d.buf[:copy(d.buf, d.buf[used:])]
	d.waiting[0].lost |= segment.ReasonContinuity
}

// settle gives the units of data that ended before the packet to the segment of the newest access unit of the reference
// track: the next one begins in that packet. why is not 0 where there may have been others between the two, to which they
// may belong.
func (p *Packager) settle(before uint64, why segment.Reason) {
	for _, t := range p.tracks {
		d := t.sparse
		if d == nil {
			continue
		}
		n, used := 0, 0
		for ; n < len(d.waiting) && d.waiting[n].order < before; n++ {
			w := &d.waiting[n]
			w.reason |= why
			p.settleUnit(t, w, d.buf[used:used+w.size])
			used += w.size
		}
		if n > 0 {
			d.waiting = d.waiting[:copy(d.waiting, d.waiting[n:])]
			d.buf = d.buf[:copy(d.buf, d.buf[used:])]
		}
	}
}

// settleAll is settle where no access unit of the reference track comes any more.
func (p *Packager) settleAll() {
	var why segment.Reason
	if p.ref != nil && p.ref.faulty { // what came after the hole in it is not known
		why = segment.ReasonContinuity
	}
	p.settle(math.MaxUint64, why)
}

func (p *Packager) settleUnit(t *track, w *waiting, data []byte) {
	g := p.mark.seg
	drop := func() {
		p.pending -= w.size
		if w.size > 0 {
			p.stats.Dropped++
		}
	}
	if g == nil {
		drop()
		return
	}
	d := t.sparse
	s := sample{
		dts: p.mark.dts, size: uint32(w.size), rap: true, reason: w.reason | p.mark.doubt, cfg: t.cfg, seg: g,
	}
	if d.doubtful == p.mark { // how many came before it with this access unit is not known
		s.reason |= d.doubt
	}
	if why := w.reason | w.lost; why != 0 {
		d.doubtful, d.doubt = p.mark, why
	}
	if t.seen && t.cur == g {
		s.dts = max(s.dts, t.dts+1)
	}
	s.pts = s.dts
	if w.hasPTS {
		if o := timeline.Unwrap(w.pts-s.dts, 0); o > 0 && o <= sampler.MaxOffset {
			s.pts += o
		}
	}
	if w.lost != 0 {
		p.holeBefore(t, g, s.dts, w.lost)
	}
	st := g.track(t.pid)
	switch {
	case w.size == 0:
		return
	case st == nil || st.t != t: // announced, or changed, since the segment began: from the next one on it is there
		g.addMissing(t.pid, s.dts, s.dts+1, segment.ReasonConfiguration)
		drop()
		return
	case g.emitted(s.dts, t.pid):
		g.late(t, &s)
		drop()
		return
	}
	s.at = t.base + int64(len(t.buf))
	t.buf = append(t.buf, data...)
	t.q = append(t.q, s)
	t.assigned++
	t.seen, t.dts, t.cur = true, s.dts, g
	t.mostBytes, t.mostSamples = max(t.mostBytes, len(t.buf)), max(t.mostSamples, len(t.q))
}

// holeBefore notes that units may be missing since the newest one of the track, as far as segments are not sealed.
func (p *Packager) holeBefore(t *track, g *seg, dts timeline.Ticks, why segment.Reason) {
	from := never
	if t.seen {
		from = t.dts + 1
	}
	for o := p.head; o != nil; o = o.next {
		lo, hi := max(from, o.dts), dts+1
		if o == g {
			o.addMissing(t.pid, min(lo, dts), hi, why)
			return
		}
		if hi = o.next.dts; lo < hi {
			o.addMissing(t.pid, lo, hi, why)
		}
	}
}

// sparseDuration is up to the next sample of the chunk, and of the last to the end of the chunk's cell or to where the next
// segment begins.
func (t *track) sparseDuration(i, n int, g *seg) timeline.Ticks {
	s := &t.q[i]
	if i+1 < n {
		return t.q[i+1].dts - s.dts
	}
	end := floor(s.dts, timeline.ChunkTicks) + timeline.ChunkTicks
	if g.next != nil {
		end = min(end, g.next.dts)
	}
	return max(end-s.dts, 1)
}

// settled reports whether nothing more comes for a chunk of a data track.
func (p *Packager) settled(g *seg, cell int64) bool {
	return p.mark.seg != g || chunkCell(p.mark.dts) > cell
}

// between says why access units of the reference track may be missing before u.
func (t *track) between(u *mpegts.AccessUnit) (why segment.Reason) {
	if u.Lost {
		if why = segment.Reason(u.LostReason); why == 0 {
			why = segment.ReasonContinuity
		}
	}
	if t.broken {
		why |= segment.ReasonSyntax
	}
	return why
}

// newMark is where data belongs from the newest access unit of the reference track on.
func (p *Packager) newMark(t *track) mark {
	m := mark{seg: p.open, dts: t.dts}
	if t.guesses > 0 {
		m.doubt = segment.ReasonSyntax
	}
	return m
}
