package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/segment"
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

func (st *Stream) checkBytes(c *index.Copy) error {
	f, err := st.openRead(c.File)
	if err != nil {
		return err
	}
	return errors.Join(verifyRecord(f, c), f.Close())
}
