package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// rounds is how often a test of the whole of a fault repeats: few by default, TWINREEL_FAULTS times in `make faults`.
func rounds(t testing.TB, few int) int {
	v := os.Getenv("TWINREEL_FAULTS")
	if v == "" {
		return few
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("TWINREEL_FAULTS is no count: %q", v)
	}
	return n
}

// scrubbing runs a round of the scrub beside commits.
func (x *site) scrubbing() {
	x.t.Helper()
	if err := x.s.scrubWith(func(ctx context.Context) error { return x.s.scrubRound(ctx) }); err != nil {
		x.t.Fatal(err)
	}
}

// scrubWith commits until what scrubs has ended.
func (s *Store) scrubWith(scrub func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- scrub(context.Background()) }()
	for {
		select {
		case err := <-done:
			return err
		case <-time.After(100 * time.Microsecond):
			if err := s.Commit(context.Background()); err != nil && !errors.Is(err, ErrClosed) {
				return err
			}
		}
	}
}

// closedFiles gives a site whose data files are all closed, and what it holds.
func closedFiles(t testing.TB) (*site, []*made) {
	x := newSite(t)
	var all []*made
	for _, cell := range []int{0, 1, 2, 3, 4, 700} { // the last is of another hour
		m := x.whole(cell)
		if cell == 4 {
			from, to := cellFrames(cell)
			m = x.make(from, to, []int{from + 9}, nil)
		}
		x.store(m, cell != 3)
		all = append(all, m)
	}
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	x.open()
	return x, all
}

func TestScrubQuarantinesRot(t *testing.T) { // faults 11
	x, all := closedFiles(t)
	x.scrubbing()
	if got := x.s.Scrubbed(); got.Copies != 6 || got.Rotten+got.Renewed+got.Damaged != 0 || got.Rounds != 1 || got.Bytes == 0 {
		t.Errorf("of a good archive: %+v", got)
	}
	events, stop := x.st.Watch()
	defer stop()
	x.rot(all[1])
	x.scrubbing()
	if got := x.s.Scrubbed(); got.Rotten != 1 || got.Damaged != 1 || got.Rounds != 2 {
		t.Errorf("of a rotten copy: %+v", got)
	}
	for e := range events {
		if e.Kind == EventQuarantined {
			if e.Copy.Info.Digest != all[1].info.Digest {
				t.Errorf("told: %+v", e)
			}
			break
		}
	}
	for i, m := range all {
		b, err := x.read(m.info.Digest)
		if i == 1 && !errors.Is(err, errs.ErrQuarantined) || i != 1 && (err != nil || segment.Sum(b) != m.info.Digest) {
			t.Errorf("copy %d: %v", i, err)
		}
	}
	if blocks := x.st.Digests(x.row, 0, 0); len(blocks) != 2 || blocks[0].Slots+blocks[1].Slots != 5 {
		t.Errorf("a peer is told that the slot is held: %+v", blocks)
	}
	x.powerCut(func(string, int) (int, int) { return 0, 0 })
	if s := x.st.Summary(); s.Quarantined != 1 || s.Copies != 6 {
		t.Errorf("summary %+v, want one of 6 shut away", s)
	}
	if r := x.store(all[1], false); r.err != nil || !r.out.Kept || x.st.Summary().Quarantined != 0 {
		t.Errorf("brought again: %+v, %+v", r, x.st.Summary())
	}
}

// TestScrubRenewsWhatSurroundsCopies damages what an index is made from: the copies are written anew, and live without
// the index too (I5).
func TestScrubRenewsWhatSurroundsCopies(t *testing.T) {
	for _, what := range []string{"moov", boxHead, boxCopy, boxChunk, boxSeal, boxDone} {
		t.Run(what, func(t *testing.T) {
			x, all := closedFiles(t)
			path := x.dataFiles()[0]
			b := must(readFile(x.disk, path))
			at := bytes.LastIndex(b, []byte(boxUser+what)) + len(boxUser) + 5
			if what == "moov" {
				at = bytes.Index(b, []byte("mvhd")) + 20
			}
			if what == boxDone {
				at = len(b) - 2
			}
			if err := x.disk.Corrupt(path, int64(at)); err != nil {
				t.Fatal(err)
			}
			x.scrubbing()
			if got := x.s.Scrubbed(); got.Rotten != 0 || got.Renewed == 0 || got.Damaged != 1 {
				t.Errorf("%+v", got)
			}
			known := x.s.Scrubbed()
			if x.scrubbing(); x.s.Scrubbed().Damaged != known.Damaged || x.s.Scrubbed().Renewed != known.Renewed {
				t.Errorf("found once more: %+v", x.s.Scrubbed())
			}
			for range 2 { // once when the old file is adopted first, once when the new one has to do alone
				x.loseIndex()
				for i, m := range all {
					if b, err := x.read(m.info.Digest); err != nil || segment.Sum(b) != m.info.Digest {
						t.Errorf("copy %d without the index: %v", i, err)
					}
				}
				if _, err := x.disk.Open(path); err == nil {
					if err := x.disk.Remove(path); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

func TestScrubWritesStateAndIDAnew(t *testing.T) {
	x, _ := closedFiles(t)
	for _, path := range []string{"/storage/cam/state", "/storage/.twinreel/store"} {
		want := must(readFile(x.disk, path))
		if err := x.disk.Corrupt(path, 12); err != nil {
			t.Fatal(err)
		}
		before := x.s.Scrubbed()
		x.scrubbing()
		if got := must(readFile(x.disk, path)); !bytes.Equal(got, want) || x.s.Scrubbed().Damaged != before.Damaged+1 {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// slowClock counts what is waited for, and does not wait.
type slowClock struct {
	*testClock
	waited time.Duration
}

func (c *slowClock) NewTimer(d time.Duration) clock.Timer {
	c.waited += d
	return c.testClock.NewTimer(0)
}

func TestScrubKeepsItsRate(t *testing.T) {
	x, _ := closedFiles(t)
	c := &slowClock{testClock: x.clock}
	x.s.o.ScrubRate, x.s.clock = 100_000, c
	if err := x.s.scrubRound(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := time.Duration(x.s.Scrubbed().Bytes) * 10 * time.Microsecond
	if off := want - c.waited; off < 0 || off > 50*time.Millisecond {
		t.Errorf("waited %s for %d bytes at 100 kB/s", c.waited, x.s.Scrubbed().Bytes)
	}
}

// stopAt ends a round when a file is opened.
type stopAt struct {
	vfs.FS
	name string
	stop func()
	read []string
}

func (s *stopAt) Open(path string) (vfs.File, error) {
	if strings.HasSuffix(path, ".mp4") {
		s.read = append(s.read, path)
		if path == s.name {
			s.stop()
		}
	}
	return s.FS.Open(path)
}

func TestScrubGoesOnWhereItStopped(t *testing.T) {
	x, _ := closedFiles(t)
	files := x.dataFiles()
	if len(files) < 3 {
		t.Fatalf("only %d data files", len(files))
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &stopAt{FS: x.disk, name: files[1], stop: cancel}
	x.s.fs = f
	if err := x.s.scrubRound(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("a round that is stopped: %v", err)
	}
	x.powerCut(nil)
	f = &stopAt{FS: x.disk}
	x.s.fs = f
	x.scrubbing()
	if !slices.Equal(f.read, files[1:]) {
		t.Errorf("read %q, want %q", f.read, files[1:])
	}
	if p := x.s.scrubPlace(); p.Stream != "" || p.Began != testEpoch.UnixNano() {
		t.Errorf("after the round: %+v", p)
	}
	for range 2 { // the next round begins with the first file, whatever the note says
		f.read = nil
		x.scrubbing()
		if !slices.Equal(f.read, files) {
			t.Errorf("the next round read %q", f.read)
		}
		if err := x.disk.Corrupt("/storage/.twinreel/scrub", 1); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRunScrubs lets Run find what is rotten.
func TestRunScrubs(t *testing.T) {
	x, all := closedFiles(t)
	x.s.o.ScrubRate, x.s.o.CommitEvery = 1<<30, time.Millisecond
	x.rot(all[0])
	events, stop := x.st.Watch()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- x.s.Run(ctx) }()
	for e := range events {
		if e.Kind == EventQuarantined {
			break
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// TestBitFlips flips single bits anywhere on disk (faults 11): nothing false is served, every flip in the data files, the
// state and the id is found by the scrub, and after it all that is not rotten lives on without the index.
func TestBitFlips(t *testing.T) {
	rnd := testkit.Rand(t)
	base, all := closedFiles(t)
	if err := base.s.Close(); err != nil {
		t.Fatal(err)
	}
	base.s = nil
	kinds := map[string]int{}
	for round := range rounds(t, 60) {
		x := &site{t: t, disk: base.disk.Crash(nil), index: base.index.CrashClone(pebblevfs.CrashCloneCfg{}), clock: base.clock, row: base.row}
		var kind string
		if rnd.IntN(4) == 0 {
			kind = x.flipIndex(rnd)
			x.open()
		} else {
			x.open()
			kind = x.flip(rnd)
		}
		kinds[kind]++
		served := func(when string) {
			for _, m := range all {
				b, err := x.read(m.info.Digest)
				if err == nil && segment.Sum(b) != m.info.Digest {
					t.Fatalf("round %d, %s: served false bytes %s", round, kind, when)
				}
				if x.exits > 0 {
					return
				}
				if err != nil && !errors.Is(err, errs.ErrCorrupt) && !errors.Is(err, errs.ErrQuarantined) {
					t.Fatalf("round %d, %s: read %s: %v", round, kind, when, err)
				}
				c := CopyInfo{Info: m.info}
				inits, err := x.st.Inits(&c.Info)
				if err != nil && x.exits == 0 {
					t.Fatalf("round %d, %s: init segments %s: %v", round, kind, when, err)
				}
				for _, i := range inits {
					if segment.Sum(i.Data) != i.Hash {
						t.Fatalf("round %d, %s: served a false init segment %s", round, kind, when)
					}
				}
			}
		}
		if rnd.IntN(2) == 0 {
			served("before the scrub")
		}
		if err := x.s.scrubWith(x.s.scrubRound); err != nil && x.exits == 0 {
			t.Fatalf("round %d, %s: %v", round, kind, err)
		}
		if x.exits > 0 { // the index is damaged, and the next start makes it anew
			_ = x.s.Close()
			x.exits = 0
			x.open()
			x.scrubbing()
			kinds["index, found in use"]++
		}
		served("after the scrub")
		got, known := x.s.Scrubbed(), x.s.quarantined.Load()
		if got.Damaged+known == 0 && kind != "index" {
			t.Fatalf("round %d: a flip in %s was not found: %+v", round, kind, got)
		}
		var bad []segment.Digest
		for _, m := range all {
			if _, err := x.read(m.info.Digest); err != nil {
				bad = append(bad, m.info.Digest)
			}
		}
		if len(bad) > 1 || kind != "data" && len(bad) > 0 {
			t.Fatalf("round %d, %s: one bit took %d copies", round, kind, len(bad))
		}
		x.loseIndex()
		for _, m := range all {
			if _, err := x.read(m.info.Digest); err != nil && !slices.Contains(bad, m.info.Digest) {
				t.Fatalf("round %d, %s: without the index: %v", round, kind, err)
			}
		}
		for _, d := range bad { // what was quarantined is found again without the index: a reader and the scrub refuse it
			if _, err := x.read(d); err == nil {
				t.Fatalf("round %d: rotten copy is served without the index", round)
			}
		}
		if err := errors.Join(x.s.Check(context.Background()), x.s.Close()); err != nil {
			t.Fatalf("round %d, %s: %v", round, kind, err)
		}
	}
	t.Logf("flips: %v", kinds)
}

// TestScrubMissesNothing cuts a data file behind its second record, as if the rest had never been written.
func TestScrubMissesNothing(t *testing.T) {
	x, all := closedFiles(t)
	path := x.dataFiles()[0]
	end := must(x.st.find(all[2].info.Digest)).At[0] - 300
	f := must(x.disk.OpenAppend(path))
	b := must(readFile(x.disk, path))[:end]
	cut := bytes.LastIndex(b, []byte(boxUser+boxCopy)) - 8
	if err := f.Truncate(int64(cut)); err != nil {
		t.Fatal(err)
	}
	x.scrubbing()
	if got := x.s.Scrubbed(); got.Rotten == 0 || got.Damaged != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := x.read(all[2].info.Digest); !errors.Is(err, errs.ErrQuarantined) {
		t.Errorf("read what was cut off: %v", err)
	}
}

// TestScrubReadsTheIndex flips bits in the tables of an index that is in use: what nobody has asked for is found too.
func TestScrubReadsTheIndex(t *testing.T) {
	base, _ := closedFiles(t)
	if err := base.s.Close(); err != nil {
		t.Fatal(err)
	}
	base.s = nil
	found := 0
	for at := 1; at < 40; at++ {
		x := &site{t: t, disk: base.disk.Crash(nil), index: base.index.CrashClone(pebblevfs.CrashCloneCfg{}), clock: base.clock, row: base.row}
		x.flipAt(func(name string, size int) int {
			if !strings.HasSuffix(name, ".sst") {
				return -1
			}
			return size * at / 40
		})
		x.open()
		if x.exits == 0 && x.s.scrubRound(context.Background()) != nil && x.exits > 0 {
			found++
		}
		_ = x.s.Close()
	}
	if found < 5 {
		t.Errorf("only %d of 39 flips were found by the scrub", found)
	}
}

// flip flips a bit of a data file, the state or the id.
func (x *site) flip(rnd *rand.Rand) string {
	path, kind := "/storage/cam/state", "state"
	switch files := x.dataFiles(); rnd.IntN(10) {
	case 0:
	case 1:
		path, kind = "/storage/.twinreel/store", "id"
	default:
		path, kind = files[rnd.IntN(len(files))], "data"
	}
	b := must(readFile(x.disk, path))
	if err := x.disk.Flip(path, rnd.Int64N(int64(len(b))), byte(1)<<rnd.IntN(8)); err != nil {
		x.t.Fatal(err)
	}
	return kind
}

// flipIndex flips a bit of the index, which is closed.
func (x *site) flipIndex(rnd *rand.Rand) string {
	var sizes []int
	x.flipAt(func(_ string, size int) int { sizes = append(sizes, size); return -1 })
	which, n := rnd.IntN(len(sizes)), -1
	x.flipAt(func(_ string, size int) int {
		if n++; n != which {
			return -1
		}
		return rnd.IntN(size)
	})
	return "index"
}

// flipAt flips a bit in each file of the index for which at gives a place.
func (x *site) flipAt(at func(name string, size int) int) {
	const dir = "/storage/.twinreel/index"
	names := must(x.index.List(dir))
	slices.Sort(names)
	for _, name := range names {
		path := dir + "/" + name
		f, err := x.index.Open(path)
		if err != nil {
			continue // no file
		}
		b := make([]byte, must(f.Stat()).Size())
		_, err = f.ReadAt(b, 0)
		_ = f.Close()
		if err != nil || len(b) == 0 {
			continue
		}
		k := at(name, len(b))
		if k < 0 {
			continue
		}
		b[k] ^= 4
		w := must(x.index.Create(path, pebblevfs.WriteCategoryUnspecified))
		if _, err := w.Write(b); err != nil {
			x.t.Fatal(err)
		}
		if err := errors.Join(w.Sync(), w.Close()); err != nil {
			x.t.Fatal(err)
		}
	}
}

// closedDoor is a disk on which a file cannot even be opened.
type closedDoor struct {
	vfs.FS
	name string
}

// Open implements vfs.FS.
func (d *closedDoor) Open(path string) (vfs.File, error) {
	if path == d.name {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errIO}
	}
	return d.FS.Open(path)
}

// TestScrubPassesWhatCannotBeOpened: a data file that the disk does not open is rotten, and holds up no other.
func TestScrubPassesWhatCannotBeOpened(t *testing.T) {
	x, all := closedFiles(t)
	files, last := x.dataFiles(), all[len(all)-1]
	x.rot(last)
	x.s.fs = &closedDoor{FS: x.disk, name: files[0]}
	x.scrubbing()
	lost := must(x.st.s.db.Files("cam"))[0].Copies
	got := x.s.Scrubbed()
	if want := uint64(lost) + 1; got.Rounds != 1 || got.Rotten != want || lost == 0 {
		t.Errorf("%+v; %d rotten copies are wanted", got, want)
	}
	if _, err := x.read(last.info.Digest); !errors.Is(err, errs.ErrQuarantined) {
		t.Errorf("a rotten copy behind the file: %v", err)
	}
	x.s.fs = x.disk
}
