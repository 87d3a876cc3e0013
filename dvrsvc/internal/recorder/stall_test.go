package recorder

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// roomy is a disk whose room a test says.
type roomy struct {
	vfs.FS
	free uint64
}

func (r *roomy) Free(string) (free, total uint64, err error) { return r.free, 1 << 40, nil }

// diskBench is a stream that records to a store, on a disk that a test makes stall, fail and fill.
type diskBench struct {
	*bench
	p      *fakeProducer
	room   *roomy
	fault  *vfs.Fault
	fail   atomic.Bool   // writes and syncs do
	unsure atomic.Bool   // the wall clock is not synchronised
	stall  chan struct{} // a sync waits for it to be closed, and says at stuck that it does
	stuck  chan struct{}
	store  *store.Store
	counts *stats.Stream
	sent   uint64
}

func newDiskBench(t *testing.T) *diskBench {
	d := &diskBench{bench: &bench{t: t, clock: &fakeClock{mono: time.Hour, wall: time.Unix(1_800_000_000, 0).UTC()}, a: newFakeArchive(t)}}
	d.room = &roomy{FS: vfs.NewMem(), free: 1 << 39}
	d.stall = make(chan struct{})
	close(d.stall)
	d.fault = &vfs.Fault{FS: d.room, Fail: func(_ int64, op vfs.Op, _ string) bool {
		if op == vfs.OpSync {
			select {
			case d.stuck <- struct{}{}:
			default:
			}
			<-d.stall
		}
		return d.fail.Load() && (op == vfs.OpSync || op == vfs.OpAppend || op == vfs.OpCreate)
	}}
	var set stats.Set
	var err error
	d.store, err = store.Open(t.Context(), store.Options{
		Path: "/dvr", FS: d.fault, IndexFS: pebblevfs.NewMem(), Clock: d.clock, Node: "here", Stats: set.Storage("/dvr"),
		ClockAgrees: func() bool { return !d.unsure.Load() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.store.Close(); err != nil {
			t.Error(err)
		}
	})
	d.counts = set.Storage("/dvr").Stream("tv")
	d.run()
	return d
}

// run takes up the stream, again after the storage was closed and opened.
func (d *diskBench) run() {
	a, err := d.store.Stream("tv")
	if err != nil {
		d.t.Fatal(err)
	}
	in := udp
	in.Priority, in.SourceTimeout = 1, time.Hour
	d.cfg = Config{Name: "tv", Inputs: []Input{in}}
	d.s = newStream("here", d.cfg, archive{a}, d.clock, slog.New(slog.DiscardHandler), NewMetrics(nil), d.counts)
	d.s.random = func(p []byte) {
		d.ids++
		binary.BigEndian.PutUint64(p, d.ids)
		d.a.put[segment.TimelineID(p)] = true
	}
	for _, r := range a.Timelines() {
		d.a.put[r.ID] = true
	}
}

// send sends segment k of a source, and lets the time of it pass.
func (d *diskBench) send(k int) *made {
	m := d.segment(k)
	d.p.whole(m)
	d.sent++
	return m
}

// segment makes segment k: a cell of sound.
func (d *diskBench) segment(k int) *made {
	d.t.Helper()
	const pid, samplesPer = 256, 16
	start := segmentT(base + timeline.Ticks(k)*segTicks)
	data, codec, err := fmp4.AACInit(pid, "eng", fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 2})
	if err != nil {
		d.t.Fatal(err)
	}
	init := segment.Init{PID: pid, Hash: segment.Sum(data), Data: data}
	tracks := []segment.Track{{PID: pid, Codec: codec, Language: "eng", Init: init.Hash, Start: start, End: start + segTicks}}
	m := &made{begin: Begin{
		Key: segment.Key{Seq: uint64(k + 1), Start: start, InitSet: segment.MakeInitSet(tracks)}, Inits: []segment.Init{init}, Tracks: tracks,
		Path: []string{"here"}, Independent: true,
	}}
	var all []byte
	for at := start; at < start+segTicks; at += timeline.ChunkTicks {
		var samples []fmp4.Sample
		for range samplesPer {
			samples = append(samples, fmp4.Sample{Duration: uint32(timeline.ChunkTicks / samplesPer), Size: 8, Flags: fmp4.FlagsSync})
		}
		payload := make([]byte, 8*samplesPer)
		binary.BigEndian.PutUint64(payload, uint64(at))
		b := fmp4.AppendChunk(nil, fmp4.Audio, pid, at, samples, payload)
		m.chunks = append(m.chunks, Chunk{Chunk: segment.Chunk{
			PID: pid, Cell: uint32(at / timeline.ChunkTicks), Size: uint32(len(b)), CRC: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), TfdtOffset: fmp4.TfdtOffset,
		}, Data: b})
		all = append(all, b...)
	}
	m.info = segment.Info{
		Start: start, End: start + segTicks, Digest: segment.Sum(all), Bytes: uint64(len(all)), Tracks: tracks, Path: []string{"here"},
		Format: segment.Format, Independent: true,
	}
	return m
}

func (d *diskBench) commit() {
	d.t.Helper()
	_ = d.store.Commit(context.Background())
	d.s.settle()
	d.p.drain()
}

func (d *diskBench) pass(t time.Duration) { d.bench.pass(t, d.p.progress) }

// want checks the classes so far.
func (d *diskBench) want(when string, fast, slow, delayed, failed, skipped uint64) {
	d.t.Helper()
	if got := d.counts.Counts().Written; got != [5]uint64{fast, slow, delayed, failed, skipped} {
		d.t.Errorf("%s: fast, slow, delayed, failed, skipped are %v, want %v", when, got, []uint64{fast, slow, delayed, failed, skipped})
	}
}

// Every segment that is sent counts once, whatever the disk does with it: it keeps up, stalls, is full, fails, and is opened
// again; and what comes of those later that were not written is counted apart.
func TestClassesOfWrites(t *testing.T) {
	d := newDiskBench(t)
	d.p = &fakeProducer{b: d.bench, input: udp.URL, src: content{name: "tv", base: base}, began: d.clock.mono, path: []string{"here"}, inc: 1, seq0: 1,
		released: map[uint64]Release{}, named: map[uint64]segment.Slot{}}
	d.p.connect()
	d.pass(2 * time.Second)
	if !d.p.active {
		t.Fatal("the input is not active")
	}
	k := 0
	next := func() { d.send(k); k++ }

	next()
	d.pass(segTime/2 - 100*time.Millisecond)
	d.commit()
	d.want("in time", 1, 0, 0, 0, 0)
	next()
	d.pass(segTime * 7 / 10)
	d.commit()
	d.want("slowly", 1, 1, 0, 0, 0)

	next()
	d.stall, d.stuck = make(chan struct{}), make(chan struct{}, 1)
	committed := make(chan struct{})
	go func() { defer close(committed); _ = d.store.Commit(context.Background()) }()
	<-d.stuck
	for range 3 { // the disk stalls
		d.pass(segTime)
		next()
	}
	d.want("while the disk stalls", 1, 1, 0, 0, 0)
	close(d.stall)
	<-committed
	d.commit()
	d.want("when it goes on", 2, 1, 3, 0, 0)

	d.room.free = 0
	d.commit()
	next() // the disk is full
	d.want("on a full disk", 2, 1, 3, 0, 1)
	d.room.free = 1 << 39
	d.commit()
	d.pass(fullPause + 2*weighEvery)
	d.later()
	d.commit()
	d.want("when there is room", 2, 1, 3, 0, 1)
	if c := d.counts.Counts(); c.Offered != 1 {
		t.Errorf("%d segments came later, want 1", c.Offered)
	}

	next()
	d.fail.Store(true)
	d.commit() // the disk fails
	d.want("when the disk fails", 2, 1, 3, 1, 1)
	d.fail.Store(false)

	lost := d.segment(k) // its producer had no memory for it
	k++
	d.sent++
	for range 2 {
		if err := d.p.call.Withdraw(lost.begin.Key.Seq, "RING_OVERRUN"); err != nil {
			t.Fatal(err)
		}
	}
	d.want("when memory is full", 2, 1, 3, 1, 2)
	if err := d.p.call.Withdraw(1, "RING_OVERRUN"); err != nil { // it crosses the release
		t.Fatal(err)
	}
	d.want("when a withdrawal crosses a release", 2, 1, 3, 1, 2)
	next()
	d.commit()
	d.want("after it", 3, 1, 3, 1, 2)

	// The newest is lost with its storage, which is opened again: it is sent anew, and known.
	newest := k
	next()
	d.fail.Store(true)
	d.commit()
	d.fail.Store(false)
	d.want("when the disk fails again", 3, 1, 3, 2, 2)
	d.s.close(context.Canceled)
	d.run()
	d.p.connect(d.segment(newest))
	d.pass(2 * time.Second)
	if !d.p.active {
		t.Fatal("the input is not active again")
	}
	d.p.whole(d.segment(newest))
	d.commit()
	next()
	d.commit()
	d.want("when the storage is opened again", 4, 1, 3, 2, 2)
	var sum uint64
	for _, n := range d.counts.Counts().Written {
		sum += n
	}
	if sum != d.sent {
		t.Errorf("%d segments are counted, %d were sent", sum, d.sent)
	}
	if c := d.counts.Counts(); c.Offered != 2 || c.Backfilled != 0 {
		t.Errorf("%d segments came later, want 2", c.Offered)
	}
}

// later sends what is asked for again.
func (d *diskBench) later() {
	d.p.drain()
	wants := d.p.wants
	d.p.wants = nil
	for _, seq := range wants {
		d.p.whole(d.segment(int(seq) - 1))
	}
}
