package store

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/segment"
)

// Contains reports whether durable copies contain what info describes in slot, judged by evidence alone.
func (st *Stream) Contains(slot segment.Slot, info *segment.Info) bool {
	_, ok := st.container(slot, info)
	return ok
}

// container gives the copy that stands for an offered one.
func (st *Stream) container(slot segment.Slot, info *segment.Info) (*index.Copy, bool) {
	cell := slot.AbsCell()
	offer := newMember(&index.Copy{Slot: slot, Info: *info})
	var rows []index.Row
	err := st.s.db.Scan(st.name, slot.Timeline, cell-index.MaxCells, cell+index.MaxCells+1, func(r index.Row) bool {
		if !r.Quarantined && offer.near(&r) {
			rows = append(rows, r)
		}
		return true
	})
	if err != nil {
		return nil, false
	}
	var have []*segment.Info
	var by *index.Copy
	for _, r := range rows {
		c, err := st.s.db.Get(st.name, r.Slot, r.Digest)
		if err != nil {
			continue
		}
		m := newMember(&c)
		if c.Slot != slot && !segment.Overlap(m.u, offer.u) {
			continue
		}
		have = append(have, m.u)
		switch {
		case c.Info.Digest == info.Digest:
			return &c, true
		case by == nil, c.Slot == slot && c.Presented:
			by = &c
		}
	}
	return by, segment.Covers(have, offer.u)
}

// Absorb is Contains, and where it holds keeps what the offer tells beyond what is here: its digest, so that it stays
// traceable, or, when the same bytes are here, the smaller evidence against them. done is called once that is durable.
// When Absorb returns false done is not called.
func (st *Stream) Absorb(slot segment.Slot, info *segment.Info, done func(error)) bool {
	by, ok := st.container(slot, info)
	if !ok {
		return false
	}
	switch {
	case by.Info.Digest != info.Digest:
		go func() { done(st.note(info.Digest, by)) }()
	case info.Evidence.Less(&by.Info.Evidence):
		offered := *info
		go st.mend(by, &offered, done)
	default:
		done(nil)
	}
	return true
}

// mend records a stored copy anew, with evidence that is smaller: the data files are the log, and an index that is
// rebuilt from them must not bring the worse evidence back.
func (st *Stream) mend(c *index.Copy, offered *segment.Info, done func(error)) {
	st.mending.lock() // one at a time, or a peer that knows better of many would have them all in memory
	told := func(err error) {
		st.mending.unlock()
		done(err)
	}
	info := c.Info
	info.Start, info.End, info.Evidence = offered.Start, offered.End, offered.Evidence
	fresh, err := st.copyAgain(c, &info)
	if err == nil {
		err = fresh.Seal(info, func(_ Outcome, err error) { told(err) })
	}
	if err != nil {
		if fresh != nil {
			fresh.Drop()
		}
		told(fmt.Errorf("mend evidence of %s: %w", info.Digest, err))
	}
}

// copyAgain opens a copy of what is stored, with all of its chunks.
func (st *Stream) copyAgain(c *index.Copy, info *segment.Info) (*Copy, error) {
	inits, err := st.Inits(info)
	if err != nil {
		return nil, err
	}
	r, err := st.NewReaderFor(stats.Rewrite, info.Digest, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	st.mu.Lock()
	fresh := st.begin(c.Slot, inits, info.Tracks, BeginOptions{
		Path: info.Path, Independent: info.Independent, StartUncertain: info.Evidence.StartUncertain, Format: info.Format,
	})
	st.mu.Unlock()
	fresh.rescue, fresh.wasLive, fresh.late, fresh.was = true, c.Live, c.Late, c.File
	against := segment.Evidence{Faulty: info.Evidence.Faulty, Missing: info.Evidence.Missing} // all with the first chunk
	for {
		ch, data, err := r.Next()
		if errors.Is(err, io.EOF) {
			if info.Runs == nil {
				info.Runs = r.Runs()
			}
			return fresh, nil
		}
		if err == nil {
			err = fresh.Append(ch, slices.Clone(data), against)
		}
		if err != nil {
			return fresh, err
		}
		against = segment.Evidence{}
	}
}

// note makes durable that the copy by contains another.
func (st *Stream) note(old segment.Digest, by *index.Copy) error {
	st.s.commitMu.Lock()
	defer st.s.commitMu.Unlock()
	if st.s.closed.Load() {
		return ErrClosed
	}
	tx := st.s.db.Begin()
	defer tx.Close()
	c, err := tx.Get(st.name, by.Slot, by.Info.Digest)
	if err != nil {
		return fmt.Errorf("note that %s is contained: %w", old, err)
	}
	if !slices.Contains(c.Replaces, old) && len(c.Replaces) < maxReplaces {
		c.Replaces = append(c.Replaces, old)
		if err := errors.Join(tx.Put(st.name, &c), tx.Replace(st.name, old, &c)); err != nil {
			return err
		}
		return tx.Commit()
	}
	return nil
}
