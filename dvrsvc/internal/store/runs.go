package store

import (
	"io"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/segment"
)

// Runs gives what is kept of the packets of the copy's damaged access units. What cannot be read is none: no copy is worse
// without.
func (r *Reader) Runs() []segment.Run {
	if r.copy.Info.Evidence.Whole() {
		return nil
	}
	return readRuns(r.f, &r.copy)
}

// readRuns reads the runs behind the record of a copy, which stands behind its last chunk.
func readRuns(f io.ReaderAt, c *index.Copy) []segment.Run {
	last := len(c.At) - 1
	if last < 0 {
		return nil
	}
	at := c.At[last] + int64(c.Info.Chunks[last].Size)
	head := make([]byte, boxPrefix)
	if readFull(f, head, at) != nil {
		return nil
	}
	n, kind, ours := boxSize(head)
	if !ours || kind != boxSeal {
		return nil
	}
	box := make([]byte, n)
	if readFull(f, box, at) != nil {
		return nil
	}
	h, _, err := readHead(f, at)
	if err != nil {
		return nil
	}
	payload, err := openBox(h.nonce, box)
	if err != nil {
		return nil
	}
	record, rest, err := index.ParseRecord(payload)
	if err != nil || record.Info.Digest != c.Info.Digest || len(rest) == 0 {
		return nil
	}
	runs, _ := segment.ParseRuns(rest)
	return runs
}
