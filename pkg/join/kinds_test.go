package join

import (
	"errors"
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
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
}
