package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
)

// tombstone is a half-open range of UTC that was deleted: what lies wholly within it is not here, and is not taken. A clock
// that was set back may bring the live stream into it again: what is recorded then, in live files behind Last, stays.
type tombstone struct {
	span
	Last uint64        `json:"last"`           // number of the newest data file at the time
	Keep time.Duration `json:"keep,omitempty"` // the longest retention since; 0: for ever
}

// rounding is by how much a time of a mapping may move when it gets a further point, and more.
const rounding = int64(time.Millisecond)

// covers reports whether r lies wholly within what was deleted.
func (t *tombstone) covers(r span) bool {
	return span{t.From - rounding, t.To + rounding}.contains(r)
}

// Deleted is what DeleteRange did.
type Deleted struct {
	From, To time.Time // of what was asked for, so much; equal: there is nothing wholly within
	Copies   uint64
	Bytes    uint64
}

// LockedError says which lock a range touches.
type LockedError struct{ Lock Lock }

// Error implements error.
func (e *LockedError) Error() string {
	by := e.Lock.ID
	if e.Lock.Owner != "" {
		by += " of " + e.Lock.Owner
	}
	return fmt.Sprintf("%s to %s is locked (%s): unlock it first, or delete around it",
		e.Lock.From.Format(time.RFC3339), e.Lock.To.Format(time.RFC3339), by)
}

// Unwrap gives the sentinel.
func (e *LockedError) Unwrap() error { return errs.ErrLocked }

// DeleteRange deletes what lies wholly within [from, to), but for the segment that is being recorded and what comes behind
// it. It does not come back: neither from a peer nor by a crash or a rebuild. After an error (but for LockedError and
// errs.ErrInvalid, before which nothing is done) it may have been done in part; asked again, it is done whole.
func (st *Stream) DeleteRange(ctx context.Context, from, to time.Time) (Deleted, error) {
	r, err := makeSpan(from, to)
	if err != nil {
		return Deleted{}, fmt.Errorf("delete range: %w", err)
	}
	if err := st.s.Commit(ctx); err != nil { // what is sealed can be deleted
		return Deleted{}, fmt.Errorf("delete range: %w", err)
	}
	out, err := st.deleteSpan(ctx, r)
	if err != nil {
		return out, fmt.Errorf("delete range: %w", err)
	}
	st.lookForDeleted()
	st.s.log.Info("range deleted", "stream", st.name, "from", out.From, "to", out.To, "copies", out.Copies, "bytes", out.Bytes)
	return out, nil
}

func (st *Stream) deleteSpan(ctx context.Context, r span) (out Deleted, err error) {
	st.mending.lock() // nothing of it is being written elsewhere
	defer st.mending.unlock()
	if r, err = st.bury(r); err != nil {
		return out, err
	}
	out.From, out.To = time.Unix(0, r.From).UTC(), time.Unix(0, r.To).UTC()
	for r.From < r.To {
		if err := ctx.Err(); err != nil {
			return out, fmt.Errorf("it goes on: %w", err)
		}
		gone, err := st.takeSome()
		if err != nil {
			return out, err
		}
		if len(gone) == 0 {
			break
		}
		out.Copies += uint64(len(gone))
		for i := range gone {
			out.Bytes += gone[i].Info.Bytes
		}
	}
	return out, nil
}

// bury makes a tombstone durable before anything goes, and gives its range.
func (st *Stream) bury(r span) (span, error) {
	st.s.commitMu.Lock()
	defer st.s.commitMu.Unlock()
	r, err := st.deletable(r)
	if err != nil || r.From >= r.To {
		return span{r.From, r.From}, err
	}
	err = st.changeLocked(func(s *state) error {
		st.mu.Lock()
		last := st.lastFile
		for _, w := range st.files {
			w.rolled = true // what comes goes to others
		}
		st.mu.Unlock()
		t := tombstone{span: r, Last: last, Keep: s.Retention}
		s.Deleted = slices.DeleteFunc(slices.Clone(s.Deleted), func(o tombstone) bool {
			within := r.contains(o.span)
			if within {
				t.Keep = longest(t.Keep, o.Keep)
			}
			return within
		})
		if len(s.Deleted) >= maxLocks {
			return fmt.Errorf("a stream has at most %d deleted ranges; delete one that contains some: %w", maxLocks, errs.ErrInvalid)
		}
		s.Deleted = append(s.Deleted, t)
		return nil
	})
	st.deleting, st.looked = true, map[uint64]bool{}
	return r, err
}

// deletable gives the part of a range that can be deleted: before what is recorded now, and drawn in to the middle of what
// stands across its ends, so that a mapping that moves a little never takes that. Errors: LockedError.
func (st *Stream) deletable(r span) (span, error) {
	now := st.view()
	for i := range now.Locks {
		if l := &now.Locks[i]; now.holds(l) && l.overlaps(r) {
			return r, &LockedError{l.told()}
		}
	}
	r.To = min(r.To, st.s.clock.Now().UnixNano())
	st.mu.Lock()
	for _, c := range st.parts {
		if m := now.mapping(c.head.slot.Timeline); m != nil && !c.settled {
			start := slotStart(c.head.slot)
			if len(c.chunks) > 0 {
				start = c.u(c.partial().Start)
			}
			r.To = min(r.To, m.UTC(start).UnixNano())
		}
	}
	st.mu.Unlock()
	whole := r
	for _, row := range st.s.db.Rows(st.name) {
		for _, at := range []int64{whole.From, whole.To} {
			from, to := now.cells(row, span{at, at})
			err := st.s.db.Scan(st.name, row, from, to, func(c index.Row) bool {
				u := now.utc(row, c.Range)
				if u.From >= at || at >= u.To {
					return true
				}
				if mid := u.From + (u.To-u.From)/2; at == whole.From {
					r.From = max(r.From, mid)
				} else {
					r.To = min(r.To, mid)
				}
				return true
			})
			if err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

// dead reports whether what is on air at r, in a data file or (0) in none yet, was deleted. The caller holds mu.
func (st *Stream) dead(r span, file uint64) bool {
	return slices.ContainsFunc(st.state.Deleted, func(t tombstone) bool {
		return t.covers(r) && !st.liveBehind(file, t.Last)
	})
}

// liveBehind reports whether what is in a data file was recorded live when one with the number last was there: whatever time it has by
// the clock. The caller holds mu.
func (st *Stream) liveBehind(file, last uint64) bool {
	return file > last && strings.HasSuffix(st.fileNames[file], "-live.mp4")
}

// deadIn reports whether a copy in the index was deleted.
func (st *Stream) deadIn(now *state, row segment.TimelineID, r *index.Row) bool {
	at := now.utc(row, r.Range)
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.dead(at, r.File)
}

// deadCopy reports whether a copy that is on disk was deleted.
func (st *Stream) deadCopy(c *index.Copy) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.dead(st.state.utcOf(c), c.File)
}

// Refuses says why what is on air in [from, to) is not taken from a peer: errs.ErrDeleted, errs.ErrExpired, or nil.
func (st *Stream) Refuses(from, to time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	r := span{from.UnixNano(), to.UnixNano()}
	switch {
	case st.dead(r, 0):
		return errs.ErrDeleted
	case st.expired(to) && !st.state.locked(r):
		return errs.ErrExpired
	}
	return nil
}

// Span is a half-open range of UTC.
type Span struct{ From, To time.Time }

// Kept gives what is locked, in order and joined, and what was deleted: each range for itself, since what lies within two that
// touch, and within neither, is here.
func (st *Stream) Kept() (locked, deleted []Span) {
	now := st.view()
	var each []span
	for _, t := range now.Deleted {
		each = append(each, t.span)
	}
	slices.SortFunc(each, func(a, b span) int { return cmp.Compare(a.From, b.From) })
	return spans(now.locks()), spans(each)
}

// deleted gives what was deleted, in order and joined.
func (s *state) deleted() []span {
	var out []span
	for _, t := range s.Deleted {
		out = append(out, t.span)
	}
	return joined(out)
}

func spans(in []span) []Span {
	var out []Span
	for _, r := range in {
		out = append(out, Span{time.Unix(0, r.From).UTC(), time.Unix(0, r.To).UTC()})
	}
	return out
}

// takeSome takes deleteBatch copies that lie within a tombstone.
func (st *Stream) takeSome() ([]CopyInfo, error) {
	st.s.commitMu.Lock()
	defer st.s.commitMu.Unlock()
	if st.s.closed.Load() {
		return nil, ErrClosed
	}
	return st.takeDeleted(deleteBatch)
}

// takeDeleted takes up to limit copies that lie within a tombstone out of the index, and then the files that hold nothing
// more. The caller holds commitMu.
func (st *Stream) takeDeleted(limit int) ([]CopyInfo, error) {
	if !st.deleting {
		return nil, nil
	}
	rows, err := st.deadRows(limit)
	if err != nil {
		return nil, err
	}
	tx := st.s.db.Begin()
	defer tx.Close()
	var gone []CopyInfo
	for _, r := range rows {
		c, err := st.remove(tx, r)
		if err == nil {
			err = st.keepDeleted(tx, &c)
		}
		if err != nil {
			return nil, err
		}
		gone = append(gone, st.copyInfo(&c))
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	for i := range gone {
		st.tell(Event{Time: st.s.clock.Now(), Kind: EventDeleted, Copy: gone[i]})
	}
	if len(rows) < limit {
		st.deleting = false
	}
	st.removeEmpty()
	return gone, nil
}

// keepDeleted notes that a digest was deleted, so that whoever asks for it is told.
func (st *Stream) keepDeleted(tx *index.Tx, c *index.Copy) error {
	return tx.Bury(st.name, c.Info.Digest, st.view().utcOf(c).To)
}

// deadRows gives up to limit copies in the index that were deleted.
func (st *Stream) deadRows(limit int) (out []index.Row, err error) {
	now := st.view()
	type place struct {
		segment.Slot
		segment.Digest
	}
	seen := map[place]bool{}
	for _, row := range st.s.db.Rows(st.name) {
		for _, t := range now.Deleted {
			from, to := now.cells(row, t.span)
			err := st.s.db.Scan(st.name, row, from, to, func(r index.Row) bool {
				if at := (place{r.Slot, r.Digest}); !seen[at] && t.covers(now.utc(row, r.Range)) && st.deadIn(now, row, &r) {
					seen[at] = true
					out = append(out, r)
				}
				return len(out) < limit
			})
			if err != nil || len(out) >= limit {
				return out, err
			}
		}
	}
	return out, nil
}

// lookForDeleted reads the files that removeEmpty could not judge, and has it remove those of which nothing is left. A file in
// which there is more is looked at again when more is deleted. It takes as long as the files are large, and holds up nobody.
func (st *Stream) lookForDeleted() {
	st.s.commitMu.Lock()
	files, before := st.unlooked, st.view().Revision
	st.s.commitMu.Unlock()
	if len(files) == 0 {
		return
	}
	all := make([]bool, len(files))
	for i, f := range files {
		if st.s.closed.Load() {
			return
		}
		all[i] = st.allDeleted(f)
	}
	st.s.commitMu.Lock()
	defer st.s.commitMu.Unlock()
	if st.s.closed.Load() || st.view().Revision != before {
		return
	}
	for i, f := range files {
		st.looked[f.No] = all[i]
	}
	st.removeEmpty()
}

// allDeleted reports whether all that was ever in a closed file was deleted: it knows then of no copy what took its place.
func (st *Stream) allDeleted(f index.File) bool {
	p, err := st.scanFile(index.File{No: f.No, Name: f.Name}, false)
	all := err == nil && p.adopt && !p.left
	for i := range p.copies {
		all = all && st.deadCopy(&p.copies[i])
	}
	return all
}

// hadDeleted reports whether the newest media of a file was deleted. The caller holds mu.
func (st *Stream) hadDeleted(f *index.File) bool {
	return slices.ContainsFunc(st.state.Deleted, func(t tombstone) bool {
		return f.No <= t.Last && t.From < f.Newest && f.Newest <= t.To
	})
}

// forgetDeleted removes the tombstones behind which the longest retention has passed, when no file is left in which
// something of them may lie, and no lock would take it again.
func (st *Stream) forgetDeleted() error {
	now := st.view()
	if len(now.Deleted) == 0 {
		return nil
	}
	files, err := st.s.db.Files(st.name)
	if err != nil {
		return err
	}
	var gone int64
	past := func(t tombstone) bool {
		return t.Keep > 0 && t.To <= now.Mark && t.To <= now.Seen-int64(t.Keep) && !now.locked(t.span) &&
			!slices.ContainsFunc(files, func(f index.File) bool {
				return f.No <= t.Last && t.overlaps(span{earliest(f.Name), max(f.Newest, latest(f.Name))})
			})
	}
	for _, t := range now.Deleted {
		if past(t) {
			gone = max(gone, t.To)
		}
	}
	if gone == 0 {
		return nil
	}
	if err := st.s.db.Unbury(st.name, gone); err != nil {
		return err
	}
	err = st.changeLocked(func(s *state) error {
		s.Deleted = slices.DeleteFunc(slices.Clone(s.Deleted), past)
		return nil
	})
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// longest is the longer of two retentions, of which 0 is for ever.
func longest(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}
