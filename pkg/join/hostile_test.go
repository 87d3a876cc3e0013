package join

import (
	"errors"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestBesideHostile holds I6 where copies of the slots beside say anything.
func TestBesideHostile(t *testing.T) {
	v, a := clean()
	rnd := testkit.Rand(t)
	any64 := func() timeline.Ticks {
		return []timeline.Ticks{never, ever, 0, -1, begin, end, 2*timeline.Wrap - 1, begin + timeline.Ticks(rnd.Int64N(int64(end-begin)))}[rnd.IntN(8)]
	}
	joined := 0
	for range 1000 {
		var sides [3][]Copy
		base := []timeline.Ticks{0, -timeline.CellTicks, timeline.Wrap - 2*timeline.CellTicks, timeline.Wrap - 3*timeline.CellTicks}[rnd.IntN(4)]
		for side := range sides {
			for range rnd.IntN(3) {
				c := copyOf(v, a, segment.Evidence{StartUncertain: rnd.IntN(2) == 0, EndUncertain: rnd.IntN(2) == 0}, end)
				d := base + timeline.Ticks(side-1)*timeline.Ticks(1+rnd.IntN(2))*timeline.CellTicks
				if begin+d >= 2*timeline.Wrap {
					d -= timeline.Wrap
				}
				if begin+d < timeline.Wrap {
					d += timeline.Wrap
				}
				c = moved(t, c, d)
				c.Info.Independent = rnd.IntN(2) == 0
				for range rnd.IntN(2) {
					c.Data[rnd.IntN(len(c.Data))] = byte(rnd.Uint32())
				}
				for range rnd.IntN(3) {
					pid := uint16(video + rnd.IntN(3))
					c.Info.Evidence.Faulty = append(c.Info.Evidence.Faulty, segment.FaultySample{PID: pid, DTS: any64(), Reason: segment.Reason(rnd.IntN(2))})
					c.Info.Evidence.Missing = append(c.Info.Evidence.Missing, segment.MissingSpan{PID: pid, From: any64(), To: any64()})
				}
				if rnd.IntN(8) == 0 {
					c.Info.Start = any64()
				}
				if rnd.IntN(4) == 0 {
					c.Info.End = any64()
				}
				if rnd.IntN(8) == 0 {
					c.Info.Tracks[rnd.IntN(2)].Codec = []string{"", "mp4a.40.2", "avc1.64001f", "hvc1", "wvtt", "stpp", "urim.klv"}[rnd.IntN(7)]
				}
				for range rnd.IntN(3) {
					r := segment.Run{PID: uint16(video + rnd.IntN(3)), DTS: any64()}
					for range rnd.IntN(3) {
						r.Links = append(r.Links, segment.Link{DTS: any64(), At: rnd.Uint32N(1 << 20), Whole: rnd.IntN(2) == 0})
					}
					for i := range uint32(rnd.IntN(20)) {
						b := []byte{0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1, 0, 0, 0, 1, 0x65, 0x88}[:rnd.IntN(21)]
						r.Packets = append(r.Packets, segment.Packet{At: i + rnd.Uint32N(2), Counter: uint8(i & 15), Start: rnd.IntN(3) == 0, Data: b})
					}
					c.Info.Runs = append(c.Info.Runs, r)
				}
				if rnd.IntN(10) == 0 { // no samples of a track
					var kept []byte
					for ch, err := range fmp4.Split(c.Data) {
						if x, err2 := fmp4.ParseChunk(ch); err == nil && err2 == nil && x.PID == audio {
							kept = append(kept, ch...)
						}
					}
					c.Data = kept
					c.Info.Tracks[0].Codec = "urim.klv"
				}
				c.Info.Digest = segment.Sum(c.Data)
				sides[side] = append(sides[side], c)
			}
		}
		if r, err := JoinBeside(sides[0], sides[1], sides[2]); err == nil {
			joined++
			if r.Info.Bytes > 0 {
				if _, err := parse(&r.Copy); err != nil {
					t.Fatalf("what was joined is none: %v", err)
				}
			}
		}
	}
	if joined == 0 {
		t.Error("nothing was joined: the test shows nothing")
	}
}

// moved gives a copy at another time.
func moved(t *testing.T, c Copy, d timeline.Ticks) Copy {
	c.Data = append([]byte(nil), c.Data...)
	for ch, err := range fmp4.Split(c.Data) {
		if err == nil {
			err = fmp4.PatchTfdt(ch, fmp4.TfdtOffset, d)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.Info.Start += d
	c.Info.End += d
	for i := range c.Info.Evidence.Faulty {
		c.Info.Evidence.Faulty[i].DTS += d
	}
	for i := range c.Info.Evidence.Missing {
		m := &c.Info.Evidence.Missing[i]
		m.From, m.To = m.From+d, m.To+d
	}
	return c
}

// TestKindsUnlike holds I6: the codec of a track is what a copy says it is, and in no hash. One that says of pictures that they are data may have none.
func TestKindsUnlike(t *testing.T) {
	v, a := clean()
	own := copyOf(v, a, broken, end)
	says := copyOf(nil, a, segment.Evidence{EndUncertain: true, Faulty: []segment.FaultySample{{PID: video, DTS: begin}}}, end)
	says.Info.Tracks[0].Codec = segment.DataCodec + segment.KLV
	for _, cs := range [][]Copy{{own, says}, {says, own}} {
		if _, err := Join(cs...); !errors.Is(err, ErrUnlike) {
			t.Errorf("got %v", err)
		}
	}
	if r, err := JoinBeside(nil, []Copy{own}, []Copy{moved(t, says, timeline.CellTicks)}); err != nil || r.Info.Digest != own.Info.Digest {
		t.Errorf("beside: %v", err)
	}
}
