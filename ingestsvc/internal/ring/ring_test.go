package ring

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// begin opens segment seq of the writer's run, which starts seq seconds into the clock.
func begin(w *Writer, seq uint64) {
	w.Begin(Begin{Key: segment.Key{Seq: seq, Start: startOf(seq)}, Independent: true})
}

func startOf(seq uint64) timeline.Ticks {
	return timeline.Wrap + timeline.Ticks(seq)*timeline.TicksPerSecond
}

func chunk(w *Writer, size int) { w.Chunk(Chunk{Data: make([]byte, size)}) }

func seal(w *Writer, seq uint64) {
	w.Seal(segment.Info{Start: startOf(seq), End: startOf(seq + 1), Bytes: 100})
}

func sealedSegment(w *Writer, seq uint64, size int) {
	begin(w, seq)
	chunk(w, size)
	seal(w, seq)
}

func seqs(r *Ring) []uint64 {
	var out []uint64
	for _, s := range r.Sealed(0) {
		out = append(out, s.Key.Seq)
	}
	return out
}

// readAll reads from c as far as it goes and describes each item by a letter and the segment's number.
func readAll(r *Ring, c *Cursor) []string {
	var out []string
	for {
		it, ok := r.Read(c)
		if !ok {
			return out
		}
		what := "s"
		if it.Begin != nil {
			what = "b"
		} else if it.Chunk != nil {
			what = "c"
		}
		out = append(out, what+string(rune('0'+it.Seq)))
	}
}

func TestReadFollowsTheOpenSegmentFromItsStart(t *testing.T) {
	r := New(1<<20, clock.System{})
	w := r.Writer()
	sealedSegment(w, 1, 10)
	begin(w, 2)
	chunk(w, 10)
	c := At(r.Newest())
	if got, want := readAll(r, &c), []string{"b2", "c2"}; !slices.Equal(got, want) {
		t.Errorf("open segment: got %v, want %v", got, want)
	}
	chunk(w, 10)
	seal(w, 2)
	begin(w, 3)
	if got, want := readAll(r, &c), []string{"c2", "s2", "b3"}; !slices.Equal(got, want) {
		t.Errorf("as it grows: got %v, want %v", got, want)
	}
}

func TestReadSkipsWhatLeft(t *testing.T) {
	r := New(1<<20, clock.System{})
	w := r.Writer()
	for seq := range uint64(3) {
		sealedSegment(w, seq+1, 10)
	}
	c := At(1)
	r.Read(&c)
	r.Release(1)
	r.Release(2)
	if got, want := readAll(r, &c), []string{"b3", "c3", "s3"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	begin(w, 4)
	chunk(w, 10)
	readAll(r, &c)
	r.Release(4) // while it is open
	chunk(w, 10)
	seal(w, 4)
	if got := readAll(r, &c); len(got) > 0 || c.Within() {
		t.Errorf("a segment released while open: got %v, within %v", got, c.Within())
	}
	if got, want := seqs(r), []uint64{3}; !slices.Equal(got, want) {
		t.Errorf("ring holds %v, want %v", got, want)
	}
}

// I1, I2.
func TestOverrunMakesRoomFromTheOldest(t *testing.T) {
	r := New(250, clock.System{})
	w := r.Writer()
	sealedSegment(w, 1, 100)
	sealedSegment(w, 2, 100)
	begin(w, 3)
	chunk(w, 40)
	if s := r.Stats(); s.Overruns != 0 || s.Bytes != 240 {
		t.Fatalf("within the limit: %+v", s)
	}
	chunk(w, 40)
	if got, want := r.Withdrawals(), []Withdrawal{{1, ReasonOverrun}}; !slices.Equal(got, want) {
		t.Errorf("withdrawn %v, want %v", got, want)
	}
	chunk(w, 300) // takes 2 with it, and itself
	if s := r.Stats(); s.Bytes != 0 || s.Overruns != 3 {
		t.Errorf("over the limit alone: %+v", s)
	}
	if got, want := r.Withdrawals(), []Withdrawal{{2, ReasonOverrun}, {3, ReasonOverrun}}; !slices.Equal(got, want) {
		t.Errorf("withdrawn %v, want %v", got, want)
	}
	chunk(w, 10)
	seal(w, 3)
	sealedSegment(w, 4, 10)
	if got, want := seqs(r), []uint64{4}; !slices.Equal(got, want) {
		t.Errorf("ring holds %v, want %v", got, want)
	}
}

// I3.
func TestNewWriterGoesOnCounting(t *testing.T) {
	r := New(1<<20, clock.System{})
	w := r.Writer()
	sealedSegment(w, 1, 10)
	begin(w, 2)
	w.Close()
	w = r.Writer()
	if got, want := r.Withdrawals(), []Withdrawal{{2, ReasonGone}}; !slices.Equal(got, want) {
		t.Errorf("withdrawn %v, want %v", got, want)
	}
	sealedSegment(w, 1, 10)
	held := r.Sealed(0)
	if got, want := seqs(r), []uint64{1, 3}; !slices.Equal(got, want) {
		t.Fatalf("ring holds %v, want %v", got, want)
	}
	if a, b := held[0].Key.Stretch, held[1].Key.Stretch; b != a+1 {
		t.Errorf("stretches %d and %d, want a step of 1", a, b)
	}
	if a, b := held[0].Key.Run, held[1].Key.Run; a != 0 || b != 1 {
		t.Errorf("runs %d and %d, want 0 and 1", a, b)
	}
	w.Stretch(3) // it jumped, and no segment began
	w.Close()
	if got := r.Writer().Stretch(0); got != 5 {
		t.Errorf("a third writer begins with stretch %d, want 5", got)
	}
}

func TestFindFrom(t *testing.T) {
	r := New(1<<20, clock.System{})
	w := r.Writer()
	sealedSegment(w, 1, 10)
	sealedSegment(w, 2, 10)
	begin(w, 4) // a hole where 3 would be
	w.open.begin.Key.Stretch = 1
	for _, c := range []struct {
		name    string
		stretch uint32
		at      timeline.Ticks
		want    uint64
	}{
		{"before all", 0, startOf(0), 1},
		{"start of the first", 0, startOf(1), 1},
		{"inside the first", 0, startOf(1) + 5, 1},
		{"start of the second", 0, startOf(2), 2},
		{"behind the second", 0, startOf(3), 4},
		{"open one, later stretch", 1, startOf(4), 4},
		{"inside the open one", 1, startOf(5), 4},
		{"stretch to come", 2, startOf(1), 5},
	} {
		if got := r.FindFrom(c.stretch, c.at); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestNeedCoversATakeoverAndARestart(t *testing.T) {
	r := New(1<<20, clock.System{})
	w := r.Writer()
	begin(w, 1)
	w.Seal(segment.Info{Start: startOf(1), End: startOf(9), Bytes: 8_000_000})
	if got, want := r.Stats().Need(3*time.Second), int64(24_000_000); got != want {
		t.Errorf("8 s at 1 MB/s and a timeout of 3 s: got %d, want %d", got, want)
	}
	for _, c := range []struct {
		name  string
		span  timeline.Ticks
		bytes uint64
	}{
		{"with an outage of half an hour", 8*timeline.TicksPerSecond + 1800*timeline.TicksPerSecond, 8_000_000},
		{"of one picture", 3600, 200_000},
	} {
		begin(w, 2)
		w.Seal(segment.Info{Start: startOf(2), End: startOf(2) + c.span, Bytes: c.bytes})
		if got, want := r.Stats().Need(3*time.Second), int64(24_000_000); got != want {
			t.Errorf("and a segment %s: got %d, want %d", c.name, got, want)
		}
	}
}

// I1, I2: whatever the order of writing, reading and releasing, each segment is released, withdrawn or held.
func TestRandomOperationsLoseNothingUnsaid(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	r := New(500, clock.System{})
	w := r.Writer()
	gone := map[uint64]bool{}
	var next, sealed uint64
	open := false
	for range 20_000 {
		switch rnd.IntN(6) {
		case 0, 1:
			if !open {
				next++
				begin(w, next)
				open = true
			}
			chunk(w, rnd.IntN(200))
		case 2, 3:
			if open {
				seal(w, next)
				open = false
				sealed = next
			}
		case 4:
			if held := r.Sealed(0); len(held) > 0 {
				seq := held[rnd.IntN(len(held))].Key.Seq
				r.Release(seq)
				gone[seq] = true
			}
		case 5:
			for _, x := range r.Withdrawals() {
				gone[x.Seq] = true
			}
		}
		if s := r.Stats(); s.Bytes > s.Limit {
			t.Fatalf("holds %d bytes, limit %d", s.Bytes, s.Limit)
		}
	}
	for _, x := range r.Withdrawals() {
		gone[x.Seq] = true
	}
	for _, seq := range seqs(r) {
		gone[seq] = true
	}
	for seq := uint64(1); seq <= sealed; seq++ {
		if !gone[seq] {
			t.Fatalf("segment %d vanished", seq)
		}
	}
}
