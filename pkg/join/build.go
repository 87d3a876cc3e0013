package join

import (
	"cmp"
	"hash/crc32"
	"math"
	"slices"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// chunk is a run of samples of one track in one chunk cell.
type chunk struct {
	cell    int64
	track   *joined
	samples []sample
}

// build makes the bytes by the rules of the packager (FORMAT.md, "Chunks").
func (j *joiner) build() Copy {
	base := &j.sources[0].copy.Info
	info := segment.Info{
		Start: j.start, End: j.end, Independent: j.independent, Format: base.Format,
		Evidence: segment.Evidence{StartUncertain: !j.startCertain, EndUncertain: !j.endCertain},
	}
	var chunks []chunk
	for _, t := range j.out {
		j.durations(t)
		for _, run := range runs(t.samples) {
			chunks = append(chunks, chunk{cellOf(run[0].dts), t, run})
		}
		info.Evidence.Faulty = append(info.Evidence.Faulty, t.faulty...)
		info.Evidence.Missing = append(info.Evidence.Missing, t.missing...)
		if len(t.faulty)+len(t.missing) > 0 || !j.startCertain || !j.endCertain {
			info.Runs = append(info.Runs, j.runsOf(t.PID)...)
		}
	}
	slices.SortStableFunc(chunks, func(a, b chunk) int {
		return cmp.Or(cmp.Compare(a.cell, b.cell), cmp.Compare(a.track.PID, b.track.PID))
	})
	for _, t := range j.out {
		t.Samples, t.Bytes, t.Start, t.End = uint32(len(t.samples)), 0, j.start, j.start
		if n := len(t.samples); n > 0 {
			t.Start, t.End = t.samples[0].dts, t.samples[n-1].dts+timeline.Ticks(t.samples[n-1].duration)
		}
	}
	data := j.write(chunks, &info)
	for _, t := range j.out {
		info.Tracks = append(info.Tracks, t.Track)
	}
	info.Bytes, info.Digest = uint64(len(data)), segment.Sum(data)
	return Copy{Info: info, Data: data}
}

func (j *joiner) write(chunks []chunk, info *segment.Info) []byte {
	var data, payload []byte
	var samples []fmp4.Sample
	for i := range chunks {
		c := &chunks[i]
		samples, payload = samples[:0], payload[:0]
		for k := range c.samples {
			s := &c.samples[k]
			samples = append(samples, fmp4.Sample{Duration: s.duration, Size: uint32(len(s.data)), Flags: s.flags, Offset: s.offset})
			payload = append(payload, s.data...)
		}
		kind := fmp4.Audio
		if c.track.video || c.track.data {
			kind = fmp4.Video
		}
		at := len(data)
		data = fmp4.AppendChunk(data, kind, c.track.PID, c.samples[0].dts, samples, payload)
		size := len(data) - at
		c.track.Bytes += uint64(size)
		info.Chunks = append(info.Chunks, segment.Chunk{
			PID: c.track.PID, Cell: uint32(c.cell), Offset: uint64(at), Size: uint32(size),
			CRC: crc32.Checksum(data[at:], castagnoli), TfdtOffset: fmp4.TfdtOffset,
		})
	}
	return data
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func cellOf(t timeline.Ticks) int64 { return int64(t / timeline.ChunkTicks) }

// runs splits samples where the chunk cell changes.
func runs(samples []sample) (out [][]sample) {
	for from := 0; from < len(samples); {
		to := from + 1
		for to < len(samples) && cellOf(samples[to].dts) == cellOf(samples[from].dts) {
			to++
		}
		out = append(out, samples[from:to])
		from = to
	}
	return out
}

// durations gives each sample its length.
func (j *joiner) durations(t *joined) {
	n, to := len(t.samples), j.limits(t.PID).next
	for i := range t.samples {
		s := &t.samples[i]
		last := i == n-1
		switch {
		case t.data:
			d := (cellOf(s.dts)+1)*int64(timeline.ChunkTicks) - int64(s.dts)
			if !last && cellOf(t.samples[i+1].dts) == cellOf(s.dts) {
				d = int64(t.samples[i+1].dts - s.dts)
			} else if to != ever {
				d = min(d, int64(to-s.dts))
			}
			s.duration = uint32(max(d, 1))
		case !last:
			s.duration = uint32(min(t.samples[i+1].dts-s.dts, math.MaxUint32))
		default:
			s.duration = j.lastDuration(t, s, to)
		}
	}
}

// lastDuration is the length of the last sample of a track of pictures or sound: of a picture up to the next one beyond the cut,
// of a frame its own.
func (j *joiner) lastDuration(t *joined, s *sample, to timeline.Ticks) uint32 {
	if t.video && to != ever {
		return uint32(min(to-s.dts, math.MaxUint32))
	}
	if !t.video && s.nominal > 0 {
		return s.nominal
	}
	own, shortest, end := uint32(0), uint32(math.MaxUint32), ever
	for _, o := range j.sources {
		l := o.tracks[t.PID]
		x := &l.samples[len(l.samples)-1]
		if x.dts == s.dts {
			own = max(own, x.duration)
		}
		shortest = min(shortest, x.duration)
		if e := l.end(); e >= s.dts+segment.Near {
			end = min(end, e)
		}
	}
	switch n := len(t.samples); {
	case t.video && end != ever: // the next one that any copy received: the nearest lost the least between
		return uint32(min(end-s.dts, math.MaxUint32))
	case own > 0:
		return own
	case !t.video: // as long as a frame is with which another ends: its own neighbours may be missing
		return shortest
	case n > 1:
		return t.samples[n-2].duration
	}
	return 1
}
