package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// ErrNothing is returned for a range that overlaps no segment.
var ErrNothing = errors.New("nothing is recorded in the range")

// ConfigurationError is returned for a range in which a track changes its configuration: one file of one sample entry
// per track cannot hold it. The parts before and from At can be exported each.
type ConfigurationError struct {
	PID uint16
	At  time.Time
}

func (e *ConfigurationError) Error() string {
	return fmt.Sprintf("the track of PID %d changes its configuration at %s: export the parts before and from it, each to its own file",
		e.PID, e.At.Format(time.RFC3339Nano))
}

// Source is the archive of one stream.
type Source interface {
	// Locate gives the presented segments that overlap the range, in the order of media time.
	Locate(ctx context.Context, r archive.Range) iter.Seq2[archive.Segment, error]
	// Read gives the bytes of a located segment.
	Read(ctx context.Context, s archive.Segment) (archive.Segment, []byte, error)
	// ReadInit gives the init segment of one track.
	ReadInit(ctx context.Context, hash segment.Digest) ([]byte, error)
}

var _ Source = (*archive.Stream)(nil)

// Result says what was written.
type Result struct {
	From, To time.Time // UTC of what is in the file
	Segments int
	Gaps     int   // stretches without media inside
	Bytes    int64 // of the file
}

// Export is a range that can be written.
type Export struct {
	src  Source
	segs []archive.Segment // without chunk tables
	head []byte            // ftyp and moov of all tracks
	res  Result

	texts []*text
}

// Plan finds what overlaps r and refuses what cannot be written. Errors: ErrNothing, *ConfigurationError, those of src.
func Plan(ctx context.Context, src Source, r archive.Range) (*Export, error) {
	e := &Export{src: src}
	inits := make(map[uint16]segment.Digest)
	for s, err := range src.Locate(ctx, r) {
		if err != nil {
			return nil, err
		}
		if len(s.Info.Tracks) == 0 {
			continue
		}
		s.Info.Chunks = nil // a day of them is 100 MB; Read gives them again
		e.segs = append(e.segs, s)
		for _, t := range s.Info.Tracks {
			if have, ok := inits[t.PID]; ok && have != t.Init {
				return nil, &ConfigurationError{PID: t.PID, At: s.Start}
			}
			inits[t.PID] = t.Init
		}
	}
	if len(e.segs) == 0 {
		return nil, ErrNothing
	}
	var err error
	if e.head, err = compose(ctx, src, inits); err != nil {
		return nil, err
	}
	e.res = Result{From: e.segs[0].Start, Segments: len(e.segs)}
	for i := range e.segs {
		if end := e.segs[i].End; end.After(e.res.To) { // the last one is not always that of the newest
			e.res.To = end
		}
	}
	return e, nil
}

func compose(ctx context.Context, src Source, inits map[uint16]segment.Digest) ([]byte, error) {
	pids := make([]uint16, 0, len(inits))
	for pid := range inits {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	tracks := make([][]byte, len(pids))
	for i, pid := range pids {
		b, err := src.ReadInit(ctx, inits[pid])
		if err != nil {
			return nil, err
		}
		tracks[i] = b
	}
	head, err := fmp4.ComposeMoov(tracks...)
	if err != nil {
		return nil, fmt.Errorf("compose moov: %w", err)
	}
	return head, nil
}

// Range is what the file will hold, known before it is written.
func (e *Export) Range() archive.Range { return archive.Range{From: e.res.From, To: e.res.To} }

// Write writes the file. It holds one segment in memory at a time.
func (e *Export) Write(ctx context.Context, w io.Writer) (Result, error) {
	out := output{w: w, texts: e.texts}
	res := e.res
	if err := out.write(e.head); err != nil {
		return res, err
	}
	for _, s := range e.segs {
		s, b, err := e.src.Read(ctx, s)
		if err != nil {
			return res, err
		}
		if err := out.segment(s, b); err != nil {
			return res, fmt.Errorf("write segment at %s: %w", s.Start.Format(time.RFC3339), err)
		}
	}
	out.endTexts()
	res.Bytes, res.Gaps = out.bytes, out.gaps
	return res, nil
}

// output places segments on the output timeline.
type output struct {
	w     io.Writer
	bytes int64
	gaps  int

	started bool
	row     segment.TimelineID
	zero    timeline.Ticks // U of this row that is 0 of the output
	zeros   map[segment.TimelineID]timeline.Ticks
	utc     time.Time      // UTC of 0 of the output
	end     timeline.Ticks // output time at which everything written so far ends
	refEnd  timeline.Ticks // output time at which the reference track ends

	texts []*text
	from  timeline.Ticks // output time at which the stretch of their cues begins
}

// gapTicks is how far a segment may begin after the one before without that being a gap: less than any frame.
const gapTicks = timeline.TicksPerSecond / 1000

func (o *output) segment(s archive.Segment, b []byte) error {
	if o.started && o.row != s.Slot.Timeline {
		o.endTexts()
	}
	o.place(&s)
	if start := s.U(s.Info.Start) - o.zero; o.refEnd > 0 && start > o.refEnd+gapTicks {
		o.gaps++
		o.endTexts()
		o.from = start
	}
	o.refEnd = s.U(s.Info.End) - o.zero
	for _, t := range s.Info.Tracks {
		if s.U(t.Start) < o.zero {
			return fmt.Errorf("the track of PID %d begins %d ticks before the first sample of the file", t.PID, o.zero-s.U(t.Start))
		}
		o.end = max(o.end, s.U(t.End)-o.zero)
	}
	shift := s.U(0) - o.zero
	for _, c := range s.Info.Chunks {
		if c.Offset+uint64(c.Size) > uint64(len(b)) {
			return fmt.Errorf("chunk of PID %d at %d does not lie in its %d bytes", c.PID, c.Offset, len(b))
		}
		chunk := b[c.Offset : c.Offset+uint64(c.Size)]
		for _, t := range o.texts {
			if err := t.take(&s, c, chunk, o.zero); err != nil {
				return fmt.Errorf("chunk of PID %d at %d: %w", c.PID, c.Offset, err)
			}
		}
		if err := fmp4.PatchTfdt(chunk, c.TfdtOffset, shift); err != nil {
			return fmt.Errorf("chunk of PID %d at %d: %w", c.PID, c.Offset, err)
		}
		if err := o.write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// place finds the zero of the segment's row on the output timeline (I1, I2).
func (o *output) place(s *archive.Segment) {
	if o.started && o.row == s.Slot.Timeline {
		return
	}
	first := s.U(s.Info.Start)
	for _, t := range s.Info.Tracks {
		first = min(first, s.U(t.Start))
	}
	if !o.started {
		o.started, o.utc, o.zeros = true, s.Start, map[segment.TimelineID]timeline.Ticks{}
	}
	o.row, o.refEnd = s.Slot.Timeline, o.end
	zero, again := o.zeros[o.row] // the source was left and is back: it is as far on as its clock says
	if !again {
		zero = first - timeline.FromDuration(s.Start.Sub(o.utc))
	}
	o.zero = min(zero, first-o.end)
	o.zeros[o.row] = o.zero
}

// endTexts ends the texts where the reference track does.
func (o *output) endTexts() {
	for _, t := range o.texts {
		t.end(o.from, o.refEnd)
	}
	o.from = o.refEnd
}

func (o *output) write(b []byte) error {
	n, err := o.w.Write(b)
	o.bytes += int64(n)
	return err
}
