package store

import (
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// tally is what a read has come to so far.
type tally struct {
	bytes  uint64
	of     [2]uint64 // by stats.Source
	took   time.Duration
	failed bool
}

func (t *tally) add(from stats.Source, n int, took time.Duration, err error) {
	t.took += took
	if err != nil {
		t.failed = true
		return
	}
	t.bytes += uint64(n)
	t.of[from] += uint64(n)
}

// count counts the read of a segment, or of a part of it, once; one that came to nothing is none. Its class goes by the time
// that the bytes took to come, of the media in them.
func (st *Stream) count(t *tally, why stats.Purpose, duration time.Duration, size uint64) bool {
	if t.bytes == 0 && !t.failed {
		return false
	}
	from, class := stats.Disk, stats.Failed
	if t.of[stats.Disk] == 0 && !t.failed {
		from = stats.Memory
	}
	if !t.failed {
		class = stats.ClassOf(t.took, time.Duration(float64(duration)*float64(t.bytes)/float64(max(1, size))))
	}
	st.stats.Read(from, class, 1)
	for from, n := range t.of {
		st.stats.ReadBytes(why, stats.Source(from), int(n))
	}
	return t.bytes > 0
}

// played counts for how old it is what a viewer has read of the archive.
func (st *Stream) played(row segment.TimelineID, end timeline.Ticks, bytes uint64) {
	st.stats.Played(st.s.clock.Now().Sub(st.At(row, end)), bytes)
}

// ReadPart gives the first n chunks of an open copy, in order, and counts as one read of it. Errors as ReadOpen, and those of each.
func (st *Stream) ReadPart(why stats.Purpose, p *OpenPart, n int, each func(ch segment.Chunk, data []byte) error) error {
	var t tally
	defer func() {
		if st.count(&t, why, (p.Info.End-p.Info.Start).Duration(), p.Info.Bytes) && why == stats.Play {
			st.stats.Played(st.s.clock.Now().Sub(p.UTCEnd), t.bytes)
		}
	}()
	for i, ch := range p.Info.Chunks[:n] {
		began := st.s.clock.Mono()
		data, from, err := st.readOpen(p.ID, i)
		t.add(from, len(data), st.s.clock.Mono()-began, err)
		if err == nil {
			err = each(ch, data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
