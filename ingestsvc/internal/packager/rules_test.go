package packager

import (
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// live feeds a packager with 25 pictures a second, a RAP each gop of them (0: none), and AAC of 44.1 kHz behind it.
type live struct {
	p    *Packager
	r    *recorder
	now  time.Duration
	at   int64 // DTS of the next picture
	n    int   // pictures so far
	gop  int
	aud  int64 // audio frames so far on this clock
	base int64 // PTS of the first of them

	rap      []byte
	noAudio  bool
	noVideo  bool
	damage   mpegts.Damage // of the next picture
	lostNext bool
	wrong    int64 // by which the time of the next picture is
}

func newLive(t *testing.T, at int64, gop int) *live {
	r := &recorder{t: t}
	l := &live{p: New(Options{}, r), r: r, gop: gop, rap: idr}
	l.p.Program(program(videoStream, audioStream))
	l.jump(at)
	return l
}

// jump sets the clock of both tracks.
func (l *live) jump(at int64) { l.at, l.base, l.aud = at, at+1, 0 }

// run sends so many seconds.
func (l *live) run(seconds float64) {
	for range int(seconds * 25) {
		data := picture
		if l.gop > 0 && l.n%l.gop == 0 {
			data = l.rap
		}
		if !l.noVideo {
			u := videoUnit(l.at+l.wrong, 3600, data)
			l.wrong = 0
			u.Arrived, u.Lost, u.Damage = l.now, l.lostNext, l.damage
			l.lostNext, l.damage = false, 0
			l.p.AccessUnit(u)
		}
		l.n++
		l.at += 3600
		for ; l.base+l.aud*1024*90000/44100 < l.at-9000; l.aud++ {
			if !l.noAudio {
				u := audioUnit(l.base + l.aud*1024*90000/44100)
				u.Arrived = l.now
				l.p.AccessUnit(u)
			}
		}
		l.now += 40 * time.Millisecond
	}
}

func (l *live) end() []*recorded {
	l.p.Flush()
	return l.r.segs
}

func cells(segs []*recorded) []int64 {
	var out []int64
	for _, s := range segs {
		out = append(out, s.info.Start.Cell())
	}
	return out
}

const cell = int64(timeline.CellTicks)

// TestForcedCut: a stream with one RAP and none after it is cut on the absolute grid of even cells, and a recorder that
// joined in its middle has nothing whole that the other has not.
func TestForcedCut(t *testing.T) {
	run := func(skip float64) []*recorded {
		l := newLive(t, 10*cell+90_000, 0)
		l.gop = 100_000
		if skip > 0 { // intra refresh: parameter sets, but no RAP
			l.p.sink = nothing{}
			l.run(0.04)
		} else {
			l.run(0.04)
		}
		if skip > 0 {
			l.run(skip - 0.04)
			l.p = New(Options{}, l.r)
			l.p.Program(program(videoStream, audioStream))
			l.p.AccessUnit(videoUnit(l.at-3600, 3600, annexB([]byte{9, 0xF0}, sps, pps, predicted)))
		}
		l.run(80 - max(skip, 0.04))
		return l.end()
	}
	want := run(0)
	if got := cells(want); len(got) != 6 || got[0] != 10 || got[1] != 14 || got[2] != 16 || got[5] != 22 {
		t.Fatalf("cells %v", got)
	}
	if want[1].info.Independent || !want[0].info.Independent {
		t.Error("a forced cut is not independent, a RAP is")
	}
	for _, s := range want[1 : len(want)-1] {
		if !s.whole() {
			t.Errorf("cell %d: %+v", s.info.Start.Cell(), s.info.Evidence)
		}
	}
	for _, skip := range []float64{1, 7, 20} {
		got := run(skip)
		n := compare(t, &recorder{segs: want}, &recorder{segs: got})
		if n == 0 {
			t.Errorf("joined after %v s: nothing is whole", skip)
		}
	}
}

// TestOutage: silence for as long as the clock steps is an outage; the same step at once is a jump, as is a step back.
func TestOutage(t *testing.T) {
	for name, c := range map[string]struct {
		step    int64
		silent  time.Duration
		lost    bool
		stretch uint32
	}{
		"outage":             {30 * 90_000, 30 * time.Second, false, 0},
		"jump ahead":         {30 * 90_000, 0, false, 1},
		"loss in a burst":    {30 * 90_000, 0, true, 0},
		"beyond any loss":    {90 * 90_000, 0, true, 1},
		"jump back":          {-5 * 90_000, 0, false, 1},
		"back after silence": {-5 * 90_000, 5 * time.Second, false, 1},
		"the clock stood":    {0, 30 * time.Second, false, 0},
		"a small gap":        {9 * 90_000, 0, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLive(t, 1<<33-20*90_000, 25) // the outage is also where the clock wraps
			l.run(18)
			l.now += c.silent
			l.jump(l.at + c.step)
			l.lostNext = c.lost
			l.run(20)
			segs := l.end()
			last := segs[len(segs)-1]
			if last.key.Stretch != c.stretch {
				t.Errorf("stretch %d, want %d", last.key.Stretch, c.stretch)
			}
			for i, s := range segs {
				for _, tr := range s.info.Tracks {
					if tr.End-tr.Start > 40*timeline.TicksPerSecond {
						t.Errorf("segment %d: track %d from %d to %d", i+1, tr.PID, tr.Start, tr.End)
					}
				}
			}
			whole := 0
			for _, s := range segs {
				if s.whole() {
					whole++
				}
			}
			// Of some 38 s, the segments that touch the start, the step and the end are not whole.
			if whole < 2 || c.step != 0 && whole == len(segs)-2 {
				t.Errorf("%d of %d segments are whole", whole, len(segs))
			}
		})
	}
}

// TestOutageOfTheSource: a picture is known to be complete only when the next begins, which after an outage is too late
// to tell when it came.
func TestOutageOfTheSource(t *testing.T) {
	ts := source(t, clips[1])
	perPacket := time.Duration(clips[1].Seconds) * time.Second * mpegts.PacketSize / time.Duration(len(ts))
	half := len(ts) / 2 / mpegts.PacketSize * mpegts.PacketSize
	for name, c := range map[string]struct {
		silent time.Duration
		lost   int // packets
	}{
		"paused":   {30 * time.Second, 0},
		"cut off":  {2 * time.Minute, 1000},
		"for long": {30 * time.Minute, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{t: t}
			p := New(Options{}, r)
			d := mpegts.NewDemuxer(p, mpegts.Options{})
			now := time.Duration(0)
			write := func(b []byte) {
				for packet := range slices.Chunk(b, mpegts.PacketSize) {
					d.SetNow(now)
					d.Write(packet)
					now += perPacket
				}
			}
			write(ts[:half])
			now += c.silent + time.Duration(c.lost)*perPacket
			write(shift(ts[half+c.lost*mpegts.PacketSize:], c.silent.Milliseconds()*90))
			d.Flush()
			p.Flush()
			if n := r.segs[len(r.segs)-1].key.Stretch; n != 0 {
				t.Errorf("%d jumps", n)
			}
		})
	}
}

// TestSilentTrack: a track that stops delays no seal for ever, costs the segments it left their wholeness and no others,
// and is recorded again when it comes back.
func TestSilentTrack(t *testing.T) {
	l := newLive(t, 5*cell, 25)
	l.run(20)
	l.noAudio = true
	l.run(40)
	l.noAudio = false
	l.run(30)
	segs := l.end()
	var state string
	for _, s := range segs[1 : len(segs)-1] {
		switch {
		case len(s.info.Tracks) == 2 && s.whole():
			state += "b"
		case s.whole():
			state += "v"
		default:
			state += "-"
		}
	}
	t.Log(state)
	runs := ""
	for i := range state {
		if i == 0 || state[i] != state[i-1] {
			runs += state[i : i+1]
		}
	}
	if runs != "b-v-b" {
		t.Errorf("segments %s: want both, damaged, video alone, damaged, both", state)
	}
}

// TestBurstIsGivenBack: what waited for a silent track does not keep its room for ever.
func TestBurstIsGivenBack(t *testing.T) {
	l := newLive(t, 5*cell, 25)
	l.p.sink = nothing{}
	l.run(30)
	video := l.p.byPID[videoPID]
	steady, queue := cap(video.buf), cap(video.q)
	l.noAudio = true
	l.run(10)
	if cap(video.buf) < 4*steady {
		t.Fatalf("%d bytes of room, %d before: there was no burst", cap(video.buf), steady)
	}
	l.noAudio = false
	l.run(30)
	if cap(video.buf) > 2*steady || cap(video.q) > 2*queue {
		t.Errorf("%d bytes of room and %d samples, %d and %d before the burst", cap(video.buf), cap(video.q), steady, queue)
	}
}

// TestSilentVideo: audio is recorded while the video is away, and the video again when it comes back.
func TestSilentVideo(t *testing.T) {
	l := newLive(t, 5*cell, 25)
	l.run(20)
	l.noVideo = true
	l.run(60)
	l.noVideo = false
	l.run(30)
	segs := l.end()
	audioOnly, both := 0, 0
	for _, s := range segs {
		if len(s.info.Tracks) == 1 && s.info.Tracks[0].PID == audioPID {
			audioOnly++
		} else if len(s.info.Tracks) == 2 {
			both++
		}
	}
	if audioOnly < 7 || both < 7 {
		t.Errorf("%d segments of audio alone, %d of both, in cells %v", audioOnly, both, cells(segs))
	}
}

// TestConfiguration: a new configuration starts a segment at once; one that comes back within the cell starts none
// before the next cell, and loses nothing.
func TestConfiguration(t *testing.T) {
	other := annexB([]byte{9, 0xF0}, otherSPS, pps, idrSlice)
	l := newLive(t, 8*cell+3600, 25)
	l.run(7) // into cell 9
	l.rap = other
	l.run(1)
	l.rap = idr
	l.run(12)
	segs := l.end()
	var got []int64
	for _, s := range segs {
		got = append(got, s.info.Start.Cell())
	}
	want := []int64{8, 9, 9, 10, 11}
	if len(got) != len(want) {
		t.Fatalf("cells %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("cells %v, want %v", got, want)
		}
	}
	if segs[1].key.InitSet == segs[2].key.InitSet || segs[1].key.InitSet != segs[3].key.InitSet {
		t.Error("the init sets do not tell the configurations apart")
	}
	// The first configuration is back within its cell, where its slot is taken: what has it stays under the other, and is damaged.
	back := segs[2].info
	if back.End != segs[3].info.Start || segs[3].info.Evidence.StartUncertain {
		t.Errorf("it ends at %d and the next starts at %d, %+v", back.End, segs[3].info.Start, segs[3].info.Evidence)
	}
	var pictures, damaged int
	for _, s := range segs {
		for _, tr := range s.info.Tracks {
			if tr.PID == videoPID {
				pictures += int(tr.Samples)
			}
		}
		for _, f := range s.info.Evidence.Faulty {
			if f.PID == videoPID && f.Reason == segment.ReasonConfiguration && f.DTS >= back.Start && f.DTS < back.End {
				damaged++
			} else {
				t.Errorf("damaged: %+v", f)
			}
		}
	}
	if pictures != 20*25 || damaged != 4*25 {
		t.Errorf("%d pictures of 500 were recorded, %d of them under the wrong configuration", pictures, damaged)
	}
}

// TestEvidence: each kind of damage is in the evidence, with its reason, in the segment that it belongs to.
func TestEvidence(t *testing.T) {
	l := newLive(t, 5*cell, 25)
	l.run(14.4)
	l.damage = mpegts.DamageTransport
	dts := timeline.Ticks(l.at)
	l.run(7)
	l.lostNext = true // nothing seems missing, yet something was
	l.run(7)
	l.p.AccessUnit(audioUnit(l.base + (l.aud+4)*1024*90000/44100)) // four frames are gone
	l.aud += 5
	l.run(14)
	faulty, spans := 0, map[uint16]segment.Reason{}
	for _, s := range l.end()[1:] {
		e := s.info.Evidence
		for _, f := range e.Faulty {
			if f.PID == videoPID && f.Reason == segment.ReasonTransport && f.DTS == timeline.Wrap+dts {
				faulty++
			}
		}
		for _, m := range e.Missing {
			spans[m.PID] |= m.Reason
			if m.From >= m.To {
				t.Errorf("empty span %+v", m)
			}
		}
	}
	if faulty != 1 || spans[videoPID] != segment.ReasonContinuity || spans[audioPID] != segment.ReasonStep {
		t.Errorf("%d faulty samples, spans %v", faulty, spans)
	}
}

// TestAudioEnd: the last audio frame of a segment is as long as the frame itself says, not as the next one would have it,
// and the last picture reaches to the first of the next segment.
func TestAudioEnd(t *testing.T) {
	l := newLive(t, 5*cell, 25)
	l.run(60)
	segs := l.end()
	for i, s := range segs[:len(segs)-1] {
		last := map[uint16]fmp4.ParsedSample{}
		for data, err := range fmp4.Split(s.data) {
			if err != nil {
				t.Fatal(err)
			}
			c, err := fmp4.ParseChunk(data)
			if err != nil {
				t.Fatal(err)
			}
			for smp := range c.All() {
				last[c.PID] = smp
			}
		}
		if d := last[audioPID].Duration; d != 1024*90000/44100 {
			t.Errorf("segment %d: the last audio frame lasts %d ticks", i+1, d)
		}
		if end, next := s.info.Track(videoPID).End, segs[i+1].info.Track(videoPID).Start; end != next {
			t.Errorf("segment %d: video ends at %d, the next begins at %d", i+1, end, next)
		}
	}
}

// TestCutThenJump: where the source jumps just behind a cut, the segment before the cut lacks the audio that was still to
// come, and says so.
func TestCutThenJump(t *testing.T) {
	l := newLive(t, 5*cell, 25)
	l.run(5.9) // the cut is at 5.8 s
	l.noAudio = true
	l.run(0.3)
	for len(l.r.segs) == 0 && l.n < 200 && l.p.open == l.p.head {
		l.run(0.04)
	}
	if l.p.open == l.p.head || !l.p.head.closed {
		t.Fatal("no cut")
	}
	l.jump(90 * cell)
	l.noAudio = false
	l.run(12)
	first := l.end()[0].info.Evidence
	if !first.EndUncertain {
		t.Errorf("evidence %+v", first)
	}
}
