package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// Why no new segment is taken.
var (
	errDataFull  = fmt.Errorf("%w: the volume of the data files is down to its reserve", errs.ErrFull)
	errIndexFull = fmt.Errorf("%w: the volume of the index is down to its reserve", errs.ErrFull)
)

// Reasons of gaps that a want of room has left.
const (
	reasonDataFull  = "disk_full"
	reasonIndexFull = "index_full"
)

// sayEvery is how often a storage that is full says what it has refused.
const sayEvery = time.Minute

// room is what the store knows of its volumes. The index ends the process when it meets a full disk, so data never takes
// all, and none is taken while the index has no room to grow.
type room struct {
	left    atomic.Int64 // bytes that may be appended until the next look; what is begun may take them, nothing new
	why     atomic.Value // error: no new segment is taken; nil inside: all are
	starved atomic.Bool  // the index met a full disk since the last look

	live, other atomic.Uint64 // segments that were refused since Open

	mu      sync.Mutex // protects the field below; to change it takes commitMu too, which protects the rest
	outages []outage   // oldest first; one without an end goes on
	unkept  bool       // they are not on disk as they are
	said    saying
}

// saying is what the log was told of the want of room that goes on.
type saying struct {
	at, began   time.Duration // monotonic
	live, other uint64        // refused when it began
}

// outage is a stretch of wall time in which nothing new was taken.
type outage struct {
	From   int64  `json:"from"` // nanoseconds since 1970
	To     int64  `json:"to,omitempty"`
	Reason string `json:"reason"`
}

const (
	outageVersion = 1
	maxOutages    = 200
)

type outageFile struct {
	Version int      `json:"version"`
	Outages []outage `json:"outages"`
}

// full is why no new segment is taken, or nil.
func (r *room) full() error {
	if w, ok := r.why.Load().(fullness); ok {
		return w.err
	}
	return nil
}

type fullness struct{ err error }

// refuse counts a segment that was not taken.
func (r *room) refuse(live bool) {
	if live {
		r.live.Add(1)
	} else {
		r.other.Add(1)
	}
}

// Full is why no new segment is taken for want of room, or nil.
func (s *Store) Full() error { return s.room.full() }

// Refused counts the segments that were not taken for want of room since Open: live ones, and all others. One that is
// brought again counts again.
func (s *Store) Refused() (live, other uint64) { return s.room.live.Load(), s.room.other.Load() }

// volume is a file system as the store sees it.
type volume struct{ free, total, reserve uint64 }

// keepFree is what has to be free for new segments: below it none is begun, and they are again a little above, so that they
// do not come and go.
func (v *volume) keepFree(full bool) uint64 {
	if full {
		return v.reserve + v.reserve/8
	}
	return v.reserve + v.reserve/16
}

func (s *Store) dataVolume() (v volume, err error) {
	v.free, v.total, err = s.fs.Free(s.o.Path)
	v.reserve = s.reserve(v.total)
	return v, err
}

// indexVolume is that of PATH/.twinreel, which may be another one. Where it is the same the reserve of data is met first.
func (s *Store) indexVolume() (v volume, err error) {
	v.free, v.total, err = s.fs.Free(filepath.Join(s.o.Path, metaDir))
	v.reserve = min(64<<20+v.total/100, v.total/10)
	return v, err
}

// reserve is how much of a file system data never takes.
func (s *Store) reserve(total uint64) uint64 {
	if s.o.Reserve > 0 {
		return s.o.Reserve
	}
	return min(256<<20+total/100, total/10)
}

// checkRoom looks at both volumes after each commit.
func (s *Store) checkRoom() {
	data, err := s.dataVolume()
	ix, ierr := s.indexVolume()
	if err = errors.Join(err, ierr); err != nil {
		s.log.Warn("free space is not known", "path", s.o.Path, "err", err)
		s.room.left.Store(math.MaxInt64)
		return
	}
	s.room.left.Store(int64(data.free) - int64(data.reserve))
	starved := s.room.starved.Swap(false)
	was := s.room.full()
	var now error
	switch {
	case data.free < data.keepFree(errors.Is(was, errDataFull)):
		now = errDataFull
	case starved || ix.free < ix.keepFree(errors.Is(was, errIndexFull)):
		now = errIndexFull
	}
	s.setFull(now, "free_bytes", data.free, "reserve_bytes", data.reserve, "index_free_bytes", ix.free, "index_reserve_bytes", ix.reserve)
}

// setFull notes and says whether there is room: when it ends, each minute, and when there is some again. Whatever is refused
// meanwhile is counted. The caller holds commitMu.
func (s *Store) setFull(now error, about ...any) {
	r := &s.room
	r.why.Store(fullness{now})
	began := s.noteOutage(now)
	mono := s.clock.Mono()
	live, other := s.Refused()
	refused := []any{"path", s.o.Path, "live_segments_refused", live - r.said.live, "others_refused", other - r.said.other}
	switch {
	case now != nil && began:
		r.said = saying{at: mono, began: mono, live: live, other: other}
		s.log.Warn("storage is full, the live tail goes on without it", append([]any{"path", s.o.Path, "err", now}, about...)...)
	case now != nil && mono-r.said.at >= sayEvery:
		r.said.at = mono
		s.log.Warn("storage is full", append(append(refused, "for", mono-r.said.began, "err", now), about...)...)
	case now == nil && began:
		s.log.Warn("storage has room again, it is recorded", append(append(refused, "for", mono-r.said.began), about...)...)
	}
	if r.unkept {
		s.keepOutages()
	}
}

// noteOutage ends and begins outages. changed: there is room since now, or none. The caller holds commitMu.
func (s *Store) noteOutage(now error) (changed bool) {
	r := &s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	reason := ""
	switch {
	case errors.Is(now, errDataFull):
		reason = reasonDataFull
	case errors.Is(now, errIndexFull):
		reason = reasonIndexFull
	}
	wall := s.clock.Now().UnixNano()
	last := len(r.outages) - 1
	on := last >= 0 && r.outages[last].To == 0
	if on && r.outages[last].Reason == reason {
		return false
	}
	if on {
		r.outages = slices.Clone(r.outages) // it may be on its way to disk, or read
		r.outages[last].To = max(wall, r.outages[last].From+1)
		r.unkept = true
	}
	if reason != "" {
		r.outages = append(r.outages, outage{From: wall, Reason: reason})
		r.outages = r.outages[max(0, len(r.outages)-maxOutages):]
		r.unkept = true
	}
	return on != (reason != "")
}

func (s *Store) outagePath() string { return filepath.Join(s.o.Path, metaDir, "outages") }

// keepOutages writes them down; where that fails the next look tries again. The caller holds commitMu.
func (s *Store) keepOutages() {
	b, err := json.Marshal(outageFile{Version: outageVersion, Outages: s.room.outages})
	if err == nil {
		err = vfs.Replace(s.fs, s.outagePath(), append(b, '\n'))
	}
	s.room.unkept = err != nil
}

// readOutages is advice, too: without it the gaps have no reason.
func (s *Store) readOutages() {
	b, err := readFile(s.fs, s.outagePath())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var f outageFile
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil || f.Version != outageVersion {
		s.log.Warn("when the storage was full is not known", "path", s.outagePath(), "version", f.Version, "err", err)
		return
	}
	s.room.outages = f.Outages
	s.room.said = saying{at: s.clock.Mono(), began: s.clock.Mono()}
}

// reasonOf says why nothing is here of a stretch of UTC, where that is known.
func (s *Store) reasonOf(from, to time.Time) string {
	s.room.mu.Lock()
	outages := s.room.outages
	s.room.mu.Unlock()
	for _, o := range slices.Backward(outages) {
		if (o.To == 0 || from.UnixNano() < o.To) && to.UnixNano() > o.From {
			return o.Reason
		}
	}
	return "unknown"
}
