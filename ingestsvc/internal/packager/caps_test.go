package packager

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/testkit"
)

// TestMemoryIsFlat: what demuxer and packager hold of a source that is damaged in every byte that there is, and starts
// over and over again, does not grow.
func TestMemoryIsFlat(t *testing.T) {
	ts := source(t, clips[2])
	rnd := testkit.Rand(t)
	p := New(Options{MaxPending: 4 << 20}, nothing{})
	d := mpegts.NewDemuxer(p, mpegts.Options{MaxUnitBytes: 256 << 10})
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	feed := func(times int) (most int64) {
		for range times {
			hurt := bytes.Clone(ts)
			for range rnd.IntN(20_000) {
				hurt[rnd.IntN(len(hurt))] = byte(rnd.Uint32())
			}
			from := rnd.IntN(len(hurt) / 2)
			d.Write(hurt[from : from+len(hurt)/2])
			hurt = nil
			most = max(most, heap())
		}
		return most
	}
	before := heap()
	first := feed(rounds(16))
	last := feed(rounds(48))
	t.Logf("%d KiB held at first, then %d, then %d", before>>10, first>>10, last>>10)
	if first-before > 40<<20 || last-first > 8<<20 {
		t.Errorf("%d KiB held at first, then %d, then %d", before>>10, first>>10, last>>10)
	}
	if n := len(p.tracks) - len(p.byPID); n > maxGone+1 {
		t.Errorf("%d tracks that are gone", n)
	}
}
