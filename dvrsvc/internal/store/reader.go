package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// Reader gives the chunks of a copy, each checked against its checksum.
type Reader struct {
	st   *Stream
	copy index.Copy
	f    vfs.File
	next int
	buf  []byte

	why   stats.Purpose
	tally tally
}

// NewReader reads a copy from its chunk that contains offset on, whichever of those with the digest. Errors:
// errs.ErrUnknown, errs.ErrQuarantined, and *SupersededError.
func (st *Stream) NewReader(d segment.Digest, offset uint64) (*Reader, error) {
	return st.NewReaderFor(stats.Play, d, offset)
}

// NewReaderFor is NewReader, and says why it is read.
func (st *Stream) NewReaderFor(why stats.Purpose, d segment.Digest, offset uint64) (*Reader, error) {
	var c index.Copy
	var f vfs.File
	var err error
	for range 5 { // its file may have been written anew since it was found
		if c, err = st.find(d); err != nil {
			return nil, err
		}
		if f, err = st.openRead(c.File); err == nil {
			break
		}
		if err = st.quarantine(&c, err); !errors.Is(err, errMoved) {
			break
		}
	}
	if err != nil {
		st.stats.Read(stats.Disk, stats.Failed, 1)
		return nil, err
	}
	r := &Reader{st: st, copy: c, f: f, why: why}
	for r.next < len(c.Info.Chunks) && c.Info.Chunks[r.next].Offset+uint64(c.Info.Chunks[r.next].Size) <= offset {
		r.next++
	}
	return r, nil
}

// Copy is what is read.
func (r *Reader) Copy() CopyInfo { return r.st.copyInfo(&r.copy) }

// Next gives the next chunk, io.EOF after the last. data is valid until the next call. errs.ErrCorrupt: the copy has
// been quarantined, or lies elsewhere by now.
func (r *Reader) Next() (ch segment.Chunk, data []byte, err error) {
	if r.next == len(r.copy.Info.Chunks) {
		return ch, nil, io.EOF
	}
	ch = r.copy.Info.Chunks[r.next]
	began := r.st.s.clock.Mono()
	r.buf, err = readChunk(r.f, r.copy.At[r.next], ch, r.buf)
	r.tally.add(stats.Disk, len(r.buf), r.st.s.clock.Mono()-began, err)
	if err != nil {
		return ch, nil, r.st.quarantine(&r.copy, err)
	}
	r.next++
	return ch, r.buf, nil
}

// Close gives the file free.
func (r *Reader) Close() error {
	c := &r.copy
	if r.st.count(&r.tally, r.why, (c.Info.End-c.Info.Start).Duration(), c.Info.Bytes) && r.why == stats.Play {
		r.st.played(c.Slot.Timeline, c.U(c.Info.End), r.tally.bytes)
	}
	r.tally = tally{}
	return r.f.Close()
}

// rotten reports whether an error says that the bytes of a copy are not there as they were written. Want of memory or
// of file descriptors does not.
func rotten(err error) bool {
	return errors.Is(err, errChecksum) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fs.ErrNotExist) || diskFails(err)
}

// errMoved: the copy has expired, or was stored elsewhere, since its row was read.
var errMoved = errors.New("the copy has moved meanwhile")

// quarantine takes a copy out of what is played and handed out if cause says that it is rotten, and gives the error to
// tell. c is its row as the reader knew it: bytes that are not those of the copy any more say nothing of it.
func (st *Stream) quarantine(c *index.Copy, cause error) error {
	d := c.Info.Digest
	if !rotten(cause) {
		return fmt.Errorf("read copy %s: %w", d, cause)
	}
	told := fmt.Errorf("read copy %s: %w: %w", d, errs.ErrCorrupt, cause)
	st.s.commitMu.Lock()
	defer st.s.commitMu.Unlock()
	if st.s.closed.Load() {
		return told
	}
	tx := st.s.db.Begin()
	defer tx.Close()
	now, err := tx.Get(st.name, c.Slot, d)
	if errors.Is(err, index.ErrNotFound) || err == nil && (now.File != c.File || !slices.Equal(now.At, c.At)) {
		return fmt.Errorf("%w: %w", told, errMoved)
	}
	if err != nil || now.Quarantined {
		return told
	}
	c = &now
	st.s.log.Error("copy is rotten on disk and is no longer used", "stream", st.name, "digest", d.String(), "slot", c.Slot.String(), "err", cause)
	if err = st.shutAway(tx, c); err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return errors.Join(told, err)
	}
	st.s.quarantined.Add(1)
	st.tell(Event{Time: st.s.clock.Now(), Kind: EventQuarantined, Copy: st.copyInfo(c), Digests: st.digests(c.Slot)})
	return told
}

// shutAway marks a copy as rotten and presents again what lies around it.
func (st *Stream) shutAway(tx *index.Tx, c *index.Copy) error {
	members, err := st.neighbours(tx, c)
	if err != nil {
		return err
	}
	c.Quarantined, c.Presented = true, false
	if err := tx.Put(st.name, c); err != nil || len(members) == 1 {
		return err
	}
	return st.present(tx, members[1:])
}

// ReadOpen gives chunk number i of an open copy, also one that was sealed within the last minute. It is not counted. Errors:
// errs.ErrUnknown.
func (st *Stream) ReadOpen(id uint64, i int) ([]byte, error) {
	data, _, err := st.readOpen(id, i)
	return data, err
}

func (st *Stream) readOpen(id uint64, i int) (data []byte, from stats.Source, err error) {
	st.mu.Lock()
	c := st.parts[id]
	if c == nil || i < 0 || i >= len(c.chunks) || c.file == nil {
		st.mu.Unlock()
		return nil, stats.Memory, fmt.Errorf("read chunk %d of an open copy: %w", i, errs.ErrUnknown)
	}
	ch, name := c.chunks[i], c.file.path
	st.mu.Unlock()
	if ch.data != nil {
		return ch.data, stats.Memory, nil
	}
	f, err := st.s.fs.Open(name)
	if err != nil {
		return nil, stats.Disk, fmt.Errorf("read an open copy: %w", err)
	}
	defer f.Close()
	if data, err = readChunk(f, ch.at, ch.Chunk, nil); err != nil {
		return nil, stats.Disk, fmt.Errorf("read an open copy: %w: %w", errs.ErrCorrupt, err)
	}
	return data, stats.Disk, nil
}

// Verify reads every stored byte again and compares it with its digest; report is called for each bad copy, which is
// quarantined. Copies that are quarantined already are reported too. It ends where it cannot read at all.
func (st *Stream) Verify(ctx context.Context, report func(BadCopy)) (VerifyTotal, error) {
	var total VerifyTotal
	for _, row := range st.s.db.Rows(st.name) {
		var rows []index.Row
		err := st.s.db.Scan(st.name, row, minCell, maxCell, func(r index.Row) bool {
			rows = append(rows, r)
			return true
		})
		if err != nil {
			return total, err
		}
		for _, r := range rows {
			if err := ctx.Err(); err != nil {
				return total, err
			}
			c, err := st.s.db.Get(st.name, r.Slot, r.Digest)
			if err != nil {
				continue // it expired meanwhile
			}
			total.Copies++
			total.Bytes += c.Info.Bytes
			switch problem := st.verify(&c); {
			case problem == nil, errors.Is(problem, errMoved):
			case !errors.Is(problem, errs.ErrCorrupt) && !errors.Is(problem, errs.ErrQuarantined):
				return total, problem
			default:
				total.Bad++
				report(BadCopy{Digest: r.Digest, Problem: problem})
			}
		}
	}
	return total, nil
}

func (st *Stream) verify(c *index.Copy) error {
	if c.Quarantined {
		return fmt.Errorf("copy %s: %w", c.Info.Digest, errs.ErrQuarantined)
	}
	f, err := st.openRead(c.File)
	if err == nil {
		err = verifyRecord(f, c)
		st.stats.ReadBytes(stats.Verify, stats.Disk, int(c.Info.Bytes))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return st.quarantine(c, err)
	}
	return nil
}
