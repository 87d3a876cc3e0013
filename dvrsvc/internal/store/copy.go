package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"slices"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

var errChecksum = errors.New("the bytes do not have their checksum")

func checksumOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Copy is a copy of a segment on its way into the archive. One goroutine uses it.
type Copy struct {
	st    *Stream
	id    uint64
	head  copyHead
	inits []segment.Init

	// For the order in a live file: T of the first chunk, and its track.
	start    timeline.Ticks
	startPID uint16

	hash  hash.Hash
	parse fmp4.Chunk

	// Stream.mu protects the fields below.
	chunks  []chunk
	tracks  []segment.Track  // with spans, as the chunks say
	delays  []timeline.Ticks // PTS less DTS of the first sample of each
	faults  segment.Evidence
	size    uint64
	file    *dataFile // nil: in memory alone
	durable int
	ended   bool
	settled bool // ended, and done was told: the index has it, or what stands for it
	lost    error
	info    segment.Info  // without its runs
	runs    []segment.Run // of its damaged access units
	sealEnd int64         // where its record ends in the file
	noted   bool          // the same copy is stored already: nothing is written
	rescue  bool          // it was on this disk before: no mark and no limit applies
	wasLive bool          // so did it come, though it is written in one piece now
	late    bool          // so did it come from a peer, with rescue
	was     uint64        // the data file that it lies in; 0: none yet
	spared  bool          // it goes to a live file: it was recorded where something had been deleted
	renewed bool          // it is stored, in a file that is damaged: these bytes take the place of those
	into    *dataFile     // it goes there, and nowhere else; nil: wherever it has its place
	again   bool          // what is put now was put before, to a file that failed
	from    *index.Copy   // a reclaim moves it from there: these bytes take the place of those, if they are still its own
	done    func(Outcome, error)
	expires time.Duration // when ReadOpen may forget it
}

type chunk struct {
	segment.Chunk
	at   int64
	data []byte // nil once it is durable
	ev   segment.Evidence
}

// boxes gives what stands before the chunk in the file.
func (ch *chunk) boxes(n nonce) []byte {
	b := make([]byte, 0, chunkBoxSize)
	if !ch.ev.Whole() {
		b = appendBox(b, n, boxFaults, index.AppendEvidence(nil, &ch.ev))
	}
	return appendChunkBox(b, n, ch.Chunk)
}

// future is how far ahead of the clock, and of the row, a copy that is not live may lie: retention would never take it.
const future = time.Minute

// Begin opens a copy in a slot. Errors: errs.ErrFull, also as ErrLocksFill; for a copy that is not live errs.ErrExpired when it lies before the
// mark, and errs.ErrInvalid when it lies in the future; errs.ErrUnknown for a row that was not put; errs.ErrInvalid.
func (st *Stream) Begin(slot segment.Slot, inits []segment.Init, tracks []segment.Track, o BeginOptions) (*Copy, error) {
	if o.Format == 0 {
		o.Format = segment.Format
	}
	if len(tracks) == 0 || segment.MakeInitSet(tracks) != slot.InitSet {
		return nil, fmt.Errorf("begin %s: the tracks do not have the slot's init set: %w", slot, errs.ErrInvalid)
	}
	for _, t := range tracks {
		if !slices.ContainsFunc(inits, func(i segment.Init) bool { return i.Hash == t.Init && segment.Sum(i.Data) == i.Hash }) {
			return nil, fmt.Errorf("begin %s: the init segment of track %d is missing or damaged: %w", slot, t.PID, errs.ErrInvalid)
		}
	}
	if err := st.s.room.full(); err != nil {
		st.s.room.refuse(o.Live)
		return nil, fmt.Errorf("begin %s: %w", slot, err)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.s.closed.Load() {
		return nil, ErrClosed
	}
	if st.filled {
		return nil, fmt.Errorf("begin %s: %w", slot, ErrLocksFill)
	}
	row := st.state.row(slot.Timeline)
	if row == nil {
		return nil, fmt.Errorf("begin %s: timeline row: %w", slot, errs.ErrUnknown)
	}
	end := row.Mapping.UTC(slotEnd(slot))
	reach := span{row.Mapping.UTC(slotStart(slot)).UnixNano(), row.Mapping.UTC(slotEnd(slot) + 2*timeline.CellTicks).UnixNano()}
	if !o.Live && st.expired(end) && !st.state.locked(reach) { // Seal knows better where it ends
		return nil, fmt.Errorf("begin %s: %w", slot, errs.ErrExpired)
	}
	newest := time.Unix(0, row.Mapping[len(row.Mapping)-1].UTC) // a clock that was set back since is no reason
	if now := st.s.clock.Now(); now.After(newest) {
		newest = now
	}
	if at := row.Mapping.UTC(slotStart(slot)); !o.Live && at.After(newest.Add(future)) {
		return nil, fmt.Errorf("begin %s: it lies in the future, at %s: %w", slot, at, errs.ErrInvalid)
	}
	return st.begin(slot, inits, tracks, o), nil
}

// slotEnd is U of the end of the cell in which a slot starts.
func slotEnd(s segment.Slot) timeline.Ticks {
	return timeline.Wrap + timeline.Ticks(s.AbsCell()+1)*timeline.CellTicks
}

func slotStart(s segment.Slot) timeline.Ticks { return slotEnd(s) - timeline.CellTicks }

func (st *Stream) begin(slot segment.Slot, inits []segment.Init, tracks []segment.Track, o BeginOptions) *Copy {
	st.lastCopy++
	c := &Copy{st: st, id: st.lastCopy, inits: inits, hash: sha256.New()}
	c.head = copyHead{slot: slot, tracks: slices.Clone(tracks), options: o}
	slices.SortFunc(c.head.tracks, func(a, b segment.Track) int { return int(a.PID) - int(b.PID) })
	slices.SortFunc(c.inits, func(a, b segment.Init) int { return int(a.PID) - int(b.PID) })
	c.tracks = slices.Clone(c.head.tracks)
	c.delays = make([]timeline.Ticks, len(c.tracks))
	for i := range c.tracks {
		c.tracks[i].Start, c.tracks[i].End, c.tracks[i].Samples, c.tracks[i].Bytes = 0, 0, 0, 0
	}
	if o.Live {
		st.parts[c.id] = c
	}
	return c
}

// ID names the copy for ReadOpen while it is live.
func (c *Copy) ID() uint64 { return c.id }

// Slot is where it goes.
func (c *Copy) Slot() segment.Slot { return c.head.slot }

// Append adds a chunk: ch.PID, Cell, Size, CRC and TfdtOffset must be set, Offset is the store's own count.
// data belongs to the store from here on, and is never changed. Errors: errs.ErrCorrupt when data does not have
// ch.CRC or is no chunk (nothing is added, the copy goes on); errs.ErrFull when the reserve is reached (nothing is added,
// what is here may be kept with Break); ErrCopyLost.
func (c *Copy) Append(ch segment.Chunk, data []byte, ev segment.Evidence) error {
	if len(data) != int(ch.Size) || checksumOf(data) != ch.CRC {
		return fmt.Errorf("append chunk to %s: %w", c.head.slot, errs.ErrCorrupt)
	}
	if err := c.parse.Parse(data); err != nil {
		return fmt.Errorf("append chunk to %s: %w: %w", c.head.slot, errs.ErrCorrupt, err)
	}
	if c.parse.PID != ch.PID || ch.TfdtOffset != fmp4.TfdtOffset {
		return fmt.Errorf("append chunk to %s: it is not of track %d: %w", c.head.slot, ch.PID, errs.ErrCorrupt)
	}
	st := c.st
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case c.lost != nil:
		return c.lost
	case c.ended:
		return ErrCopyEnded
	case !c.rescue && st.s.room.left.Load() < int64(len(data)):
		st.s.room.refuse(c.head.options.Live)
		return fmt.Errorf("append chunk to %s: %w", c.head.slot, errDataFull)
	}
	t := c.track(ch.PID)
	if t == nil {
		return fmt.Errorf("append chunk to %s: track %d was not announced: %w", c.head.slot, ch.PID, errs.ErrCorrupt)
	}
	if len(c.chunks) == 0 {
		c.start, c.startPID = c.parse.Start, ch.PID
	}
	if c.head.options.Live && c.file == nil {
		w, err := st.place(c, c.start)
		if err != nil {
			return c.lose(err)
		}
		c.file, w.open, w.copies = w, c, append(w.copies, c)
	}
	if t.Samples == 0 {
		t.Start = c.parse.Start
		c.delays[slices.IndexFunc(c.tracks, func(x segment.Track) bool { return x.PID == ch.PID })] =
			timeline.Ticks(c.parse.Samples[0].Offset)
	}
	t.End = c.parse.End()
	t.Samples += uint32(len(c.parse.Samples))
	t.Bytes += uint64(len(data))
	ch.Offset = c.size
	c.size += uint64(len(data))
	c.hash.Write(data)
	c.faults.Faulty = append(c.faults.Faulty, ev.Faulty...)
	c.faults.Missing = append(c.faults.Missing, ev.Missing...)
	c.chunks = append(c.chunks, chunk{Chunk: ch, data: data, ev: ev})
	if w := c.file; w != nil {
		w.put(c, len(c.chunks)-1)
		w.used = st.s.clock.Mono()
		st.s.wrote(w)
	}
	return nil
}

func (c *Copy) u(t timeline.Ticks) timeline.Ticks {
	return t + timeline.Ticks(c.head.slot.Turn)*timeline.Wrap
}

func (c *Copy) track(pid uint16) *segment.Track {
	for i := range c.tracks {
		if c.tracks[i].PID == pid {
			return &c.tracks[i]
		}
	}
	return nil
}

// lose ends a copy that storage failed; what is durable of it is found at the next start.
func (c *Copy) lose(cause error) error {
	c.lost = fmt.Errorf("%w: %w", ErrCopyLost, cause)
	c.ended = true
	delete(c.st.parts, c.id)
	if c.file != nil {
		c.file.forget(c)
	}
	return c.lost
}

func (w *dataFile) forget(c *Copy) {
	if w.open == c {
		w.open, w.rolled = nil, true
	}
	w.copies = slices.DeleteFunc(w.copies, func(o *Copy) bool { return o == c })
}

// Chunks gives what has been added so far.
func (c *Copy) Chunks() []segment.Chunk {
	c.st.mu.Lock()
	defer c.st.mu.Unlock()
	return c.table()
}

func (c *Copy) table() []segment.Chunk {
	out := make([]segment.Chunk, len(c.chunks))
	for i := range c.chunks {
		out[i] = c.chunks[i].Chunk
	}
	return out
}

// Seal ends the copy. It fails at once with errs.ErrCorrupt when info's digest, bytes, start or chunk table is not that of
// what was added, and with errs.ErrInvalid when it is not of the slot; the caller then uses Break or Drop. What else info
// says of the chunks is not believed but taken from them. Otherwise done is called exactly once, when the copy (or what
// contains it) is durable, or with the reason why it will not be: errs.ErrConflictLimit, errs.ErrExpired, errs.ErrDeleted, errs.ErrUnknown
// for a row that has gone meanwhile, ErrCopyLost, ErrClosed. done runs on the commit goroutine and must not block. info.Chunks may be empty.
func (c *Copy) Seal(info segment.Info, done func(Outcome, error)) error {
	st := c.st
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.down:
		return ErrClosed
	case c.lost != nil:
		return c.lost
	case c.ended:
		return ErrCopyEnded
	}
	table := c.table()
	same := func(a, b segment.Chunk) bool { return a.PID == b.PID && a.Size == b.Size && a.CRC == b.CRC }
	if len(table) == 0 || info.Bytes != c.size || info.Digest != segment.Digest(c.hash.Sum(nil)) ||
		(len(info.Chunks) > 0 && !slices.EqualFunc(info.Chunks, table, same)) {
		return fmt.Errorf("seal %s: %w", c.head.slot, errs.ErrCorrupt)
	}
	slot := c.head.slot
	if segment.MakeInitSet(info.Tracks) != slot.InitSet || info.End <= info.Start || info.Start.Cell() != int64(slot.Cell) {
		return fmt.Errorf("seal %s: its tracks or span are not those of the slot: %w", slot, errs.ErrInvalid)
	}
	if d := info.Start - c.start; d > slack || -d > slack {
		return fmt.Errorf("seal %s: its chunks do not begin where it does: %w", slot, errs.ErrCorrupt)
	}
	info.Chunks, info.Tracks = table, c.spans(info.Start)
	end := info.Start
	for _, t := range info.Tracks {
		end = max(end, t.End)
	}
	info.End = min(info.End, end+slack)
	c.end(info, done)
	return nil
}

// Break ends a copy whose producer is gone: what is here of it is sealed with an uncertain end, as durably as by Seal.
// A copy without chunks leaves no trace: done gets Kept false and no By. done may be nil.
func (c *Copy) Break(done func(Outcome, error)) {
	if done == nil {
		done = func(Outcome, error) {}
	}
	st := c.st
	st.mu.Lock()
	info := c.partial()
	switch {
	case c.lost != nil || c.ended || st.down:
		err := c.lost
		switch {
		case err != nil:
		case st.down:
			err = ErrClosed
		default:
			err = ErrCopyEnded
		}
		st.mu.Unlock()
		done(Outcome{}, err)
		return
	case len(c.chunks) == 0 || info.End <= info.Start:
		st.drop(c)
		st.mu.Unlock()
		done(Outcome{}, nil)
		return
	}
	info.Digest = segment.Digest(c.hash.Sum(nil))
	if c.file != nil {
		c.file.rolled = true
	}
	c.end(info, done)
	st.mu.Unlock()
}

// partial describes what is here of a copy without its digest.
func (c *Copy) partial() segment.Info {
	o := &c.head.options
	info := segment.Info{
		Bytes: c.size, Chunks: c.table(), Independent: o.Independent, Path: o.Path, Format: o.Format,
		Evidence: segment.Evidence{
			StartUncertain: o.StartUncertain, EndUncertain: true,
			Faulty: slices.Clone(c.faults.Faulty), Missing: slices.Clone(c.faults.Missing),
		},
		Tracks: slices.Clone(c.tracks),
	}
	ref := info.Reference()
	if ref.Samples == 0 {
		for i := range info.Tracks {
			if info.Tracks[i].Samples > 0 {
				ref = &info.Tracks[i]
				break
			}
		}
	}
	// A segment starts with the PTS of its first access unit, as the producer's seal would have said, and ends where the
	// next one would have started.
	delay := c.delays[slices.IndexFunc(c.tracks, func(x segment.Track) bool { return x.PID == ref.PID })]
	info.Start, info.End = ref.Start+delay, ref.End+delay
	info.Tracks = c.spans(info.Start)
	return info
}

// spans gives the tracks as the chunks say; one without any is empty, at the start.
func (c *Copy) spans(start timeline.Ticks) []segment.Track {
	tracks := slices.Clone(c.tracks)
	for i := range tracks {
		if t := &tracks[i]; t.Samples == 0 {
			t.Start, t.End = start, start
		}
	}
	return tracks
}

// end writes the record of a copy and leaves the rest to the next commit.
func (c *Copy) end(info segment.Info, done func(Outcome, error)) {
	st := c.st
	c.ended, c.info, c.done = true, info, done
	if c.info.Runs = nil; len(info.Runs) > 0 && !info.Evidence.Whole() {
		c.runs = info.Runs
	}
	if at := st.state.utcOf(&index.Copy{Slot: c.head.slot, Info: info}); c.file == nil && st.dead(at, 0) {
		if c.spared = !st.dead(at, c.was); !c.spared {
			c.lost = fmt.Errorf("copy %s: %w", info.Digest, errs.ErrDeleted)
			st.notes = append(st.notes, c)
			return
		}
	}
	if c.file == nil && !c.renewed {
		old, err := st.stored(st.s.db, c.head.slot, &info)
		if err == nil && old != nil && !old.Quarantined && (old.Slot != c.head.slot || !info.Evidence.Less(&old.Info.Evidence)) {
			c.noted = true
			st.notes = append(st.notes, c)
			return
		}
	}
	if c.file == nil {
		if c.lost = c.write(); c.lost != nil {
			st.notes = append(st.notes, c)
			return
		}
	}
	w := c.file
	w.used = st.s.clock.Mono()
	if w.open == c {
		w.open = nil
	}
	for _, t := range c.tracks {
		if t.Samples > 0 {
			w.ends[t.PID] = max(w.ends[t.PID], t.End)
		}
	}
	w.seal(c)
	c.expires = st.s.clock.Mono() + time.Minute
}

// write puts the chunks of a copy that is in memory alone into a file.
func (c *Copy) write() error {
	w := c.into
	if w == nil {
		var err error
		if w, err = c.st.place(c, c.info.Start); err != nil {
			return err
		}
	}
	if w.failed != nil {
		return w.failed
	}
	c.file, w.copies = w, append(w.copies, c)
	for k := range c.chunks {
		w.put(c, k)
	}
	return nil
}

// unnote writes a copy after all: what had stood for it is not stored any more. The next commit decides.
func (c *Copy) unnote() {
	c.st.mu.Lock()
	defer c.st.mu.Unlock()
	c.noted = false
	c.end(c.info, c.done)
}

// seal appends the record of a copy.
func (w *dataFile) seal(c *Copy) {
	record := c.record()
	w.add(appendBox(nil, w.nonce, boxSeal, append(index.AppendRecord(nil, &record), segment.EncodeRuns(c.runs)...)))
	c.sealEnd = w.size
}

// record is the copy as the index has it.
func (c *Copy) record() index.Copy {
	r := index.Copy{Slot: c.head.slot, Info: c.info, Live: c.head.options.Live || c.wasLive}
	r.Replicated = len(c.info.Path) > 0 && c.st.s.o.Node != "" && c.info.Path[0] != c.st.s.o.Node
	r.Late = c.late
	if n := len(c.info.Path); !c.rescue && !r.Live && n > 0 && c.st.s.o.Node != "" {
		r.Late = c.info.Path[n-1] != c.st.s.o.Node
	}
	r.At = make([]int64, len(c.chunks))
	for i := range c.chunks {
		r.At[i] = c.chunks[i].at
	}
	if c.file != nil {
		r.File = c.file.no
	}
	return r
}

// Drop gives the copy up. What a live copy had written becomes dead bytes. Idempotent; after Seal and Break it does
// nothing.
func (c *Copy) Drop() {
	c.st.mu.Lock()
	defer c.st.mu.Unlock()
	if !c.ended {
		c.st.drop(c)
	}
}

func (st *Stream) drop(c *Copy) {
	c.ended = true
	delete(st.parts, c.id)
	if c.file != nil {
		c.file.forget(c)
	}
}
