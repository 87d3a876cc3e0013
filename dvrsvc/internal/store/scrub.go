package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/vfs"
)

const (
	// scrubEvery is how far apart two rounds of the scrub begin at least.
	scrubEvery = 24 * time.Hour
	// scrubKeep is how often its place is noted; a crash costs that much reading.
	scrubKeep    = time.Minute
	scrubVersion = 1
)

// ScrubTotal counts what the scrub did since Open.
type ScrubTotal struct {
	Rounds, Files, Copies, Bytes uint64
	Rotten                       uint64 // copies that were quarantined
	Renewed                      uint64 // copies that were good, and written anew since what surrounds them was not
	Damaged                      uint64 // files with a bad byte: data files, states, the id
}

type scrubCounters struct{ rounds, files, copies, bytes, rotten, renewed, damaged atomic.Uint64 }

// Scrubbed is what the scrub did since Open.
func (s *Store) Scrubbed() ScrubTotal {
	c := &s.scrubbed
	return ScrubTotal{
		Rounds: c.rounds.Load(), Files: c.files.Load(), Copies: c.copies.Load(), Bytes: c.bytes.Load(),
		Rotten: c.rotten.Load(), Renewed: c.renewed.Load(), Damaged: c.damaged.Load(),
	}
}

// scrubPlace is PATH/.twinreel/scrub: where the round stands. It is advice: without it the round begins again.
type scrubPlace struct {
	Version int    `json:"version"`
	Began   int64  `json:"began"`  // wall time of the round's beginning, nanoseconds since 1970
	Stream  string `json:"stream"` // in which it stands; empty: the round is over
	File    uint64 `json:"file"`   // number of the last data file that was read
}

func (s *Store) scrubPath() string { return filepath.Join(s.o.Path, metaDir, "scrub") }

func (s *Store) scrubPlace() (p scrubPlace) {
	b, err := readFile(s.fs, s.scrubPath())
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || p.Version != scrubVersion {
		return scrubPlace{Version: scrubVersion}
	}
	return p
}

func (s *Store) keepPlace(p scrubPlace) {
	b, err := json.Marshal(p)
	if err == nil {
		err = vfs.Replace(s.fs, s.scrubPath(), append(b, '\n'))
	}
	if err != nil {
		s.log.Warn("place of the scrub is not kept", "path", s.scrubPath(), "err", err)
	}
}

// scrub reads round after round until ctx ends.
func (s *Store) scrub(ctx context.Context) {
	for ctx.Err() == nil {
		p := s.scrubPlace()
		if p.Stream == "" {
			rest := scrubEvery - s.clock.Now().Sub(time.Unix(0, p.Began))
			if p.Began != 0 && rest > 0 && !s.sleep(ctx, min(rest, scrubEvery)) {
				return
			}
		}
		if err := s.scrubRound(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("scrub stops for a while", "err", err)
			if !s.sleep(ctx, time.Minute) {
				return
			}
		}
	}
}

// sleep waits, and reports whether ctx is still on.
func (s *Store) sleep(ctx context.Context, d time.Duration) bool {
	t := s.clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C():
		return true
	}
}

// scrubRound reads every byte of the store once, from where the last round stopped, and compares it with its checksums.
// It holds no lock while it reads.
func (s *Store) scrubRound(ctx context.Context) error {
	p := s.scrubPlace()
	if p.Stream == "" {
		p = scrubPlace{Version: scrubVersion, Began: s.clock.Now().UnixNano()}
	}
	kept := s.clock.Mono()
	keep := func() {
		kept = s.clock.Mono()
		s.keepPlace(p)
	}
	before := s.Scrubbed()
	s.scrubID()
	for _, st := range s.streams() {
		if st.name < p.Stream {
			continue
		}
		if st.name != p.Stream {
			p.Stream, p.File = st.name, 0
		}
		st.scrubState()
		st.scrubSpare()
		for _, no := range st.fileNumbers(p.File) {
			err := st.scrubFile(ctx, no)
			if err != nil {
				keep()
				return fmt.Errorf("scrub %s of %s: %w", st.fileName(no), st.name, err)
			}
			p.File = no
			if s.clock.Mono()-kept >= scrubKeep {
				keep()
			}
		}
	}
	if err := s.db.Scrub(ctx); err != nil {
		if index.Damaged(err) {
			s.indexDamaged(err)
		}
		keep()
		return err
	}
	p.Stream, p.File = "", 0
	keep()
	s.scrubbed.rounds.Add(1)
	now := s.Scrubbed()
	s.log.Info("scrub has read everything", "path", s.o.Path, "bytes", now.Bytes-before.Bytes,
		"rotten", now.Rotten-before.Rotten, "renewed", now.Renewed-before.Renewed, "damaged_files", now.Damaged-before.Damaged)
	return nil
}

// scrubID writes the id of the store anew where it is damaged.
func (s *Store) scrubID() {
	path := filepath.Join(s.o.Path, metaDir, "store")
	want, err := s.encodeID()
	if err != nil {
		return
	}
	if b, err := readFile(s.fs, path); err == nil && bytes.Equal(b, want) {
		return
	}
	s.scrubbed.damaged.Add(1)
	s.log.Error("id of the store is damaged and is written anew", "path", path)
	if err := vfs.Replace(s.fs, path, want); err != nil {
		s.log.Error("id of the store cannot be written", "path", path, "err", err)
	}
}

// scrubState writes the state anew where it is damaged on disk.
func (st *Stream) scrubState() {
	st.stateMu.Lock()
	defer st.stateMu.Unlock()
	if st.s.closed.Load() {
		return
	}
	b, err := readFile(st.s.fs, filepath.Join(st.dir, stateName))
	if err == nil {
		_, err = decodeState(b)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) && len(st.state.Rows)+len(st.state.Locks) == 0 {
		return
	}
	st.s.scrubbed.damaged.Add(1)
	st.s.log.Error("state file is damaged and is written anew", "stream", st.name, "err", err)
	if err := st.keepState(st.state); err != nil {
		st.s.log.Error("state cannot be written", "stream", st.name, "err", err)
	}
}

// scrubSpare does so with its copy.
func (st *Stream) scrubSpare() {
	st.stateMu.Lock()
	defer st.stateMu.Unlock()
	if _, err := st.readSpare(); !st.s.closed.Load() && errors.Is(err, errState) {
		st.s.scrubbed.damaged.Add(1)
		st.s.log.Error("copy of the state is damaged and is written anew", "stream", st.name)
		st.keepSpare(&st.state)
	}
}

// fileNumbers gives the data files behind a number that are not written to, in order.
func (st *Stream) fileNumbers(behind uint64) []uint64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	open := func(no uint64) bool {
		return no <= behind || slices.ContainsFunc(st.files, func(w *dataFile) bool { return w.no == no }) ||
			slices.ContainsFunc(st.tails, func(t *tail) bool { return t.file.No == no })
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(st.fileNames)), open)
}

// copyPlace is where a copy lies in a data file.
type copyPlace struct {
	slot   segment.Slot
	digest segment.Digest
	at     int64
}

func placeOf(c *index.Copy) copyPlace {
	return copyPlace{slot: c.Slot, digest: c.Info.Digest, at: c.At[0]}
}

// scrubFile reads a data file. What is rotten is quarantined; good copies of a file that has a bad byte anywhere else are
// written to a new one, for the index could not be made from it.
func (st *Stream) scrubFile(ctx context.Context, no uint64) error {
	name := st.fileName(no)
	f, err := st.s.fs.Open(filepath.Join(st.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has expired; or it was taken away, which the next start finds, and a reader
	}
	whole, sound := false, map[copyPlace]bool{}
	if err == nil {
		defer f.Close() //nolint:errcheck // it was only read
		whole, sound, err = st.walkFile(ctx, f, no, name)
	}
	if err != nil && (ctx.Err() != nil || !rotten(err)) { // what cannot even be opened is as bad as what cannot be read
		return err
	}
	st.s.scrubbed.files.Add(1)
	st.s.scrubbed.copies.Add(uint64(len(sound)))
	left, err := st.unsound(ctx, no, whole, sound)
	if err != nil || whole && len(left) == 0 {
		return err
	}
	if !st.damaged[no] { // it stays, with nothing but dead bytes in it, until its media has expired
		st.damaged[no] = true
		st.s.scrubbed.damaged.Add(1)
		st.s.log.Error("data file is damaged", "stream", st.name, "file", name, "copies", len(left))
	}
	for i := range left {
		if err := ctx.Err(); err != nil {
			return err
		}
		c := &left[i]
		before := st.s.quarantined.Load()
		switch err := st.verify(c); {
		case err == nil:
			if err := st.renew(ctx, c); err != nil {
				return err
			}
			st.s.scrubbed.renewed.Add(1)
		case !rotten(err) && !errors.Is(err, errMoved):
			return err
		case st.s.quarantined.Load() != before:
			st.s.scrubbed.rotten.Add(1)
		}
	}
	return nil
}

// walkFile is walk, at the rate of the scrub.
func (st *Stream) walkFile(ctx context.Context, f vfs.File, no uint64, name string) (whole bool, sound map[copyPlace]bool, err error) {
	size, err := f.Size()
	if err != nil {
		return false, nil, err
	}
	r := &slowReader{ctx: ctx, s: st.s, f: f, rate: st.s.o.ScrubRate, count: &st.s.scrubbed.bytes, of: st, why: stats.Scrub}
	return st.walk(ctx, r, no, name, size)
}

// walk reads a data file from end to end. whole: every byte of it is as it was written. sound are the copies that are.
func (st *Stream) walk(ctx context.Context, r *slowReader, no uint64, name string, size int64) (whole bool, sound map[copyPlace]bool, err error) {
	sound = map[copyPlace]bool{}
	p := scanned{file: index.File{No: no, Name: name}}
	head, at, err := readHead(r, size)
	if err == nil {
		err = checkHead(r, &head)
	}
	if err != nil {
		return false, sound, ctx.Err()
	}
	whole = true
	sc := scanner{f: r, size: size, nonce: head.nonce, verify: true, page: &p}
	for at < size {
		if err := ctx.Err(); err != nil {
			return false, sound, err
		}
		open := sc.open
		next, err := sc.step(at)
		if err != nil {
			if ctx.Err() != nil {
				return false, sound, ctx.Err()
			}
			whole = false
			if next = sc.resync(at + 1); next < 0 {
				break
			}
			sc.open, sc.faults = nil, segment.Evidence{}
		}
		for i := range p.copies {
			if c := &p.copies[i]; open != nil && open.is(c) {
				sound[placeOf(c)] = true
			} else {
				whole = false
			}
		}
		p.copies, at = p.copies[:0], next
	}
	return whole && !p.left, sound, nil
}

// checkHead compares what stands before the head with it, and its init segments with their hashes.
func checkHead(r *slowReader, h *fileHead) error {
	boxes := make([][]byte, len(h.inits))
	for i := range h.inits {
		if segment.Sum(h.inits[i].Data) != h.inits[i].Hash {
			return errChecksum
		}
		boxes[i] = h.inits[i].Data
	}
	moov, err := fmp4.ComposeMoov(boxes...)
	if err != nil {
		return err
	}
	got := make([]byte, len(moov))
	if err := readFull(r, got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got, moov) {
		return errChecksum
	}
	return nil
}

// is reports whether the chunks that were read are those of a record.
func (t *torn) is(c *index.Copy) bool {
	if len(t.chunks) != len(c.At) || len(c.At) == 0 || t.head.slot != c.Slot {
		return false
	}
	h := sha256.New()
	for i := range t.chunks {
		if t.chunks[i].at != c.At[i] {
			return false
		}
		h.Write(t.chunks[i].data)
	}
	return segment.Digest(h.Sum(nil)) == c.Info.Digest
}

// unsound gives the copies of a data file that the index has and that were not found sound in it; all of them where the
// file is not whole. Those that are quarantined already are left out.
func (st *Stream) unsound(ctx context.Context, no uint64, whole bool, sound map[copyPlace]bool) (out []index.Copy, err error) {
	files, err := st.s.db.Files(st.name)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(files, func(f index.File) bool { return f.No == no })
	if i < 0 || whole && st.indexed(no, sound) >= int(files[i].Copies) {
		return nil, nil
	}
	for _, row := range st.s.db.Rows(st.name) {
		var rows []index.Row
		err := st.s.db.Scan(st.name, row, minCell, maxCell, func(r index.Row) bool {
			if r.File == no && !r.Quarantined {
				rows = append(rows, r)
			}
			return ctx.Err() == nil
		})
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, err
		}
		for _, r := range rows {
			c, err := st.s.db.Get(st.name, r.Slot, r.Digest)
			if err == nil && c.File == no && (!whole || !sound[placeOf(&c)]) {
				out = append(out, c)
			}
		}
	}
	return out, nil
}

// indexed counts those of the sound copies that the index leads to.
func (st *Stream) indexed(no uint64, sound map[copyPlace]bool) (n int) {
	for p := range sound {
		c, err := st.s.db.Get(st.name, p.slot, p.digest)
		if err == nil && c.File == no && c.At[0] == p.at {
			n++
		}
	}
	return n
}

// renew writes a copy to another data file, and waits until it is durable there.
func (st *Stream) renew(ctx context.Context, c *index.Copy) error {
	st.mending.lock()
	defer st.mending.unlock()
	info := c.Info
	fresh, err := st.copyAgain(c, &info)
	told := make(chan error, 1)
	if err == nil {
		fresh.renewed = true
		err = fresh.Seal(info, func(_ Outcome, err error) { told <- err })
	}
	if err != nil {
		if fresh != nil {
			fresh.Drop()
		}
		return fmt.Errorf("write copy %s anew: %w", info.Digest, err)
	}
	select {
	case err := <-told:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// slowReader reads a file ahead, and no faster than it may.
type slowReader struct {
	ctx context.Context
	s   *Store
	f   vfs.File

	rate  int64          // bytes a second; 0: any
	count *atomic.Uint64 // of what was read
	of    *Stream        // and it is counted there; nil: it is not
	why   stats.Purpose

	buf  []byte
	at   int64
	debt time.Duration
}

// readAhead is how much is read in one piece.
const readAhead = 256 << 10

// ReadAt implements io.ReaderAt, for one goroutine.
func (r *slowReader) ReadAt(p []byte, at int64) (int, error) {
	if len(p) > readAhead {
		n, err := r.f.ReadAt(p, at)
		r.pay(n)
		return n, err
	}
	if at < r.at || at+int64(len(p)) > r.at+int64(len(r.buf)) {
		if cap(r.buf) == 0 {
			r.buf = make([]byte, readAhead)
		}
		n, _ := r.f.ReadAt(r.buf[:readAhead], at) // what it cannot give is asked for alone
		r.buf, r.at = r.buf[:n], at
		r.pay(n)
		if n < len(p) {
			return r.f.ReadAt(p, at)
		}
	}
	return copy(p, r.buf[at-r.at:]), nil
}

// pay waits for what was read.
func (r *slowReader) pay(n int) {
	r.count.Add(uint64(n))
	if r.of != nil {
		r.of.stats.ReadBytes(r.why, stats.Disk, n)
	}
	if r.rate <= 0 {
		return
	}
	r.debt += time.Duration(float64(n) / float64(r.rate) * float64(time.Second))
	if r.debt > 20*time.Millisecond {
		r.s.sleep(r.ctx, r.debt)
		r.debt = 0
	}
}
