package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twinreel/twinreel/pkg/segment"
)

// Tx gathers changes; it reads what it has written. One goroutine uses it, and there is one at a time.
type Tx struct {
	db    *DB
	b     *pebble.Batch
	dirty map[blockID]bool
	files map[fileID]*File
}

type blockID struct {
	stream string
	row    segment.TimelineID
	no     int64
}

type fileID struct {
	stream string
	no     uint64
}

// Begin starts a transaction. It ends with Commit or Close.
func (d *DB) Begin() *Tx {
	return &Tx{db: d, b: d.db.NewIndexedBatch(), dirty: map[blockID]bool{}, files: map[fileID]*File{}}
}

// Close gives up what was not committed. Idempotent.
func (t *Tx) Close() {
	if t.b != nil {
		_ = t.b.Close()
		t.b = nil
	}
}

func (t *Tx) source() source { return source{t.b, t.db} }

// Get gives the copy with a digest in a slot, or ErrNotFound.
func (t *Tx) Get(stream string, slot segment.Slot, digest segment.Digest) (Copy, error) {
	return getCopy(t.source(), stream, slot, digest)
}

// Places gives the copies with a digest, one for each slot that holds it.
func (t *Tx) Places(stream string, digest segment.Digest) ([]Copy, error) {
	return places(t.source(), stream, digest)
}

// Scan calls fn for the compact rows of a timeline row with cells in [from, to), by key, until it returns false.
func (t *Tx) Scan(stream string, row segment.TimelineID, from, to int64, fn func(Row) bool) error {
	return scanRows(t.source(), stream, row, from, to, fn)
}

// Put writes a copy, new or changed.
func (t *Tx) Put(stream string, c *Copy) error {
	switch old, err := t.Get(stream, c.Slot, c.Info.Digest); {
	case err == nil:
		if err := errors.Join(t.count(stream, &old, -1), t.count(stream, c, 1)); err != nil {
			return err
		}
	case errors.Is(err, ErrNotFound):
		if err := t.count(stream, c, 1); err != nil {
			return err
		}
	default:
		return err
	}
	row := compact(c)
	t.dirty[blockID{stream, c.Slot.Timeline, c.Slot.Block()}] = true
	return errors.Join(
		t.b.Set(compactKey(stream, c.Slot, c.Info.Digest), row.append(nil), nil),
		t.b.Set(placeKey(kindFull, stream, c.Info.Digest, c.Slot), appendFull(nil, c), nil),
		t.b.Delete(placeKey(kindReplace, stream, c.Info.Digest, c.Slot), nil),
	)
}

// Delete removes a copy, and what is known of the copies it replaced.
func (t *Tx) Delete(stream string, c *Copy) error {
	return errors.Join(t.b.Delete(compactKey(stream, c.Slot, c.Info.Digest), nil), t.deleteFull(stream, c))
}

// deleteFull is Delete but for the compact row.
func (t *Tx) deleteFull(stream string, c *Copy) error {
	t.dirty[blockID{stream, c.Slot.Timeline, c.Slot.Block()}] = true
	err := errors.Join(
		t.count(stream, c, -1),
		t.b.Delete(placeKey(kindFull, stream, c.Info.Digest, c.Slot), nil),
	)
	for _, d := range c.Replaces {
		k := placeKey(kindReplace, stream, d, c.Slot)
		if by, e := get(t.source(), k); e == nil && bytes.Equal(by, c.Info.Digest[:]) {
			err = errors.Join(err, t.b.Delete(k, nil))
		}
	}
	return err
}

// Bury notes that a copy, which ended at a moment (nanoseconds since 1970), was deleted.
func (t *Tx) Bury(stream string, digest segment.Digest, end int64) error {
	return t.b.Set(digestKey(kindDeleted, stream, digest), binary.BigEndian.AppendUint64(nil, uint64(end)), nil)
}

// DeleteRun removes copies whose rows follow each other, with no other row between them, and gives them. Their compact rows
// go as one range, so that a scan behind it does not pass their graves one by one.
func (t *Tx) DeleteRun(stream string, rows []Row) ([]Copy, error) {
	out := make([]Copy, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = t.Get(stream, r.Slot, r.Digest); err == nil {
			err = t.deleteFull(stream, &out[i])
		}
		if err != nil {
			return nil, err
		}
	}
	first, last := rows[0], rows[len(rows)-1]
	return out, t.b.DeleteRange(compactKey(stream, first.Slot, first.Digest), append(compactKey(stream, last.Slot, last.Digest), 0), nil)
}

// Replace notes that the copy by contains old, which is not kept.
func (t *Tx) Replace(stream string, old segment.Digest, by *Copy) error {
	return t.b.Set(placeKey(kindReplace, stream, old, by.Slot), by.Info.Digest[:], nil)
}

// PutFile writes how far a data file is indexed. What its copies are and take is kept by Put and Delete,
// and Newest only grows.
func (t *Tx) PutFile(stream string, f File) error {
	now, err := t.file(stream, f.No)
	if err != nil {
		return err
	}
	f.Copies, f.Live, f.Newest = now.Copies, now.Live, max(now.Newest, f.Newest)
	*now = f
	return nil
}

// MoveFile changes when the newest media of a data file ended: the times of its timeline were set right.
func (t *Tx) MoveFile(stream string, no uint64, by int64) error {
	f, err := t.file(stream, no)
	if err == nil {
		f.Newest += by
	}
	return err
}

// File gives the row of a data file with the changes made so far.
func (t *Tx) File(stream string, no uint64) (File, error) {
	f, err := t.file(stream, no)
	if err != nil {
		return File{}, err
	}
	return *f, nil
}

func (t *Tx) file(stream string, no uint64) (*File, error) {
	id := fileID{stream, no}
	if f := t.files[id]; f != nil {
		return f, nil
	}
	f := &File{No: no}
	v, err := get(t.source(), fileKey(stream, no))
	if err == nil {
		*f, err = parseFile(no, v)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	t.files[id] = f
	return f, nil
}

func (t *Tx) count(stream string, c *Copy, by int) error {
	f, err := t.file(stream, c.File)
	if err != nil {
		return err
	}
	f.Copies = uint32(int(f.Copies) + by)
	f.Live = uint64(int64(f.Live) + int64(by)*c.span())
	return nil
}

// span is how much of its file a copy takes at least: from its first chunk to the end of its last one, and what surely lies
// around them.
func (c *Copy) span() int64 {
	n := len(c.At)
	if n == 0 {
		return 0
	}
	return c.At[n-1] + int64(c.Info.Chunks[n-1].Size) - c.At[0] + 380 + 11*int64(n)
}

// DeleteFile removes the row of a data file that no copy points into.
func (t *Tx) DeleteFile(stream string, no uint64) error {
	delete(t.files, fileID{stream, no})
	return t.b.Delete(fileKey(stream, no), nil)
}

// PutInit keeps an init segment.
func (t *Tx) PutInit(stream string, i segment.Init) error {
	k := digestKey(kindInit, stream, i.Hash)
	if _, err := get(t.source(), k); err == nil {
		return nil
	}
	return t.b.Set(k, append([]byte{byte(i.PID >> 8), byte(i.PID)}, i.Data...), nil)
}

// Empty reports whether nothing was changed.
func (t *Tx) Empty() bool { return len(t.files) == 0 && len(t.dirty) == 0 && t.b.Empty() }

// Commit summarizes the blocks that changed, makes everything durable, and shows it.
func (t *Tx) Commit() error {
	defer t.Close()
	for id, f := range t.files {
		if err := t.b.Set(fileKey(id.stream, id.no), f.append(nil), nil); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
	}
	summaries := make(map[blockID]Block, len(t.dirty))
	for id := range t.dirty {
		var rows []Row
		err := scanRows(t.source(), id.stream, id.row, id.no*segment.BlockCells, (id.no+1)*segment.BlockCells, func(r Row) bool {
			rows = append(rows, r)
			return true
		})
		if err != nil {
			return fmt.Errorf("summarize block: %w", err)
		}
		b := Summarize(id.no, rows)
		summaries[id] = b
		k := blockKey(id.stream, id.row, id.no)
		if b.Copies == 0 {
			err = t.b.Delete(k, nil)
		} else {
			err = t.b.Set(k, b.append(nil), nil)
		}
		if err != nil {
			return fmt.Errorf("write index: %w", err)
		}
	}
	if t.b.Empty() {
		return nil
	}
	if err := t.b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("commit index: %w", err)
	}
	t.db.show(summaries)
	return nil
}

// show puts summaries into memory. Slices are replaced, never changed: readers hold them without a lock.
func (d *DB) show(summaries map[blockID]Block) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, b := range summaries {
		rows := d.blocks[id.stream]
		if rows == nil {
			rows = map[segment.TimelineID][]Block{}
			d.blocks[id.stream] = rows
		}
		old := rows[id.row]
		i := sort.Search(len(old), func(i int) bool { return old[i].No >= id.no })
		found := i < len(old) && old[i].No == id.no
		switch {
		case b.Copies == 0 && found:
			rows[id.row] = slices.Concat(old[:i], old[i+1:])
		case b.Copies == 0:
		case found:
			fresh := slices.Clone(old)
			fresh[i] = b
			rows[id.row] = fresh
		default:
			rows[id.row] = slices.Concat(old[:i], []Block{b}, old[i:])
		}
	}
}
