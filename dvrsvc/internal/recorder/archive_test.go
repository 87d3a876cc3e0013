package recorder

import (
	"bytes"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// fakeArchive keeps copies in memory; nothing is durable before commit.
type fakeArchive struct {
	t         *testing.T
	rows      []store.Row
	put       map[segment.TimelineID]bool // rows that were ever here
	copies    map[segment.Slot][]*fakeCopy
	dirty     []func()
	nextID    uint64
	open      map[uint64]*fakeCopy
	full      bool
	tight     bool          // what is open takes nothing more
	fails     error         // of Begin
	failsSeal error         // of Seal
	stall     chan struct{} // PutTimeline waits for it to be closed
	stored    uint64        // bytes that came in
	mark      time.Time
	deleted   time.Time // from mark to here
	absorbs   int
}

type fakeCopy struct {
	a       *fakeArchive
	id      uint64
	slot    segment.Slot
	o       store.BeginOptions
	tracks  []segment.Track
	chunks  []segment.Chunk
	parts   [][]byte
	faults  segment.Evidence
	info    segment.Info
	durable bool
	ended   bool
}

func newFakeArchive(t *testing.T) *fakeArchive {
	return &fakeArchive{t: t, copies: map[segment.Slot][]*fakeCopy{}, open: map[uint64]*fakeCopy{}, put: map[segment.TimelineID]bool{}}
}

func (a *fakeArchive) Begin(slot segment.Slot, _ []segment.Init, tracks []segment.Track, o store.BeginOptions) (Copy, error) {
	if a.fails != nil {
		return nil, a.fails
	}
	if a.full {
		return nil, errs.ErrFull
	}
	if len(tracks) == 0 || segment.MakeInitSet(tracks) != slot.InitSet {
		return nil, errs.ErrInvalid
	}
	i := slices.IndexFunc(a.rows, func(r store.Row) bool { return r.ID == slot.Timeline })
	if i < 0 {
		return nil, errs.ErrUnknown
	}
	end := timeline.Wrap + timeline.Ticks(slot.AbsCell()+1)*timeline.CellTicks
	if !o.Live && !a.mark.IsZero() && !a.rows[i].Mapping.UTC(end).After(a.mark) {
		return nil, errs.ErrExpired
	}
	a.nextID++
	c := &fakeCopy{a: a, id: a.nextID, slot: slot, o: o, tracks: tracks}
	a.open[c.id] = c
	return c, nil
}

func (c *fakeCopy) ID() uint64 { return c.id }

func (c *fakeCopy) Append(ch segment.Chunk, data []byte, ev segment.Evidence) error {
	if crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) != ch.CRC {
		return errs.ErrCorrupt
	}
	if c.a.tight {
		return errs.ErrFull
	}
	c.chunks = append(c.chunks, ch)
	c.parts = append(c.parts, data)
	c.a.stored += uint64(len(data))
	c.faults.Faulty = append(c.faults.Faulty, ev.Faulty...)
	c.faults.Missing = append(c.faults.Missing, ev.Missing...)
	return nil
}

func (c *fakeCopy) Seal(info segment.Info, done func(store.Outcome, error)) error {
	if c.ended {
		c.a.t.Errorf("copy in %s is sealed twice", c.slot)
	}
	if segment.Sum(bytes.Join(c.parts, nil)) != info.Digest {
		return errs.ErrCorrupt
	}
	if info.End <= info.Start || segment.MakeInitSet(info.Tracks) != c.slot.InitSet {
		return errs.ErrInvalid
	}
	if c.a.failsSeal != nil {
		return c.a.failsSeal
	}
	c.ended = true
	c.a.dirty = append(c.a.dirty, func() {
		if other := c.a.held(info.Digest, c.slot); other != nil {
			other.hear(&info)
			done(store.Outcome{Copy: other.copyInfo(), By: info.Digest}, nil)
			return
		}
		if !c.o.Live && len(c.a.copies[c.slot]) >= segment.MaxCopies {
			done(store.Outcome{}, errs.ErrConflictLimit)
			return
		}
		c.info, c.durable = info, true
		c.a.copies[c.slot] = append(c.a.copies[c.slot], c)
		done(store.Outcome{Copy: c.copyInfo(), Kept: true}, nil)
	})
	return nil
}

func (c *fakeCopy) Break(done func(store.Outcome, error)) {
	b := bytes.Join(c.parts, nil)
	info := segment.Info{
		Start: timeline.Ticks(c.slot.Cell)*timeline.CellTicks + timeline.Wrap, Digest: segment.Sum(b), Bytes: uint64(len(b)),
		Tracks: c.tracks, Path: c.o.Path, Evidence: c.faults,
	}
	info.End, info.Evidence.StartUncertain, info.Evidence.EndUncertain = info.Start+timeline.Ticks(len(c.parts)), c.o.StartUncertain, true
	if len(b) == 0 {
		c.a.dirty = append(c.a.dirty, func() { done(store.Outcome{}, nil) })
		return
	}
	if err := c.Seal(info, done); err != nil {
		c.a.t.Error(err)
	}
}

func (c *fakeCopy) Drop() { c.ended = true }

func (c *fakeCopy) copyInfo() store.CopyInfo {
	return store.CopyInfo{Slot: c.slot, Info: c.info, Live: c.o.Live, UTC: c.a.utc(c.slot, c.info.Start)}
}

func (a *fakeArchive) commit() {
	dirty := a.dirty
	a.dirty = nil
	for _, f := range dirty {
		f()
	}
}

func (a *fakeArchive) infos(slot segment.Slot) []*segment.Info {
	var out []*segment.Info
	for _, c := range a.copies[slot] {
		out = append(out, &c.info)
	}
	return out
}

func (a *fakeArchive) Contains(slot segment.Slot, info *segment.Info) bool {
	return segment.Covers(a.infos(slot), info)
}

func (a *fakeArchive) Absorb(slot segment.Slot, info *segment.Info, done func(error)) bool {
	if !a.Contains(slot, info) {
		return false
	}
	a.absorbs++
	if c := a.held(info.Digest, slot); c == nil || info.Evidence.Less(&c.info.Evidence) {
		a.dirty = append(a.dirty, func() {
			if c != nil {
				c.hear(info)
			}
			done(nil)
		})
		return true
	}
	done(nil)
	return true
}

// held finds a copy by its digest, in its slot or at the same moment in another.
func (a *fakeArchive) held(d segment.Digest, slot segment.Slot) *fakeCopy {
	for _, cs := range a.copies {
		for _, c := range cs {
			if c.info.Digest == d && a.utc(c.slot, c.info.Start).Sub(a.utc(slot, c.info.Start)).Abs() < store.SameMoment {
				return c
			}
		}
	}
	return nil
}

// utc is when a segment that starts there began.
func (a *fakeArchive) utc(slot segment.Slot, start timeline.Ticks) time.Time {
	i := slices.IndexFunc(a.rows, func(r store.Row) bool { return r.ID == slot.Timeline })
	return a.rows[i].Mapping.UTC(startU(slot, start))
}

// hear lets the smaller evidence hold.
func (c *fakeCopy) hear(info *segment.Info) {
	if info.Evidence.Less(&c.info.Evidence) {
		c.info = *info
	}
}

// Places gives what is of the youngest row first.
func (a *fakeArchive) Places(d segment.Digest) (out []store.CopyInfo, err error) {
	for _, r := range slices.Backward(a.rows) {
		for slot, cs := range a.copies {
			for _, c := range cs {
				if slot.Timeline == r.ID && c.info.Digest == d {
					out = append(out, c.copyInfo())
				}
			}
		}
	}
	return out, nil
}

// find gives the only copy with a digest, or the zero value.
func (a *fakeArchive) find(d segment.Digest) store.CopyInfo {
	if places, _ := a.Places(d); len(places) == 1 {
		return places[0]
	}
	return store.CopyInfo{}
}

func (a *fakeArchive) Newest() (newest store.CopyInfo, ok bool) {
	for _, cs := range a.copies {
		for _, c := range cs {
			if c.info.Evidence.EndUncertain || !c.o.Live {
				continue
			}
			if i := c.copyInfo(); !ok || i.Slot.AbsCell() > newest.Slot.AbsCell() {
				newest, ok = i, true
			}
		}
	}
	return newest, ok
}

func (a *fakeArchive) Refuses(from, to time.Time) error {
	switch {
	case !a.deleted.IsZero() && !from.Before(a.mark) && !to.After(a.deleted):
		return errs.ErrDeleted
	case to.Before(a.mark):
		return errs.ErrExpired
	}
	return nil
}
func (a *fakeArchive) Timelines() []store.Row              { return slices.Clone(a.rows) }
func (a *fakeArchive) SetRetention(store.Rule)             {}
func (a *fakeArchive) Locks() []store.Lock                 { return nil }
func (a *fakeArchive) ClockIsRight() bool                  { return true }
func (a *fakeArchive) Watch() (<-chan store.Event, func()) { return nil, func() {} }
func (a *fakeArchive) digests(slot segment.Slot) (n int)   { return len(a.copies[slot]) }
func (a *fakeArchive) ReadOpen(id uint64, i int) ([]byte, error) {
	if c := a.open[id]; c != nil && i < len(c.parts) {
		return c.parts[i], nil
	}
	return nil, errs.ErrUnknown
}

func (a *fakeArchive) Ranges(from, to time.Time) (out []store.Range) {
	for slot, cs := range a.copies {
		for _, c := range cs {
			r := store.Range{From: a.utc(slot, c.info.Start), To: a.utc(slot, c.info.End), Damaged: c.info.Evidence.Damaged()}
			if r.To.After(from) && r.From.Before(to) {
				out = append(out, r)
			}
		}
	}
	return out
}

func (a *fakeArchive) PutTimeline(r store.Row) error {
	if a.stall != nil {
		<-a.stall
	}
	a.put[r.ID] = true
	for i := range a.rows {
		if a.rows[i].ID == r.ID {
			a.rows[i] = r
			return nil
		}
	}
	a.rows = append(a.rows, r)
	return nil
}
