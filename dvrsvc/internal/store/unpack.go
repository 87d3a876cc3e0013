package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
)

const (
	// maxHead bounds ftyp and moov.
	maxHead = 16 << 20
	// maxSegment bounds a copy: 16 s at 120 Mbit/s.
	maxSegment = 256 << 20
)

// PackError says where a pack is not as it was written.
type PackError struct {
	At  int64  // byte of the pack
	In  string // what it is in, such as a segment; or empty
	Err error  // wraps errs.ErrCorrupt, io.ErrUnexpectedEOF, errs.ErrFormat, or says why it could not be read
}

// Error implements error.
func (e *PackError) Error() string {
	if e.In == "" {
		return fmt.Sprintf("at byte %d: %v", e.At, e.Err)
	}
	return fmt.Sprintf("at byte %d, in %s: %v", e.At, e.In, e.Err)
}

// Unwrap gives the cause.
func (e *PackError) Unwrap() error { return e.Err }

// Packed is a copy in a pack. All its bytes are checked.
type Packed struct {
	Part *Part
	Slot segment.Slot // in the numbering of the part's store
	Info segment.Info
	Data []byte
	At   int64 // where it begins in the pack
}

// PackReader reads a pack, or data files one behind the other, without seeking. It belongs to one goroutine.
type PackReader struct {
	r  *bufio.Reader
	at int64

	part   *Part
	nonce  nonce
	base   int64 // where the part begins
	ended  bool  // its last box has come
	copies uint64

	open   *copyHead // since the last copy box
	from   int64     // where it begins
	chunks []segment.Chunk
	places []int64 // of the chunks, in the part
	data   []byte
}

// NewPackReader returns a reader.
func NewPackReader(r io.Reader) *PackReader { return &PackReader{r: bufio.NewReaderSize(r, 256<<10)} }

// Next gives the next copy. It ends with io.EOF where nothing is missing, and else with a *PackError; there is no way on.
func (r *PackReader) Next() (*Packed, error) {
	for {
		at := r.at
		p, err := r.step()
		if p != nil || errors.Is(err, io.EOF) {
			return p, err
		}
		if err != nil {
			return nil, &PackError{At: at, In: r.place(), Err: err}
		}
	}
}

func (r *PackReader) place() string {
	switch {
	case r.open != nil:
		return fmt.Sprintf("the segment %s of part %d, which begins at byte %d", r.open.slot, max(1, r.part.No), r.from)
	case r.part != nil && r.part.No > 0:
		return fmt.Sprintf("part %d, behind %d segments", r.part.No, r.copies)
	case r.copies > 0:
		return fmt.Sprintf("the data file, behind %d segments", r.copies)
	}
	return ""
}

// step takes a box.
func (r *PackReader) step() (*Packed, error) {
	b, err := r.r.Peek(8)
	if len(b) == 0 && errors.Is(err, io.EOF) {
		return nil, r.end()
	}
	if err != nil {
		return nil, tornOff(err)
	}
	switch string(b[4:8]) {
	case "ftyp":
		return nil, r.begin()
	case "uuid":
		return r.box()
	}
	return nil, fmt.Errorf("no box of a pack begins here: %w", errs.ErrCorrupt)
}

// end judges the end of the input.
func (r *PackReader) end() error {
	switch {
	case r.part == nil:
		return fmt.Errorf("it is empty: %w", io.ErrUnexpectedEOF)
	case !r.ended || r.open != nil:
		return tornOff(io.EOF)
	case r.part.No > 0 && !r.part.Last:
		return fmt.Errorf("it is torn off behind part %d: %w", r.part.No, io.ErrUnexpectedEOF)
	}
	return io.EOF
}

func tornOff(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("it is torn off: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("read pack: %w", err)
}

// take reads n bytes, and makes room for them only as they come.
func (r *PackReader) take(n int) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(min(n, 1<<20) + bytes.MinRead)
	m, err := io.CopyN(&b, r.r, int64(n))
	r.at += m
	if err != nil {
		return nil, tornOff(err)
	}
	return b.Bytes(), nil
}

// begin takes ftyp, moov and head of a part.
func (r *PackReader) begin() error {
	if r.part != nil && (!r.ended || r.open != nil) {
		return fmt.Errorf("a part begins before the one before has ended: %w", errs.ErrCorrupt)
	}
	base := r.at
	var movie []byte
	for {
		b, err := r.r.Peek(boxPrefix)
		if err != nil {
			return tornOff(err)
		}
		if n, kind, ours := boxSize(b); ours {
			if kind != boxHead {
				return fmt.Errorf("a box of kind %q where the head should be: %w", kind, errs.ErrCorrupt)
			}
			box, err := r.take(n)
			if err != nil {
				return err
			}
			return r.head(base, movie, box)
		}
		n := binary.BigEndian.Uint32(b)
		if n < 8 || len(movie)+int(n) > maxHead {
			return fmt.Errorf("no head of a data file: %w", errs.ErrCorrupt)
		}
		box, err := r.take(int(n))
		if err != nil {
			return err
		}
		movie = append(movie, box...)
	}
}

func (r *PackReader) head(base int64, movie, box []byte) error {
	h, err := parseFileHead(box)
	switch {
	case errors.Is(err, errNewer):
		return fmt.Errorf("%w: %w", errs.ErrFormat, err)
	case err != nil:
		return fmt.Errorf("its head is damaged: %w", errs.ErrCorrupt)
	}
	boxes := make([][]byte, len(h.inits))
	for i := range h.inits {
		if segment.Sum(h.inits[i].Data) != h.inits[i].Hash {
			return fmt.Errorf("the init segment of PID %d is damaged: %w", h.inits[i].PID, errs.ErrCorrupt)
		}
		boxes[i] = h.inits[i].Data
	}
	if moov, err := fmp4.ComposeMoov(boxes...); err != nil || !bytes.Equal(moov, movie) {
		return fmt.Errorf("its moov is damaged: %w", errs.ErrCorrupt)
	}
	var text packText
	if err := decodeText(h.state, &text); err != nil {
		return fmt.Errorf("%w: %w", err, errs.ErrCorrupt)
	}
	if text.Version > keptVersion || len(text.Rows) != 1 || len(text.Rows[0].Mapping) == 0 {
		return fmt.Errorf("version %d of its head, with %d timelines, is not known to this program: %w", text.Version, len(text.Rows), errs.ErrFormat)
	}
	p := &Part{Stream: text.Stream, Row: Row{ID: text.Rows[0].ID, Mapping: text.Rows[0].Mapping}, Inits: h.inits}
	if p.Store, err = parseID(text.Store); err != nil {
		return fmt.Errorf("%w: %w", err, errs.ErrFormat)
	}
	if k := text.Pack; k != nil {
		p.No, p.Last, p.Copies, p.Samples = k.Part, k.Last, k.Copies, k.Samples
	}
	return r.follow(base, p, h.nonce)
}

// follow takes a part if it is the one that has to come.
func (r *PackReader) follow(base int64, p *Part, n nonce) error {
	switch {
	case p.No == 1: // of another pack, which may stand behind a whole one
		if r.part != nil && r.part.No > 0 && !r.part.Last {
			return fmt.Errorf("another pack begins behind part %d, which is not the last: %w", r.part.No, errs.ErrCorrupt)
		}
		r.copies = 0
	case p.No > 1 && (r.part == nil || r.part.No != p.No-1):
		return fmt.Errorf("part %d is missing: %w", p.No-1, errs.ErrCorrupt)
	case p.Last && p.Copies != r.copies:
		return fmt.Errorf("it has %d segments, and should have %d: %w", r.copies, p.Copies, errs.ErrCorrupt)
	}
	r.part, r.nonce, r.base, r.ended = p, n, base, false
	return nil
}

// box takes one box of ours, and with that of a chunk the chunk.
func (r *PackReader) box() (*Packed, error) {
	at := r.at
	b, err := r.r.Peek(boxPrefix)
	if err != nil {
		return nil, tornOff(err)
	}
	n, kind, ours := boxSize(b)
	if !ours || r.part == nil || r.ended {
		return nil, fmt.Errorf("no box of a pack has its place here: %w", errs.ErrCorrupt)
	}
	box, err := r.take(n)
	if err != nil {
		return nil, err
	}
	payload, err := openBox(r.nonce, box)
	if err != nil {
		return nil, fmt.Errorf("the checksum of a box of kind %q does not match: %w", kind, errs.ErrCorrupt)
	}
	switch kind {
	case boxCopy:
		var h copyHead
		if h, err = parseCopyHead(payload); err == nil { // one without its record was given up
			r.open, r.from, r.data, r.chunks, r.places = &h, at, nil, nil, nil
		}
	case boxChunk:
		return nil, r.chunk(payload)
	case boxSeal:
		return r.seal(payload)
	case boxFaults, boxGone: // the record has the evidence; what is not here is nobody's
	case boxDone:
		r.ended, r.open = true, nil
	default:
		err = fmt.Errorf("a box of kind %q", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w: %w", errs.ErrFormat, errNewer, err)
	}
	return nil, nil
}

func (r *PackReader) chunk(payload []byte) error {
	ch, err := parseChunkBox(payload)
	if err != nil || r.open == nil || len(r.data)+int(ch.Size) > maxSegment {
		return fmt.Errorf("a chunk has no place here: %w", errs.ErrCorrupt)
	}
	at := r.at - r.base
	data, err := r.take(int(ch.Size))
	if err != nil {
		return err
	}
	if checksumOf(data) != ch.CRC {
		return fmt.Errorf("the checksum of a chunk of PID %d does not match: %w", ch.PID, errs.ErrCorrupt)
	}
	ch.Offset = uint64(len(r.data))
	r.chunks, r.places, r.data = append(r.chunks, ch), append(r.places, at), append(r.data, data...)
	return nil
}

// seal gives the copy that its record ends, if the record speaks of what came.
func (r *PackReader) seal(payload []byte) (*Packed, error) {
	c, rest, err := index.ParseRecord(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: %w", errs.ErrFormat, errNewer, err)
	}
	switch i := &c.Info; {
	case r.open == nil, r.open.slot != c.Slot, c.Slot.Timeline != r.part.Row.ID, segment.MakeInitSet(i.Tracks) != c.Slot.InitSet,
		!slices.Equal(i.Chunks, r.chunks), !slices.Equal(c.At, r.places), i.Bytes != uint64(len(r.data)):
		return nil, fmt.Errorf("the record of segment %s does not fit what is before it: %w", i.Digest, errs.ErrCorrupt)
	case segment.Sum(r.data) != i.Digest:
		return nil, fmt.Errorf("the bytes of segment %s do not have its digest: %w", i.Digest, errs.ErrCorrupt)
	}
	if len(rest) > 0 {
		c.Info.Runs, _ = segment.ParseRuns(rest) // a newer program's, or none
	}
	p := &Packed{Part: r.part, Slot: c.Slot, Info: c.Info, Data: r.data, At: r.from}
	r.open, r.data, r.copies = nil, nil, r.copies+1
	return p, nil
}
