package ring

import (
	"testing"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// I1: what a run left open is sealed as far as it came.
func TestCloseSealsWhatIsOpen(t *testing.T) {
	const video, audio, silent = 256, 257, 258
	tracks := []segment.Track{{PID: video, Codec: "avc1.640014"}, {PID: audio, Codec: "mp4a.40.2"}, {PID: silent, Codec: "mp4a.40.2"}}
	start := startOf(1)
	r := New(1<<20, clock.System{})
	w := r.Writer()
	key := segment.Key{Seq: 1, Start: start, InitSet: segment.MakeInitSet(tracks)}
	w.Begin(Begin{Key: key, Tracks: tracks, StartUncertain: true, Independent: true})
	var all []byte
	for i, pid := range []uint16{video, audio, video} {
		kind, at := fmp4.Audio, start+10
		if pid == video { // a picture is shown 7200 ticks after its decode time
			kind, at = fmp4.Video, start-7200+3600*timeline.Ticks(i)
		}
		sample := fmp4.Sample{Duration: 3600, Size: 2, Flags: fmp4.FlagsSync}
		data := fmp4.AppendChunk(nil, kind, pid, at, []fmp4.Sample{sample, sample}, []byte{1, 2, 3, 4})
		c := Chunk{Chunk: segment.Chunk{PID: pid, Offset: uint64(len(all)), Size: uint32(len(data))}, Data: data}
		c.Evidence.Faulty = []segment.FaultySample{{PID: pid, DTS: at, Reason: segment.ReasonTransport}}
		w.Chunk(c)
		all = append(all, data...)
	}
	w.Close()
	w.Close()

	held := r.Sealed(0)
	if len(held) != 1 {
		t.Fatalf("%d segments, want 1", len(held))
	}
	info := held[0].Info
	if info.Digest != segment.Sum(all) || info.Bytes != uint64(len(all)) || len(info.Chunks) != 3 || !info.Independent {
		t.Errorf("digest %v of %d bytes in %d chunks", info.Digest, info.Bytes, len(info.Chunks))
	}
	if info.Start != start || info.End != start+14400 {
		t.Errorf("from %d to %d, want %d to %d", info.Start, info.End, start, start+14400)
	}
	if segment.MakeInitSet(info.Tracks) != key.InitSet || info.Track(video).Samples != 4 || info.Track(audio).End != start+7210 ||
		info.Track(silent).Samples != 0 {
		t.Errorf("tracks %+v", info.Tracks)
	}
	e := info.Evidence
	if !e.StartUncertain || !e.EndUncertain || len(e.Faulty) != 3 || e.Faulty[1].PID != video || e.Faulty[2].PID != audio {
		t.Errorf("evidence %+v", e)
	}
}
