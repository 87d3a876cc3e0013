package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// ErrNotFound: no row has this key.
var ErrNotFound = errors.New("the index has no such row")

// errClosed: the storage failed and is opened anew, or the process ends.
var errClosed = fmt.Errorf("the index is closed: %w", errs.ErrNotReady)

// errRead marks what the database could not read.
var errRead = errors.New("read index")

// Damaged reports whether an error says that the index itself is damaged, so that it must be made anew.
func Damaged(err error) bool {
	return pebble.IsCorruptionError(err) || errors.Is(err, ErrMalformed) || errors.Is(err, errRead) && errors.Is(err, unix.EIO)
}

// MaxCells is how far back a copy is looked for that reaches into a cell (6 min): a copy is never longer.
const MaxCells = 64

// DB is the index of one store.
type DB struct {
	rows atomic.Uint64 // that were read

	db    *pebble.DB
	cache *pebble.Cache

	users sync.WaitGroup // reads that run now

	mu     sync.RWMutex // protects the fields below
	closed bool
	blocks map[string]map[segment.TimelineID][]Block
}

// Open opens the index in a directory and makes it when there is none. Where it cannot be read the caller may remove
// the directory and rebuild. damaged is told of each damage to its files that is met, also by what runs on its own: the
// index can then not be used much longer. It must not call the index. exit ends the process when the database cannot go on:
// a write of its log or of its manifest failed. failing is told each time that what runs on its own could not write, before it
// tries again at once: it had better take its time. Until that succeeds Open may not return.
func Open(path string, fs vfs.FS, log *slog.Logger, damaged, failing func(error), exit func(int)) (*DB, error) {
	cache := pebble.NewCache(16 << 20)
	db, err := openDB(path, &pebble.Options{
		FS:                 fs,
		Logger:             logger{log, exit},
		Cache:              cache,
		MemTableSize:       8 << 20,
		FormatMajorVersion: pebble.FormatNewest,
		// Without it Pebble ends the process, at every start again.
		EventListener: &pebble.EventListener{
			DataCorruption:  func(i pebble.DataCorruptionInfo) { damaged(i.Details) },
			BackgroundError: failing,
		},
	})
	if err != nil {
		cache.Unref()
		return nil, fmt.Errorf("open index %s: %w", path, err)
	}
	return &DB{db: db, cache: cache, blocks: map[string]map[segment.TimelineID][]Block{}}, nil
}

// openDB opens the database. What the database has no way but to end the process is an error while it is opened: nothing
// relies on it yet, and other storages of the process go on.
func openDB(path string, o *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			cause, ok := r.(error) // of Fatalf, or of a sync of the directory that failed
			if _, bug := r.(runtime.Error); bug || !ok {
				panic(r)
			}
			db, err = nil, fmt.Errorf("it cannot be written: %w", cause)
		}
	}()
	return pebble.Open(path, o)
}

// opening reports whether the database is being opened by the goroutine that asks.
func opening() bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if f.Function == "github.com/cockroachdb/pebble/v2.Open" {
			return true
		}
		if !more {
			return false
		}
	}
}

// Close closes the database when the reads that run have ended; others fail. No transaction may be open. Idempotent.
func (d *DB) Close() error {
	d.mu.Lock()
	was := d.closed
	d.closed = true
	d.mu.Unlock()
	if was {
		return nil
	}
	d.users.Wait()
	defer d.cache.Unref()
	return d.db.Close()
}

// source is what a read goes to: the database, or a transaction on it.
type source struct {
	pebble.Reader
	of *DB
}

func (d *DB) source() source { return source{d.db, d} }

// enter holds Close up until leave.
func (s source) enter() error {
	s.of.mu.RLock()
	defer s.of.mu.RUnlock()
	if s.of.closed {
		return errClosed
	}
	s.of.users.Add(1)
	return nil
}

func (s source) leave() { s.of.users.Done() }

// Load reads the block rows of a stream into memory. It comes before every other call about the stream.
func (d *DB) Load(stream string) error {
	rows := map[segment.TimelineID][]Block{}
	prefix := key(kindBlock, stream)
	err := scan(d.source(), prefix, after(prefix), func(k, v []byte) error {
		k = k[len(prefix):]
		if len(k) != 24 {
			return ErrMalformed
		}
		b, err := parseBlock(ordered(k[16:]), v)
		if err != nil {
			return err
		}
		row := segment.TimelineID(k[:16])
		rows[row] = append(rows[row], b)
		return nil
	})
	if err != nil {
		return fmt.Errorf("load blocks of %s: %w", stream, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blocks[stream] = rows
	return nil
}

// RowsRead counts the rows that were read.
func (d *DB) RowsRead() uint64 { return d.rows.Load() }

// Size is how many bytes the database takes on disk, 0 when it is closed.
func (d *DB) Size() uint64 {
	s := d.source()
	if s.enter() != nil {
		return 0
	}
	defer s.leave()
	return d.db.Metrics().DiskSpaceUsage()
}

// Blocks gives the blocks of a row, in order. The caller does not change them.
func (d *DB) Blocks(stream string, row segment.TimelineID) []Block {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.blocks[stream][row]
}

// Rows gives the timeline rows that hold anything.
func (d *DB) Rows(stream string) []segment.TimelineID {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []segment.TimelineID
	for id, blocks := range d.blocks[stream] {
		if len(blocks) > 0 {
			out = append(out, id)
		}
	}
	return out
}

// Get gives the copy with a digest in a slot, or ErrNotFound.
func (d *DB) Get(stream string, slot segment.Slot, digest segment.Digest) (Copy, error) {
	return getCopy(d.source(), stream, slot, digest)
}

// Places gives the copies with a digest, one for each slot that holds it.
func (d *DB) Places(stream string, digest segment.Digest) ([]Copy, error) {
	return places(d.source(), stream, digest)
}

// ReplacedBy gives the digest of a copy that contains one which is not kept, or ErrNotFound.
func (d *DB) ReplacedBy(stream string, digest segment.Digest) (segment.Digest, error) {
	return replacedBy(d.source(), stream, digest)
}

// Buried reports whether a copy with this digest was deleted.
func (d *DB) Buried(stream string, digest segment.Digest) bool {
	_, err := get(d.source(), digestKey(kindDeleted, stream, digest))
	return err == nil
}

// Unbury forgets the copies that were deleted and ended by a moment. No transaction may be open.
func (d *DB) Unbury(stream string, end int64) error {
	b := d.db.NewBatch()
	defer b.Close() //nolint:errcheck // it was committed, or is given up
	prefix := key(kindDeleted, stream)
	err := scan(d.source(), prefix, after(prefix), func(k, v []byte) error {
		if len(v) != 8 {
			return ErrMalformed
		}
		if int64(binary.BigEndian.Uint64(v)) <= end {
			return b.Delete(k, nil)
		}
		return nil
	})
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	if err != nil {
		return fmt.Errorf("forget what was deleted: %w", err)
	}
	return nil
}

// Scan calls fn for the compact rows of a timeline row with cells in [from, to), by key, until it returns false.
func (d *DB) Scan(stream string, row segment.TimelineID, from, to int64, fn func(Row) bool) error {
	return scanRows(d.source(), stream, row, from, to, fn)
}

// Copies gives the copies of a timeline row with cells in [from, to), as they are at one moment: what goes meanwhile, or gives way to
// another, is no error, and leaves no slot empty.
func (d *DB) Copies(stream string, row segment.TimelineID, from, to int64) ([]Copy, error) {
	s := d.source()
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	now := d.db.NewSnapshot()
	defer now.Close() //nolint:errcheck // it was only read
	return copies(source{now, d}, stream, row, from, to)
}

// Files gives the rows of the data files by number.
func (d *DB) Files(stream string) ([]File, error) {
	var out []File
	prefix := key(kindFile, stream)
	err := scan(d.source(), prefix, after(prefix), func(k, v []byte) error {
		if len(k) != len(prefix)+8 {
			return ErrMalformed
		}
		f, err := parseFile(uint64(ordered(k[len(prefix):]))^1<<63, v)
		out = append(out, f)
		return err
	})
	return out, err
}

// Init gives an init segment by its hash, or ErrNotFound.
func (d *DB) Init(stream string, hash segment.Digest) (segment.Init, error) {
	v, err := get(d.source(), digestKey(kindInit, stream, hash))
	if err != nil {
		return segment.Init{}, err
	}
	if len(v) < 2 {
		return segment.Init{}, ErrMalformed
	}
	return segment.Init{PID: uint16(v[0])<<8 | uint16(v[1]), Hash: hash, Data: v[2:]}, nil
}

// Store gives the id of the store that the index was made for, or ErrNotFound.
func (d *DB) Store() ([]byte, error) { return get(d.source(), storeKey()) }

func storeKey() []byte { return []byte{kindStore, layout} }

// SetStore notes the id of the store.
func (d *DB) SetStore(id []byte) error { return d.db.Set(storeKey(), id, pebble.Sync) }

// Scrub reads every row, so that the database meets its damage, and compares each init segment with its hash.
func (d *DB) Scrub(ctx context.Context) error {
	const some = 1000
	for from, more := []byte{0}, true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, rows := 0, errors.New("enough rows")
		err := scan(d.source(), from, []byte{0xff}, func(k, v []byte) error {
			if k[0] == kindInit && len(v) >= 2 && len(k) > sha256.Size && segment.Sum(v[2:]) != segment.Digest(k[len(k)-sha256.Size:]) {
				return fmt.Errorf("init segment in the index: %w", ErrMalformed)
			}
			if n++; n == some {
				from = append(bytes.Clone(k), 0)
				return rows
			}
			return nil
		})
		if more = errors.Is(err, rows); err != nil && !more {
			return fmt.Errorf("scrub index: %w", err)
		}
	}
	return nil
}

// Check compares every stream's rows with each other and with memory (invariants I1 and I2).
func (d *DB) Check(stream string) error {
	var errs []error
	blocks := map[segment.TimelineID]map[int64][]Row{}
	perFile, live := map[uint64]uint32{}, map[uint64]int64{}
	prefix := key(kindCompact, stream)
	err := scan(d.source(), prefix, after(prefix), func(k, v []byte) error {
		r, err := parseRow(k[len(prefix):], v)
		if err != nil {
			return err
		}
		c, err := getCopy(d.source(), stream, r.Slot, r.Digest)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("full row of %s: %w", r.Digest, err))
		case compact(&c) != r:
			errs = append(errs, fmt.Errorf("rows of %s disagree: %+v and %+v", r.Digest, compact(&c), r))
		}
		if blocks[r.Slot.Timeline] == nil {
			blocks[r.Slot.Timeline] = map[int64][]Row{}
		}
		blocks[r.Slot.Timeline][r.Slot.Block()] = append(blocks[r.Slot.Timeline][r.Slot.Block()], r)
		perFile[r.File]++
		live[r.File] += c.span()
		return nil
	})
	errs = append(errs, err)
	for _, row := range d.Rows(stream) {
		for _, b := range d.Blocks(stream, row) {
			if want := Summarize(b.No, blocks[row][b.No]); !want.equal(&b) {
				errs = append(errs, fmt.Errorf("block %d of row %s is %+v, its rows say %+v", b.No, row, b, want))
			}
			delete(blocks[row], b.No)
		}
		delete(blocks, row)
	}
	for row, left := range blocks {
		for no := range left {
			errs = append(errs, fmt.Errorf("block %d of row %s has rows and no summary", no, row))
		}
	}
	files, err := d.Files(stream)
	errs = append(errs, err)
	for _, f := range files {
		if f.Copies != perFile[f.No] {
			errs = append(errs, fmt.Errorf("file %s counts %d copies and has %d", f.Name, f.Copies, perFile[f.No]))
		}
		if f.Live != uint64(live[f.No]) {
			errs = append(errs, fmt.Errorf("file %s counts %d live bytes and has %d", f.Name, f.Live, live[f.No]))
		}
		delete(perFile, f.No)
	}
	for no, n := range perFile {
		errs = append(errs, fmt.Errorf("file %d has %d copies and no row", no, n))
	}
	return errors.Join(errs...)
}

func getCopy(r source, stream string, slot segment.Slot, digest segment.Digest) (Copy, error) {
	v, err := get(r, placeKey(kindFull, stream, digest, slot))
	if err != nil {
		return Copy{}, err
	}
	return parseFull(v)
}

func places(r source, stream string, digest segment.Digest) ([]Copy, error) {
	var out []Copy
	prefix := digestKey(kindFull, stream, digest)
	err := scan(r, prefix, after(prefix), func(_, v []byte) error {
		c, err := parseFull(v)
		out = append(out, c)
		return err
	})
	return out, err
}

func replacedBy(r source, stream string, digest segment.Digest) (d segment.Digest, err error) {
	prefix := digestKey(kindReplace, stream, digest)
	err = scan(r, prefix, after(prefix), func(_, v []byte) error {
		if copy(d[:], v) != len(d) {
			return ErrMalformed
		}
		return errStop
	})
	switch {
	case errors.Is(err, errStop):
		return d, nil
	case err == nil:
		err = ErrNotFound
	}
	return d, err
}

func scanRows(r source, stream string, row segment.TimelineID, from, to int64, fn func(Row) bool) error {
	prefix := len(key(kindCompact, stream))
	err := scan(r, rowKey(stream, row, from), rowKey(stream, row, to), func(k, v []byte) error {
		c, err := parseRow(k[prefix:], v)
		if err == nil && !fn(c) {
			err = errStop
		}
		return err
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

func copies(r source, stream string, row segment.TimelineID, from, to int64) ([]Copy, error) {
	var out []Copy
	var failed error
	err := scanRows(r, stream, row, from, to, func(c Row) bool {
		var full Copy
		if full, failed = getCopy(r, stream, c.Slot, c.Digest); failed == nil {
			out = append(out, full)
		}
		return failed == nil
	})
	return out, errors.Join(err, failed)
}

var errStop = errors.New("stop")

func get(r source, k []byte) ([]byte, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	defer r.leave()
	r.of.rows.Add(1)
	v, closer, err := r.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRead, err)
	}
	defer closer.Close()
	return slices.Clone(v), nil
}

func scan(r source, from, to []byte, fn func(k, v []byte) error) error {
	if err := r.enter(); err != nil {
		return err
	}
	defer r.leave()
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("%w: %w", errRead, err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		r.of.rows.Add(1)
		v, err := it.ValueAndErr()
		if err != nil {
			err = fmt.Errorf("%w: %w", errRead, err)
		} else {
			err = fn(it.Key(), v)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("%w: %w", errRead, err)
	}
	return nil
}

// CellOf gives the cell of a place counted over all turns, as Slot.AbsCell does.
func CellOf(u timeline.Ticks) int64 { return int64((u - timeline.Wrap) >> 19) }

// logger passes what Pebble has to say on at debug level. Fatalf must not return: a commit that failed leaves Pebble
// without a sound state.
type logger struct {
	log  *slog.Logger
	exit func(int)
}

func (l logger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("index", "message", fmt.Sprintf(format, args...))
	}
}

func (l logger) Errorf(format string, args ...any) {
	l.log.Error("index", "message", fmt.Sprintf(format, args...))
}

func (l logger) Fatalf(format string, args ...any) {
	if opening() {
		err := fmt.Errorf(format, args...)
		for _, a := range args {
			if cause, ok := a.(error); ok {
				err = fmt.Errorf("%s: %w", strings.TrimSuffix(format, ": %v"), cause)
			}
		}
		panic(err) // to openDB
	}
	l.log.Error("index cannot go on, the process ends", "message", fmt.Sprintf(format, args...))
	l.exit(1)
	runtime.Goexit() // where a test has it that the process ends
}
