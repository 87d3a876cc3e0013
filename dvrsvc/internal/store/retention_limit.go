package store

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// Rule is how long the segments of a stream are kept: whatever is met first. The zero value: for ever.
type Rule struct {
	Age     time.Duration // 0: any
	Limit   Limit         // of the stream
	Storage Limit         // of all streams of its storage together
}

// Limit bounds what is on disk: where it is exceeded the oldest whole data file goes. The zero value: no bound.
type Limit struct {
	Bytes   uint64 `json:"bytes,omitempty"`   // of data files
	Percent uint8  `json:"percent,omitempty"` // of the file system that may be in use, by whomever
}

// wider reports whether l allows what old did not.
func (l Limit) wider(old Limit) bool {
	return old.Bytes > 0 && (l.Bytes == 0 || l.Bytes > old.Bytes) || old.Percent > 0 && (l.Percent == 0 || l.Percent > old.Percent)
}

// pieces is in how many files a limit by size is divided at least: only whole ones go.
const pieces = 16

// rollAt is the size from which on a file takes no further copy; 0: any.
func (r Rule) rollAt() int64 {
	at := int64(0)
	for _, l := range []Limit{r.Limit, r.Storage} {
		if n := int64(l.Bytes / pieces); n > 0 && (at == 0 || n < at) {
			at = n
		}
	}
	return at
}

// stored is a data file as the limits see it.
type stored struct {
	st     *Stream
	live   uint64 // its number, if it was recorded live
	size   uint64
	newest int64
	order  int64 // newest, or that of what was recorded before it by a clock that was not behind yet
}

// usage is what is on disk.
type usage struct {
	files  []stored           // that may go, those first that were recorded first
	stream map[*Stream]uint64 // bytes of all data files
	locked map[*Stream]uint64 // of those that hold something locked
	all    uint64
	kept   uint64 // of all streams, locked
	open   uint64 // of the files that are written to
	disk   uint64 // in use on the file system
	total  uint64 // of the file system
	most   uint64 // of it, that data may take
}

// over reports whether a limit is exceeded by so many bytes.
func (u *usage) over(l Limit, bytes uint64) bool {
	return l.Bytes > 0 && bytes > l.Bytes || l.Percent > 0 && u.disk > u.share(l)
}

// share is how much of the disk may be in use.
func (u *usage) share(l Limit) uint64 { return min(u.most, u.total/100*uint64(l.Percent)) }

// filled reports whether what is locked leaves no room for a file within a limit. All else that may go has. A disk that others
// fill as far is none that locks fill: the file that is written now is kept on it, as without any.
func (u *usage) filled(l Limit, locked uint64) bool {
	closed := u.disk - min(u.disk, u.open)
	return locked > 0 && (l.Bytes > 0 && locked+l.Bytes/pieces > l.Bytes ||
		l.Percent > 0 && closed >= u.share(l) && closed-min(closed, locked) < u.share(l))
}

// tight reports whether the files that are written to, of which none goes, are more than half of a limit: many streams have many.
func (u *usage) tight(l Limit) bool {
	return l.Bytes > 0 && u.open > l.Bytes/2 || l.Percent > 0 && u.open > u.share(l)/2
}

// rollFiles has what comes go to further files, so that those that are written to now may go.
func (st *Stream) rollFiles() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, w := range st.files {
		w.rolled = true
	}
}

// trim moves the floors of the streams up to where the limits are kept, oldest file first over all streams that exceed
// one; a file that holds something locked stays, and the next one goes. It does not ask the clock for more than which files
// are of the future: one that runs ahead must not move a floor beyond what is recorded now. What lies before a floor is
// taken by the sweep that follows.
func (s *Store) trim() error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.closed.Load() {
		return nil
	}
	s.mu.Lock()
	storage := s.limit
	s.mu.Unlock()
	limits, due := s.demand(storage)
	if !due {
		return nil
	}
	u, err := s.usage(limits)
	if err != nil {
		return err
	}
	floors := map[*Stream]floor{}
	for _, f := range u.files {
		if !u.over(storage, u.all) && !u.over(limits[f.st], u.stream[f.st]) {
			continue
		}
		u.stream[f.st] -= f.size
		u.all -= f.size
		u.disk -= min(u.disk, f.size)
		to := floors[f.st]
		to.at = max(to.at, f.newest+int64(time.Millisecond)) // ticks are no whole nanoseconds
		to.file = max(to.file, f.live)
		floors[f.st] = to
	}
	tight := u.tight(storage)
	for st, l := range limits {
		if tight || u.tight(Limit{Percent: l.Percent}) {
			st.rollFiles()
		}
		st.fill(u.filled(storage, u.kept) || u.filled(l, u.locked[st]))
	}
	var errs []error
	for _, st := range slices.SortedFunc(maps.Keys(floors), func(a, b *Stream) int { return cmp.Compare(a.name, b.name) }) {
		errs = append(errs, st.raise(floors[st])) // one that cannot be written holds up no other
	}
	return errors.Join(errs...)
}

// demand gives the limits of the streams, and whether any may be exceeded: so much is known without a look at each file.
// Until the config has come a stream has none, as it may be wider than the one of the last process.
func (s *Store) demand(storage Limit) (limits map[*Stream]Limit, due bool) {
	limits = map[*Stream]Limit{}
	all := uint64(0)
	for _, st := range s.streams() {
		st.mu.Lock()
		limits[st] = Limit{}
		if st.retention >= 0 {
			limits[st] = st.state.Limit
		}
		n := uint64(0)
		for _, size := range st.sizes {
			n += uint64(size)
		}
		for _, w := range st.files {
			n += uint64(w.size)
		}
		due = due || st.filled
		st.mu.Unlock()
		all += n
		l := limits[st]
		due = due || l.Percent > 0 || l.Bytes > 0 && n > l.Bytes
	}
	return limits, due || storage.Percent > 0 || storage.Bytes > 0 && all > storage.Bytes
}

// fill notes that what is locked leaves no room for more: then nothing is recorded.
func (st *Stream) fill(yes bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.filled != yes {
		st.filled = yes
		st.s.log.Warn("room beside what is locked changed", "stream", st.name, "full", yes)
	}
}

// floor is where a limit takes from: what ends by a moment, and of what was recorded live what is in files up to a number.
type floor struct {
	at   int64
	file uint64
}

// raise moves the floor, and makes that durable before anything is taken; but for a disk that others have filled to the last byte: a
// floor that is lost with the index costs less than a limit that makes no room.
func (st *Stream) raise(to floor) error {
	st.stateMu.Lock()
	defer st.stateMu.Unlock()
	fresh := st.state
	if to.at <= fresh.Floor && to.file <= fresh.FloorFile {
		return nil
	}
	fresh.Floor, fresh.FloorFile = max(fresh.Floor, to.at), max(fresh.FloorFile, to.file)
	fresh.Taken = max(fresh.Taken, fresh.Floor)
	st.s.log.Info("the oldest goes to a limit", "stream", st.name, "until", time.Unix(0, to.at).UTC())
	err := st.keepState(fresh)
	if err == nil || noRoom(err) {
		st.setState(fresh)
		return nil
	}
	return err
}

// usage adds up what is on disk, but for what is on its way out. The caller holds commitMu.
func (s *Store) usage(limits map[*Stream]Limit) (usage, error) {
	u := usage{stream: map[*Stream]uint64{}, locked: map[*Stream]uint64{}}
	free, total, err := s.fs.Free(s.o.Path)
	if err != nil {
		return u, err
	}
	reserve := s.reserve(total)
	u.disk, u.total, u.most = total-free, total, total-min(total, reserve+reserve/4) // a share never leads to a full disk
	for st := range limits {
		if err := st.use(&u); err != nil {
			return u, err
		}
		u.all, u.kept = u.all+u.stream[st], u.kept+u.locked[st]
	}
	slices.SortStableFunc(u.files, func(a, b stored) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.st.name, b.st.name), cmp.Compare(a.live, b.live))
	})
	return u, nil
}

// use adds up what is on disk of a stream.
func (st *Stream) use(u *usage) error {
	files, err := st.s.db.Files(st.name)
	if err != nil {
		return err
	}
	recorded, now := st.recordedTo(files), st.view()
	locked := make([]bool, len(files))
	for i := range files {
		if locked[i], err = st.holdsLocked(now, &files[i]); err != nil {
			return err
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	before := st.state.Floor
	for _, n := range st.held {
		u.disk -= min(u.disk, uint64(n))
	}
	for _, w := range st.files {
		if w.no == st.refilling {
			u.disk -= min(u.disk, uint64(w.size))
			continue
		}
		u.stream[st] += uint64(w.size)
		u.open += uint64(w.size)
	}
	for i, f := range files {
		size, closed := st.sizes[f.No]
		if f.No == st.refilling {
			u.disk -= min(u.disk, uint64(size))
			continue
		}
		busy := !closed || slices.ContainsFunc(st.tails, func(t *tail) bool { return t.file.No == f.No })
		above := f.Newest <= st.state.Floor && st.aboveFloor(f.No)
		switch {
		case !busy && !locked[i] && f.Newest <= st.state.Floor && !above:
			u.disk -= min(u.disk, uint64(size))
			continue
		case locked[i]:
			u.locked[st] += uint64(size)
		case !busy && f.Newest <= recorded:
			x := stored{st: st, size: uint64(size), newest: f.Newest, order: f.Newest}
			if st.liveBehind(f.No, 0) {
				x.live = f.No
			}
			if above {
				x.order = before
			}
			before = max(before, x.order)
			u.files = append(u.files, x)
		}
		u.stream[st] += uint64(size)
	}
	return nil
}

// recordedTo is the moment behind which a file is of the future: now, or where the youngest file ends if the clock is
// behind; one that a clock recorded which is behind the floor tells nothing. (The newest of a file that failed is a guess.)
func (st *Stream) recordedTo(files []index.File) int64 {
	now := st.s.clock.Now().UnixNano()
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := len(files) - 1; i >= 0; i-- {
		if f := &files[i]; f.Newest < latest(f.Name) && (f.Newest > st.state.Floor || !st.aboveFloor(f.No)) {
			return max(now, f.Newest)
		}
	}
	return now
}

// forgetSize takes note that a file was removed. The caller holds mu.
func (st *Stream) forgetSize(no uint64) {
	if st.reading[no] > 0 {
		st.held[no] = st.sizes[no]
	}
	delete(st.sizes, no)
}

// openRead opens a data file for reading. While it is open its room is not free, though it may be removed.
func (st *Stream) openRead(no uint64) (vfs.File, error) {
	name := st.fileName(no)
	if name == "" {
		return nil, &fs.PathError{Op: "open", Path: st.dir, Err: fs.ErrNotExist}
	}
	f, err := st.s.fs.Open(filepath.Join(st.dir, name))
	if err != nil {
		return nil, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.reading[no]++
	return &readFileHandle{File: f, done: sync.OnceFunc(func() { st.doneReading(no) })}, nil
}

func (st *Stream) doneReading(no uint64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.reading[no]--; st.reading[no] <= 0 {
		delete(st.reading, no)
		delete(st.held, no)
	}
}

// readFileHandle is a data file that is read.
type readFileHandle struct {
	vfs.File
	done func()
}

// Close implements vfs.File.
func (f *readFileHandle) Close() error {
	f.done()
	return f.File.Close()
}
