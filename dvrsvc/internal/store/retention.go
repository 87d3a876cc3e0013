package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// sweepEvery is how often retention runs.
	sweepEvery = 10 * time.Second
	// leap is how far the wall clock may run ahead of the monotonic one before retention asks whether it is right; a
	// tenth of a retention that is shorter than ten of these.
	leap = time.Hour
	// agreement is how far a clock may be from one that is right and pass for right itself.
	agreement = 5 * time.Minute
	// sweepBatch and deleteBatch bound what expires, and what is deleted, between two commits, so that none is delayed for
	// long: 50 ms.
	sweepBatch  = 1000
	deleteBatch = 200
)

// SetRetention says how long segments are kept. Run applies it, and nothing before it was said. A longer age than before moves the mark back, and a wider
// limit the floor, so that what has gone meanwhile may be fetched again. The limit of the storage is told with each of
// its streams.
func (st *Stream) SetRetention(rule Rule) {
	d := max(0, rule.Age)
	st.s.mu.Lock()
	st.s.limit = rule.Storage
	st.s.mu.Unlock()
	st.stateMu.Lock()
	defer st.stateMu.Unlock()
	st.mu.Lock()
	st.retention, st.rollAt, st.left = d, rule.rollAt(), false
	st.mu.Unlock()
	fresh := st.state
	fresh.Limit, fresh.Storage = rule.Limit, rule.Storage
	if d == fresh.Retention && fresh.Limit == st.state.Limit && fresh.Storage == st.state.Storage || st.s.closed.Load() {
		return
	}
	fresh.Deleted = slices.Clone(fresh.Deleted)
	for i := range fresh.Deleted {
		fresh.Deleted[i].Keep = longest(fresh.Deleted[i].Keep, d)
	}
	if rule.Limit.wider(st.state.Limit) || rule.Storage.wider(st.state.Storage) {
		fresh.Floor, fresh.FloorFile = 0, 0
	}
	if longer := d == 0 || fresh.Retention != 0 && d > fresh.Retention; longer {
		fresh.Mark = 0
		if d > 0 {
			fresh.Mark = min(st.state.Mark, st.s.clock.Now().Add(-d).UnixNano())
		}
	}
	fresh.Retention = d
	st.setState(fresh)
	if err := st.keepState(fresh); err != nil {
		st.s.log.Error("retention was not written", "stream", st.name, "err", err)
	}
}

// Leave says that the config does not have the stream any more, and what is the limit of its storage: what it has is kept
// by the rule that it had last.
func (st *Stream) Leave(storage Limit) {
	last := st.view()
	st.SetRetention(Rule{Age: last.Retention, Limit: last.Limit, Storage: storage})
	st.mu.Lock()
	defer st.mu.Unlock()
	st.left = true
}

// StorageLimit is the limit of its storage as it was said last.
func (st *Stream) StorageLimit() Limit { return st.view().Storage }

// Mark is the moment before which nothing is accepted from backfill any more.
func (st *Stream) Mark() time.Time {
	st.mu.Lock()
	defer st.mu.Unlock()
	return time.Unix(0, max(st.state.Mark, st.state.Floor)).UTC()
}

// expired reports whether media that ends at t is not to be fetched any more. The caller holds mu.
func (st *Stream) expired(t time.Time) bool {
	return t.UnixNano() <= max(st.state.Mark, st.state.Floor)
}

// edges are the moments before which media may be taken, by age and by limits.
type edges struct{ mark, floor int64 }

func (e edges) latest() int64 { return max(e.mark, e.floor) }

// edge gives the mark, and never less than the retention ago. A mark that is later was reached by a clock that ran ahead, and what was
// recorded since must not fall to it. The floor is of no clock: so it is for what lies in the files that were there, and not for what a
// clock that is behind records now (aboveFloor). The caller holds mu.
func (st *Stream) edge() edges {
	mark := st.state.Mark
	if rule := st.rule(); rule > 0 {
		mark = min(mark, st.s.clock.Now().Add(-rule).UnixNano())
	}
	return edges{mark, st.state.Floor}
}

// aboveFloor reports whether what is in a data file was recorded after all that has gone to a limit. The caller holds mu.
func (st *Stream) aboveFloor(file uint64) bool { return st.liveBehind(file, st.state.FloorFile) }

// past reports whether media that ends at a moment, in a data file, is to be taken by edges. The caller holds mu.
func (st *Stream) past(e edges, at int64, file uint64) bool {
	return at <= e.mark || at <= e.floor && !st.aboveFloor(file)
}

// rule is the retention in force; until the config has come the one of the last process. The caller holds mu.
func (st *Stream) rule() time.Duration {
	if st.retention < 0 {
		return st.state.Retention
	}
	return st.retention
}

func (st *Stream) expiredCopy(c *index.Copy) bool {
	st.mu.Lock()
	e := st.edge()
	st.mu.Unlock()
	e = st.edgeOf(c.Slot.Timeline, e)
	st.mu.Lock()
	defer st.mu.Unlock()
	r := st.state.utcOf(c)
	return st.past(e, r.To, c.File) && !st.state.locked(r)
}

// edgeOf gives the edges for a row. While the clock is right and the times of the row may still be of a wrong one, nothing of it goes by
// age: who records the stream sets them right.
func (st *Stream) edgeOf(row segment.TimelineID, e edges) edges {
	st.mu.Lock()
	r := st.state.row(row)
	unsure := r != nil && r.Unsure && !st.left
	st.mu.Unlock()
	if unsure && st.ClockIsRight() {
		e.mark = min(e.mark, 0)
	}
	return e
}

// ConfirmClock tells retention, which waits after a leap of the wall clock, what another clock shows: that of a peer, or of an
// operator. Where they agree within 5 min it goes on, and it holds until the wall clock leaves the monotonic one again. It
// returns by how much ours is ahead. Errors: errs.ErrClockDiffers.
func (s *Store) ConfirmClock(other time.Time) (ahead time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := moment{s.clock.Now(), s.clock.Mono()}
	if ahead, err = ClockAhead(now.wall, other); err != nil {
		return ahead, err
	}
	s.right = &now
	return ahead, nil
}

// ClockAhead is by how much a clock is ahead of another. Errors: errs.ErrClockDiffers, where that is more than 5 min.
func ClockAhead(ours, other time.Time) (ahead time.Duration, err error) {
	if ahead = ours.Sub(other); ahead.Abs() > agreement {
		err = fmt.Errorf("it is %s here and %s there, retention goes on waiting: %w",
			ours.UTC().Format(time.RFC3339), other.UTC().Format(time.RFC3339), errs.ErrClockDiffers)
	}
	return ahead, err
}

// ClockInDoubt reports whether age holds something back because the wall clock leapt.
func (st *Stream) ClockInDoubt() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.waits
}

// ClockInDoubt gives the streams of which age holds something back, by name.
func (s *Store) ClockInDoubt() (out []string) {
	for _, st := range s.streams() {
		if st.ClockInDoubt() {
			out = append(out, st.name)
		}
	}
	return out
}

// ClockSynchronised reports whether a leap of the wall clock would be believed at once.
func (s *Store) ClockSynchronised() bool { return s.o.ClockAgrees() }

// ClockIsRight reports whether the wall clock is synchronised, or was confirmed and has not left the monotonic one since.
func (st *Stream) ClockIsRight() bool {
	return st.s.clockAgrees(moment{st.s.clock.Now(), st.s.clock.Mono()})
}

// moment is a reading of both clocks.
type moment struct {
	wall time.Time
	mono time.Duration
}

func (s *Store) clockAgrees(now moment) bool {
	s.mu.Lock()
	right := s.right
	s.mu.Unlock()
	if right != nil && now.wall.Sub(right.wall.Add(now.mono-right.mono)).Abs() <= agreement {
		return true
	}
	return s.o.ClockAgrees()
}

// retain applies retention, and tends what goes with it, until ctx ends. It has a goroutine of its own: what it writes for each
// stream must not hold commits up.
func (s *Store) retain(ctx context.Context) {
	more := false
	for pause := s.o.CommitEvery; s.sleep(ctx, pause); {
		if !more {
			s.tendBallast()
			s.sampled()
			s.tryApart()
		}
		var err error
		more, err = s.sweep(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Error("retention failed", "err", err)
			more = false
		}
		if pause = sweepEvery; more {
			pause = s.o.CommitEvery
		}
	}
}

// Sweep applies retention once.
func (s *Store) Sweep(ctx context.Context) error {
	for {
		if more, err := s.sweep(ctx); err != nil || !more {
			return err
		}
	}
}

// sweep applies retention until it has taken sweepBatch copies. more: it may not have taken all.
func (s *Store) sweep(ctx context.Context) (more bool, err error) {
	var errs []error
	if err := s.trim(); err != nil {
		errs = append(errs, fmt.Errorf("limits of %s: %w", s.o.Path, err))
	}
	left := sweepBatch
	for _, st := range s.streams() {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := st.sweep(left)
		if err != nil {
			errs = append(errs, fmt.Errorf("retention of %s: %w", st.name, err))
		}
		more = more || n > 0
		if left -= n; left <= 0 {
			break
		}
	}
	return more, errors.Join(errs...)
}

// sweep takes some of what was deleted; when nothing of that is left it moves the mark, and takes up to limit of what has
// expired before it.
func (st *Stream) sweep(limit int) (taken int, err error) {
	s := st.s
	st.lookForDeleted()
	if gone, err := st.takeSome(); err != nil || len(gone) > 0 {
		if errors.Is(err, ErrClosed) {
			err = nil
		}
		return len(gone), err
	}
	edge, ok, err := st.advance() // it writes to the disk: commits go on meanwhile
	if err != nil {
		return 0, err
	}
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.closed.Load() {
		return 0, nil
	}
	if now := s.clock.Mono(); now-st.tidied >= time.Minute { // a file may hold nothing but what was replaced or lost
		st.tidied = now
		st.endLocks()
		if err := st.forgetDeleted(); err != nil {
			return 0, err
		}
		st.removeEmpty()
	}
	if !ok {
		return 0, nil
	}
	st.mu.Lock()
	now := st.edge() // a rule that was widened since
	edge = edges{min(edge.mark, now.mark), min(edge.floor, now.floor)}
	st.mu.Unlock()
	tx := s.db.Begin()
	defer tx.Close()
	var gone []CopyInfo
	for _, row := range s.db.Rows(st.name) {
		copies, err := st.expireRow(tx, row, st.edgeOf(row, edge), limit-len(gone))
		if err != nil {
			return 0, err
		}
		for i := range copies {
			gone = append(gone, st.copyInfo(&copies[i]))
		}
	}
	if len(gone) == 0 {
		return 0, nil
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	for i := range gone {
		st.tell(Event{Time: s.clock.Now(), Kind: EventExpired, Copy: gone[i]})
	}
	st.removeEmpty()
	return len(gone), nil
}

// expireRow takes up to limit copies of a row that end by the edges and touch no lock, oldest first. What they leave in a piece of
// the index is deleted as one range; only what stays at the edge is looked at again.
func (st *Stream) expireRow(tx *index.Tx, row segment.TimelineID, edge edges, limit int) ([]index.Copy, error) {
	blocks := st.s.db.Blocks(st.name, row)
	if len(blocks) == 0 || limit <= 0 {
		return nil, nil
	}
	runs, err := st.expiredRuns(row, blocks[0].No*segment.BlockCells, edge, limit) // before it lie the graves of earlier passes
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	var gone []index.Copy
	for _, run := range runs {
		copies, err := tx.DeleteRun(st.name, run)
		if err != nil {
			return nil, err
		}
		gone = append(gone, copies...)
	}
	return gone, st.presentBeside(tx, gone)
}

// expiredRuns finds them, from a cell on: in each run one lies behind the other, with nothing between them that stays.
func (st *Stream) expiredRuns(row segment.TimelineID, first int64, edge edges, limit int) (runs [][]index.Row, err error) {
	now := st.view()
	at := now.mapping(row).At
	end, byAge := at(time.Unix(0, edge.latest())), at(time.Unix(0, edge.mark))
	above := func(r *index.Row) bool {
		st.mu.Lock()
		defer st.mu.Unlock()
		return r.Range.To > byAge && st.aboveFloor(r.File)
	}
	n := 0
	for _, piece := range now.unlocked(row, first, index.CellOf(end)+1) {
		broken := true
		err := st.s.db.Scan(st.name, row, piece[0], piece[1], func(r index.Row) bool {
			switch {
			case r.Range.To > end || above(&r) || now.locked(now.utc(row, r.Range)):
				broken = true
				return true
			case n == limit:
				return false
			case broken:
				runs, broken = append(runs, nil), false
			}
			n++
			runs[len(runs)-1] = append(runs[len(runs)-1], r)
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// presentBeside presents again what shared a slot or media time with copies of a row that were removed.
func (st *Stream) presentBeside(tx *index.Tx, gone []index.Copy) error {
	first, last := int64(maxCell), timeline.Ticks(math.MinInt64)
	members := make([]*member, len(gone))
	for i := range gone {
		members[i] = newMember(&gone[i])
		first, last = min(first, gone[i].Slot.AbsCell()), max(last, members[i].u.End)
	}
	type place struct {
		slot   segment.Slot
		digest segment.Digest
	}
	var beside []place
	err := tx.Scan(st.name, gone[0].Slot.Timeline, first-index.MaxCells, index.CellOf(last+slack)+1, func(r index.Row) bool {
		if !r.Quarantined && slices.ContainsFunc(members, func(m *member) bool { return m.near(&r) }) {
			beside = append(beside, place{r.Slot, r.Digest})
		}
		return true
	})
	if err != nil {
		return err
	}
	seen := map[place]bool{}
	for _, at := range beside {
		if seen[at] {
			continue
		}
		c, err := tx.Get(st.name, at.slot, at.digest)
		if err != nil {
			return err
		}
		bound, err := st.neighbours(tx, &c)
		if err != nil {
			return err
		}
		for _, m := range bound {
			seen[place{m.Slot, m.Info.Digest}] = true
		}
		if err := st.present(tx, bound); err != nil {
			return err
		}
	}
	return nil
}

// advance moves the mark to where retention puts it now, and makes it durable before anything is taken: an index that
// is rebuilt must not bring back what is gone. A wall clock that leapt moves nothing until it is known to be right: then
// only what lies before the floor is taken. edge says where to take from; ok: there is a rule, and it is not that of the last
// process: what the config says by now may be wider.
func (st *Stream) advance() (edge edges, ok bool, err error) {
	st.stateMu.Lock()
	defer st.stateMu.Unlock()
	if !st.moveMark() {
		st.mu.Lock()
		defer st.mu.Unlock()
		return edges{floor: st.state.Floor}, st.state.Floor > 0 && st.retention >= 0, nil
	}
	// Written each minute or two, the streams one after the other: after a loss of the index the mark may be that much too
	// low, and the next pass rights it. A disk on which it cannot be written is one that needs the room.
	if since := st.state.Seen - st.kept; since < 0 || since >= int64(time.Minute+time.Duration(st.spread)*100*time.Millisecond) {
		if err := st.keepState(st.state); err != nil && !noRoom(err) {
			return edge, false, err
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.edge(), st.retention > 0 || st.state.Floor > 0 && st.retention == 0, nil
}

// moveMark is advance but for the disk. It reports whether the clock may be believed. The caller holds stateMu.
func (st *Stream) moveMark() bool {
	s := st.s
	st.mu.Lock()
	defer st.mu.Unlock()
	now := moment{s.clock.Now(), s.clock.Mono()}
	mark := now.wall.Add(-st.rule()).UnixNano()
	slack := leap
	if st.rule() > 0 {
		slack = min(leap, st.rule()/10)
	}
	var expect time.Time // unknown: anything is a leap
	switch {
	case st.swept != nil:
		expect = st.swept.wall.Add(now.mono - st.swept.mono)
	case st.state.Seen > 0:
		expect = time.Unix(0, st.state.Seen)
	}
	leapt := now.wall.Sub(expect) > slack
	behind := st.retention > 0 && st.state.Mark > mark+int64(slack)
	agrees := (leapt || behind) && s.clockAgrees(now)
	held := (leapt || behind) && !agrees
	waits := held && st.rule() > 0 // else nothing is taken by age
	if waits && !st.waits {
		s.log.Warn("the wall clock leapt, retention waits until it is known to be right", "stream", st.name,
			"expected", expect.UTC(), "now", now.wall.UTC(), "mark", time.Unix(0, st.state.Mark).UTC())
	}
	st.waits = waits
	if leapt && held {
		return false
	}
	st.swept = &now
	st.state.Seen = now.wall.UnixNano()
	switch {
	case st.retention <= 0:
	case behind && agrees:
		st.state.Mark = mark
	default:
		st.state.Mark = max(st.state.Mark, mark)
	}
	if st.retention > 0 {
		st.state.Taken = max(st.state.Taken, st.edge().latest())
	}
	st.state.Rows = st.liveRows(min(st.state.Mark, mark))
	return true
}

// liveRows gives the rows without those that hold nothing and began before the mark.
func (st *Stream) liveRows(mark int64) []Row {
	rows := slices.Clone(st.state.Rows)
	newest := len(rows) - 1
	i := -1
	return slices.DeleteFunc(rows, func(r Row) bool {
		i++
		if i == newest || r.Mapping[len(r.Mapping)-1].UTC > mark || len(st.s.db.Blocks(st.name, r.ID)) > 0 {
			return false
		}
		for _, c := range st.parts {
			if c.head.slot.Timeline == r.ID {
				return false
			}
		}
		for _, w := range st.files {
			if w.key.row == r.ID {
				return false
			}
		}
		return true
	})
}

// removeEmpty removes data files that hold nothing, that nothing is written to, and whose newest media has expired or was deleted. One whose copies have all been
// replaced stays until then, and until no lock keeps what replaced them: an index that is rebuilt learns from it which digests
// were replaced by which.
// The caller holds commitMu.
func (st *Stream) removeEmpty() {
	files, err := st.s.db.Files(st.name)
	if err != nil {
		st.s.log.Error("data files cannot be listed", "stream", st.name, "err", err)
		return
	}
	st.unlooked = nil
	var empty []index.File
	st.mu.Lock()
	for _, f := range files {
		dead, seen := st.looked[f.No]
		busy := slices.ContainsFunc(st.files, func(w *dataFile) bool { return w.no == f.No }) ||
			slices.ContainsFunc(st.tails, func(t *tail) bool { return t.file.No == f.No })
		switch {
		case f.Copies > 0 || busy:
		case st.past(st.edge(), f.Newest, f.No) && !st.state.locked(hourOf(&f)):
			empty = append(empty, f)
		case !f.Closed || !st.hadDeleted(&f):
		case !seen:
			st.unlooked = append(st.unlooked, f)
		case dead:
			empty = append(empty, f)
		}
	}
	st.mu.Unlock()
	if len(empty) == 0 {
		return
	}
	tx := st.s.db.Begin()
	defer tx.Close()
	for _, f := range empty {
		if err := st.removeFile(f.Name); err != nil {
			st.s.log.Error("data file cannot be removed", "stream", st.name, "file", f.Name, "err", err)
			continue
		}
		if err := tx.DeleteFile(st.name, f.No); err != nil {
			return
		}
		st.mu.Lock()
		st.forgetSize(f.No)
		delete(st.fileNames, f.No)
		st.mu.Unlock()
	}
	if err := tx.Commit(); err != nil {
		st.s.log.Error("data files cannot be forgotten", "stream", st.name, "err", err)
	}
}

// bounds turns a range of UTC into one of U on a row. Zero times: no bound.
func bounds(m timeline.Mapping, from, to time.Time) timeline.Range {
	r := timeline.Range{From: math.MinInt64 / 4, To: math.MaxInt64 / 4}
	if !from.IsZero() {
		r.From = m.At(from)
	}
	if !to.IsZero() {
		r.To = m.At(to)
	}
	return r
}
