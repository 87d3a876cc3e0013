package store

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Lock keeps what touches a half-open range of UTC beyond all retention, also what arrives later.
type Lock struct {
	ID      string
	From    time.Time
	To      time.Time
	Owner   string
	Comment string
	Until   time.Time // when it ends by itself; zero: never
}

// Bounds of what an operator may say.
const (
	maxLocks = 1000 // of a stream, and so many deleted ranges
	maxText  = 256
	maxYear  = 2200
)

var lockID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// span is a half-open range of UTC, in nanoseconds since 1970.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

func (r span) overlaps(o span) bool { return r.From < o.To && o.From < r.To }
func (r span) contains(o span) bool { return r.From <= o.From && o.To <= r.To }

func (r span) moved(by time.Duration) span { return span{r.From + int64(by), r.To + int64(by)} }

// makeSpan checks a range of UTC.
func makeSpan(from, to time.Time) (span, error) {
	const year = 365 * 24 * time.Hour
	r := span{from.UnixNano(), to.UnixNano()}
	if from.IsZero() || to.IsZero() || from.Year() < 1970 || to.Year() > maxYear || !from.Before(to) {
		return r, fmt.Errorf("a range needs an end behind its beginning, both after 1970: %w", errs.ErrInvalid)
	}
	if to.Sub(from) > 100*year {
		return r, fmt.Errorf("a range has at most 100 years: %w", errs.ErrInvalid)
	}
	return r, nil
}

// lock is a Lock in the state.
type lock struct {
	span
	ID      string `json:"id"`
	Owner   string `json:"owner,omitempty"`
	Comment string `json:"comment,omitempty"`
	Until   int64  `json:"until,omitempty"`
	Edge    int64  `json:"edge,omitempty"` // what ended before this may have gone when it was made
}

func (l *lock) told() Lock {
	out := Lock{
		ID: l.ID, From: time.Unix(0, l.From).UTC(), To: time.Unix(0, l.To).UTC(), Owner: l.Owner, Comment: l.Comment,
	}
	if l.Until > 0 {
		out.Until = time.Unix(0, l.Until).UTC()
	}
	return out
}

// Lock keeps a range. Without an id it gets one; one that exists is changed. When Lock returns it is durable, and nothing that
// was there goes any more. Errors: errs.ErrInvalid.
func (st *Stream) Lock(l Lock) (Lock, error) {
	r, err := makeSpan(l.From, l.To)
	if err != nil {
		return Lock{}, fmt.Errorf("lock: %w", err)
	}
	fresh := lock{span: r, ID: l.ID, Owner: l.Owner, Comment: l.Comment}
	if l.ID == "" {
		var b [8]byte
		st.s.random(b[:])
		fresh.ID = hex.EncodeToString(b[:])
	}
	if !lockID.MatchString(fresh.ID) {
		return Lock{}, fmt.Errorf("lock: an id has 1 to 64 of the characters A-Z a-z 0-9 _ -: %w", errs.ErrInvalid)
	}
	for _, text := range []string{l.Owner, l.Comment} {
		if len(text) > maxText || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return Lock{}, fmt.Errorf("lock: owner and comment have at most %d bytes and one line: %w", maxText, errs.ErrInvalid)
		}
	}
	if !l.Until.IsZero() {
		if !l.Until.After(st.s.clock.Now()) {
			return Lock{}, fmt.Errorf("lock: it would have ended at %s: %w", l.Until.UTC().Format(time.RFC3339), errs.ErrInvalid)
		}
		if l.Until.Year() > maxYear { // its nanoseconds since 1970 may be negative, and so long ago
			return Lock{}, fmt.Errorf("lock: it ends in %d at the latest, or never: %w", maxYear, errs.ErrInvalid)
		}
		fresh.Until = l.Until.UnixNano()
	}
	err = st.change(func(s *state) error {
		fresh.Edge = s.Taken
		s.Locks = slices.Clone(s.Locks)
		if i := slices.IndexFunc(s.Locks, func(o lock) bool { return o.ID == fresh.ID }); i >= 0 {
			s.Locks[i] = fresh
			return nil
		}
		if len(s.Locks) >= maxLocks {
			return fmt.Errorf("lock: a stream has at most %d locks: %w", maxLocks, errs.ErrInvalid)
		}
		s.Locks = append(s.Locks, fresh)
		return nil
	})
	if err != nil {
		return Lock{}, err
	}
	st.s.log.Info("range locked", "stream", st.name, "id", fresh.ID, "from", l.From.UTC(), "to", l.To.UTC(), "owner", l.Owner)
	return fresh.told(), nil
}

// Unlock removes a lock; what retention would have taken goes with the next passes. Errors: errs.ErrUnknown.
func (st *Stream) Unlock(id string) (Lock, error) {
	var old Lock
	err := st.change(func(s *state) error {
		i := slices.IndexFunc(s.Locks, func(o lock) bool { return o.ID == id })
		if i < 0 {
			return fmt.Errorf("unlock %q: %w", id, errs.ErrUnknown)
		}
		old = s.Locks[i].told()
		s.Locks = slices.Delete(slices.Clone(s.Locks), i, i+1)
		return nil
	})
	if err == nil {
		st.s.log.Info("range unlocked", "stream", st.name, "id", id, "from", old.From, "to", old.To)
	}
	return old, err
}

// Locks gives the locks by where they begin.
func (st *Stream) Locks() []Lock {
	now := st.view()
	var out []Lock
	for i := range now.Locks {
		if l := &now.Locks[i]; now.holds(l) {
			out = append(out, l.told())
		}
	}
	slices.SortStableFunc(out, func(a, b Lock) int { return cmp.Or(a.From.Compare(b.From), strings.Compare(a.ID, b.ID)) })
	return out
}

// change changes locks or tombstones: durable when it returns, and in the head of every file that begins from now on.
// No pass of retention runs meanwhile.
func (st *Stream) change(f func(*state) error) error {
	st.s.commitMu.Lock()
	defer st.s.commitMu.Unlock()
	return st.changeLocked(f)
}

// changeLocked is change for who holds commitMu.
func (st *Stream) changeLocked(f func(*state) error) error {
	if st.s.closed.Load() {
		return ErrClosed
	}
	st.stateMu.Lock()
	defer st.stateMu.Unlock()
	fresh := st.state
	if err := f(&fresh); err != nil {
		return err
	}
	fresh.Revision++
	err := st.putState(fresh)
	if noRoom(err) { // what is deleted or unlocked makes some
		if _, e := st.s.releaseBallast(); e == nil {
			err = st.putState(fresh)
		}
	}
	if err != nil {
		return err
	}
	st.keepSpare(&fresh)
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, w := range st.files {
		w.rolled = true
	}
	return nil
}

// moveSaid moves what an operator has said of the times of a row, which are to be others: he said it of the media. Where it is about media of
// another row too, that keeps it. stateMu is held.
func (st *Stream) moveSaid(s *state, row segment.TimelineID, by time.Duration) {
	var reach span
	var others []span
	for _, r := range s.Rows {
		st.span(&r)
		has := span{r.Mapping.UTC(r.First).UnixNano(), r.Mapping.UTC(r.Last).UnixNano()}
		switch last := r.Mapping[len(r.Mapping)-1]; {
		case r.ID == row: // what is being recorded is not in the index, nor is what was deleted
			reach = span{r.Mapping[0].UTC, r.Mapping.UTC(max(r.Last, last.U) + 2*timeline.CellTicks).UnixNano()}
		case r.Last > 0:
			others = append(others, has)
		}
	}
	ofOthers := func(r span) bool { return slices.ContainsFunc(others, r.overlaps) }
	locks := slices.Clone(s.Locks)
	for i := range s.Locks {
		l := s.Locks[i]
		if !l.overlaps(reach) {
			continue
		}
		kept := ofOthers(l.span)
		l.span, l.Edge = l.moved(by), l.Edge+int64(by)
		if kept {
			var b [8]byte
			st.s.random(b[:])
			l.ID = hex.EncodeToString(b[:])
			locks = append(locks, l)
		} else {
			locks[i] = l
		}
		st.s.log.Warn("lock goes with the timeline that it is of", "stream", st.name, "id", l.ID, "by", by, "another_stays", kept)
	}
	deleted := slices.Clone(s.Deleted)
	for i, t := range s.Deleted {
		if !t.overlaps(reach) || ofOthers(t.moved(by)) {
			continue
		}
		kept := ofOthers(t.span)
		if t.span = t.moved(by); kept {
			deleted = append(deleted, t)
		} else {
			deleted[i] = t
		}
	}
	s.Locks, s.Deleted = locks, deleted
}

// view gives the state as it is now, to be read without mu.
func (st *Stream) view() *state {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.state
	return &now
}

// holds reports whether a lock has not ended, by the clock of retention: a leap ends none.
func (s *state) holds(l *lock) bool { return l.Until == 0 || l.Until > s.Seen }

// locks gives what is locked, in order and joined.
func (s *state) locks() []span {
	var out []span
	for i := range s.Locks {
		if l := &s.Locks[i]; s.holds(l) {
			out = append(out, l.span)
		}
	}
	return joined(out)
}

// joined puts spans in order and makes one of those that touch.
func joined(in []span) []span {
	slices.SortFunc(in, func(a, b span) int { return cmp.Compare(a.From, b.From) })
	var out []span
	for _, r := range in {
		if n := len(out); n > 0 && r.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}

// locked reports whether a range of UTC touches a lock.
func (s *state) locked(r span) bool {
	for i := range s.Locks {
		if l := &s.Locks[i]; l.overlaps(r) && s.holds(l) {
			return true
		}
	}
	return false
}

// mapping gives the mapping of a row, empty where there is none.
func (s *state) mapping(row segment.TimelineID) timeline.Mapping {
	if r := s.row(row); r != nil {
		return r.Mapping
	}
	return nil
}

// utc gives when a copy is on air, by its row's mapping.
func (s *state) utc(row segment.TimelineID, r timeline.Range) span {
	m := s.mapping(row)
	return span{m.UTC(r.From).UnixNano(), m.UTC(r.To).UnixNano()}
}

func (s *state) utcOf(c *index.Copy) span {
	return s.utc(c.Slot.Timeline, timeline.Range{From: c.U(c.Info.Start), To: c.U(c.Info.End)})
}

// cells gives the cells in which a copy that touches a range of UTC may have its slot.
func (s *state) cells(row segment.TimelineID, r span) (from, to int64) {
	u := bounds(s.mapping(row), time.Unix(0, r.From), time.Unix(0, r.To))
	return index.CellOf(u.From) - index.MaxCells, index.CellOf(u.To) + 2
}

// holdsLocked reports whether a data file holds a copy that is locked in s.
func (st *Stream) holdsLocked(s *state, f *index.File) (bool, error) {
	if f.Copies == 0 {
		return false, nil
	}
	for _, l := range s.locks() {
		r := span{max(l.From, hourOf(f).From), min(l.To, f.Newest)}
		if r.From >= r.To {
			continue
		}
		for _, row := range st.s.db.Rows(st.name) {
			from, to := s.cells(row, r)
			found := false
			err := st.s.db.Scan(st.name, row, from, to, func(c index.Row) bool {
				found = c.File == f.No && l.overlaps(s.utc(row, c.Range))
				return !found
			})
			if found || err != nil {
				return found, err
			}
		}
	}
	return false, nil
}

// unlocked gives the pieces of [from, to) of cells that do not lie wholly within a lock: what is locked for long is not
// looked at in each pass.
func (s *state) unlocked(row segment.TimelineID, from, to int64) [][2]int64 {
	var out [][2]int64
	for _, l := range s.locks() {
		a, b := s.cells(row, l)
		a, b = max(from, a+index.MaxCells+1), b-3 // those in which each copy begins within the lock
		if a >= b {
			continue
		}
		if from < min(a, to) {
			out = append(out, [2]int64{from, min(a, to)})
		}
		from = max(from, b)
	}
	if from < to {
		out = append(out, [2]int64{from, to})
	}
	return out
}

// endLocks removes the locks that have ended.
func (st *Stream) endLocks() {
	now := st.view()
	ended := func(l lock) bool { return !now.holds(&l) }
	if !slices.ContainsFunc(now.Locks, ended) {
		return
	}
	err := st.changeLocked(func(s *state) error {
		s.Locks = slices.DeleteFunc(slices.Clone(s.Locks), ended)
		return nil
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		st.s.log.Error("locks that have ended stay in the state", "stream", st.name, "err", err)
	}
}
