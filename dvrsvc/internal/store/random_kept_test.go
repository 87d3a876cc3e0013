package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// keeping is what the model knows of retention, locks and deletions.
type keeping struct {
	water    int64           // before it something may have expired, or gone to a limit
	locks    map[string]kept // by id: those that were said to be made
	unlocked []string        // those that were said to be removed
	deleted  []kept          // what was said to be deleted
	next     int
}

// kept is a range of UTC. water and cell: what may have gone, and what was not recorded, when it was made.
type kept struct {
	span
	water int64
	cell  int
}

// keep does what an operator may do: change the rule, lock, unlock, delete.
func (r *random) keep() {
	life, cuts := r.lives, r.cutAt.Load()
	said := func(err error) bool { return err == nil && life == r.lives && cuts == r.cutAt.Load() }
	from := length(r.rnd.IntN(r.cell + 2))
	to := from + length(r.rnd.IntN(6)) + int64(time.Second)
	from -= r.rnd.Int64N(int64(time.Second))
	at := span{from + testEpoch.UnixNano() + int64(time.Second), to + testEpoch.UnixNano() + 2*int64(time.Second)}
	lock := kept{at, r.water, r.cell}
	switch k := r.rnd.IntN(8); {
	case k < 2:
		r.st.SetRetention([]Rule{
			{}, {Limit: Limit{Bytes: uint64(60_000 + r.rnd.IntN(400_000))}},
			{Age: time.Hour + time.Duration(r.rnd.IntN(600))*time.Second},
		}[r.rnd.IntN(3)])
	case k < 5:
		_ = r.s.Sweep(context.Background())
	case k < 6:
		r.next++
		id := fmt.Sprint("lock", r.next)
		if _, err := r.st.Lock(Lock{ID: id, From: time.Unix(0, at.From), To: time.Unix(0, at.To)}); said(err) {
			r.locks[id] = lock
		}
	case k < 7:
		for id := range r.locks {
			delete(r.locks, id)
			if _, err := r.st.Unlock(id); said(err) {
				r.unlocked = append(r.unlocked, id)
			}
			break
		}
	default:
		r.delete(at, said)
	}
	r.water = max(r.water, r.st.view().Taken)
}

// length is how long so many cells are, in nanoseconds.
func length(cells int) int64 { return int64((timeline.Ticks(cells) * timeline.CellTicks).Duration()) }

// delete deletes a range. Of what touches it the model knows nothing any more.
func (r *random) delete(at span, said func(error) bool) {
	for id, l := range r.locks {
		if l.overlaps(at) {
			if _, err := r.st.DeleteRange(context.Background(), time.Unix(0, at.From), time.Unix(0, at.To)); err == nil {
				r.t.Errorf("%s was deleted", id)
			}
			return
		}
	}
	cell := r.cell
	d, err := r.st.DeleteRange(context.Background(), time.Unix(0, at.From), time.Unix(0, at.To))
	if errors.Is(err, errs.ErrLocked) { // by a lock that was not said to be made
		return
	}
	for digest, m := range r.released {
		if r.spanOf(m).overlaps(at) {
			delete(r.released, digest)
		}
	}
	if said(err) && d.From.Before(d.To) {
		r.deleted = append(r.deleted, kept{span{d.From.UnixNano(), d.To.UnixNano()}, 0, cell})
	}
}

func (r *random) spanOf(m *made) span {
	return span{
		testEpoch.Add((m.info.Start - timeline.Wrap).Duration()).UnixNano(),
		testEpoch.Add((m.info.End - timeline.Wrap).Duration()).UnixNano(),
	}
}

// within reports whether a segment touches one of some ranges.
func (r *random) within(m *made, ranges []kept) bool {
	return slices.ContainsFunc(ranges, func(k kept) bool { return k.overlaps(r.spanOf(m)) })
}

// mayGo reports whether retention may have taken something of a segment.
func (r *random) mayGo(m *made) bool {
	at := r.spanOf(m)
	r.water = max(r.water, r.st.view().Taken)
	for _, l := range r.locks {
		if l.contains(at) && l.water <= at.From {
			return false
		}
	}
	return at.From <= r.water
}

// isDeleted reports whether a copy should not be here.
func (r *random) isDeleted(c *CopyInfo) bool {
	at := span{c.UTC.UnixNano(), c.UTCEnd.UnixNano()}
	return slices.ContainsFunc(r.deleted, func(k kept) bool {
		ended := k.To <= r.water // its tombstone may have
		return k.contains(at) && !ended && !(c.Live && c.Slot.AbsCell() >= int64(k.cell))
	})
}

// checkKept holds the locks to the model.
func (r *random) checkKept() {
	r.t.Helper()
	have := map[string]bool{}
	for _, l := range r.st.Locks() {
		have[l.ID] = true
	}
	for id := range r.locks {
		if !have[id] {
			r.t.Errorf("%s is not there", id)
		}
	}
	for _, id := range r.unlocked {
		if have[id] {
			r.t.Errorf("%s was removed and is there", id)
		}
	}
}
