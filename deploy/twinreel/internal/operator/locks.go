package operator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/errs"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// LockTerms is what is said of a lock beside its range.
type LockTerms struct {
	ID, Owner, Comment string
	Until              time.Time // zero: never
}

// Lock keeps a range beyond retention, by one id on every dvrsvc that has something of the stream.
func (s *Site) Lock(ctx context.Context, stream string, r archive.Range, t LockTerms) error {
	h, err := s.holders(ctx, maintenance, stream)
	if err != nil {
		return err
	}
	if t.ID == "" {
		var b [8]byte
		_, _ = rand.Read(b[:])
		t.ID = hex.EncodeToString(b[:])
	}
	l := &dvrv1.Lock{Id: t.ID, From: stamp(r.From), To: stamp(r.To), Owner: t.Owner, Comment: t.Comment, Until: stamp(t.Until)}
	for _, p := range h.parts {
		m, err := dvrv1.NewMaintenanceServiceClient(p.conn).LockRange(ctx, &dvrv1.LockRangeRequest{Stream: stream, Lock: l})
		if err != nil {
			return p.asked("lock", err)
		}
		l = m.GetLock()
	}
	return s.told(h, map[string]any{"stream": stream, "lock": raw(l)}, func() { s.printLock(l) })
}

// Unlock removes a lock wherever it is.
func (s *Site) Unlock(ctx context.Context, stream, id string) error {
	h, err := s.holders(ctx, maintenance, stream)
	if err != nil {
		return err
	}
	var gone *dvrv1.Lock
	var unknown error
	for _, p := range h.parts {
		m, err := dvrv1.NewMaintenanceServiceClient(p.conn).UnlockRange(ctx, &dvrv1.UnlockRangeRequest{Stream: stream, Id: id})
		switch err = p.asked("unlock", err); {
		case errors.Is(err, errs.ErrUnknown):
			unknown = err
		case err != nil:
			return err
		default:
			gone = m.GetLock()
		}
	}
	if gone == nil {
		return unknown
	}
	return s.told(h, map[string]any{"stream": stream, "lock": raw(gone)}, func() { s.printf("unlocked "); s.printLock(gone) })
}

// Locks prints what is locked and what was deleted.
func (s *Site) Locks(ctx context.Context, stream string) error {
	h, err := s.holders(ctx, index, stream)
	if err != nil {
		return err
	}
	var locks []*dvrv1.Lock
	var deleted []*dvrv1.Span
	seen := map[string]bool{}
	for _, p := range h.parts {
		m, err := dvrv1.NewIndexServiceClient(p.conn).ListLocks(ctx, &dvrv1.ListLocksRequest{Stream: stream})
		if err != nil {
			return p.asked("list locks", err)
		}
		for _, l := range m.GetLocks() {
			if !seen[l.GetId()] {
				seen[l.GetId()] = true
				locks = append(locks, l)
			}
		}
		deleted = append(deleted, m.GetDeleted()...)
	}
	return s.told(h, map[string]any{"stream": stream, "locks": raws(locks), "deleted": raws(deleted)}, func() {
		for _, l := range locks {
			s.printLock(l)
		}
		for _, d := range deleted {
			s.printf("%s  %s  %10s  deleted\n", clock(d.GetFrom()), clock(d.GetTo()), span(d.GetFrom(), d.GetTo()))
		}
		if len(locks)+len(deleted) == 0 {
			s.printf("nothing is locked, and nothing was deleted\n")
		}
	})
}

// Delete deletes a range wherever the site has it. Nothing deleted is a difference.
func (s *Site) Delete(ctx context.Context, stream string, r archive.Range) error {
	h, err := s.holders(ctx, maintenance, stream)
	if err != nil {
		return err
	}
	var all []*dvrv1.DeleteRangeResponse
	var copies uint64
	var refused error
	for _, p := range h.parts {
		m, err := dvrv1.NewMaintenanceServiceClient(p.conn).DeleteRange(ctx, &dvrv1.DeleteRangeRequest{
			Stream: stream, From: stamp(r.From), To: stamp(r.To),
		})
		if err != nil {
			refused = p.asked("delete", err)
			break
		}
		all = append(all, m)
		copies += m.GetCopies()
	}
	if refused != nil && len(all) == 0 {
		return refused
	}
	err = s.told(h, map[string]any{"stream": stream, "deleted": raws(all)}, func() { // what is gone is gone, whatever came then
		for _, d := range all {
			s.printf("%s  %s  %10s  %d copies, %s deleted\n", clock(d.GetFrom()), clock(d.GetTo()), span(d.GetFrom(), d.GetTo()), d.GetCopies(), size(d.GetBytes()))
		}
	})
	if refused != nil {
		return refused
	}
	if err == nil && copies == 0 {
		err = fmt.Errorf("%w: nothing lies wholly within the range", ErrDifference)
	}
	return err
}

// told prints an answer, and is an error where somebody who may have to do with it did not answer.
func (s *Site) told(h *holders, json map[string]any, text func()) error {
	if !s.json {
		text()
	} else if err := s.printJSON(json); err != nil {
		return err
	}
	return h.incomplete()
}

func (s *Site) printLock(l *dvrv1.Lock) {
	s.printf("%s  %s  %10s  locked: %s", clock(l.GetFrom()), clock(l.GetTo()), span(l.GetFrom(), l.GetTo()), l.GetId())
	if o := l.GetOwner(); o != "" {
		s.printf(", of %s", plain(o))
	}
	if u := l.GetUntil(); u != nil {
		s.printf(", until %s", clock(u))
	}
	if c := l.GetComment(); c != "" {
		s.printf(": %s", plain(c))
	}
	s.printf("\n")
}
