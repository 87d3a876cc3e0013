package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
)

// tail is the end of a data file that no record closes. It is cut off once what was whole in it is durable elsewhere.
type tail struct {
	file index.File
	end  int64 // of the last record
	lost error // why what was in it is not durable elsewhere yet
	// failed: a write or a sync of it failed, so nothing is written to it.
	failed bool
}

// fileNumber reads the number of a data file from its name.
func fileNumber(name string) (uint64, bool) {
	base, ok := strings.CutSuffix(name, ".mp4")
	parts := strings.Split(base, "-")
	if !ok || len(parts) != 3 {
		return 0, false
	}
	no, err := strconv.ParseUint(parts[1], 10, 63)
	return no, err == nil
}

// latest is when a data file certainly holds no newer media: all of it is of one hour, which began by the end of the
// hour in its name.
func latest(name string) int64 {
	hour, err := time.Parse("20060102T15", strings.SplitN(name, "-", 2)[0])
	if err != nil {
		return math.MaxInt64
	}
	return hour.Add(3 * time.Hour).UnixNano()
}

// hourOf holds all media of a data file, which begins within one hour. The hour in its name is by the clock of then, which may have been
// wrong.
func hourOf(f *index.File) span {
	long := time.Hour + 10*time.Minute
	if f.Newest == latest(f.Name) { // a guess
		long = 4 * time.Hour
	}
	return span{f.Newest - int64(long), f.Newest}
}

// earliest is when a data file certainly holds no older media.
func earliest(name string) int64 {
	hour, err := time.Parse("20060102T15", strings.SplitN(name, "-", 2)[0])
	if err != nil {
		return math.MinInt64
	}
	return hour.Add(-time.Hour).UnixNano()
}

// surveysAtOnce is how many streams are read at once while a store is opened.
const surveysAtOnce = 8

// survey is what is read of a stream before anything is done about it.
type survey struct {
	known []index.File
	files []listed // and other entries of its directory
	err   error
}

type listed struct {
	name string
	size int64 // -1: unknown
}

// survey reads what index and directory have of a stream.
func (s *Store) survey(name string) *survey {
	v := &survey{}
	if v.err = s.db.Load(name); v.err != nil {
		return v
	}
	if v.known, v.err = s.db.Files(name); v.err != nil {
		return v
	}
	entries, err := s.fs.ReadDir(filepath.Join(s.o.Path, name))
	for _, e := range entries {
		f := listed{name: e.Name(), size: -1}
		if info, err := e.Info(); err == nil {
			f.size = info.Size()
		}
		v.files = append(v.files, f)
	}
	v.err = err
	return v
}

// surveyAll calls each with the survey of each stream, in order, while the next ones are surveyed: that is most of what an open
// reads, and a disk does several reads at once sooner than one after the other.
func (s *Store) surveyAll(ctx context.Context, names []string, each func(string, *survey) error) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make([]chan *survey, min(surveysAtOnce, len(names)))
	for k := range done {
		done[k] = make(chan *survey)
		wg.Go(func() {
			for i := k; i < len(names); i += len(done) {
				select {
				case done[k] <- s.survey(names[i]):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	for i, name := range names {
		select {
		case v := <-done[i%len(done)]:
			if err := each(name, v); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// recover brings state and index in line with the data files. The stream is not shown to anyone yet.
func (st *Stream) recover(v *survey) error {
	found, lost := st.readState()
	if lost != nil && !diskFails(lost) {
		return lost
	}
	if rule := st.state.Retention; rule > 0 { // the state is not written at each pass: more may have gone than it says
		st.state.Taken = max(st.state.Taken, st.s.clock.Now().Add(-rule).UnixNano())
	}
	if v.err != nil {
		return v.err
	}
	files, seen := map[uint64]index.File{}, map[uint64]bool{}
	for _, f := range v.known {
		files[f.No], seen[f.No] = f, true
	}
	if err := st.renumber(v); err != nil {
		return err
	}
	var scan []index.File
	failed := map[string]bool{}
	for _, e := range v.files {
		if name, ok := failedOf(e.name); ok {
			failed[name] = true
		}
		no, ok := fileNumber(e.name)
		if !ok {
			continue
		}
		st.lastFile = max(st.lastFile, no)
		st.fileNames[no] = e.name
		if e.size >= 0 {
			st.sizes[no] = e.size
		}
		f, indexed := files[no]
		delete(files, no)
		if !indexed {
			f = index.File{No: no, Name: e.name}
		}
		if !f.Closed || !found {
			scan = append(scan, f)
		}
	}
	for no := range files {
		st.lastFile = max(st.lastFile, no)
	}
	if err := st.forgetFiles(files); err != nil {
		return err
	}
	if !found {
		if err := st.restoreState(scan, lost); err != nil {
			return err
		}
	}
	st.deleting = len(st.state.Deleted) > 0 // what was deleted and not yet taken
	for _, t := range st.state.Deleted {
		st.lastFile = max(st.lastFile, t.Last) // which may have gone: what is recorded now is younger
	}
	// Those that failed come last: most of what is in them was written elsewhere.
	slices.SortStableFunc(scan, func(a, b index.File) int {
		switch {
		case failed[a.Name] == failed[b.Name]:
			return 0
		case failed[a.Name]:
			return 1
		}
		return -1
	})
	for _, f := range scan {
		if f.Closed {
			continue
		}
		p, err := st.scanFile(f, failed[f.Name])
		// What the index does not have was not told to anyone, and may be in memory alone since its sync failed.
		unsure := !st.s.rebuild && len(p.copies) > 0 && (seen[f.No] || !p.done)
		for d, by := range p.gone {
			st.gone[d] = by
		}
		switch {
		case err != nil || !p.adopt:
		case failed[f.Name] || unsure && !p.left:
			err = st.recordAgain(&p, failed[f.Name])
		default:
			err = st.adopt(&p)
		}
		if err != nil {
			return fmt.Errorf("scan %s: %w", f.Name, err)
		}
	}
	return nil
}

// renumber gives a data file whose number is that of another one, as somebody who puts files of another storage beside those of this one
// makes it, a number of its own: one of the two would be read for the other.
func (st *Stream) renumber(v *survey) error {
	named, last := map[uint64]string{}, uint64(0)
	for _, f := range v.known {
		named[f.No], last = f.Name, max(last, f.No)
	}
	for _, t := range st.state.Deleted {
		last = max(last, t.Last)
	}
	for _, ours := range []bool{true, false} { // where the index does not know it those go first that were written here
		for _, e := range v.files {
			no, ok := fileNumber(e.name)
			if last = max(last, no); ok && named[no] == "" && (!ours || st.wrote(e.name)) {
				named[no] = e.name
			}
		}
	}
	changed := false
	for i := range v.files {
		e := &v.files[i]
		no, ok := fileNumber(e.name)
		if !ok || named[no] == e.name {
			continue
		}
		last++
		parts := strings.Split(e.name, "-")
		fresh := fmt.Sprintf("%s-%08d-%s", parts[0], last, parts[2])
		if err := st.s.fs.Rename(filepath.Join(st.dir, e.name), filepath.Join(st.dir, fresh)); err != nil {
			return fmt.Errorf("give %s another number: %w", e.name, err)
		}
		st.s.log.Warn("data file has the number of another one, it gets one of its own", "stream", st.name, "file", e.name, "other", named[no], "to", fresh)
		e.name, changed = fresh, true
	}
	if changed {
		return st.s.fs.SyncDir(st.dir)
	}
	return nil
}

// wrote reports whether a data file was written by this store.
func (st *Stream) wrote(name string) bool {
	h, err := st.head(name)
	if err != nil {
		return false
	}
	s, err := decodeState(h.state)
	return err == nil && s.Store == st.state.Store
}

// restoreState makes the state from the heads of the data files and its copy. Without any the stream begins now, whatever the wall
// clock says: there is nothing that could fall to it. lost is why it is not here, if the disk may give it later: then it is only
// restored from all that there is.
func (st *Stream) restoreState(files []index.File, lost error) error {
	if len(files) == 0 {
		st.state.Seen = st.s.clock.Now().UnixNano()
	}
	for _, f := range files {
		h, err := st.head(f.Name)
		if errors.Is(err, errNewer) || lost != nil && diskFails(err) {
			return errors.Join(lost, fmt.Errorf("read head of %s: %w", f.Name, err))
		}
		if err != nil {
			continue // the scan says so
		}
		if s, err := decodeState(h.state); err == nil {
			st.state.merge(s)
		}
	}
	switch s, err := st.readSpare(); {
	case err == nil:
		st.state.merge(s)
	case lost != nil && diskFails(err):
		return errors.Join(lost, fmt.Errorf("read copy of the state: %w", err))
	case !errors.Is(err, fs.ErrNotExist):
		st.s.log.Error("copy of the state cannot be read", "stream", st.name, "err", err)
	}
	return st.putState(st.state)
}

func (st *Stream) head(name string) (fileHead, error) {
	f, err := st.s.fs.Open(filepath.Join(st.dir, name))
	if err != nil {
		return fileHead{}, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return fileHead{}, err
	}
	h, _, err := readHead(f, size)
	return h, err
}

// adopt takes what a scan found into the index, and writes anew what is whole of a copy that was never sealed.
func (st *Stream) adopt(p *scanned) error {
	tx := st.s.db.Begin()
	defer tx.Close()
	for _, i := range p.head.inits {
		if err := tx.PutInit(st.name, i); err != nil {
			return err
		}
	}
	f := index.File{No: p.file.No, Name: p.file.Name, Indexed: p.end, Closed: p.done}
	if p.left {
		f.Indexed, f.Closed = p.indexed, false
	}
	if p.left || len(p.gone) > 0 {
		f.Newest = latest(p.file.Name)
	}
	for i := range p.copies {
		c := &p.copies[i]
		if st.state.row(c.Slot.Timeline) == nil {
			f.Newest = latest(p.file.Name)
			st.s.log.Error("copy of an unknown timeline is left alone", "stream", st.name, "file", p.file.Name, "slot", c.Slot.String())
			continue
		}
		f.Newest = max(f.Newest, st.At(c.Slot.Timeline, c.U(c.Info.End)).UnixNano())
		if st.deadCopy(c) {
			if err := st.keepDeleted(tx, c); err != nil {
				return err
			}
			continue
		}
		if st.expiredCopy(c) {
			continue
		}
		if err := st.yieldRotten(tx, c); err != nil {
			return err
		}
		if _, err := st.resolve(tx, c, resolveOptions{anyAge: true, stored: true}); err != nil {
			if errors.Is(err, errIndex) {
				return err
			}
			st.s.log.Warn("copy in a data file is not adopted", "stream", st.name, "file", p.file.Name, "digest", c.Info.Digest.String(), "err", err)
		}
	}
	if err := tx.PutFile(st.name, f); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if len(p.copies) > 0 || p.torn != nil {
		st.s.log.Info("data file scanned", "stream", st.name, "file", p.file.Name, "copies", len(p.copies), "torn", p.torn != nil)
	}
	t := &tail{file: f, end: p.end}
	if !p.done && !p.left {
		st.tails = append(st.tails, t)
	}
	if p.torn != nil {
		t.lost = errNotDurable
		st.rescue(p.torn, p.file.No, p.head.inits, func(_ Outcome, err error) {
			if t.lost = err; errors.Is(err, errs.ErrDeleted) {
				t.lost = nil
			}
		})
	}
	return nil
}

// yieldRotten makes room for a copy that is on disk twice, if it is rotten where it was found first: then it had been
// quarantined and fetched again.
func (st *Stream) yieldRotten(tx *index.Tx, c *index.Copy) error {
	st.mu.Lock()
	old, err := st.stored(tx, c.Slot, &c.Info)
	st.mu.Unlock()
	if err != nil || old == nil || old.File == c.File && slices.Equal(old.At, c.At) || !rotten(st.checkBytes(old)) {
		return err
	}
	return st.shutAway(tx, old)
}

// rescue records again the whole chunks of a copy that has no record.
func (st *Stream) rescue(t *torn, file uint64, inits []segment.Init, done func(Outcome, error)) {
	if st.state.row(t.head.slot.Timeline) == nil || len(t.chunks) == 0 {
		done(Outcome{}, nil)
		return
	}
	o := t.head.options
	o.Live = false
	c := st.begin(t.head.slot, inits, t.head.tracks, o)
	c.rescue, c.wasLive, c.was = true, t.head.options.Live, file
	for _, ch := range t.chunks {
		if err := c.Append(ch.Chunk, ch.data, ch.ev); err != nil {
			st.s.log.Warn("chunk of a torn copy is not whole", "stream", st.name, "slot", t.head.slot.String(), "err", err)
			break
		}
	}
	c.Break(done)
}

var errNotDurable = errors.New("not durable yet")

// complete takes what was deleted and cut short out of a stream that was recovered, once a commit has made durable what was recorded again.
func (st *Stream) complete() error {
	if err := st.traceGone(); err != nil {
		return err
	}
	for st.deleting { // the last process may have ended between tombstone and index
		if _, err := st.takeDeleted(sweepBatch); err != nil {
			return err
		}
	}
	return st.cutTails()
}

// cutTails ends the files that the last process left open. What was whole beyond their last record is durable by now.
func (st *Stream) cutTails() error {
	for _, t := range st.tails {
		if t.lost != nil {
			st.s.log.Error("end of a data file is left for the next start", "stream", st.name, "file", t.file.Name, "err", t.lost)
			continue
		}
		if path := filepath.Join(st.dir, t.file.Name); !t.failed {
			if err := st.cut(path, t); err != nil {
				return fmt.Errorf("cut %s: %w", t.file.Name, err)
			}
			if t.end > 0 {
				st.mu.Lock()
				st.sizes[t.file.No] = t.end + int64(boxOverhead)
				st.mu.Unlock()
			}
		}
		tx := st.s.db.Begin()
		t.file.Closed = true
		if err := tx.PutFile(st.name, t.file); err != nil {
			tx.Close()
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	st.mu.Lock()
	st.tails = slices.DeleteFunc(st.tails, func(t *tail) bool { return t.lost == nil })
	st.mu.Unlock()
	st.removeEmpty()
	return nil
}

func (st *Stream) cut(path string, t *tail) error {
	f, err := st.s.fs.OpenAppend(path)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil && t.end < size {
		err = f.Truncate(t.end)
	}
	if err == nil && t.end > 0 {
		var head fileHead
		if head, _, err = readHead(f, t.end); err == nil {
			_, err = f.Append([][]byte{appendBox(nil, head.nonce, boxDone, nil)})
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// forgetFiles drops the copies whose data file is gone.
func (st *Stream) forgetFiles(gone map[uint64]index.File) error {
	if len(gone) == 0 {
		return nil
	}
	tx := st.s.db.Begin()
	defer tx.Close()
	for _, row := range st.s.db.Rows(st.name) {
		var lost []index.Row
		err := st.s.db.Scan(st.name, row, minCell, maxCell, func(r index.Row) bool {
			if _, ok := gone[r.File]; ok {
				lost = append(lost, r)
			}
			return true
		})
		if err != nil {
			return err
		}
		for _, r := range lost {
			if _, err := st.remove(tx, r); err != nil {
				return err
			}
		}
	}
	for no, f := range gone {
		st.s.log.Error("data file is gone, what it held is missing now", "stream", st.name, "file", f.Name, "copies", f.Copies)
		if err := tx.DeleteFile(st.name, no); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// minCell and maxCell bound every row.
const (
	minCell = -1 << 62
	maxCell = 1 << 62
)

// remove takes a copy out of the index and presents again what lies around it.
func (st *Stream) remove(tx *index.Tx, r index.Row) (index.Copy, error) {
	c, err := tx.Get(st.name, r.Slot, r.Digest)
	if err != nil {
		return c, err
	}
	members, err := st.neighbours(tx, &c)
	if err == nil {
		err = tx.Delete(st.name, &c)
	}
	if err == nil && len(members) > 1 {
		err = st.present(tx, members[1:])
	}
	return c, err
}

// verifyRecord reads every chunk of a copy and compares checksums and digest.
func verifyRecord(f io.ReaderAt, c *index.Copy) error {
	h := sha256.New()
	var buf []byte
	var err error
	for i, ch := range c.Info.Chunks {
		if buf, err = readChunk(f, c.At[i], ch, buf); err != nil {
			return err
		}
		h.Write(buf)
	}
	if segment.Digest(h.Sum(nil)) != c.Info.Digest {
		return errChecksum
	}
	return nil
}
