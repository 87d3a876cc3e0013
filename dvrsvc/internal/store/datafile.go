package store

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// fileKey says what a data file holds: everything in it has one init set, row, turn and hour of media.
type fileKey struct {
	live    bool
	hour    int64
	row     segment.TimelineID
	turn    int32
	initSet segment.InitSet
}

// dataFile is a data file that is written to. Stream.mu protects all of it, but for sync.
type dataFile struct {
	key   fileKey
	no    uint64
	name  string
	path  string
	nonce nonce
	f     vfs.File
	room  *room

	size    int64    // with what is pending
	pending [][]byte // not handed to the kernel yet
	waiting int      // bytes of pending
	target  int64    // size when the sync that runs now began
	synced  int64
	fresh   bool  // its name is not durable yet
	failed  error // of a write or a sync: nothing is written to it any more

	open   *Copy                     // the live copy that is being appended
	copies []*Copy                   // those that are not durable and indexed yet, in order
	sealed int64                     // end of the last record that is indexed
	ends   map[uint16]timeline.Ticks // where each track ends so far, by DTS
	used   time.Duration             // when it was last written to
	rolled bool                      // takes no further copy
	refill bool                      // a reclaim writes it: it takes none but those, and is not closed meanwhile
	newest int64                     // UTC of the newest media of the file that it stands for
	ended  func(error)               // nil, or told when it is closed, or has failed
	done   bool                      // its last box is written
}

// flushAt is how much is gathered before it is handed to the kernel.
const flushAt = 1 << 20

// createFile makes a data file. Nothing of it is on disk before it is flushed.
func (st *Stream) createFile(key fileKey, inits []segment.Init, start time.Time) (*dataFile, error) {
	st.lastFile++
	no := st.lastFile
	kind := "backfill"
	if key.live {
		kind = "live"
	}
	w := &dataFile{key: key, no: no, fresh: true, ends: map[uint16]timeline.Ticks{}, used: st.s.clock.Mono(), room: &st.s.room}
	w.name = fmt.Sprintf("%s-%08d-%s.mp4", start.UTC().Format("20060102T15"), no, kind)
	w.path = filepath.Join(st.dir, w.name)
	st.s.random(w.nonce[:])

	boxes := make([][]byte, len(inits))
	for i := range inits {
		boxes[i] = inits[i].Data
	}
	moov, err := fmp4.ComposeMoov(boxes...)
	if err != nil {
		return nil, fmt.Errorf("compose moov of %s: %w", w.name, err)
	}
	// The head carries its own row alone: the heads of all files together restore a state that is lost.
	own := st.state
	own.Rows = nil
	if r := st.state.row(key.row); r != nil {
		own.Rows = []Row{*r}
	}
	state, err := own.encode()
	if err != nil {
		return nil, err
	}
	if w.f, err = st.s.fs.Create(w.path); err != nil {
		return nil, fmt.Errorf("create data file: %w", err)
	}
	head := fileHead{nonce: w.nonce, state: state, inits: inits}
	w.add(moov)
	w.add(head.append(nil))
	w.sealed = w.size
	st.fileNames[no] = w.name
	st.files = append(st.files, w)
	return w, nil
}

// add appends bytes that belong to the file from here on.
func (w *dataFile) add(b []byte) {
	w.pending = append(w.pending, b)
	w.waiting += len(b)
	w.size += int64(len(b))
	w.room.left.Add(-int64(len(b)))
}

// flush hands to the kernel what is pending.
func (w *dataFile) flush() {
	if w.failed != nil || len(w.pending) == 0 {
		return
	}
	_, err := w.f.Append(w.pending)
	w.pending, w.waiting = nil, 0
	if err != nil {
		w.failed = fmt.Errorf("write %s: %w", w.name, err)
	}
}

// sync makes durable what was flushed. It runs without Stream.mu, and one at a time.
func (w *dataFile) sync(f vfs.FS) error {
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.name, err)
	}
	if w.fresh {
		if err := f.SyncDir(filepath.Dir(w.path)); err != nil {
			return fmt.Errorf("sync directory of %s: %w", w.name, err)
		}
		w.fresh = false
	}
	return nil
}

// put appends chunk k of a copy.
func (w *dataFile) put(c *Copy, k int) {
	ch := &c.chunks[k]
	if c.from == nil {
		c.st.written += uint64(ch.Size)
	}
	c.st.stats.Bytes(c.kind(), int(ch.Size))
	if k == 0 {
		w.add(c.head.append(nil, w.nonce))
	}
	w.add(ch.boxes(w.nonce))
	ch.at = w.size
	w.add(ch.data)
	if w.waiting >= flushAt {
		w.flush()
	}
}

// kind says why the bytes of a copy are written.
func (c *Copy) kind() stats.Kind {
	switch {
	case c.from != nil:
		return stats.Reclaimed
	case c.again, c.rescue:
		return stats.Rewritten
	case c.head.options.Live:
		return stats.Live
	}
	return stats.Backfill
}

// place gives the file that a copy which starts at T goes to, and makes one where none fits.
func (st *Stream) place(c *Copy, t timeline.Ticks) (*dataFile, error) {
	row := st.state.row(c.head.slot.Timeline)
	if row == nil {
		return nil, fmt.Errorf("place %s: timeline row: %w", c.head.slot, errs.ErrUnknown)
	}
	start := row.Mapping.UTC(c.u(t))
	key := st.fileKey(c, start)
	for _, w := range st.files {
		if w.rolled || w.failed != nil || w.open != nil {
			continue
		}
		if st.rollAt > 0 && w.size >= st.rollAt {
			w.rolled = true
			continue
		}
		if w.key == key && (!key.live || w.followedBy(c)) {
			return w, nil
		}
		if key.live && w.key.live {
			w.rolled = true
		}
	}
	return st.createFile(key, c.inits, start)
}

// followedBy reports whether a copy goes on where its first track ends in the file. (Tracks are not compared with each
// other: by its DTS video begins before the audio of the segment before has ended.)
func (w *dataFile) followedBy(c *Copy) bool {
	end, ok := w.ends[c.startPID]
	return len(w.ends) == 0 || ok && c.start >= end
}

func (st *Stream) fileKey(c *Copy, start time.Time) fileKey {
	hour := (start.Unix() + st.spread) / 3600
	s := c.head.slot
	return fileKey{live: c.head.options.Live || c.spared, hour: hour, row: s.Timeline, turn: s.Turn, initSet: s.InitSet}
}

// readChunk reads a chunk from a file and checks it.
func readChunk(f io.ReaderAt, at int64, ch segment.Chunk, buf []byte) ([]byte, error) {
	if cap(buf) < int(ch.Size) {
		buf = make([]byte, ch.Size)
	}
	buf = buf[:ch.Size]
	if err := readFull(f, buf, at); err != nil {
		return nil, fmt.Errorf("read %d bytes at %d: %w", ch.Size, at, err)
	}
	if checksumOf(buf) != ch.CRC {
		return nil, errChecksum
	}
	return buf, nil
}
