package packager

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Streams of data that testkit.WithData adds.
const (
	cuePID   = testkit.CuePID
	emptyPID = testkit.EmptyPID
)

var dataPIDs = testkit.DataPIDs()

func withData(ts []byte, seed uint64) ([]byte, map[uint16][][]byte) {
	return testkit.WithData(ts, seed)
}

// dataJitter is jitter with what belongs to the order of the source left in it: the reference track, the data, the map.
func dataJitter(ts []byte, span int, rnd *rand.Rand) []byte {
	type moved struct {
		at     int
		packet []byte
	}
	delay, last := map[uint16]int{}, map[uint16]int{}
	var out []moved
	for i, packet := range slices.Collect(slices.Chunk(ts, mpegts.PacketSize)) {
		pid := pidOf(packet)
		if slices.Contains(dataPIDs, pid) || pid == 0x1000 || pid == 0 {
			pid = 256
		}
		if rnd.IntN(40) == 0 {
			delay[pid] = rnd.IntN(span)
		}
		last[pid] = max(last[pid], i+delay[pid])
		out = append(out, moved{last[pid], packet})
	}
	slices.SortStableFunc(out, func(a, b moved) int { return a.at - b.at })
	var b []byte
	for _, m := range out {
		b = append(b, m.packet...)
	}
	return b
}

// dataClips are the clips that the property tests of data record: one of each way to find pictures.
func dataClips() []testkit.Clip {
	var out []testkit.Clip
	for _, c := range clips {
		switch c.Name {
		case "open", "closed", "hevc", "mpeg2" + aPESaGroup, "refresh":
			out = append(out, c)
		}
	}
	return out
}

// units gives the samples of a PID in a segment.
func (r *recorded) units(t testing.TB, pid uint16) (out []fmp4.ParsedSample) {
	t.Helper()
	for data, err := range fmp4.Split(r.data) {
		if err != nil {
			t.Fatal(err)
		}
		c, err := fmp4.ParseChunk(data)
		if err != nil {
			t.Fatal(err)
		}
		if c.PID == pid {
			out = slices.AppendSeq(out, c.All())
		}
	}
	return out
}

// TestDataIsKept: every unit of data is in the recording, byte for byte and in order, where it came, and with its PTS; and
// every segment has every stream that the map announces, also the one that shows nothing.
func TestDataIsKept(t *testing.T) {
	for _, clip := range dataClips() {
		t.Run(clip.Name, func(t *testing.T) {
			ts, sent := withData(source(t, clip), 7)
			r := record(t, ts, 1316)
			allWhole(t, "from the start", r)
			for _, s := range r.segs {
				for _, pid := range dataPIDs {
					tr := s.info.Track(pid)
					if tr == nil || !tr.Data() {
						t.Fatalf("segment %d has no track of PID %#x: %+v", s.key.Seq, pid, tr)
					}
					if pid == emptyPID && (tr.Samples != 0 || tr.Start != s.info.Start || tr.End != s.info.Start) {
						t.Errorf("segment %d: %+v of a stream that shows nothing", s.key.Seq, tr)
					}
				}
			}
			for _, pid := range dataPIDs {
				var got [][]byte
				for _, s := range r.segs {
					for _, u := range s.units(t, pid) {
						got = append(got, u.Data)
						if pts := pesTime(u.Data); pts >= 0 {
							if o := timeline.Unwrap(timeline.Ticks(pts)-u.DTS, 0); o > 0 && u.PTS() != u.DTS+o || o <= 0 && u.PTS() != u.DTS {
								t.Errorf("PID %#x: PTS %d, sample at %d shown at %d", pid, pts, u.DTS, u.PTS())
							}
						}
					}
				}
				at := slices.IndexFunc(sent[pid], func(u []byte) bool { return len(got) > 0 && bytes.Equal(u, got[0]) })
				if pid == emptyPID {
					if len(got) > 0 {
						t.Errorf("%d samples of an empty stream", len(got))
					}
					continue
				}
				if at < 0 || len(got) < len(sent[pid])*3/4 {
					t.Fatalf("PID %#x: %d units of %d", pid, len(got), len(sent[pid]))
				}
				for i, u := range got {
					if at+i >= len(sent[pid]) || !bytes.Equal(u, sent[pid][at+i]) {
						t.Fatalf("PID %#x: unit %d of %d is not what was sent", pid, i, len(got))
					}
				}
			}
		})
	}
}

func pesTime(b []byte) int64 {
	if len(b) < 14 || !bytes.HasPrefix(b, []byte{0, 0, 1}) || b[7]&0x80 == 0 {
		return -1
	}
	return readStamp(b[9:])
}

// TestDataJoin: I1 with data: recorders that joined anywhere, and got the sound from another multiplexer.
func TestDataJoin(t *testing.T) {
	for _, clip := range dataClips() {
		t.Run(clip.Name, func(t *testing.T) {
			rnd := testkit.Rand(t)
			ts, _ := withData(shift(source(t, clip), rnd.Int64N(1<<33)), rnd.Uint64())
			want := record(t, ts, 1316)
			for range rounds(16) {
				b := ts
				if rnd.IntN(2) == 0 {
					b = dataJitter(ts, 1+rnd.IntN(200), rnd)
				}
				got := record(t, b[rnd.IntN(len(b)/2):], 1+rnd.IntN(4000))
				compare(t, want, got)
				if n := len(got.segs); n > 3 && got.segs[2].key.InitSet != want.segs[2].key.InitSet {
					t.Error("the joiner has other tracks")
				}
			}
		})
	}
}

// TestDataLoss: I1 and I2 with data, for a recorder that loses datagrams. One that loses packets of data and nothing else
// learns of it with the next ones, which may be too late: that is left out here (FORMAT.md).
func TestDataLoss(t *testing.T) {
	for _, clip := range dataClips() {
		t.Run(clip.Name, func(t *testing.T) {
			rnd := testkit.Rand(t)
			ts, _ := withData(source(t, clip), rnd.Uint64())
			want := record(t, ts, 1316)
			packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
			whole := 0
			for range rounds(16) {
				gone := make([]bool, len(packets))
				start := rnd.IntN(len(packets) / 4)
				for range 1 + rnd.IntN(8) {
					from := start + 200 + rnd.IntN(len(packets)-start-240)
					to := from + 1 + rnd.IntN(20)
					if slices.ContainsFunc(packets[from:to], func(p []byte) bool { return pidOf(p) == 256 }) {
						for i := from; i < to; i++ {
							gone[i] = true
						}
					}
				}
				var got []byte
				hidden, run := false, map[uint16]int{}
				for i, p := range packets[start:] {
					if gone[start+i] {
						run[pidOf(p)]++
						continue
					}
					hidden = hidden || run[pidOf(p)] > 0 && run[pidOf(p)]%16 == 0
					run[pidOf(p)] = 0
					got = append(got, p...)
				}
				if !hidden {
					r := record(t, got, 1316)
					whole += compare(t, want, r)
					placed(t, want, r)
				}
			}
			if whole == 0 {
				t.Error("not one segment was whole: the test shows nothing")
			}
		})
	}
}

// placed holds a recorder that lost something to this: what it says is intact stands where it stands with one that lost
// nothing, or a copy that is whole could not take the place of one that is not.
func placed(t *testing.T, want, got *recorder) {
	t.Helper()
	type place struct {
		pid uint16
		dts timeline.Ticks
	}
	have := map[place][]byte{}
	for _, s := range want.segs {
		for _, pid := range dataPIDs {
			for _, u := range s.units(t, pid) {
				have[place{pid, u.DTS}] = u.Data
			}
		}
	}
	for _, s := range got.segs {
		faulty := map[place]bool{}
		for _, f := range s.info.Evidence.Faulty {
			faulty[place{f.PID, f.DTS}] = true
		}
		for _, pid := range dataPIDs {
			for _, u := range s.units(t, pid) {
				if at := (place{pid, u.DTS}); !faulty[at] && !bytes.Equal(have[at], u.Data) {
					t.Errorf("PID %#x: an intact sample at %d stands elsewhere", pid, u.DTS)
				}
			}
		}
	}
}

// TestDataLostAlone: a packet of data that is lost alone is damage of its track and of no other, once the next one tells of
// it; and that a stream is silent is none.
func TestDataLostAlone(t *testing.T) {
	ts, _ := withData(source(t, clips[0]), 3)
	packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
	want := record(t, ts, 1316)
	rnd := testkit.Rand(t)
	for _, pid := range dataPIDs[:5] {
		var of []int
		for i, p := range packets {
			if pidOf(p) == pid {
				of = append(of, i)
			}
		}
		for range 8 {
			lost := of[len(of)/3+rnd.IntN(len(of)/3)]
			got := record(t, slices.Concat(bytes.Join(packets[:lost], nil), bytes.Join(packets[lost+1:], nil)), 1316)
			placed(t, want, got)
			damaged := 0
			for i, s := range got.segs[1 : len(got.segs)-1] {
				e := s.info.Evidence
				if e.StartUncertain || e.EndUncertain {
					t.Errorf("PID %#x: segment %d has uncertain cuts", pid, i)
				}
				for _, f := range e.Faulty {
					if f.PID != pid {
						t.Errorf("PID %#x: %+v is faulty", pid, f)
					}
				}
				for _, m := range e.Missing {
					damaged++
					if m.PID != pid || m.From >= m.To {
						t.Errorf("PID %#x: %+v is missing", pid, m)
					}
				}
			}
			if damaged == 0 {
				t.Errorf("PID %#x: nobody knows that packet %d is gone", pid, lost)
			}
		}
	}
	plain := record(t, source(t, clips[0]), 1316)
	quiet := slices.Clone(packets)
	quiet = slices.DeleteFunc(quiet, func(p []byte) bool { return slices.Contains(dataPIDs, pidOf(p)) })
	r := record(t, bytes.Join(quiet, nil), 1316)
	allWhole(t, "silent data", r)
	if len(r.segs) != len(plain.segs) {
		t.Fatalf("%d segments, %d without data", len(r.segs), len(plain.segs))
	}
	for i, s := range r.segs {
		if !bytes.Equal(s.data, plain.segs[i].data) {
			t.Errorf("segment %d has other bytes because of streams that show nothing", i)
		}
	}
}

// TestDataAnnounced: a stream of data that comes into the map, changes or leaves it begins a segment at the next RAP.
func TestDataAnnounced(t *testing.T) {
	r := &recorder{t: t}
	l := &live{p: New(Options{}, r), r: r, gop: 25, rap: idr}
	data := func(descriptors string) mpegts.Stream {
		return mpegts.Stream{PID: 300, StreamType: 6, Codec: mpegts.CodecTeletext, Descriptors: descriptors}
	}
	l.p.Program(program(videoStream, audioStream))
	l.jump(100000)
	l.run(2.5)
	for _, streams := range [][]mpegts.Stream{
		{videoStream, audioStream, data("a")}, {videoStream, audioStream, data("a")}, {videoStream, audioStream, data("b")},
		{videoStream, audioStream},
	} {
		l.p.Program(program(streams...))
		l.p.AccessUnit(&mpegts.AccessUnit{PID: 300, Data: []byte{1, 2, 3}})
		l.run(7.5)
	}
	var got []string
	for _, s := range l.end() {
		x := "-"
		if tr := s.info.Track(300); tr != nil {
			x = fmt.Sprint(tr.Init.String()[:2], tr.Samples)
		}
		if len(got) == 0 || got[len(got)-1] != x {
			got = append(got, x)
		}
	}
	if len(got) < 4 || got[0] != "-" || got[len(got)-1] != "-" {
		t.Errorf("tracks of the segments: %v", got)
	}
	t.Log(got)
}

// TestDataFromFFmpeg: what ffmpeg muxes is found, and what is kept of it plays beside its data.
func TestDataFromFFmpeg(t *testing.T) {
	ts := source(t, clips[0])
	ts, _ = withData(ts, 5)
	r := record(t, ts, 1316)
	dir := t.TempDir()
	var inits [][]byte
	for _, i := range r.segs[1].inits {
		inits = append(inits, i.Data)
	}
	file, err := fmp4.ComposeMoov(inits...)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.segs[1 : len(r.segs)-1] {
		file = append(file, s.data...)
	}
	in, out := filepath.Join(dir, "in.ts"), filepath.Join(dir, "out.mp4")
	for path, data := range map[string][]byte{in: ts, out: file} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	frames := testkit.Frames(t, out)
	if _, err := testkit.Contiguous(testkit.Frames(t, in), frames[3:]); err != nil {
		t.Errorf("video beside data: %v", err)
	}
	if _, err := testkit.Contiguous(testkit.AudioPackets(t, in, 0), testkit.AudioPackets(t, out, 0)); err != nil {
		t.Errorf("audio beside data: %v", err)
	}
}

// TestDataAlone: of a program that shows nothing but data little is held, and once it shows more its data is recorded.
func TestDataAlone(t *testing.T) {
	r := &recorder{t: t}
	l := &live{p: New(Options{}, r), r: r, gop: 25, rap: idr}
	l.p.Program(program(videoStream, audioStream, mpegts.Stream{PID: 300, StreamType: 0x15, Codec: mpegts.CodecKLV}))
	send := func(units, size int) {
		for range units {
			l.p.AccessUnit(&mpegts.AccessUnit{PID: 300, Data: make([]byte, size)})
			if held := l.p.pending; held > maxUnplaced {
				t.Fatalf("%d bytes wait", held)
			}
			if n := len(l.p.byPID[300].sparse.waiting); n > maxUnplaced/64 {
				t.Fatalf("%d units wait", n)
			}
		}
	}
	send(1000, 1000)
	send(10000, 1)
	send(10, 100000)
	before := l.p.Stats().Dropped
	if before < 11000 || l.p.Stats().Overflows != 0 {
		t.Errorf("%+v", l.p.Stats())
	}
	l.jump(100000)
	for range 10 {
		l.run(1)
		l.p.AccessUnit(&mpegts.AccessUnit{PID: 300, Data: []byte{1, 2, 3}})
	}
	samples := uint32(0)
	for _, s := range l.end() {
		samples += s.info.Track(300).Samples
	}
	if samples == 0 {
		t.Error("no data in the recording")
	}
}
