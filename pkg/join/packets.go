package join

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sort"
	"strings"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/sampler"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// mended is what the packets of all copies, put together, give of a track.
type mended struct {
	lane   lane             // the samples that came of them, all intact
	closed []stretch        // between two neighbours of which all packets are here: nothing else belongs there; by time
	reach  []timeline.Ticks // up to where the first of them reach
}

// order lays what is closed by time.
func (m *mended) order() {
	slices.SortFunc(m.closed, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	m.reach = m.reach[:0]
	for i := range m.closed {
		to := m.closed[i].to
		if i > 0 {
			to = max(to, m.reach[i-1])
		}
		m.reach = append(m.reach, to)
	}
}

// closes reports whether nothing belongs between two neighbours of a join; never and ever: it is the first, or the last.
func (m *mended) closes(from, to timeline.Ticks, last bool) bool {
	switch {
	case m == nil:
		return false
	case from == never:
		return !last && slices.ContainsFunc(m.closed, func(s stretch) bool { return s.to == to })
	}
	n := sort.Search(len(m.closed), func(i int) bool { return m.closed[i].from > from })
	if last {
		return n > 0 && m.closed[n-1].from == from
	}
	return n > 0 && m.reach[n-1] >= to
}

// maxParts bounds what is framed of a track: so many faulty samples are not told one by one, either.
const maxParts = maxEvidence

// framed collects the units of one part.
type framed struct {
	j       *joiner
	track   *segment.Track
	sampler *sampler.Sampler
	out     []sample
	closed  []stretch // between two of out that the packets show to be neighbours
	apart   bool      // since the last of out came what is none of these: it may be damaged, or missing, where it was sent
}

// Program implements mpegts.Handler.
func (f *framed) Program(mpegts.Program) {}

// AccessUnit implements mpegts.Handler.
func (f *framed) AccessUnit(u *mpegts.AccessUnit) {
	if x, ok := f.sample(u); ok {
		if n := len(f.out); n > 0 && !f.apart && !u.Lost {
			f.closed = append(f.closed, stretch{from: f.out[n-1].dts, to: x.dts})
		}
		f.out, f.apart = append(f.out, x), false
		return
	}
	if n := len(f.out); n > 0 && !f.apart && !u.HasPTS { // how long the one before lasts nobody knows
		if k := len(f.closed); k > 0 && f.closed[k-1].to == f.out[n-1].dts {
			f.closed = f.closed[:k-1]
		}
		f.out = f.out[:n-1]
	}
	f.apart = true
}

// sample makes a sample of a unit that is intact.
func (f *framed) sample(u *mpegts.AccessUnit) (x sample, ok bool) {
	if u.Damage != 0 || !u.HasPTS {
		return x, false
	}
	dts := u.DTS
	if !f.track.Video() {
		dts = u.PTS
	}
	data, s, ok := f.sampler.Append(nil, u)
	offset, wrong := sampler.Offset(u.PTS, dts)
	if !ok || wrong || s.Reason != 0 || s.Config != nil && !strings.EqualFold(f.track.Codec, "opus") && s.Config.Init.Hash != f.track.Init {
		return x, false
	}
	x = sample{dts: timeline.Unwrap(timeline.Ticks(dts), f.j.start), nominal: s.Nominal, offset: uint32(offset), data: data}
	if !f.track.Video() {
		x.flags = fmp4.FlagsSync
	} else if x.flags = fmp4.FlagsNonSync; s.RAP {
		x.flags = fmp4.FlagsSync
	}
	n := len(f.out)
	return x, n == 0 || x.dts > f.out[n-1].dts
}

// mend makes samples of the packets of a track that the copies have together.
func (j *joiner) mend(t *segment.Track, lanes []*lane, l limit) *mended {
	runs := j.runsOf(t.PID)
	if len(runs) == 0 || t.Data() {
		return nil
	}
	var of teller
	if t.Video() {
		of = contents(lanes)
	}
	parts, unlike := assemble(runs, of)
	j.unlike += unlike
	m := &mended{}
	known, step := j.known(t), leastStep(lanes)
	for i := 0; known == nil && t.Video() && i < len(parts); i++ { // or what is made of packets would tell more the next time
		known = parameterSets(t, j.frame(t, parts[i], nil).out)
	}
	for _, p := range parts {
		f := j.frame(t, p, known)
		units, ok := j.fit(t, lanes, l, f.out)
		if !ok {
			j.unlike++
			continue
		}
		j.close(m, f, p, runs, step)
		m.lane.samples = append(m.lane.samples, units...)
	}
	slices.SortStableFunc(m.lane.samples, func(a, b sample) int { return cmp.Compare(a.dts, b.dts) })
	m.lane.samples = slices.CompactFunc(m.lane.samples, func(a, b sample) bool { return a.dts == b.dts })
	m.order()
	for i := range m.lane.samples {
		if !slices.ContainsFunc(lanes, func(o *lane) bool { return o.at(m.lane.samples[i].dts) != nil }) {
			j.mended++
		}
	}
	return m
}

// frame makes samples of the access units in packets that follow each other. known is a picture with parameter sets, or nil.
func (j *joiner) frame(t *segment.Track, p part, known []byte) (f *framed) {
	for _, c := range codecsOf(t) {
		if f = j.frameAs(t, c, p, known); len(f.out) > 0 {
			break
		}
	}
	return f
}

func (j *joiner) frameAs(t *segment.Track, c mpegts.Codec, p part, known []byte) *framed {
	stream := mpegts.Stream{PID: t.PID, Codec: c, Language: t.Language, Channels: 2}
	f := &framed{j: j, track: t, sampler: sampler.New(stream)}
	r := mpegts.NewReframer(stream, f)
	if known != nil {
		r.Know(known)
	}
	for i := range p {
		r.Packet(p[i].Data, p[i].Start)
	}
	r.End()
	return f
}

// fit gives those of neighbouring units that belong to the slot; false: they contradict what a copy knows.
func (j *joiner) fit(t *segment.Track, lanes []*lane, l limit, units []sample) (out []sample, ok bool) {
	first, last := ever, never
	for _, s := range j.sources {
		o := s.tracks[t.PID].samples
		first, last = min(first, o[0].dts), max(last, o[len(o)-1].dts)
	}
	for i := range units {
		x := &units[i]
		pts := x.pts()
		switch sync := t.Video() && x.flags == fmp4.FlagsSync; {
		case !l.has(x) && !(j.wide != nil && l.to != ever && !j.endCertain && !j.wide.toKnown && x.dts >= l.to && pts < j.end):
			continue // of a neighbour: the packets around a cut are with the segments on both sides
		case j.wide != nil:
			if sync && l.from != never && !j.endCertain && absCell(pts) > absCell(j.start) {
				return out, true // the next segment begins
			}
		case sync && (pts.Cell() != j.start.Cell() || j.endCertain && pts >= j.end):
			return out, true
		case x.dts < first && (t.Video() || x.dts < j.start) || x.dts > last && pts >= j.end:
			continue
		}
		for _, o := range lanes {
			if h := o.at(x.dts); h != nil {
				if !h.equal(x) {
					return nil, false
				}
				continue
			}
			g := o.gap(x.dts)
			if !o.open[g] || g > 0 && x.dts-o.intact[g-1] < segment.Near || g < len(o.intact) && o.intact[g]-x.dts < segment.Near {
				return nil, false
			}
		}
		out = append(out, *x)
	}
	return out, true
}

// leastStep is how near two intact samples of a copy lie to each other; 0: that is not known.
func leastStep(lanes []*lane) timeline.Ticks {
	least := ever
	for _, l := range lanes {
		for i := 1; i < len(l.intact); i++ {
			least = min(least, l.intact[i]-l.intact[i-1])
		}
	}
	if least == ever {
		return 0
	}
	return least
}

// close notes between which units nothing else belongs. Of a PES of which all packets came nothing else is known: where there is room for
// several pictures until the next, it may have held these. Pictures are step apart at least.
func (j *joiner) close(m *mended, f *framed, p part, runs []segment.Run, step timeline.Ticks) {
	units := f.out
	n := len(units)
	m.closed = append(m.closed, f.closed...)
	if n == 0 || !f.track.Video() {
		return
	}
	for i := range runs {
		for _, l := range runs[i].Links {
			if l.Whole && l.DTS < runs[i].DTS && runs[i].DTS-l.DTS < 2*step && runs[i].DTS == units[0].dts {
				m.closed = append(m.closed, stretch{from: l.DTS, to: runs[i].DTS})
			}
		}
	}
	if f.apart {
		return
	}
	next := ever
	for i := range p {
		if at, ok := mpegts.StartDTS(p[i].Data); ok && p[i].Start {
			if dts := timeline.Unwrap(timeline.Ticks(at), j.start); dts > units[n-1].dts {
				next = min(next, dts)
			}
		}
	}
	if next != ever {
		m.closed = append(m.closed, stretch{from: units[n-1].dts, to: next})
	}
}

// runsOf gives the packet runs of a PID.
func (j *joiner) runsOf(pid uint16) []segment.Run {
	from, _ := slices.BinarySearchFunc(j.runs, pid, func(r segment.Run, pid uint16) int { return cmp.Compare(r.PID, pid) })
	to := from
	for to < len(j.runs) && j.runs[to].PID == pid {
		to++
	}
	return j.runs[from:to]
}

// known is a picture of the track that has the parameter sets, for framing further ones.
func (j *joiner) known(t *segment.Track) []byte {
	if !t.Video() {
		return nil
	}
	for _, s := range j.all() {
		if data := parameterSets(t, s.tracks[t.PID].samples); data != nil {
			return data
		}
	}
	return nil
}

// parameterSets gives an intact picture that has them, or nil.
func parameterSets(t *segment.Track, samples []sample) []byte {
	for i := range samples {
		if x := &samples[i]; x.reason == 0 && (x.flags == fmp4.FlagsSync || hasParameterSet(t, x.data)) {
			return x.data
		}
	}
	return nil
}

// hasParameterSet reports whether a picture of H.264 has one: with intra refresh none is a random access point.
func hasParameterSet(t *segment.Track, data []byte) bool {
	if !strings.HasPrefix(t.Codec, "avc1") {
		return false
	}
	for len(data) > 4 {
		n := int(binary.BigEndian.Uint32(data))
		if n > len(data)-4 {
			return false
		}
		if data[4]&0x1F == fmp4.NALSPS {
			return true
		}
		data = data[4+n:]
	}
	return false
}

// codecsOf gives the codecs by which packets of a track may have been framed.
func codecsOf(t *segment.Track) []mpegts.Codec {
	name, kind, _ := strings.Cut(t.Codec, ".")
	switch name {
	case "avc1":
		return []mpegts.Codec{mpegts.CodecH264}
	case "hvc1":
		return []mpegts.Codec{mpegts.CodecHEVC}
	case "mp4v":
		return []mpegts.Codec{mpegts.CodecMPEGVideo}
	case "ac-3":
		return []mpegts.Codec{mpegts.CodecAC3, mpegts.CodecEAC3}
	case "ec-3":
		return []mpegts.Codec{mpegts.CodecEAC3}
	case "Opus", "opus":
		return []mpegts.Codec{mpegts.CodecOpus}
	}
	if strings.HasPrefix(kind, "40") {
		return []mpegts.Codec{mpegts.CodecAAC, mpegts.CodecLATM}
	}
	return []mpegts.Codec{mpegts.CodecMPEGAudio}
}
