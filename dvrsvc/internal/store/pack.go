package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Part is what a pack says before the copies of one row, turn and init set (FORMAT.md, "Packs").
type Part struct {
	No      int // from 1; 0: it is a data file of a store, and no pack
	Last    bool
	Store   [16]byte // of whose rows it speaks
	Stream  string
	Row     Row // id and mapping
	Samples []PackSample
	Inits   []segment.Init // by PID
	Copies  uint64         // of the last part: how many are in all parts
}

// PackSample is a whole segment of a part's row, by which another store finds that a row of its own is the same.
type PackSample struct {
	AbsCell int64          `json:"cell"`
	Start   timeline.Ticks `json:"start"`
	Digest  string         `json:"digest"`
}

// packText is the text in the head of a part: a state, with what a pack has beside it.
type packText struct {
	state
	Pack *packed `json:"pack,omitempty"`
}

type packed struct {
	Part    int          `json:"part"`
	Last    bool         `json:"last,omitempty"`
	Copies  uint64       `json:"copies,omitempty"`
	Samples []PackSample `json:"samples,omitempty"`
}

// PackWriter writes a pack from beginning to end. It holds nothing of it in memory, and belongs to one goroutine.
type PackWriter struct {
	w      io.Writer
	random func([]byte)

	part   Part // the one that is open
	nonce  nonce
	at     int64 // in the part
	bytes  int64
	copies uint64
}

// NewPackWriter returns a writer; random fills with random bytes.
func NewPackWriter(w io.Writer, random func([]byte)) *PackWriter {
	return &PackWriter{w: w, random: random}
}

// Bytes is how much has been written.
func (w *PackWriter) Bytes() int64 { return w.bytes }

// Begin ends the part that is open and begins another one, whose number it sets.
func (w *PackWriter) Begin(p Part) error {
	if err := w.endPart(); err != nil {
		return err
	}
	p.No = w.part.No + 1
	w.random(w.nonce[:])
	w.part, w.at = p, 0
	text := packText{
		state: state{Version: stateVersion, Store: hex.EncodeToString(p.Store[:]), Stream: p.Stream,
			Rows: []Row{{ID: p.Row.ID, Mapping: p.Row.Mapping}}},
		Pack: &packed{Part: p.No, Last: p.Last, Copies: p.Copies, Samples: p.Samples},
	}
	b, err := encodeText(&text)
	if err != nil {
		return err
	}
	boxes := make([][]byte, len(p.Inits))
	for i := range p.Inits {
		boxes[i] = p.Inits[i].Data
	}
	moov, err := fmp4.ComposeMoov(boxes...)
	if err != nil {
		return fmt.Errorf("compose moov of part %d: %w", p.No, err)
	}
	head := fileHead{nonce: w.nonce, state: b, inits: p.Inits}
	return w.write(head.append(moov))
}

// Add writes a copy of the row, turn and init set of the part that is open, with all its bytes.
func (w *PackWriter) Add(slot segment.Slot, info *segment.Info, data []byte) error {
	h := copyHead{slot: slot, tracks: info.Tracks, options: BeginOptions{
		Path: info.Path, Independent: info.Independent, StartUncertain: info.Evidence.StartUncertain, Format: info.Format,
	}}
	rec := index.Copy{Slot: slot, Info: *info, Replicated: true, Late: true, At: make([]int64, len(info.Chunks))}
	b := h.append(nil, w.nonce)
	for k, c := range info.Chunks {
		if c.Offset+uint64(c.Size) > uint64(len(data)) {
			return fmt.Errorf("write copy %s: chunk %d lies behind its %d bytes: %w", info.Digest, k, len(data), errs.ErrCorrupt)
		}
		b = appendChunkBox(b, w.nonce, c)
		rec.At[k] = w.at + int64(len(b))
		b = append(b, data[c.Offset:c.Offset+uint64(c.Size)]...)
	}
	w.copies++
	return w.write(appendBox(b, w.nonce, boxSeal, append(index.AppendRecord(nil, &rec), segment.EncodeRuns(info.Runs)...)))
}

// End writes the part that says that nothing is missing. A pack without a part has none.
func (w *PackWriter) End() error {
	if w.part.No == 0 {
		return errors.New("end pack: nothing is in it")
	}
	last := w.part
	last.Last, last.Copies, last.Samples = true, w.copies, nil
	if err := w.Begin(last); err != nil {
		return err
	}
	return w.endPart()
}

func (w *PackWriter) endPart() error {
	if w.part.No == 0 {
		return nil
	}
	return w.write(appendBox(nil, w.nonce, boxDone, nil))
}

func (w *PackWriter) write(b []byte) error {
	n, err := w.w.Write(b)
	w.at, w.bytes = w.at+int64(n), w.bytes+int64(n)
	if err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	return nil
}
