package join

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// maxSamples bounds the samples of a copy: 16 s of 120 pictures a second and six tracks of 2.5 ms frames have 50,000.
	maxSamples = 1 << 18
	// maxEvidence is where a packager tells faulty samples as spans: which ones they are is not known any more.
	maxEvidence = 4096

	never = timeline.Ticks(-1 << 62)
	ever  = timeline.Ticks(1 << 62)
)

// place is what all copies of a join have in common.
type place struct {
	cell   int64
	set    segment.InitSet
	format uint32
	kinds  string // of the tracks, by PID: no init segment says what is said of them
}

// source is a copy, taken apart.
type source struct {
	copy   *Copy
	slot   place
	tracks map[uint16]*lane
}

// lane is what a copy has of one track.
type lane struct {
	video, data bool
	samples     []sample         // by DTS
	intact      []timeline.Ticks // DTS of those that are
	open        []bool           // gap i is before intact[i], the last behind all of them
	unknown     []stretch
}

type sample struct {
	dts      timeline.Ticks
	duration uint32
	nominal  uint32 // of a frame of sound that was made of packets
	flags    uint32
	offset   uint32
	data     []byte
	reason   segment.Reason // 0: it is intact
	hash     segment.Digest // of data, where it is not
}

func (s *sample) equal(o *sample) bool {
	return s.flags == o.flags && s.offset == o.offset && string(s.data) == string(o.data)
}

// end is where the last sample ends; the lane is not empty.
func (l *lane) end() timeline.Ticks {
	s := &l.samples[len(l.samples)-1]
	return s.dts + timeline.Ticks(s.duration)
}

// at is the intact sample of a time, or nil.
func (l *lane) at(dts timeline.Ticks) *sample {
	i, ok := slices.BinarySearchFunc(l.samples, dts, func(s sample, t timeline.Ticks) int { return cmp.Compare(s.dts, t) })
	if !ok || l.samples[i].reason != 0 {
		return nil
	}
	return &l.samples[i]
}

// gap finds the gap in which a time lies.
func (l *lane) gap(t timeline.Ticks) int {
	return sort.Search(len(l.intact), func(i int) bool { return l.intact[i] > t })
}

// isOpen reports whether all of (from, to) lies in a gap of the lane that is open. Neither end lies within an intact sample.
func (l *lane) isOpen(from, to timeline.Ticks) bool {
	i := l.gap(from)
	return l.open[i] && (i == len(l.intact) || to <= l.intact[i])
}

// parse takes a copy apart.
func parse(c *Copy) (*source, error) {
	info := &c.Info
	bad := func(format string, args ...any) (*source, error) {
		return nil, fmt.Errorf("join %s: %s: %w", info.Digest, fmt.Sprintf(format, args...), ErrUnlike)
	}
	if info.Start < timeline.Wrap || info.Start >= 2*timeline.Wrap || max(len(info.Evidence.Faulty), len(info.Evidence.Missing)) >= maxEvidence {
		return bad("it begins at %d, with %d faulty samples and %d spans", info.Start, len(info.Evidence.Faulty), len(info.Evidence.Missing))
	}
	s := &source{
		copy: c, tracks: map[uint16]*lane{},
		slot: place{cell: info.Start.Cell(), set: segment.MakeInitSet(info.Tracks), format: info.Format},
	}
	for i := range info.Tracks {
		t := &info.Tracks[i]
		if i > 0 && t.PID <= info.Tracks[i-1].PID {
			return bad("its tracks are not by PID")
		}
		s.tracks[t.PID] = &lane{video: t.Video(), data: t.Data()}
		switch {
		case t.Video():
			s.slot.kinds += "v"
		case t.Data():
			s.slot.kinds += "d"
		default:
			s.slot.kinds += "a"
		}
	}
	total := 0
	for data, err := range fmp4.Split(c.Data) {
		var chunk *fmp4.Chunk
		if err == nil {
			chunk, err = fmp4.ParseChunk(data)
		}
		if err != nil {
			return bad("%v", err)
		}
		l := s.tracks[chunk.PID]
		if total += len(chunk.Samples); l == nil || total > maxSamples || (chunk.Kind == fmp4.Video) != (l.video || l.data) {
			return bad("a chunk of PID %d with %d samples", chunk.PID, len(chunk.Samples))
		}
		for x := range chunk.All() {
			if n := len(l.samples); n > 0 && x.DTS <= l.samples[n-1].dts || x.DTS < 0 || x.DTS >= 4*timeline.Wrap {
				return bad("PID %d at %d", chunk.PID, x.DTS)
			}
			l.samples = append(l.samples, sample{dts: x.DTS, duration: x.Duration, flags: x.Flags, offset: x.Offset, data: x.Data})
		}
	}
	for pid, l := range s.tracks {
		if len(l.samples) == 0 && !l.data {
			return bad("nothing of PID %d", pid)
		}
	}
	s.judge()
	return s, nil
}

// judge lays the evidence over the samples.
func (s *source) judge() {
	e := &s.copy.Info.Evidence
	for _, f := range e.Faulty {
		l := s.tracks[f.PID]
		if l == nil {
			continue
		}
		if x := l.at(f.DTS); x != nil {
			x.reason, x.hash = max(f.Reason&^uncertain, 1), segment.Sum(x.data)
		}
	}
	spans := map[uint16][]stretch{}
	for _, m := range e.Missing {
		spans[m.PID] = append(spans[m.PID], stretch{m.From, m.To, max(m.Reason&^uncertain, 1)})
	}
	for pid, l := range s.tracks {
		for i := range l.samples {
			if l.samples[i].reason == 0 {
				l.intact = append(l.intact, l.samples[i].dts)
			}
		}
		l.open = make([]bool, len(l.intact)+1)
		l.unknown = flatten(slices.Concat(spans[pid], damage(l.samples, ever), edges(l.samples, e.StartUncertain, e.EndUncertain)))
		for _, u := range l.unknown {
			for i := l.gap(u.from); i < len(l.open) && (i == 0 || u.to > l.intact[i-1]); i++ {
				l.open[i] = true
			}
		}
	}
}
