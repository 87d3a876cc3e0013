package join

import (
	"errors"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

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
