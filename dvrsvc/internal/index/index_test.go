package index

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t testing.TB, fs vfs.FS) *DB {
	t.Helper()
	db, err := Open("/index", fs, quiet, func(err error) { t.Error(err) }, func(err error) { t.Error(err) }, func(int) { t.Error("the process would end") })
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Load("cam"); err != nil {
		t.Fatal(err)
	}
	return db
}

// sample makes the copy of a cell. What repeats itself after two blocks has its digest again.
func sample(cell int64, version byte) *Copy {
	start := timeline.Wrap + timeline.Ticks(cell)*timeline.CellTicks%timeline.Wrap
	c := &Copy{
		Slot:      segment.Slot{Timeline: segment.TimelineID{7}, Turn: int32(cell >> 14), Cell: uint16(cell & 16383), InitSet: segment.InitSet{1}},
		Presented: version == 0, File: uint64(cell / 600), Replaces: []segment.Digest{{9, version}},
	}
	c.Info = segment.Info{
		Start: start, End: start + timeline.CellTicks, Bytes: 1000, Independent: true, Path: []string{"a", "b"}, Format: 1,
		Digest: segment.Sum([]byte{byte(cell), byte(cell >> 8 & 3), version}),
	}
	c.Info.Tracks = []segment.Track{{PID: 256, Codec: "avc1.64001f", Language: "eng", Init: segment.Digest{3}, Start: start, End: start + timeline.CellTicks, Samples: 146, Bytes: 900}}
	if version > 0 {
		c.Info.Tracks[0].Role = "hearing-impaired"
		c.Info.Evidence = segment.Evidence{
			EndUncertain: true,
			Faulty:       []segment.FaultySample{{PID: 256, DTS: start + 3600, Reason: segment.ReasonContinuity}},
			Missing:      []segment.MissingSpan{{PID: 256, From: start + 7200, To: start + 9000, Reason: segment.ReasonStep}},
		}
	}
	at, offset := int64(5000), uint64(0)
	for k := range 16 {
		c.Info.Chunks = append(c.Info.Chunks, segment.Chunk{PID: 256, Cell: uint32(start>>15) + uint32(k), Offset: offset, Size: 60, CRC: uint32(k) * 77, TfdtOffset: 60})
		at += 50
		c.At = append(c.At, at)
		at, offset = at+60, offset+60
	}
	return c
}

func TestRecordRoundTrip(t *testing.T) {
	for _, cell := range []int64{0, 5, 16383, 16384, -1, -20000} {
		for version := range byte(2) {
			c := sample(cell, version)
			got, err := parseFull(appendFull(nil, c))
			if err != nil || !reflect.DeepEqual(&got, c) {
				t.Errorf("cell %d: %+v, %v, want %+v", cell, got, err, c)
			}
		}
	}
}

// A record whose tracks have no role is written as it always was.
func TestRecordWithoutRoles(t *testing.T) {
	for version, want := range []byte{recordVersion, roleVersion} {
		if b := AppendRecord(nil, sample(3, byte(version))); b[0] != want {
			t.Errorf("version %d, want %d", b[0], want)
		}
	}
	for _, role := range []string{"", "commentary"} {
		in := []segment.Track{{PID: 1, Codec: "a", Role: role}, {PID: 2, Codec: "b"}}
		b := AppendTracks(nil, in)
		if out, rest, err := ParseTracks(b, HasRoles(in)); err != nil || len(rest) > 0 || !reflect.DeepEqual(out, in) {
			t.Errorf("%+v, %v, want %+v", out, err, in)
		}
		if role == "" && len(b) != 1+2*(1+2+1+32+4) {
			t.Errorf("%d bytes without a role", len(b))
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(AppendRecord(nil, sample(3, 1)))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, rest, err := ParseRecord(b)
		if err != nil {
			return
		}
		again, _, err := ParseRecord(AppendRecord(nil, &c))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%d bytes left: %+v, %v, want %+v", len(rest), again, err, c)
		}
	})
}

// TestRandom puts and deletes at random and compares with a map; Check holds all along, also after opening again.
func TestRandom(t *testing.T) {
	const seed = 5
	rnd := rand.New(rand.NewPCG(seed, 0))
	fs := vfs.NewMem()
	db := open(t, fs)
	type place struct {
		slot   segment.Slot
		digest segment.Digest
	}
	model := map[place]*Copy{}
	for step := range 300 {
		tx := db.Begin()
		for range rnd.IntN(8) {
			c := sample(int64(rnd.IntN(1500))-700, byte(rnd.IntN(2)))
			var err error
			at := place{c.Slot, c.Info.Digest}
			if old := model[at]; old != nil && rnd.IntN(2) == 0 {
				err = tx.Delete("cam", old)
				delete(model, at)
			} else {
				err = tx.Put("cam", c)
				model[at] = c
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if step%50 == 49 {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = open(t, fs)
			if err := db.Check("cam"); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
		}
	}
	defer db.Close()
	n := 0
	last := int64(-1 << 40)
	err := db.Scan("cam", segment.TimelineID{7}, -1<<40, 1<<40, func(r Row) bool {
		if model[place{r.Slot, r.Digest}] == nil || r.Slot.AbsCell() < last {
			t.Errorf("row %+v is not expected here", r)
		}
		last = r.Slot.AbsCell()
		n++
		return true
	})
	if err != nil || n != len(model) {
		t.Errorf("%d rows, %v, want %d", n, err, len(model))
	}
	places := map[segment.Digest]int{}
	for at := range model {
		places[at.digest]++
	}
	for d, n := range places {
		if got, err := db.Places("cam", d); err != nil || len(got) != n {
			t.Errorf("%s is in %d places, %v, want %d", d, len(got), err, n)
		}
	}
}

func TestAbortedTransactionLeavesNothing(t *testing.T) { // I3
	db := open(t, vfs.NewMem())
	defer db.Close()
	tx := db.Begin()
	if err := tx.Put("cam", sample(1, 0)); err != nil {
		t.Fatal(err)
	}
	tx.Close()
	if _, err := db.Get("cam", sample(1, 0).Slot, sample(1, 0).Info.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if len(db.Rows("cam")) != 0 {
		t.Error("a row is shown")
	}
}

// TestCloseWaitsForReads closes the index under a reader: what it reads stays there, and what begins later fails.
func TestCloseWaitsForReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t, vfs.NewMem())
		tx := db.Begin()
		for cell := range int64(3) {
			if err := tx.Put("cam", sample(cell, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		closed, n := make(chan error, 1), 0
		err := db.Scan("cam", segment.TimelineID{7}, 0, 10, func(Row) bool {
			if n++; n == 1 {
				go func() { closed <- db.Close() }()
				synctest.Wait()
				if _, err := db.Get("cam", sample(1, 0).Slot, sample(1, 0).Info.Digest); !errors.Is(err, errs.ErrNotReady) {
					t.Errorf("a read that begins later: %v", err)
				}
				if len(closed) > 0 {
					t.Error("closed under the reader")
				}
			}
			return true
		})
		if err != nil || n != 3 {
			t.Errorf("%d rows, %v", n, err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// TestBlockDigestKnowsWholeness: the same bytes, and known to be whole on one site only.
func TestBlockDigestKnowsWholeness(t *testing.T) {
	a, b := sample(5, 0), sample(5, 0)
	a.Info.Evidence, b.Info.Evidence = segment.Evidence{}, segment.Evidence{EndUncertain: true}
	x, y := Summarize(0, []Row{compact(a)}), Summarize(0, []Row{compact(b)})
	if x.Digest == y.Digest {
		t.Error("a whole copy and one that is not have one block digest")
	}
}

// TestBlockDigestKnowsNoTurn: two nodes may number turns apart.
func TestBlockDigestKnowsNoTurn(t *testing.T) {
	a, b := sample(5, 0), sample(5, 0)
	b.Slot.Turn, b.Slot.Timeline = 3, segment.TimelineID{8}
	x, y := Summarize(0, []Row{compact(a)}), Summarize(3*32, []Row{compact(b)})
	if x.Digest != y.Digest {
		t.Error("digests differ")
	}
}

// TestThirtyDays: a month of segments opens in well under a second, since only block rows are read.
func TestThirtyDays(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100,000 rows")
	}
	fs := vfs.NewMem()
	db := open(t, fs)
	for cell := int64(0); cell < 100_000; {
		tx := db.Begin()
		for range 2000 {
			if err := tx.Put("cam", sample(cell, 0)); err != nil {
				t.Fatal(err)
			}
			cell++
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	db = open(t, fs)
	defer db.Close()
	blocks := db.Blocks("cam", segment.TimelineID{7})
	t.Logf("opened 100,000 segments, %d blocks in %v", len(blocks), time.Since(start))
	if len(blocks) != 100_000/segment.BlockCells+1 {
		t.Errorf("%d blocks", len(blocks))
	}
	start = time.Now()
	runs := slices.Collect(Coalesce(func(yield func(Run) bool) {
		for i := range blocks {
			for _, r := range blocks[i].Runs {
				if !yield(r) {
					return
				}
			}
		}
	}))
	t.Logf("%d ranges in %v", len(runs), time.Since(start))
	if len(runs) != 1 {
		t.Errorf("%d ranges, want one", len(runs))
	}
}

// TestRunIsOneRange deletes the oldest of a row as retention does: one range, however many they are, and nothing is left of
// them or taken with them.
func TestRunIsOneRange(t *testing.T) {
	db := open(t, vfs.NewMem())
	defer db.Close()
	const n, gone = 1200, 900
	tx := db.Begin()
	for cell := range int64(n) {
		if err := tx.Put("cam", sample(cell, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	row := sample(0, 0).Slot.Timeline
	var rows []Row
	if err := db.Scan("cam", row, 0, gone, func(r Row) bool { rows = append(rows, r); return true }); err != nil {
		t.Fatal(err)
	}
	tx = db.Begin()
	copies, err := tx.DeleteRun("cam", rows)
	if err != nil || len(copies) != gone {
		t.Fatalf("%d copies, %v", len(copies), err)
	}
	if points := int(tx.b.Count()); points > gone+10 { // full rows, one range, and little beside
		t.Errorf("%d changes for %d copies", points, gone)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	left := int64(0)
	if err := db.Scan("cam", row, 0, n, func(r Row) bool { left++; return true }); err != nil || left != n-gone {
		t.Errorf("%d rows are left of %d, %v", left, n-gone, err)
	}
	if _, err := db.Get("cam", copies[5].Slot, copies[5].Info.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("full row of one that is gone: %v", err)
	}
	if err := db.Check("cam"); err != nil {
		t.Error(err)
	}
}

// TestListWhileCopiesGo: a copy that gives way to another while a list is made fails nothing, and leaves no slot empty.
func TestListWhileCopiesGo(t *testing.T) {
	db := open(t, vfs.NewMem())
	put := func(change func(*Tx) error) {
		tx := db.Begin()
		if err := errors.Join(change(tx), tx.Commit()); err != nil {
			t.Error(err)
		}
	}
	put(func(tx *Tx) (err error) {
		for cell := range int64(100) {
			err = errors.Join(err, tx.Put("cam", sample(cell, 0)))
		}
		return err
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range 200 {
			old, fresh := sample(99, byte(i%2)), sample(99, byte((i+1)%2))
			put(func(tx *Tx) error { return errors.Join(tx.Delete("cam", old), tx.Put("cam", fresh)) })
		}
	}()
	for more := true; more; {
		select {
		case <-ended:
			more = false
		default:
		}
		got, err := db.Copies("cam", segment.TimelineID{7}, 0, 100)
		if err != nil || len(got) != 100 {
			t.Fatalf("%d copies, %v", len(got), err)
		}
	}
	<-ended
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
