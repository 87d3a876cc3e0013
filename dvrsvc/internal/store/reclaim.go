package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/segment"
)

const (
	// reclaimEvery is how often dead bytes are looked for.
	reclaimEvery = 10 * time.Minute
	// deadShare: a file of which more than one part in so many is dead is written anew.
	deadShare = 4
	// reclaimStep is how much is moved in one commit at most: it is in memory meanwhile.
	reclaimStep = 8 << 20
	// slowDisk is how long a commit may take while anything is reclaimed.
	slowDisk = time.Second
)

// ReclaimTotal counts what was reclaimed since Open.
type ReclaimTotal struct {
	Files uint64 // that were written anew
	Read  uint64 // bytes
	Freed uint64 // bytes
}

type reclaimCounters struct{ files, read, freed atomic.Uint64 }

// Reclaimed is what was reclaimed since Open.
func (s *Store) Reclaimed() ReclaimTotal {
	c := &s.reclaimed
	return ReclaimTotal{Files: c.files.Load(), Read: c.read.Load(), Freed: c.freed.Load()}
}

// reclaim frees dead bytes until ctx ends.
func (s *Store) reclaim(ctx context.Context) {
	for s.sleep(ctx, reclaimEvery) {
		if err := s.reclaimRound(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("dead bytes are not reclaimed", "path", s.o.Path, "err", err)
		}
	}
}

// wasteful is a data file with dead bytes.
type wasteful struct {
	st   *Stream
	file index.File
	size int64
}

func (w *wasteful) dead() int64 { return w.size - int64(w.file.Live) }

// reclaimRound writes each file anew that is worth it, the one with the most dead bytes first. A copy is moved by the commit
// that has it in the new file: until then it is where it was, and from then on it is not needed there. The old file goes when
// the new one is closed and nothing leads to the old one any more, so a process that ends in between leaves bytes that are
// dead, and no copy that is not there or there twice. Readers of the old file go on.
func (s *Store) reclaimRound(ctx context.Context) error {
	var all []wasteful
	for _, st := range s.streams() {
		files, err := st.wasteful()
		if err != nil {
			return err
		}
		all = append(all, files...)
	}
	slices.SortStableFunc(all, func(a, b wasteful) int { return cmp.Compare(b.dead(), a.dead()) })
	for _, w := range all {
		if err := s.calm(ctx); err != nil {
			return err
		}
		if !s.roomFor(int64(w.file.Live)) {
			continue
		}
		if err := w.st.reclaimFile(ctx, w); err != nil {
			return fmt.Errorf("reclaim %s of %s: %w", w.file.Name, w.st.name, err)
		}
	}
	return nil
}

// calm waits while the disk is slow: what is recorded goes before.
func (s *Store) calm(ctx context.Context) error {
	for {
		began := s.commitBegan.Load()
		if s.commitTook.Load() <= int64(slowDisk) && (began == 0 || s.clock.Mono()-time.Duration(began) <= slowDisk) {
			return ctx.Err()
		}
		if !s.sleep(ctx, slowDisk) {
			return ctx.Err()
		}
	}
}

// roomFor reports whether so much may be written beside what is there.
func (s *Store) roomFor(bytes int64) bool {
	v, err := s.dataVolume()
	return err == nil && s.Full() == nil && v.free > v.keepFree(true)+uint64(bytes)
}

// wasteful gives the closed files of a stream that seem to be worth it, but for those that were looked at and have not changed
// since.
func (st *Stream) wasteful() (out []wasteful, err error) {
	files, err := st.s.db.Files(st.name)
	if err != nil {
		return nil, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, f := range files {
		size, here := st.sizes[f.No]
		busy := slices.ContainsFunc(st.tails, func(t *tail) bool { return t.file.No == f.No })
		seen, ok := st.measured[f.No]
		w := wasteful{st, f, size}
		if f.Closed && here && !busy && w.dead() > size/deadShare && (!ok || seen != f.Live) {
			out = append(out, w)
		}
	}
	return out, nil
}

// reclaimFile writes what lives of a file to a new one.
func (st *Stream) reclaimFile(ctx context.Context, w wasteful) error {
	st.measured[w.file.No] = w.file.Live
	f, err := st.openRead(w.file.No)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	r := &slowReader{ctx: ctx, s: st.s, f: f, rate: st.s.o.ReclaimRate, count: &st.s.reclaimed.read, of: st, why: stats.Rewrite}
	p, live, worth, err := st.survey(r, w)
	if err != nil || !worth {
		return err
	}
	fresh, closed, err := st.refill(&p, live, w.file)
	if err != nil {
		return err
	}
	defer func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.refilling = 0
	}()
	err = st.moveAll(ctx, fresh, p.head.inits, live, r)
	st.mu.Lock()
	fresh.refill = false
	st.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case err = <-closed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	return st.replaced(w, fresh)
}

// survey finds what of a file lives. worth: the rest is more than its share, and the file is as it was written.
func (st *Stream) survey(r *slowReader, w wasteful) (p scanned, live []index.Copy, worth bool, err error) {
	p = scanned{file: w.file}
	head, at, err := readHead(r, w.size)
	if err != nil {
		return p, nil, false, r.ctx.Err()
	}
	p.head = head
	alive := at
	sc := scanner{f: r, size: w.size, nonce: head.nonce, page: &p}
	for at < w.size {
		from, n, gone := at, len(p.copies), len(p.gone)
		if at, err = sc.step(at); err != nil {
			return p, nil, false, r.ctx.Err() // the scrub sees to it
		}
		switch {
		case len(p.gone) > gone:
			alive += at - from
		case len(p.copies) > n:
			c, err := st.s.db.Get(st.name, p.copies[n].Slot, p.copies[n].Info.Digest)
			if err == nil && c.File == w.file.No && slices.Equal(c.At, p.copies[n].At) && !c.Quarantined {
				live = append(live, c)
				alive += at - p.copies[n].At[0]
			}
		}
	}
	return p, live, len(p.copies) > 0 && len(live) == int(w.file.Copies) && w.size-alive > w.size/deadShare, nil
}

// refill makes the file that takes the place of another. It notes which copies contain those that do not live: an index that
// is made anew learns it from there.
func (st *Stream) refill(p *scanned, live []index.Copy, old index.File) (*dataFile, <-chan error, error) {
	gone := st.whatContains(p, live)
	c := &p.copies[0]
	start := st.At(c.Slot.Timeline, c.U(c.Info.Start))
	st.mu.Lock()
	defer st.mu.Unlock()
	key := fileKey{live: strings.HasSuffix(old.Name, "-live.mp4"), hour: (start.Unix() + st.spread) / 3600, row: c.Slot.Timeline, turn: c.Slot.Turn, initSet: c.Slot.InitSet}
	if st.down {
		return nil, nil, ErrClosed
	}
	w, err := st.createFile(key, p.head.inits, start)
	if err != nil {
		return nil, nil, err
	}
	closed := make(chan error, 1)
	st.refilling = w.no
	w.rolled, w.refill, w.newest, w.ended = true, true, old.Newest, func(err error) { closed <- err }
	if len(gone) > 0 {
		w.add(appendBox(nil, w.nonce, boxGone, gone))
	}
	return w, closed, nil
}

// whatContains gives the content of the box that notes it.
func (st *Stream) whatContains(p *scanned, live []index.Copy) (box []byte) {
	var dead []segment.Digest
	for i := range p.copies {
		d := p.copies[i].Info.Digest
		if !slices.ContainsFunc(live, func(c index.Copy) bool { return c.Info.Digest == d }) {
			dead = append(dead, d)
		}
	}
	for d := range p.gone {
		dead = append(dead, d)
	}
	slices.SortFunc(dead, func(a, b segment.Digest) int { return slices.Compare(a[:], b[:]) })
	for _, d := range slices.Compact(dead) {
		if by, err := st.s.db.ReplacedBy(st.name, d); err == nil {
			box = append(append(box, d[:]...), by[:]...)
		}
	}
	return box
}

func (p *scanned) takeGone(box []byte) error {
	if len(box)%64 != 0 {
		return errBox
	}
	if p.gone == nil {
		p.gone = map[segment.Digest]segment.Digest{}
	}
	for ; len(box) > 0; box = box[64:] {
		p.gone[segment.Digest(box[:32])] = segment.Digest(box[32:64])
	}
	return nil
}

// moveAll writes copies to a new file, step by step. Nothing is deleted during a step, and what was deleted before it is left
// out: in a younger file than its tombstone knows it would come back with an index that is made anew.
func (st *Stream) moveAll(ctx context.Context, into *dataFile, inits []segment.Init, live []index.Copy, r *slowReader) error {
	for len(live) > 0 {
		n, bytes := 0, uint64(0)
		for ; n < len(live) && bytes < reclaimStep; n++ {
			bytes += live[n].Info.Bytes
		}
		if err := errors.Join(st.moveStep(ctx, into, inits, live[:n], r), st.s.calm(ctx)); err != nil {
			return err
		}
		live = live[n:]
	}
	return nil
}

func (st *Stream) moveStep(ctx context.Context, into *dataFile, inits []segment.Init, live []index.Copy, r *slowReader) (err error) {
	st.mending.lock()
	defer st.mending.unlock()
	told, waiting := make(chan error, len(live)), 0
	for i := range live {
		c := &live[i]
		if now, e := st.s.db.Get(st.name, c.Slot, c.Info.Digest); e != nil || now.Quarantined || now.File != c.File || !slices.Equal(now.At, c.At) {
			continue
		}
		if err = st.moveCopy(into, inits, c, r, told); err != nil {
			break
		}
		waiting++
	}
	for ; waiting > 0; waiting-- {
		select {
		case e := <-told:
			err = errors.Join(err, e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// moveCopy writes a copy to a new file; told hears when it is there.
func (st *Stream) moveCopy(into *dataFile, inits []segment.Init, c *index.Copy, r *slowReader, told chan<- error) error {
	info := c.Info
	st.mu.Lock()
	fresh := st.begin(c.Slot, slices.Clone(inits), info.Tracks, BeginOptions{
		Path: info.Path, Independent: info.Independent, StartUncertain: info.Evidence.StartUncertain, Format: info.Format,
	})
	st.mu.Unlock()
	fresh.rescue, fresh.wasLive, fresh.late, fresh.was, fresh.renewed, fresh.into, fresh.from = true, c.Live, c.Late, c.File, true, into, c
	against := segment.Evidence{Faulty: info.Evidence.Faulty, Missing: info.Evidence.Missing} // all with the first chunk
	for k, ch := range info.Chunks {
		data, err := readChunk(r, c.At[k], ch, nil)
		if err == nil {
			err = fresh.Append(ch, data, against)
		}
		if err != nil {
			fresh.Drop()
			return fmt.Errorf("move copy %s: %w", info.Digest, err)
		}
		against = segment.Evidence{}
	}
	info.Runs = readRuns(r, c)
	if err := fresh.Seal(info, func(_ Outcome, err error) { told <- err }); err != nil {
		fresh.Drop()
		return fmt.Errorf("move copy %s: %w", info.Digest, err)
	}
	return nil
}

// moved has the index lead to where a copy is now, unless it went elsewhere meanwhile: then what was written is dead.
func (st *Stream) moved(tx *index.Tx, c, from *index.Copy) (Outcome, error) {
	now, err := tx.Get(st.name, c.Slot, c.Info.Digest)
	if errors.Is(err, index.ErrNotFound) || err == nil && (now.Quarantined || now.File != from.File || !slices.Equal(now.At, from.At)) {
		return Outcome{}, nil
	}
	if err == nil {
		now.File, now.At = c.File, c.At
		err = tx.Put(st.name, &now)
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("%w: %w", errIndex, err)
	}
	return Outcome{}, nil
}

// replaced removes a file that nothing leads to any more.
func (st *Stream) replaced(w wasteful, fresh *dataFile) error {
	s := st.s
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	tx := s.db.Begin()
	defer tx.Close()
	f, err := tx.File(st.name, w.file.No)
	if err != nil || f.Copies > 0 {
		return err // what came to it meanwhile, rotten or not, stays
	}
	if err := errors.Join(st.removeFile(w.file.Name), s.fs.SyncDir(st.dir)); err != nil {
		return err
	}
	if err := tx.DeleteFile(st.name, w.file.No); err != nil {
		return err
	}
	st.mu.Lock()
	st.forgetSize(w.file.No)
	delete(st.fileNames, w.file.No)
	st.mu.Unlock()
	delete(st.measured, w.file.No)
	s.reclaimed.files.Add(1)
	s.reclaimed.freed.Add(uint64(max(0, w.size-fresh.size)))
	s.log.Info("data file is written anew without what was dead in it", "stream", st.name, "file", w.file.Name, "to", fresh.name,
		"bytes", w.size, "left_bytes", fresh.size)
	return tx.Commit()
}

// traceGone has the digests that data files say are gone lead to what contains them, where the index does not know it.
func (st *Stream) traceGone() error {
	gone := st.gone
	st.gone = map[segment.Digest]segment.Digest{}
	if len(gone) == 0 {
		return nil
	}
	tx := st.s.db.Begin()
	defer tx.Close()
	for d := range gone {
		if here, err := tx.Places(st.name, d); err != nil || len(here) > 0 {
			if err != nil {
				return err
			}
			continue
		}
		if _, err := st.s.db.ReplacedBy(st.name, d); err == nil {
			continue
		}
		by := d
		for range maxReplaces {
			next, ok := gone[by]
			if !ok {
				var err error
				if next, err = st.s.db.ReplacedBy(st.name, by); err != nil {
					break
				}
			}
			by = next
		}
		places, err := tx.Places(st.name, by)
		if err != nil {
			return err
		}
		for i := range places[:min(1, len(places))] {
			c := &places[i]
			if !slices.Contains(c.Replaces, d) && len(c.Replaces) < maxReplaces {
				c.Replaces = append(c.Replaces, d)
			}
			if err := errors.Join(tx.Put(st.name, c), tx.Replace(st.name, d, c)); err != nil {
				return err
			}
		}
	}
	return tx.Commit()
}
