package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// testClock is a clock that a test moves.
type testClock struct {
	clock.System
	wall time.Time
	mono time.Duration
}

func (c *testClock) Now() time.Time      { return c.wall }
func (c *testClock) Mono() time.Duration { return c.mono }
func (c *testClock) move(d time.Duration) {
	c.wall, c.mono = c.wall.Add(d), c.mono+d
}

var testEpoch = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// site is a store on disks that a test can take apart.
type site struct {
	t     testing.TB
	disk  *vfs.Mem
	fault *vfs.Fault
	index *pebblevfs.MemFS
	clock *testClock
	s     *Store
	st    *Stream
	row   segment.TimelineID
	lives int // how often the power was cut
	exits int // how often the process ended itself

	wrapIndex func() pebblevfs.FS              // what the index is opened on; nil: index
	fail      func(int64, vfs.Op, string) bool // of the faults that tryOpen makes
	every     time.Duration                    // Options.CommitEvery
	onExit    func()                           // nil: exits are counted
}

func newSite(t testing.TB) *site {
	x := &site{t: t, disk: vfs.NewMem(), index: newIndexFS(), clock: &testClock{wall: testEpoch, mono: time.Hour}, row: segment.TimelineID{1, 2, 3}}
	x.start()
	return x
}

// start opens a new store, which is checked when the test ends.
func (x *site) start() {
	t := x.t
	x.open()
	if err := x.st.PutTimeline(Row{ID: x.row, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.UnixNano()}}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if x.s == nil {
			return
		}
		if err := x.s.Check(context.Background()); err != nil {
			t.Errorf("check: %v", err)
		}
		if err := x.s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

func (x *site) tryOpen() error {
	x.fault = &vfs.Fault{FS: x.disk, Fail: x.fail}
	return x.openOn(x.fault)
}

func (x *site) openOn(f vfs.FS) error {
	var db pebblevfs.FS = x.index
	if x.wrapIndex != nil {
		db = x.wrapIndex()
	}
	s, err := Open(context.Background(), Options{
		Path: "/storage", FS: f, IndexFS: db, Clock: x.clock, Node: "a", ClockAgrees: func() bool { return false }, CommitEvery: x.every,
		Exit: func(int) {
			if x.onExit != nil {
				x.onExit()
			}
			x.exits++
		},
	})
	if err != nil {
		return err
	}
	x.s = s
	x.st, err = s.Stream("cam")
	return err
}

func (x *site) open() {
	x.t.Helper()
	if err := x.tryOpen(); err != nil {
		x.t.Fatal(err)
	}
}

// kept gives what is kept, and what of it is presented.
func (x *site) kept() (kept, present []segment.Digest) {
	x.t.Helper()
	for info, err := range x.st.Segments(time.Time{}, time.Time{}, true) {
		if err != nil {
			x.t.Fatal(err)
		}
		kept = append(kept, info.Info.Digest)
		if info.Presented {
			present = append(present, info.Info.Digest)
		}
	}
	return kept, present
}

func (x *site) commit() {
	x.t.Helper()
	if err := x.s.Commit(context.Background()); err != nil {
		x.t.Fatal(err)
	}
}

// powerCut leaves what was synced; beyond it, what keep says.
func (x *site) powerCut(keep func(string, int) (int, int)) {
	x.t.Helper()
	disk := x.disk.Crash(keep)
	index := x.index.CrashClone(pebblevfs.CrashCloneCfg{})
	x.lives++
	_ = x.s.Close()
	x.disk, x.index = disk, index
	x.open()
}

// made is a segment as a producer has it.
type made struct {
	slot   segment.Slot
	inits  []segment.Init
	info   segment.Info
	chunks [][]byte
}

const testFrame = 1920 // ticks of an AAC frame at 48 kHz

// make makes a segment of two audio tracks in a cell, with frames [from, to) of the row's media. Frames in lost are
// left out, those in bad are there with other bytes.
func (x *site) make(from, to int, lost, bad []int) *made {
	x.t.Helper()
	start := timeline.Wrap + timeline.Ticks(from*testFrame)
	m := &made{slot: segment.Slot{Timeline: x.row, Cell: uint16(start.Cell())}}
	m.info = segment.Info{Start: start, End: timeline.Wrap + timeline.Ticks(to*testFrame), Independent: true, Path: []string{"a"}, Format: segment.Format}
	for _, pid := range []uint16{256, 257} {
		data, codec, err := fmp4.AACInit(pid, "eng", fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 2})
		if err != nil {
			x.t.Fatal(err)
		}
		init := segment.Init{PID: pid, Hash: segment.Sum(data), Data: data}
		m.inits = append(m.inits, init)
		m.info.Tracks = append(m.info.Tracks, segment.Track{PID: pid, Codec: codec, Language: "eng", Init: init.Hash, Start: m.info.Start, End: m.info.End})
	}
	m.info.Tracks[1].Role = "visually-impaired"
	m.slot.InitSet = segment.MakeInitSet(m.info.Tracks)
	for at := from; at < to; {
		cell := (timeline.Wrap + timeline.Ticks(at*testFrame)) / timeline.ChunkTicks
		next := at
		for next < to && (timeline.Wrap+timeline.Ticks(next*testFrame))/timeline.ChunkTicks == cell {
			next++
		}
		for k := range m.info.Tracks {
			m.chunk(&m.info.Tracks[k], at, next, lost, bad)
		}
		at = next
	}
	h := []byte{}
	for _, c := range m.chunks {
		h = append(h, c...)
	}
	m.info.Digest, m.info.Bytes = segment.Sum(h), uint64(len(h))
	return m
}

func (m *made) chunk(t *segment.Track, from, to int, lost, bad []int) {
	var samples []fmp4.Sample
	var payload []byte
	start := timeline.Ticks(-1)
	for f := from; f < to; f++ {
		dts := timeline.Wrap + timeline.Ticks(f*testFrame)
		if slices.Contains(lost, f) {
			m.info.Evidence.Missing = append(m.info.Evidence.Missing, segment.MissingSpan{PID: t.PID, From: dts, To: dts + testFrame, Reason: segment.ReasonContinuity})
			if n := len(samples); n > 0 {
				samples[n-1].Duration += testFrame
			}
			continue
		}
		if start < 0 {
			start = dts
		}
		body := fmt.Appendf(nil, "pid %d frame %d", t.PID, f)
		if slices.Contains(bad, f) {
			body = append(body, "broken"...)
			m.info.Evidence.Faulty = append(m.info.Evidence.Faulty, segment.FaultySample{PID: t.PID, DTS: dts, Reason: segment.ReasonContinuity})
		}
		samples = append(samples, fmp4.Sample{Duration: testFrame, Size: uint32(len(body)), Flags: fmp4.FlagsSync})
		payload = append(payload, body...)
	}
	if len(samples) == 0 {
		return
	}
	b := fmp4.AppendChunk(nil, fmp4.Audio, t.PID, start, samples, payload)
	t.Samples += uint32(len(samples))
	t.Bytes += uint64(len(b))
	m.info.Chunks = append(m.info.Chunks, segment.Chunk{
		PID: t.PID, Cell: uint32(start / timeline.ChunkTicks), Offset: m.info.Bytes, Size: uint32(len(b)),
		CRC: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), TfdtOffset: fmp4.TfdtOffset,
	})
	m.info.Bytes += uint64(len(b))
	m.chunks = append(m.chunks, b)
}

// uncertain marks the cuts.
func (m *made) uncertain(start, end bool) *made {
	m.info.Evidence.StartUncertain, m.info.Evidence.EndUncertain = start, end
	return m
}

func (x *site) begin(m *made, live bool) (*Copy, error) {
	return x.st.Begin(m.slot, slices.Clone(m.inits), m.info.Tracks, BeginOptions{Live: live, Path: m.info.Path, Independent: true, StartUncertain: m.info.Evidence.StartUncertain})
}

// result is what done was told.
type result struct {
	out  Outcome
	err  error
	told int
}

// feed begins a copy and appends n of its chunks (all: -1).
func (x *site) feed(m *made, live bool, n int) (*Copy, error) {
	c, err := x.begin(m, live)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = len(m.chunks)
	}
	for i := range n {
		if err := c.Append(m.info.Chunks[i], slices.Clone(m.chunks[i]), segment.Evidence{}); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (x *site) record(m *made, live bool) (*result, error) {
	r := &result{}
	c, err := x.feed(m, live, -1)
	if err != nil {
		return r, err
	}
	return r, c.Seal(m.info, func(o Outcome, err error) { r.out, r.err, r.told = o, err, r.told+1 })
}

// store records and commits.
func (x *site) store(m *made, live bool) *result {
	x.t.Helper()
	r, err := x.record(m, live)
	if err != nil {
		x.t.Fatal(err)
	}
	x.commit()
	if r.told != 1 {
		x.t.Fatalf("done was called %d times", r.told)
	}
	return r
}

// cellFrames gives the frames of a cell.
func cellFrames(cell int) (from, to int) {
	first := func(c int) int { return (c*int(timeline.CellTicks) + testFrame - 1) / testFrame }
	return first(cell), first(cell + 1)
}

func (x *site) whole(cell int) *made {
	from, to := cellFrames(cell)
	return x.make(from, to, nil, nil)
}

func (x *site) read(d segment.Digest) ([]byte, error) {
	r, err := x.st.NewReader(d, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var all []byte
	for {
		_, data, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, data...)
	}
}

func TestSealedIsDurableAndReadable(t *testing.T) { // I1
	x := newSite(t)
	var all []*made
	for cell := range 5 {
		m := x.whole(cell)
		if r := x.store(m, true); r.err != nil || !r.out.Kept || !r.out.Copy.Presented {
			t.Fatalf("cell %d: %+v", cell, r)
		}
		all = append(all, m)
	}
	for _, how := range []string{"as it is", "after a power cut", "with the index lost"} {
		switch how {
		case "after a power cut":
			x.powerCut(nil)
		case "with the index lost":
			if err := x.s.Close(); err != nil {
				t.Fatal(err)
			}
			x.index = newIndexFS()
			x.open()
		}
		for _, m := range all {
			b, err := x.read(m.info.Digest)
			if err != nil || segment.Sum(b) != m.info.Digest {
				t.Fatalf("%s: read %s: %d bytes, %v", how, m.slot, len(b), err)
			}
			c, err := x.st.find(m.info.Digest)
			if err != nil || c.Slot != m.slot || c.Info.Start != m.info.Start || len(c.Info.Chunks) != len(m.info.Chunks) || !c.Presented {
				t.Fatalf("%s: find: %+v, %v", how, c, err)
			}
			if inits, err := x.st.Inits(&c.Info); err != nil || len(inits) != 2 || segment.Sum(inits[0].Data) != inits[0].Hash {
				t.Fatalf("%s: inits: %v", how, err)
			}
		}
		if r := x.st.Ranges(time.Time{}, time.Time{}); len(r) != 1 || r[0].Damaged || !r[0].From.Equal(testEpoch) {
			t.Fatalf("%s: ranges %+v", how, r)
		}
		if g := x.st.Gaps(time.Time{}, time.Time{}); len(g) != 0 {
			t.Fatalf("%s: gaps %+v", how, g)
		}
	}
}

func TestOpenCopySurvivesAsUncertain(t *testing.T) { // N2
	for _, zeros := range []int{0, 100, 5000} {
		x := newSite(t)
		m := x.whole(3)
		if _, err := x.feed(m, true, 9); err != nil {
			t.Fatal(err)
		}
		x.commit()
		if p := x.st.OpenParts(); len(p) != 1 || p[0].Durable != 9 {
			t.Fatalf("open parts %+v", p)
		}
		x.powerCut(func(string, int) (int, int) { return 37, zeros })
		copies, err := x.st.Copies(m.slot)
		if err != nil || len(copies) != 1 || len(copies[0].Info.Chunks) != 9 || !copies[0].Info.Evidence.EndUncertain {
			t.Fatalf("zeros %d: copies %+v, %v", zeros, copies, err)
		}
		if r := x.store(m, false); !r.out.Kept || len(r.out.Replaced) != 1 || r.out.Replaced[0] != copies[0].Info.Digest {
			t.Fatalf("the whole copy: %+v", r)
		}
		var by *SupersededError
		if _, err := x.st.find(copies[0].Info.Digest); !errors.As(err, &by) || by.By != m.info.Digest {
			t.Fatalf("find the replaced copy: %v", err)
		}
	}
}

func TestSealRefusesOtherBytes(t *testing.T) { // R4
	x := newSite(t)
	m := x.whole(0)
	c, err := x.feed(m, true, -1)
	if err != nil {
		t.Fatal(err)
	}
	lie := m.info
	lie.Digest[0] ^= 1
	if err := c.Seal(lie, func(Outcome, error) { t.Error("done was called") }); !errors.Is(err, errs.ErrCorrupt) {
		t.Fatalf("seal with another digest: %v", err)
	}
	bad := slices.Clone(m.chunks[0])
	bad[len(bad)-1] ^= 1
	if err := c.Append(m.info.Chunks[0], bad, segment.Evidence{}); !errors.Is(err, errs.ErrCorrupt) {
		t.Fatalf("append a damaged chunk: %v", err)
	}
	c.Drop()
}

func TestSuperset(t *testing.T) { // R2, R3, interleavings 1 to 3
	from, to := cellFrames(4)
	next, nextEnd := cellFrames(5)
	mid := (from + to) / 2
	x := newSite(t)
	whole := x.make(from, to, nil, nil)
	lacks10 := x.make(from, to, []int{from + 10}, nil)
	lacks50 := x.make(from, to, []int{from + 50, from + 51}, nil)
	bad60 := x.make(from, to, nil, []int{from + 60})
	joined := x.make(mid, to, nil, nil).uncertain(true, false)
	long := x.make(from, next+30, nil, nil).uncertain(false, true)
	second := x.make(next, nextEnd, nil, nil)
	spoiled, spoiledNext := x.make(from, to, nil, []int{from + 10}), x.make(next, nextEnd, nil, []int{next + 40})
	longer := x.make(from, next+30, []int{from + 20}, nil).uncertain(false, true)
	longSpoiled := x.make(from, next+30, []int{from + 20}, []int{from + 10}).uncertain(false, true)
	late := x.make(next+30, nextEnd, []int{next + 40, next + 50}, nil).uncertain(true, false)
	other, otherNext := x.make(from, next+30, nil, nil), x.make(next, nextEnd+60, nil, nil) // whole both: a conflict
	unsure := x.make(from, to, nil, nil).uncertain(false, true)
	head := x.make(from, from+60, nil, nil).uncertain(false, true)
	headOfHead := x.make(from, from+20, nil, nil).uncertain(false, true)
	tail := x.make(from+70, to, nil, nil).uncertain(true, false)
	for _, c := range []struct {
		name    string
		in      []*made
		kept    []*made
		present []*made
	}{
		{"neither contains the other", []*made{lacks10, lacks50}, []*made{lacks10, lacks50}, []*made{lacks10}},
		{"a part of one that is not played", []*made{tail, headOfHead, head}, []*made{tail, head}, []*made{tail}},
		{"whichever of the parts comes first", []*made{head, tail, headOfHead}, []*made{tail, head}, []*made{tail}},
		{"a whole one replaces all", []*made{lacks10, lacks50, bad60, joined, whole}, []*made{whole}, []*made{whole}},
		{"nothing is kept beside a whole one", []*made{whole, joined, bad60, lacks10}, []*made{whole}, []*made{whole}},
		{"one that reaches into the next slot", []*made{long, second}, []*made{long, second}, []*made{second}},
		{"is replaced by two that are whole", []*made{long, second, whole}, []*made{second, whole}, []*made{second, whole}},
		{"whichever comes first", []*made{whole, long, second}, []*made{second, whole}, []*made{second, whole}},
		{"once more", []*made{second, whole, long}, []*made{second, whole}, []*made{second, whole}},
		{"two that have more together than one that ran over the cut", []*made{longer, late, spoiled, spoiledNext},
			[]*made{longer, spoiled, spoiledNext}, []*made{spoiled, spoiledNext}},
		{"whichever of these comes first", []*made{spoiledNext, spoiled, late, longer}, []*made{longer, spoiled, spoiledNext}, []*made{spoiled, spoiledNext}},
		{"and contain it: it is better than each", []*made{longSpoiled, late, spoiled, spoiledNext},
			[]*made{longSpoiled, spoiled, spoiledNext}, []*made{spoiled, spoiledNext}},
		{"but not a whole one, though it is not played", []*made{other, otherNext, unsure},
			[]*made{other, otherNext, unsure}, []*made{otherNext, unsure}},
		{"and contain it, first", []*made{spoiled, spoiledNext, longSpoiled, late},
			[]*made{longSpoiled, spoiled, spoiledNext}, []*made{spoiled, spoiledNext}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newSite(t)
			for _, m := range c.in {
				if r := x.store(m, false); r.err != nil {
					t.Fatal(r.err)
				}
			}
			for _, lost := range []bool{false, true} {
				if lost {
					if err := x.s.Close(); err != nil {
						t.Fatal(err)
					}
					x.index = newIndexFS()
					x.open()
				}
				kept, present := x.kept()
				if !sameSet(kept, c.kept) || !sameSet(present, c.present) {
					t.Errorf("index lost %v: kept %d, presented %d, want %d and %d", lost, len(kept), len(present), len(c.kept), len(c.present))
				}
			}
			for _, m := range c.in {
				_, err := x.st.find(m.info.Digest)
				var by *SupersededError
				if err != nil && !errors.As(err, &by) {
					t.Errorf("digest %s is not traceable: %v", m.info.Digest, err)
				}
			}
		})
	}
}

func sameSet(got []segment.Digest, want []*made) bool {
	if len(got) != len(want) {
		return false
	}
	for _, m := range want {
		if !slices.Contains(got, m.info.Digest) {
			return false
		}
	}
	return true
}

func TestFailedSyncIsRewritten(t *testing.T) { // I4
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpAppend, vfs.OpSyncDir} {
		x := newSite(t)
		first, m, after := x.whole(0), x.whole(1), x.whole(2)
		x.store(first, true)
		c, err := x.feed(m, true, 5)
		if err != nil {
			t.Fatal(err)
		}
		x.commit()
		fails := 1
		x.fault.Fail = func(_ int64, o vfs.Op, path string) bool {
			if o == op && fails > 0 {
				fails--
				return true
			}
			return false
		}
		for i := 5; i < len(m.chunks); i++ {
			if err := c.Append(m.info.Chunks[i], m.chunks[i], segment.Evidence{}); err != nil {
				t.Fatal(err)
			}
		}
		r := result{}
		if err := c.Seal(m.info, func(o Outcome, err error) { r = result{o, err, r.told + 1} }); err != nil {
			t.Fatal(err)
		}
		x.commit()
		x.fault.Fail = nil
		if r.told != 1 || r.err != nil || !r.out.Kept {
			t.Fatalf("%s: %+v", op, r)
		}
		x.store(after, true)
		x.powerCut(nil)
		for _, m := range []*made{first, m, after} {
			if b, err := x.read(m.info.Digest); err != nil || segment.Sum(b) != m.info.Digest {
				t.Errorf("%s: read %s: %v", op, m.slot, err)
			}
		}
		if err := x.s.Check(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// TestSealedAndNotIndexed reads what is sealed and not committed: it is found among the open parts or in the index, at any
// time.
func TestSealedAndNotIndexed(t *testing.T) {
	x := newSite(t)
	m, next := x.whole(0), x.whole(1)
	c, err := x.feed(m, true, -1)
	if err != nil {
		t.Fatal(err)
	}
	x.commit()
	var r result
	if err := c.Seal(m.info, func(o Outcome, err error) { r = result{o, err, r.told + 1} }); err != nil {
		t.Fatal(err)
	}
	if _, err := x.feed(next, true, 3); err != nil {
		t.Fatal(err)
	}
	look := func(when string, open int) {
		t.Helper()
		parts := x.st.OpenParts()
		if len(parts) != open {
			t.Fatalf("%s: %d open parts, want %d", when, len(parts), open)
		}
		if open == 2 && (parts[0].Slot != m.slot || parts[0].Durable != len(m.chunks)) {
			t.Errorf("%s: %d of %d chunks of %s", when, parts[0].Durable, len(m.chunks), parts[0].Slot)
		}
		for i := range m.chunks {
			if b, err := x.st.ReadOpen(c.ID(), i); err != nil || !slices.Equal(b, m.chunks[i]) {
				t.Errorf("%s: chunk %d: %v", when, i, err)
			}
		}
	}
	look("sealed", 2)
	x.clock.move(2 * time.Minute) // the disk takes its time
	x.st.flush()
	look("not committed for long", 2)
	x.fault.Fail = func(_ int64, op vfs.Op, _ string) bool {
		if op == vfs.OpSync {
			look("while it is committed", 2)
		}
		return false
	}
	x.commit()
	x.fault.Fail = nil
	if r.told != 1 || r.err != nil || x.holds(m) != 1 {
		t.Fatalf("told %d times: %v", r.told, r.err)
	}
	look("committed", 1)
}

// TestAppendDuringSync appends while the file is being synced: that chunk is not durable yet (I1).
func TestAppendDuringSync(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	c, err := x.feed(m, true, 5)
	if err != nil {
		t.Fatal(err)
	}
	x.fault.Fail = func(_ int64, op vfs.Op, _ string) bool {
		if op == vfs.OpSync && len(c.Chunks()) == 5 {
			if err := c.Append(m.info.Chunks[5], m.chunks[5], segment.Evidence{}); err != nil {
				t.Error(err)
			}
		}
		return false
	}
	x.commit()
	if p := x.st.OpenParts(); len(p) != 1 || p[0].Durable != 5 || len(p[0].Info.Chunks) != 6 {
		t.Fatalf("open parts %+v", p)
	}
	x.powerCut(nil)
	if copies, err := x.st.Copies(m.slot); err != nil || len(copies) != 1 || len(copies[0].Info.Chunks) != 5 {
		t.Fatalf("copies %+v, %v", copies, err)
	}
}

// newIndexFS gives an empty disk for the index on which the way to the storage is durable: what is on it then is lost
// to a power cut only where the store left it unsynced.
func newIndexFS() *pebblevfs.MemFS {
	m := pebblevfs.NewCrashableMem()
	root := must(m.OpenDir("/"))
	if err := errors.Join(m.MkdirAll("/storage", 0o750), root.Sync(), root.Close()); err != nil {
		panic(err)
	}
	return m
}
