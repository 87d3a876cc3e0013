package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

const stateName = "state"

// turn is a lock for what takes until the next commit: to wait for it is to be idle, which in a bubble of testing/synctest
// lets time pass, and waiting for a sync.Mutex does not.
type turn chan struct{}

func (t turn) lock()   { t <- struct{}{} }
func (t turn) unlock() { <-t }

// Stream is the archive of one stream. Its methods are safe for concurrent use.
type Stream struct {
	s      *Store
	name   string
	stats  *stats.Stream
	dir    string
	spread int64 // seconds by which its files roll after the hour

	mending turn // held while a copy is written again, until it is durable; taken before mu

	damaged map[uint64]bool // data files in which the scrub found a bad byte; it alone uses them

	deleting bool            // something may lie within a tombstone; commitMu protects it
	unlooked []index.File    // without copies: whether all that was in them was deleted is not known yet; commitMu protects it
	looked   map[uint64]bool // whether it was; commitMu protects it

	tidied time.Duration // monotonic time at which empty files were looked for; commitMu protects it

	stateMu sync.Mutex // held by whoever changes state, also while it is written; taken before mu; protects the field below
	kept    int64      // state.Seen as it is on disk

	mu        sync.Mutex  // protects the fields below
	state     state       // to change it takes stateMu too
	files     []*dataFile // written to
	fileNames map[uint64]string
	parts     map[uint64]*Copy // live copies that are not in the index, or were not until a minute ago
	notes     []*Copy          // sealed copies without bytes of their own
	lastFile  uint64
	lastCopy  uint64
	tails     []*tail
	watchers  map[*watcher]bool
	retention time.Duration                     // as SetRetention said last; -1: not yet
	left      bool                              // nobody records it any more
	rollAt    int64                             // a file takes no further copy from this size on; 0: any
	sizes     map[uint64]int64                  // of the data files that are not written to
	reading   map[uint64]int                    // how often each data file is open to be read
	written   uint64                            // bytes that have come since Open, also those that were dropped again
	samples   []sample                          // of that, oldest first
	gone      map[segment.Digest]segment.Digest // found in data files, until Open has ended
	refilling uint64                            // the file that a reclaim writes: until the old one goes, the limits do not count it
	measured  map[uint64]uint64                 // live bytes of the files that a reclaim has looked at and left; it alone uses them
	held      map[uint64]int64                  // sizes of those that were removed meanwhile: their room is not free yet
	swept     *moment                           // of the last pass of retention in this process
	waits     bool                              // retention waits for the wall clock
	filled    bool                              // what is locked leaves no room
	down      bool                              // the last commit has been
}

// openStream opens a stream that is not open. v is what was read of it before, or nil. The caller holds commitMu.
func (s *Store) openStream(name string, v *survey) (*Stream, error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	st := &Stream{
		s: s, name: name, stats: s.o.Stats.Stream(name), dir: filepath.Join(s.o.Path, name), spread: int64(h.Sum32() % 600),
		fileNames: map[uint64]string{}, sizes: map[uint64]int64{}, reading: map[uint64]int{}, held: map[uint64]int64{},
		parts: map[uint64]*Copy{}, watchers: map[*watcher]bool{}, retention: -1, damaged: map[uint64]bool{}, looked: map[uint64]bool{},
		gone: map[segment.Digest]segment.Digest{}, measured: map[uint64]uint64{}, mending: make(turn, 1),
	}
	st.samples = []sample{{at: s.clock.Mono()}}
	if err := s.fs.MkdirAll(st.dir); err != nil {
		return nil, pathError(st.dir, err)
	}
	if err := s.fs.SyncDir(s.o.Path); err != nil {
		return nil, pathError(s.o.Path, err)
	}
	if v == nil {
		v = s.survey(name)
	}
	if err := st.recover(v); err != nil {
		st.close()
		return nil, err
	}
	return st, nil
}

// readState reads the state file. found is false where there is none, or a damaged one: the heads of the data files
// then restore it. So they do where the disk does not give it, if it gives all of them.
func (st *Stream) readState() (found bool, lost error) {
	b, err := readFile(st.s.fs, filepath.Join(st.dir, stateName))
	if err == nil {
		st.state, err = decodeState(b)
	}
	switch {
	case err == nil:
		found, st.kept = true, st.state.Seen
	case errors.Is(err, errState):
		st.s.log.Error("state file is damaged, it is restored from the data files", "stream", st.name)
	case diskFails(err):
		lost = fmt.Errorf("read state: %w", err)
		st.s.log.Error("state file cannot be read, it is restored from the data files", "stream", st.name, "err", err)
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("read state: %w", err)
	}
	st.state.Version, st.state.Stream = stateVersion, st.name
	st.state.Store = hex.EncodeToString(st.s.id[:])
	return found, lost
}

// putState makes a changed state durable and puts it into force. The caller holds stateMu.
func (st *Stream) putState(fresh state) error {
	err := st.keepState(fresh)
	if err == nil {
		st.setState(fresh)
	}
	return err
}

func (st *Stream) setState(fresh state) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.state = fresh
}

func (st *Stream) keepState(fresh state) error {
	b, err := fresh.encode()
	if err != nil {
		return err
	}
	if err := vfs.Replace(st.s.fs, filepath.Join(st.dir, stateName), b); err != nil {
		return fmt.Errorf("write state of %s: %w", st.name, err)
	}
	st.kept = fresh.Seen
	return nil
}

// spareName is a copy of the state as it was when locks or tombstones changed last: a stream that is not recorded any more
// begins no data file that would have them in its head.
const spareName = "state.spare"

// keepSpare writes the copy; without it the state is as durable as before.
func (st *Stream) keepSpare(s *state) {
	b, err := s.encode()
	if err == nil {
		err = vfs.Replace(st.s.fs, filepath.Join(st.dir, spareName), b)
	}
	if err != nil {
		st.s.log.Warn("copy of the state is not written", "stream", st.name, "err", err)
	}
}

// readSpare reads the copy. Errors: errState, fs.ErrNotExist and those of the disk.
func (st *Stream) readSpare() (s state, err error) {
	b, err := readFile(st.s.fs, filepath.Join(st.dir, spareName))
	if err != nil {
		return s, err
	}
	return decodeState(b)
}

// Timelines gives the rows, oldest first.
func (st *Stream) Timelines() []Row {
	st.mu.Lock()
	rows := slices.Clone(st.state.Rows)
	st.mu.Unlock()
	for i := range rows {
		st.span(&rows[i])
	}
	return rows
}

// Timeline gives one row.
func (st *Stream) Timeline(id segment.TimelineID) (Row, bool) {
	st.mu.Lock()
	r := st.state.row(id)
	if r == nil {
		st.mu.Unlock()
		return Row{}, false
	}
	row := *r
	st.mu.Unlock()
	st.span(&row)
	return row, true
}

// span fills in what the index knows of a row.
func (st *Stream) span(r *Row) {
	blocks := st.s.db.Blocks(st.name, r.ID)
	first := true
	for i := range blocks {
		for _, run := range blocks[i].Runs {
			if first {
				r.First, first = run.From, false
			}
			r.Last = max(r.Last, run.To)
		}
	}
}

// PutTimeline makes a row, or replaces its mapping and bindings. It is durable when PutTimeline returns. Where the mapping is another one for
// what is here already, as when it is set right, limits go by the new times, and so do locks and deletions that were said by the old ones.
func (st *Stream) PutTimeline(r Row) error {
	if r.ID.IsZero() || len(r.Mapping) == 0 {
		return errors.New("put timeline: a row needs an id and a point")
	}
	r.Mapping, r.Bindings = slices.Clone(r.Mapping), slices.Clone(r.Bindings)
	by := st.view().moves(&r)
	if by != 0 {
		st.s.commitMu.Lock()
		defer st.s.commitMu.Unlock()
		err := st.changeLocked(func(s *state) error {
			st.moveSaid(s, r.ID, by)
			s.put(r)
			return nil
		})
		if err == nil {
			err = st.moveFiles(r.ID, by)
		}
		return err
	}
	st.stateMu.Lock()
	defer st.stateMu.Unlock()
	if st.s.closed.Load() {
		return ErrClosed
	}
	fresh := st.state
	fresh.put(r)
	return st.putState(fresh)
}

// put makes a row, or takes the place of what it was.
func (s *state) put(r Row) {
	s.Rows = slices.Clone(s.Rows)
	if old := s.row(r.ID); old != nil {
		*old = r
	} else {
		s.Rows = append(s.Rows, r)
	}
}

// moves gives by how much what a row holds is later by its new mapping.
func (s *state) moves(fresh *Row) time.Duration {
	old := s.mapping(fresh.ID)
	if len(old) == 0 {
		return 0
	}
	return fresh.Mapping.UTC(old[0].U).Sub(old.UTC(old[0].U))
}

// moveFiles notes that the data files of a row are of another time. The caller holds commitMu.
func (st *Stream) moveFiles(row segment.TimelineID, by time.Duration) error {
	files := map[uint64]bool{}
	if err := st.s.db.Scan(st.name, row, minCell, maxCell, func(r index.Row) bool { files[r.File] = true; return true }); err != nil {
		return err
	}
	tx := st.s.db.Begin()
	defer tx.Close()
	for no := range files {
		if err := tx.MoveFile(st.name, no, int64(by)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// mapping gives the mapping of a row, empty where there is none.
func (st *Stream) mapping(row segment.TimelineID) timeline.Mapping {
	st.mu.Lock()
	defer st.mu.Unlock()
	if r := st.state.row(row); r != nil {
		return r.Mapping
	}
	return nil
}

// At gives the UTC of a place by this node's mapping.
func (st *Stream) At(row segment.TimelineID, u timeline.Ticks) time.Time {
	return st.mapping(row).UTC(u)
}

func (st *Stream) copyInfo(c *index.Copy) CopyInfo {
	m := st.mapping(c.Slot.Timeline)
	return CopyInfo{
		Slot: c.Slot, Info: c.Info, UTC: m.UTC(c.U(c.Info.Start)), UTCEnd: m.UTC(c.U(c.Info.End)),
		Live: c.Live, Presented: c.Presented, Quarantined: c.Quarantined, Replaces: c.Replaces,
	}
}

func (st *Stream) fileName(no uint64) string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.fileNames[no]
}

// OpenParts gives the live copies that are not in the index: those that are open, and those that were sealed since the last
// commit, so that a reader who looks here first and into the index then misses nothing.
func (st *Stream) OpenParts() []OpenPart {
	st.mu.Lock()
	defer st.mu.Unlock()
	var out []OpenPart
	for id, c := range st.parts {
		if c.settled || len(c.chunks) == 0 {
			continue
		}
		p := OpenPart{ID: id, Slot: c.head.slot, Info: c.partial(), Durable: c.durable}
		if row := st.state.row(c.head.slot.Timeline); row != nil {
			p.UTC, p.UTCEnd = row.Mapping.UTC(c.u(p.Info.Start)), row.Mapping.UTC(c.u(p.Info.End))
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b OpenPart) int { return int(a.ID) - int(b.ID) })
	return out
}

// close lets go of files and watchers.
func (st *Stream) close() {
	st.mu.Lock()
	st.down = true
	pending := st.notes
	for _, w := range st.files {
		pending = append(pending, w.copies...)
	}
	defer func() {
		st.mu.Unlock()
		for _, c := range pending {
			if c.done != nil {
				c.done(Outcome{}, ErrClosed)
			}
		}
	}()
	for _, w := range st.files {
		if w.ended != nil {
			w.ended(ErrClosed)
		}
		if err := w.f.Close(); err != nil {
			st.s.log.Warn("data file did not close", "stream", st.name, "file", w.name, "err", err)
		}
	}
	st.files = nil
	for w := range st.watchers {
		close(w.events)
	}
	st.watchers = map[*watcher]bool{}
}
