package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
)

const (
	starters = 16 // how many streams hand what they have to the kernel side by side
	syncers  = 64 // how many files are synced side by side
)

// idleFile is how long a data file waits for a further copy before it is closed.
const idleFile = 2 * time.Minute

// Commit makes durable what has come so far; Run does it on its own.
func (s *Store) Commit(ctx context.Context) error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	began := s.clock.Mono()
	s.commitBegan.Store(int64(began))
	s.o.Stats.CommitBegins(began)
	err := s.commit()
	ended := s.clock.Mono()
	s.o.Stats.CommitEnds(ended, s.worked)
	s.commitTook.Store(int64(ended - began))
	s.commitBegan.Store(0)
	if index.Damaged(err) {
		s.indexDamaged(err)
	}
	return err
}

// batch is what one commit works on.
type batch struct {
	st     *Stream
	files  []*dataFile // written since the last commit
	failed []error     // of each, by its write or its sync
	ready  []*Copy     // durable in their files, or noted
	closed []*dataFile
	ended  []index.File // rows of the files that are not written to any more
	lost   []*Copy
}

func (s *Store) commit(more ...*Stream) error {
	streams := append(s.streams(), more...)
	batches := make([]*batch, len(streams))
	// The disk begins with all files before the first is waited for: so they share a commit of the file system's journal, or
	// few, where a thousand streams would have each wait for its own. Already to begin may wait for the journal.
	var starts, syncs errgroup.Group
	starts.SetLimit(starters)
	for i, st := range streams {
		starts.Go(func() error {
			b := st.flush()
			for k, w := range b.files {
				if b.failed[k] == nil {
					b.failed[k] = w.f.StartSync()
				}
			}
			batches[i] = b
			return nil
		})
	}
	_ = starts.Wait()
	syncs.SetLimit(syncers)
	for _, b := range batches {
		for i, w := range b.files {
			if b.failed[i] != nil {
				continue
			}
			syncs.Go(func() error {
				b.failed[i] = s.sync(w) // Append looks at the file meanwhile: settle tells it
				return nil
			})
		}
	}
	_ = syncs.Wait()
	s.worked = slices.ContainsFunc(batches, func(b *batch) bool { return len(b.files)+len(b.ready) > 0 })
	for _, b := range batches {
		b.settle()
	}
	err := s.admit(batches)
	s.behind = s.behind || err != nil
	s.checkRoom()
	return err
}

// sync makes a data file durable, and counts how long that takes.
func (s *Store) sync(w *dataFile) error {
	began := s.clock.Mono()
	err := w.sync(s.fs)
	now := s.clock.Mono()
	s.o.Stats.Synced(stats.SyncData, now-began, now)
	return err
}

// flush hands to the kernel what is pending, ends files that take nothing more, and names the files to sync.
func (st *Stream) flush() *batch {
	b := &batch{st: st}
	now := st.s.clock.Mono()
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, w := range st.files {
		if len(w.copies) == 0 && !w.done && w.failed == nil && (w.rolled && !w.refill || !w.refill && now-w.used > idleFile || st.s.closed.Load()) {
			w.rolled, w.done = true, true
			w.add(appendBox(nil, w.nonce, boxDone, nil))
		}
		w.flush()
		if w.size > w.synced || w.failed != nil {
			w.target = w.size
			b.files, b.failed = append(b.files, w), append(b.failed, w.failed)
		}
	}
	for id, c := range st.parts {
		if c.ended && c.file == nil || c.settled && c.expires < now {
			delete(st.parts, id)
		}
	}
	b.ready, st.notes = st.notes, nil
	return b
}

// settle takes note of what is durable now, and rewrites elsewhere what is not.
func (b *batch) settle() {
	st := b.st
	st.mu.Lock()
	defer st.mu.Unlock()
	for i, w := range b.files {
		if w.failed == nil {
			w.failed = b.failed[i]
		}
		if w.failed == nil {
			continue
		}
		// What it held is elsewhere by now and its rest is waste, but where a copy was lost: then the next start looks.
		lost, whole := st.relocate(w)
		b.lost = append(b.lost, lost...)
		f := index.File{No: w.no, Name: w.name, Indexed: w.sealed}
		if !whole {
			f.Newest = latest(w.name)
		}
		st.sizes[w.no] = w.size
		b.ended = append(b.ended, f)
	}
	for _, w := range st.files {
		if w.failed == nil && w.target > w.synced {
			w.synced = w.target
			for _, c := range w.copies {
				c.durableTo(w.synced)
			}
		}
		for len(w.copies) > 0 && w.copies[0].sealEnd > 0 && w.copies[0].sealEnd <= w.synced {
			c := w.copies[0]
			w.copies = w.copies[1:]
			b.ready = append(b.ready, c)
			w.sealed = c.sealEnd
		}
		if w.done && w.synced == w.size {
			b.closed = append(b.closed, w)
			st.sizes[w.no] = w.size
			b.ended = append(b.ended, index.File{No: w.no, Name: w.name, Indexed: w.size, Closed: true, Newest: w.newest})
		}
	}
	st.files = slices.DeleteFunc(st.files, func(w *dataFile) bool { return slices.Contains(b.closed, w) })
}

// durableTo gives free the bytes of chunks that lie before end in the file.
func (c *Copy) durableTo(end int64) {
	for c.durable < len(c.chunks) {
		ch := &c.chunks[c.durable]
		if ch.at == 0 || ch.at+int64(ch.Size) > end {
			return
		}
		ch.data = nil
		c.durable++
	}
}

// relocate writes the copies of a file that could not be written or synced to new ones: after a failed sync the kernel
// may say of lost pages that they are clean, so that file is never synced again. It returns sealed copies that are lost;
// whole: none is, and none that was open.
func (st *Stream) relocate(w *dataFile) (lost []*Copy, whole bool) {
	st.s.log.Error("data file failed, what is not durable is written to a new one", "stream", st.name, "file", w.name, "err", w.failed)
	st.s.syncFailures.Add(1)
	st.markFailed(w.name)
	st.files = slices.DeleteFunc(st.files, func(o *dataFile) bool { return o == w })
	whole = true
	for _, c := range slices.Clone(w.copies) {
		if err := st.move(c, w); err != nil {
			whole = false
			sealed := c.done != nil
			_ = c.lose(err)
			if sealed {
				lost = append(lost, c)
			}
		}
	}
	w.pending, w.copies = nil, nil
	if w.ended != nil {
		w.ended(w.failed)
		w.ended = nil
	}
	if err := w.f.Close(); err != nil {
		st.s.log.Warn("data file did not close", "stream", st.name, "file", w.name, "err", err)
	}
	return lost, whole
}

func (st *Stream) move(c *Copy, from *dataFile) error {
	start := c.start
	row := st.state.row(c.head.slot.Timeline)
	for k := range c.chunks {
		ch := &c.chunks[k]
		if ch.data == nil {
			data, err := readChunk(from.f, ch.at, ch.Chunk, nil)
			if err != nil {
				return fmt.Errorf("read chunk %d of %s again: %w", k, c.head.slot, err)
			}
			ch.data = data
		}
	}
	w, err := st.createFile(st.fileKey(c, row.Mapping.UTC(c.u(start))), c.inits, row.Mapping.UTC(c.u(start)))
	if err != nil {
		return err
	}
	c.file, c.durable, w.copies, c.again = w, 0, []*Copy{c}, true
	for k := range c.chunks {
		w.put(c, k)
	}
	if c.ended {
		w.seal(c)
		w.rolled = true
	} else {
		w.open = c
	}
	w.flush()
	if err := w.failed; err != nil {
		return err
	}
	w.target = w.size
	if err := st.s.sync(w); err != nil {
		w.failed = err
		st.markFailed(w.name)
		st.files = slices.DeleteFunc(st.files, func(o *dataFile) bool { return o == w })
		_ = w.f.Close()
		return err
	}
	return nil
}

// answer is what to tell about one copy once the index is durable.
type answer struct {
	c   *Copy
	out Outcome
	err error
}

// admit puts what is durable into the index, and then tells.
func (s *Store) admit(batches []*batch) error {
	tx := s.db.Begin()
	defer tx.Close()
	var answers []answer
	var events []event
	var fatal error
	for _, b := range batches {
		for _, c := range b.lost {
			answers = append(answers, answer{c: c, err: c.lost})
		}
		for _, c := range b.ready {
			a := answer{c: c, err: c.lost}
			if a.err == nil {
				a.out, a.err = b.admit(tx, c)
			}
			switch {
			case errors.Is(a.err, errNotStored):
				c.unnote()
				continue
			case errors.Is(a.err, errIndex):
				fatal = a.err
			}
			answers = append(answers, a)
		}
		for _, f := range b.ended {
			if err := tx.PutFile(b.st.name, f); err != nil {
				fatal = err
			}
		}
	}
	if fatal == nil {
		empty, began := tx.Empty(), s.clock.Mono()
		fatal = tx.Commit()
		if now := s.clock.Mono(); !empty {
			s.o.Stats.Synced(stats.SyncIndex, now-began, now)
		}
	}
	for _, b := range batches {
		for _, w := range b.closed {
			if err := w.f.Close(); err != nil {
				s.log.Warn("data file did not close", "stream", b.st.name, "file", w.name, "err", err)
			}
		}
		for _, w := range b.closed {
			if w.ended != nil {
				w.ended(fatal)
			}
		}
		if fatal == nil && len(b.ended) > 0 {
			b.st.removeEmpty()
		}
	}
	for _, a := range answers {
		if a.err == nil {
			a.err = fatal
		}
		if a.err == nil && (a.out.Kept || len(a.out.Replaced) > 0) {
			events = append(events, a.c.st.sealedEvent(&a.out))
		}
		a.c.settle()
		a.c.done(a.out, a.err)
	}
	for _, e := range events {
		e.st.tell(e.Event)
	}
	return fatal
}

// settle takes a copy off the open ones.
func (c *Copy) settle() {
	c.st.mu.Lock()
	defer c.st.mu.Unlock()
	c.settled = true
}

// errIndex marks errors of the index itself.
var errIndex = errors.New("the index cannot be used")

// errNotStored: what a copy without bytes of its own relied on is rotten, replaced or expired by now.
var errNotStored = errors.New("the same copy is not stored any more")

func (b *batch) admit(tx *index.Tx, c *Copy) (Outcome, error) {
	record := c.record()
	if !c.noted {
		for _, i := range c.inits {
			if err := tx.PutInit(b.st.name, i); err != nil {
				return Outcome{}, fmt.Errorf("%w: %w", errIndex, err)
			}
		}
		f, err := tx.File(b.st.name, c.file.no)
		if err == nil {
			f.Name, f.Indexed = c.file.name, max(f.Indexed, c.sealEnd)
			f.Newest = b.st.At(record.Slot.Timeline, record.U(record.Info.End)).UnixNano()
			err = tx.PutFile(b.st.name, f)
		}
		if err != nil {
			return Outcome{}, fmt.Errorf("%w: %w", errIndex, err)
		}
	}
	if c.from != nil {
		return b.st.moved(tx, &record, c.from)
	}
	live := record.Live
	out, err := b.st.resolve(tx, &record, resolveOptions{noted: c.noted, anyAge: c.head.options.Live || c.rescue, stored: c.rescue, renewed: c.renewed})
	out.Copy.Live = live // what is told is how it came, whatever it stands for
	return out, err
}

// Close breaks off what is open, commits, and gives the storage free. Idempotent. After a commit that failed there is no
// other: it would note that the files are indexed beyond what is lacking.
func (s *Store) Close() error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	var err error
	if !s.behind {
		err = s.commitLast()
	}
	for _, st := range s.streams() {
		st.close()
	}
	return errors.Join(err, s.db.Close(), s.lock.Close())
}

func (s *Store) commitLast() error {
	for _, st := range s.streams() {
		st.mu.Lock()
		var open []*Copy
		for _, c := range st.parts {
			if !c.ended {
				open = append(open, c)
			}
		}
		st.mu.Unlock()
		for _, c := range open {
			c.Break(nil)
		}
	}
	err := s.commit()
	if err == nil {
		err = s.commit() // the last box of each file
	}
	return err
}
