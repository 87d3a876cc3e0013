package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// tailBench publishes segments of a source whose bytes can be read back by (copy, index).
type tailBench struct {
	t     *tail
	src   content
	row   segment.TimelineID
	media map[uint64]*made
	reads int
	size  int // bytes of a chunk
	clock fakeClock
	stats *stats.Stream
}

func newTailBench(size int) *tailBench {
	b := &tailBench{src: content{name: "tv", base: base}, row: segment.TimelineID{1}, media: map[uint64]*made{}, size: size, stats: &stats.Stream{}}
	b.t = newTail(func(id uint64, i int) ([]byte, error) {
		b.reads++
		if m := b.media[id]; m != nil {
			return m.chunks[i].Data, nil
		}
		return nil, errs.ErrUnknown
	}, &b.clock, b.stats)
	return b
}

func (b *tailBench) slot(m *made) segment.Slot {
	return (&row{Row: store.Row{ID: b.row}}).place(m.begin.Key.Start, m.begin.Key.InitSet)
}

func (b *tailBench) publish(k int) *made {
	m, seq := b.stream(k)
	b.seal(m, seq)
	return m
}

func (b *tailBench) seal(m *made, seq uint64) {
	b.t.sealing(b.slot(m))
	b.t.sealed(TailSeal{Seq: seq, Slot: b.slot(m), Info: m.info})
}

// stream publishes a segment without its end.
func (b *tailBench) stream(k int) (*made, uint64) {
	m := b.src.segment(k)
	for i := range m.chunks {
		m.chunks[i].Data = bytes.Repeat([]byte{byte(k), byte(i)}, b.size/2)
	}
	id := uint64(k + 1)
	b.media[id] = m
	slot := b.slot(m)
	seq := b.t.begin(1, slot, m.begin)
	for i, c := range m.chunks {
		at := place{row: 1, start: m.begin.Key.Start, slot: slot, cell: c.Cell, pid: c.PID}
		b.t.chunk(at, seq, c, id, i)
	}
	return m, seq
}

// What has left memory is read back from the open copy, and memory stays bounded.
func TestTailMemoryIsBounded(t *testing.T) {
	b := newTailBench(tailBytes / chunksPer)
	r := &tailReader{t: t, f: b.t.follow(nil, false, stats.Play)}
	first := b.t.follow(nil, false, stats.Play)
	var want []*made
	for k := range tailSegments {
		want = append(want, b.publish(k))
	}
	if b.t.bytes > tailBytes {
		t.Errorf("%d bytes in memory, want at most %d", b.t.bytes, tailBytes)
	}
	r.want(want...)
	if b.reads == 0 {
		t.Error("nothing was read back")
	}
	// A follower whose bytes cannot be had any more goes on with a later segment, and is told.
	delete(b.media, 1)
	late := &tailReader{t: t, f: first}
	late.read()
	if late.skips != 1 || len(late.chunks) != (tailSegments-1)*chunksPer {
		t.Errorf("%d skips, %d chunks", late.skips, len(late.chunks))
	}
	for _, s := range late.seals {
		if s.Slot == b.slot(want[0]) && s.Seq != 0 {
			t.Error("a segment that was skipped is sealed as if it had been streamed")
		}
	}
}

// A follower that is too slow is told so, and holds nobody up.
func TestTailSlowFollowerSkips(t *testing.T) {
	b := newTailBench(100)
	slow := &tailReader{t: t, f: b.t.follow(nil, false, stats.Play)}
	var want []*made
	for k := range 3 * tailSegments {
		want = append(want, b.publish(k))
	}
	slow.read()
	if slow.skips != 1 || len(slow.chunks) != tailSegments*chunksPer {
		t.Errorf("%d skips, %d chunks", slow.skips, len(slow.chunks))
	}
	if slow.begins[0].Slot != b.slot(want[2*tailSegments]) {
		t.Errorf("goes on with %s", slow.begins[0].Slot)
	}
}

// Backfill goes on for hours while no input has media: what it changes does not pile up either.
func TestTailLogIsBounded(t *testing.T) {
	b := newTailBench(100)
	m := b.publish(0)
	behind := &tailReader{t: t, f: b.t.follow(nil, false, stats.Play)}
	for range 10 * tailEntries {
		b.t.changed(TailChanged{Slot: b.slot(m)})
	}
	if n := len(b.t.log); n > tailEntries {
		t.Errorf("%d entries", n)
	}
	if b.t.bytes != 0 {
		t.Errorf("%d bytes of media that nobody can get", b.t.bytes)
	}
	next := b.publish(1)
	behind.want(next)
	if behind.skips != 1 {
		t.Errorf("%d skips", behind.skips)
	}
}

func TestTailStartsWhereAsked(t *testing.T) {
	b := newTailBench(100)
	var want []*made
	for k := range 3 {
		want = append(want, b.publish(k))
	}
	after := b.slot(want[0])
	for _, tt := range []struct {
		name  string
		after *segment.Slot
		seals bool
		want  []*made
	}{
		{"the open or last one", nil, false, want[2:]},
		{"after a slot", &after, false, want[1:]},
		{"seals only", nil, true, nil},
	} {
		r := &tailReader{t: t, f: b.t.follow(tt.after, tt.seals, stats.Play)}
		t.Run(tt.name, func(*testing.T) { r.want(tt.want...) })
	}
}

// R5: a chunk is published when it lies beyond the last one, and only then.
func TestTailIsStrictlyIncreasing(t *testing.T) {
	b := newTailBench(100)
	m, next := b.src.segment(0), b.src.segment(1)
	slot, nextSlot := b.slot(m), b.slot(next)
	at := func(m *made, slot segment.Slot, row, i int) place {
		c := m.chunks[i]
		return place{row: row, start: m.begin.Key.Start, slot: slot, cell: c.Cell, pid: c.PID}
	}
	wantPublished := func(what string, p place, c Chunk, want bool) {
		t.Helper()
		if got := b.t.chunk(p, 1, c, 0, 0); got != want {
			t.Errorf("%s: published %t, want %t", what, got, want)
		}
	}
	b.t.begin(1, slot, m.begin)
	wantPublished("the first", at(m, slot, 1, 0), m.chunks[0], true)
	wantPublished("the same again", at(m, slot, 1, 0), m.chunks[0], false)
	wantPublished("a later one", at(m, slot, 1, 3), m.chunks[3], true)
	wantPublished("one before", at(m, slot, 1, 2), m.chunks[2], false)
	wantPublished("of an older row", at(next, nextSlot, 0, 5), next.chunks[5], false)

	// The segment before was broken off, and what was published of it reaches beyond the start of this one.
	over := next.chunks[1]
	over.Cell = m.chunks[3].Cell
	p := at(next, nextSlot, 1, 1)
	p.cell = over.Cell
	wantPublished("of a later slot, and behind what the track has had", p, over, false)
	b.t.sealing(slot)
	wantPublished("the same cell, where the slot before was cut", p, over, true)
	if b.t.begin(1, slot, m.begin) != 0 {
		t.Error("a segment begins before what was published")
	}
	if b.t.begin(2, segment.Slot{Timeline: segment.TimelineID{0}}, Begin{Key: segment.Key{Start: timeline.Wrap}}) == 0 {
		t.Error("a younger row does not begin")
	}
}

// Next blocks until there is something, and ends with the tail.
func TestTailNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTailBench(100)
		f := b.t.follow(nil, false, stats.Play)
		got := make(chan string, 100)
		go func() {
			for {
				e, err := f.Next(context.Background())
				if err != nil {
					got <- fmt.Sprint(errors.Is(err, errs.ErrNotReady))
					return
				}
				if e.Begin != nil {
					got <- "begin"
				}
			}
		}()
		synctest.Wait()
		if len(got) > 0 {
			t.Error("an event on an empty tail")
		}
		b.publish(0)
		synctest.Wait()
		b.t.close()
		if a, b := <-got, <-got; a != "begin" || b != "true" {
			t.Errorf("got %s, %s", a, b)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := newTailBench(1).t.follow(nil, false, stats.Play).Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// A segment of the tail counts once for each of its followers, by how far behind it that was; what a follower was too late for
// is skipped.
func TestReadsOfTheTail(t *testing.T) {
	b := newTailBench(100)
	read := func(f *Follower) {
		for {
			if _, wait, err := f.Poll(); wait != nil || err != nil {
				return
			}
		}
	}
	b.stream(0)
	b.clock.mono += time.Hour
	f, seals := b.t.follow(nil, false, stats.Play), b.t.follow(nil, true, stats.Play)
	joined := b.t.follow(nil, false, stats.Replication)
	read(joined) // what was there before it came is no delay
	var last *made
	var seq uint64
	for k, late := range []time.Duration{segTime/2 - 1, segTime / 2, segTime * 9 / 10, segTime*9/10 + 1} {
		last, seq = b.stream(k + 1)
		b.clock.mono += late
		read(f)
		read(seals)
	}
	var bytes, all uint64
	for k := range 5 {
		for _, c := range b.media[uint64(k+1)].chunks {
			all += uint64(len(c.Data))
		}
		if k == 0 {
			bytes = all
		}
	}
	c := b.stats.Counts()
	if c.Reads[stats.Memory] != [5]uint64{2, 2} || c.ReadBytes[stats.Play][stats.Memory] != all || c.ReadBytes[stats.Replication][stats.Memory] != bytes {
		t.Errorf("reads %v, bytes %v", c.Reads, c.ReadBytes)
	}
	b.seal(last, seq)
	read(f)
	for k := range 6 {
		b.publish(k + 5)
	}
	read(f) // the newest four of those are there
	if c := b.stats.Counts(); c.Reads[stats.Memory] != [5]uint64{6, 2, 1, 0, 2} {
		t.Errorf("reads %v", c.Reads)
	}

	big := newTailBench(tailBytes)
	f = big.t.follow(nil, false, stats.Play)
	big.publish(0)
	read(f)
	big.publish(1)
	read(f)
	if c := big.stats.Counts(); c.Reads != [2][5]uint64{1: {2}} || c.ReadBytes[stats.Play][stats.Disk] == 0 || c.ReadBytes[stats.Play][stats.Memory] == 0 {
		t.Errorf("what has left memory: %v, %v", c.Reads, c.ReadBytes)
	}
}

// TestHeadOfATimeline: from its first segment on a timeline has a head of its own, or a peer takes that of the one before, or none,
// for a place on it.
func TestHeadOfATimeline(t *testing.T) {
	b := newTailBench(100)
	m := b.src.segment(0)
	b.t.begin(1, b.slot(m), m.begin)
	if got := b.t.beat; got.Slot != b.slot(m) || got.Head != m.begin.Key.Start {
		t.Errorf("before the first chunk the head is %d of %s, want %d", got.Head, got.Slot, m.begin.Key.Start)
	}
	b.publish(50)
	b.row = segment.TimelineID{2}
	b.t.begin(2, b.slot(m), m.begin)
	if got := b.t.beat; got.Slot != b.slot(m) || got.Head != m.begin.Key.Start {
		t.Errorf("after a jump the head is %d of %s, want %d", got.Head, got.Slot, m.begin.Key.Start)
	}
}
