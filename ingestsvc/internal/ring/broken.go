package ring

import (
	"cmp"
	"crypto/sha256"
	"slices"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Close ends the run. A segment that the packager left open, since it is broken, is sealed with the chunks that it has
// and an uncertain end, or withdrawn if it has none.
func (w *Writer) Close() {
	e := w.open
	if e == nil {
		return
	}
	// Nobody else writes to an open entry, so its chunks can be read without the lock for as long as that takes.
	if info, ok := broken(e); ok {
		w.Seal(info)
		return
	}
	w.open = nil
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	if !e.spoiled {
		w.r.withdraw(e, ReasonGone)
	}
	w.r.remove(e)
	w.r.wake()
}

// broken describes what there is of an open segment; false: nothing that could be sealed.
func broken(e *entry) (segment.Info, bool) {
	start := e.begin.Key.Start
	info := segment.Info{
		Start: start, Independent: e.begin.Independent, Format: segment.Format,
		Tracks:   slices.Clone(e.begin.Tracks),
		Evidence: segment.Evidence{StartUncertain: e.begin.StartUncertain, EndUncertain: true},
	}
	for i := range info.Tracks {
		info.Tracks[i].Start, info.Tracks[i].End = start, start
	}
	hash := sha256.New()
	var parsed fmp4.Chunk
	for i := range e.chunks {
		c := &e.chunks[i]
		t := info.Track(c.PID)
		if t == nil || parsed.Parse(c.Data) != nil {
			return info, false
		}
		if t.Samples == 0 {
			t.Start = parsed.Start
		}
		t.End = parsed.End()
		t.Samples += uint32(len(parsed.Samples))
		t.Bytes += uint64(len(c.Data))
		hash.Write(c.Data)
		info.Bytes += uint64(len(c.Data))
		info.Chunks = append(info.Chunks, c.Chunk)
		info.Evidence.Faulty = append(info.Evidence.Faulty, c.Evidence.Faulty...)
		info.Evidence.Missing = append(info.Evidence.Missing, c.Evidence.Missing...)
	}
	slices.SortStableFunc(info.Evidence.Faulty, func(a, b segment.FaultySample) int { return cmp.Compare(a.PID, b.PID) })
	slices.SortStableFunc(info.Evidence.Missing, func(a, b segment.MissingSpan) int { return cmp.Compare(a.PID, b.PID) })
	hash.Sum(info.Digest[:0])
	info.End = brokenEnd(&info)
	return info, info.End > start
}

// brokenEnd is where a segment ends of which no next start is known: its reference track's end, moved as its start, which
// is a presentation time, is against the first decode time.
func brokenEnd(info *segment.Info) timeline.Ticks {
	if ref := info.Reference(); ref != nil && ref.Samples > 0 {
		return ref.End + info.Start - ref.Start
	}
	end := info.Start
	for _, t := range info.Tracks {
		end = max(end, t.End)
	}
	return end
}
