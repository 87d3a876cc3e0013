package packager

import (
	"bytes"
	"reflect"
	"testing"
)

// TestSilentTrackOfAFastStream: where sound falls silent, the pictures that wait for it may be more than can be held. That makes no
// difference: none is lost for it, and what is recorded, and known against it, is what it is where there is room.
func TestSilentTrackOfAFastStream(t *testing.T) {
	run := func(opts Options) (*live, []*recorded) {
		l := newLive(t, 900_000, 50)
		l.p = New(opts, l.r)
		l.p.Program(program(videoStream, audioStream))
		l.rap = append(bytes.Clone(idr), bytes.Repeat([]byte{0xAB}, 300_000)...) // 150 kB a second
		l.run(10)
		l.noAudio = true
		l.run(30)
		l.noAudio = false
		l.run(20)
		return l, l.end()
	}
	_, want := run(Options{})
	l, got := run(Options{MaxPending: 1 << 20}) // 7 s; a silent track is waited for for 11.65 s
	if l.p.Stats().Overflows > 0 {
		t.Errorf("it began anew: %+v", l.p.Stats())
	}
	pictures := 0
	for i, s := range got {
		pictures += int(s.info.Track(videoPID).Samples)
		if i >= len(want) || s.info.Digest != want[i].info.Digest || !reflect.DeepEqual(s.info.Evidence, want[i].info.Evidence) {
			t.Errorf("segment %d from %d on: %+v", i, s.info.Start, s.info.Evidence)
			if i < len(want) {
				t.Errorf("with room, from %d on: %+v", want[i].info.Start, want[i].info.Evidence)
			}
		}
	}
	if pictures != l.n || len(got) != len(want) {
		t.Errorf("%d of %d pictures in %d of %d segments", pictures, l.n, len(got), len(want))
	}
}
