package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
)

// failedSuffix is behind the name of a data file in the name of an empty file that says: a write or a sync of it failed.
//
// What was not durable then may still be in memory, and look to the next process as if it were on disk; a further sync
// would say that all is well. So from such a file nothing is adopted: it is recorded again, in another. The mark need not
// survive a power cut, which takes those pages too. Where not even the mark can be made the index tells what was durable:
// what it does not have is recorded again too. (Only when the index is lost as well the next process believes its eyes.)
const failedSuffix = ".failed"

// failedOf gives the data file that a mark is of.
func failedOf(name string) (string, bool) {
	file, ok := strings.CutSuffix(name, failedSuffix)
	if ok {
		_, ok = fileNumber(file)
	}
	return file, ok
}

// markFailed notes that a data file is not to be trusted.
func (st *Stream) markFailed(name string) {
	f, err := st.s.fs.Create(filepath.Join(st.dir, name+failedSuffix))
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		st.s.log.Error("data file that failed cannot be marked", "stream", st.name, "file", name, "err", err)
	}
}

// removeFile removes a data file and its mark.
func (st *Stream) removeFile(name string) error {
	path := filepath.Join(st.dir, name)
	if err := st.s.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := st.s.fs.Remove(path + failedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// recordAgain writes to other files what a scan found in one that failed, or beyond what is indexed of one, and what is not
// stored elsewhere.
func (st *Stream) recordAgain(p *scanned, failed bool) error {
	t := &tail{file: index.File{No: p.file.No, Name: p.file.Name, Indexed: p.end}, end: p.end, failed: failed}
	if p.left {
		return nil // the next start sees more of it
	}
	f, err := st.s.fs.Open(filepath.Join(st.dir, p.file.Name))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	pending := 0
	var lost error
	done := func(_ Outcome, err error) {
		if err != nil && !errors.Is(err, errs.ErrExpired) && !errors.Is(err, errs.ErrDeleted) {
			lost = err
		}
		if pending--; pending == 0 {
			t.lost = lost
		}
	}
	for i := range p.copies {
		c := &p.copies[i]
		if st.state.row(c.Slot.Timeline) == nil {
			t.file.Newest = latest(p.file.Name)
			continue
		}
		tx := st.s.db.Begin()
		err := st.yieldRotten(tx, c)
		if err == nil {
			err = tx.Commit()
		}
		tx.Close()
		if err != nil {
			return err
		}
		st.mu.Lock()
		old, err := st.stored(st.s.db, c.Slot, &c.Info)
		st.mu.Unlock()
		if err != nil {
			return err
		}
		if old != nil && !old.Quarantined && !c.Info.Evidence.Less(&old.Info.Evidence) || st.expiredCopy(c) || st.deadCopy(c) {
			continue
		}
		fresh := st.begin(c.Slot, p.head.inits, c.Info.Tracks, BeginOptions{
			Path: c.Info.Path, Independent: c.Info.Independent, StartUncertain: c.Info.Evidence.StartUncertain, Format: c.Info.Format,
		})
		fresh.rescue, fresh.wasLive, fresh.late, fresh.was = true, c.Live, c.Late, c.File
		for k, ch := range c.Info.Chunks {
			data, err := readChunk(f, c.At[k], ch, nil)
			ev := c.Info.Evidence
			ev.StartUncertain, ev.EndUncertain = false, false
			if k > 0 {
				ev.Faulty, ev.Missing = nil, nil
			}
			if err == nil {
				err = fresh.Append(ch, data, ev)
			}
			if err != nil {
				fresh.Drop()
				fresh = nil
				st.s.log.Error("copy in a data file that failed is not whole", "stream", st.name, "file", p.file.Name, "slot", c.Slot.String(), "err", err)
				break
			}
		}
		if fresh == nil {
			continue
		}
		pending++
		t.lost = errNotDurable
		c.Info.Runs = readRuns(f, c)
		if err := fresh.Seal(c.Info, done); err != nil {
			return fmt.Errorf("record %s again: %w", c.Slot, err)
		}
	}
	st.tails = append(st.tails, t)
	if p.torn != nil {
		pending++
		t.lost = errNotDurable
		st.rescue(p.torn, p.file.No, p.head.inits, done)
	}
	st.s.log.Warn("what a data file may not hold on disk is recorded again", "stream", st.name, "file", p.file.Name, "copies", pending, "failed", failed)
	return nil
}
