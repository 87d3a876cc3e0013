package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Check walks the invariants of doc.go over the whole store and returns every breach.
func (s *Store) Check(ctx context.Context) error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	var errs []error
	for _, st := range s.streams() {
		if err := s.db.Check(st.name); err != nil {
			errs = append(errs, fmt.Errorf("index of %s: %w", st.name, err))
		}
		for _, row := range s.db.Rows(st.name) {
			if err := ctx.Err(); err != nil {
				return err
			}
			errs = append(errs, st.checkRow(row)...)
		}
		errs = append(errs, st.checkLocked(ctx)...)
	}
	return errors.Join(errs...)
}

func (st *Stream) checkRow(row segment.TimelineID) (errs []error) {
	copies, err := st.s.db.Copies(st.name, row, minCell, maxCell)
	if err != nil {
		return []error{err}
	}
	var played []*member
	for i := range copies {
		c := &copies[i]
		m := newMember(c)
		if st.deadCopy(c) {
			errs = append(errs, fmt.Errorf("copy %s in %s was deleted", c.Info.Digest, c.Slot))
		}
		if c.Quarantined {
			if c.Presented {
				errs = append(errs, fmt.Errorf("copy %s is presented and quarantined", c.Info.Digest))
			}
			continue
		}
		if err := st.checkBytes(c); err != nil {
			errs = append(errs, fmt.Errorf("copy %s in %s: %w", c.Info.Digest, c.Slot, err))
		}
		if !c.Presented {
			continue
		}
		for _, o := range played[max(0, len(played)-2*index.MaxCells):] {
			if o.Slot == m.Slot || segment.Overlap(o.u, m.u) {
				errs = append(errs, fmt.Errorf("copies %s and %s are both presented and overlap", o.Info.Digest, c.Info.Digest))
			}
		}
		played = append(played, m)
	}
	return errs
}

// checkLocked compares the data files with the index: what retention may not have taken before it was locked is there.
func (st *Stream) checkLocked(ctx context.Context) (errs []error) {
	now := st.view()
	files, err := st.s.db.Files(st.name)
	if err != nil {
		return []error{err}
	}
	for _, f := range files {
		if !f.Closed || !now.locked(span{earliest(f.Name), latest(f.Name)}) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return []error{err}
		}
		p, err := st.scanFile(index.File{No: f.No, Name: f.Name}, false)
		if err != nil {
			errs = append(errs, err)
		}
		for i := range p.copies {
			c := &p.copies[i]
			if missing, err := st.lockedMissing(now, c); err != nil || missing {
				errs = append(errs, fmt.Errorf("copy %s in %s is locked and missing, %v", c.Info.Digest, c.Slot, err))
			}
		}
	}
	return errs
}

// lockedMissing reports whether a copy in a data file is locked, and nothing of its time is in the index.
func (st *Stream) lockedMissing(now *state, c *index.Copy) (bool, error) {
	at := now.utcOf(c)
	if now.row(c.Slot.Timeline) == nil || st.deadCopy(c) ||
		!slices.ContainsFunc(now.Locks, func(l lock) bool { return l.overlaps(at) && now.holds(&l) && at.To > l.Edge }) {
		return false, nil
	}
	u := timeline.Range{From: c.U(c.Info.Start), To: c.U(c.Info.End)}
	missing := true
	err := st.s.db.Scan(st.name, c.Slot.Timeline, c.Slot.AbsCell()-index.MaxCells, c.Slot.AbsCell()+index.MaxCells, func(r index.Row) bool {
		missing = !r.Range.Overlaps(u)
		return missing
	})
	return missing, err
}

func (st *Stream) checkBytes(c *index.Copy) error {
	f, err := st.openRead(c.File)
	if err != nil {
		return err
	}
	return errors.Join(verifyRecord(f, c), f.Close())
}
