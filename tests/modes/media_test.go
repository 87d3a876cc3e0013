package modes

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// What is exported, as MP4 and as HLS, is the source's pictures and audio packets between the first and the last cut:
// none missing, none twice, none other. Another site that joins later has the same bytes.
func TestExportEqualsSource(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		clip    testkit.Clip
		leading int // pictures of the first GOP that cannot be shown without the one before it
		// sound is the same clip with its sound in a form that ffmpeg can take out of its packets; none: the clip itself.
		sound testkit.Clip
	}{
		{
			clip: testkit.Clip{
				Name: "open-gop-25", Seconds: 60, Rate: "25",
				X264:  "open-gop=1:keyint=50:min-keyint=50:scenecut=0:bframes=2:b-adapt=0",
				Audio: []string{"-c:a:0 aac -ar:a:0 44100 -b:a:0 64k", "-c:a:1 mp2 -ar:a:1 48000 -b:a:1 64k"},
			},
			leading: 2,
		},
		{
			clip: testkit.Clip{
				Name: "closed-gop-29.97", Seconds: 60, Rate: "30000/1001",
				X264:  "open-gop=0:keyint=60:min-keyint=60:scenecut=0:bframes=2:b-adapt=0",
				Audio: []string{"-c:a:0 aac -ar:a:0 48000 -b:a:0 64k"},
			},
		},
		{
			clip: testkit.Clip{
				Name: "sound-29.97", Seconds: 60, Rate: "30000/1001",
				X264: "open-gop=0:keyint=60:min-keyint=60:scenecut=0:bframes=2:b-adapt=0",
				Audio: []string{
					"-c:a:0 eac3 -ar:a:0 48000 -ac:a:0 6", "-c:a:1 ac3 -ar:a:1 44100 -b:a:1 96k", "-c:a:2 libopus -ac:a:2 2",
				},
			},
		},
		{
			clip: testkit.Clip{
				Name: "hevc-open-gop-25", Seconds: 60, Rate: "25",
				Video: "-c:v libx265 -preset ultrafast -x265-params log-level=error:open-gop=1:keyint=50:min-keyint=50:scenecut=0:bframes=2:b-adapt=0",
				Audio: []string{"-c:a:0 ac3 -ar:a:0 48000 -b:a:0 128k"},
			},
			leading: 2,
		},
		{
			clip:  refresh(" -mpegts_flags latm"),
			sound: refresh(""),
		},
		{
			clip: testkit.Clip{
				Name: "mpeg2-29.97", Seconds: 60, Rate: "30000/1001", Size: "352x240",
				Video: "-c:v mpeg2video -flags +ildct+ilme -top 1 -g 15 -bf 2 -b:v 1M",
				Audio: []string{"-c:a:0 mp2 -ar:a:0 48000 -b:a:0 128k"},
			},
			leading: 2,
		},
	} {
		t.Run(c.clip.Name, func(t *testing.T) {
			t.Parallel()
			path := c.clip.Make(t)
			s, joins := newSite(t, "a"), newSite(t, "b")
			for _, s := range []*site{s, joins} {
				s.configure(s.udpURL())
				s.start()
				waitForInput(t, s)
			}
			joins.source.Keep(testkit.Nothing)
			src := testkit.Play(t, path, tsplay.Options{}, s.source, joins.source)
			time.Sleep(7300 * time.Millisecond)
			joins.source.Keep(nil)
			src.Wait(t)
			segs := waitForEnd(t, s)
			least, alike := 9, 3
			if c.sound.Name != "" { // a segment has two cells where nothing else cuts
				least, alike = 5, 1
			}
			same(t, s, joins, whole(segs), whole(waitForEnd(t, joins)), alike, 0, false)
			if len(segs) < least {
				t.Fatalf("%d segments of a minute", len(segs))
			}
			if err := testkit.Overlap(segs); err != nil {
				t.Error(err)
			}
			for i, seg := range segs[1 : len(segs)-1] {
				if !seg.GetWhole() {
					t.Errorf("segment %d of %d is not whole: %v", i+1, len(segs), seg)
				}
			}
			from, to := segs[0].GetStart().AsTime(), segs[len(segs)-1].GetEnd().AsTime()
			window := fmt.Sprintf("%s/archive-%d-%d", stream, from.Unix()-1, to.Unix()-from.Unix()+3)
			mp4 := filepath.Join(t.TempDir(), "export.mp4")
			download(t, s.httpURL(window+".mp4"), mp4)

			pictures := testkit.Frames(t, path)
			if c.sound.Name != "" {
				path = c.sound.Make(t)
			}
			var audio [][]string
			for n := range c.clip.Audio {
				audio = append(audio, testkit.AudioPackets(t, path, n))
			}
			for _, out := range []struct{ name, url string }{{"mp4", mp4}, {"hls", s.httpURL(window + ".m3u8")}} {
				t.Run(out.name, func(t *testing.T) {
					compare(t, "pictures", pictures, testkit.Frames(t, out.url), samples(segs, 0), c.leading)
					for n := range audio {
						compare(t, fmt.Sprintf("packets of audio %d", n), audio[n],
							testkit.AudioPackets(t, out.url, n), samples(segs, n+1), 0)
					}
				})
			}
		})
	}
}

// refresh is a clip without random access points behind the first picture.
func refresh(mux string) testkit.Clip {
	return testkit.Clip{
		Name: "intra-refresh-25" + strings.ReplaceAll(mux, " ", ""), Seconds: 60, Rate: "25", X264: "intra-refresh=1:keyint=50:bframes=0",
		Audio: []string{"-c:a:0 aac -ar:a:0 48000 -b:a:0 64k" + mux},
	}
}

// compare checks that what was exported up to the last cut, so many by the index less the leading ones that cannot be
// shown, is a stretch of the source. Behind the last cut the source's end is cut off.
func compare(t *testing.T, what string, source, got []string, count, leading int) {
	t.Helper()
	if len(got) < count-leading {
		t.Errorf("%s: %d, the index has %d between the first and the last cut", what, len(got), count)
	}
	got = got[:min(len(got), count)]
	at, err := testkit.Contiguous(source, got)
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	t.Logf("%s: %d of the source's %d, from place %d on", what, len(got), len(source), at)
}

// samples counts those of the n-th track from the first to the last cut.
func samples(segs []*dvrv1.Segment, n int) int {
	sum := 0
	for _, s := range segs[:len(segs)-1] {
		sum += int(s.GetTracks()[n].GetSamples())
	}
	return sum
}

// waitForInput waits until the site's dvrsvc knows its producers: from then on nothing of the source is missed.
func waitForInput(t *testing.T, s *site) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, "inputs of "+s.Node+" are connected", func() error {
		resp, err := dvrv1.NewIndexServiceClient(s.conn).ListStreams(t.Context(), &dvrv1.ListStreamsRequest{})
		if err != nil {
			return err
		}
		for _, x := range resp.GetStreams() {
			if x.GetStream() == stream && len(x.GetInputs()) > 0 {
				return nil
			}
		}
		return fmt.Errorf("not among %d streams", len(resp.GetStreams()))
	})
}

// waitForEnd waits until the open segment is sealed after the source's end, and returns all segments.
func waitForEnd(t *testing.T, s *site) []*dvrv1.Segment {
	t.Helper()
	var segs []*dvrv1.Segment
	testkit.Eventually(t, 30*time.Second, "the last segment is sealed at "+s.Node, func() (err error) {
		segs, err = s.archive().Segments(t.Context())
		if err == nil && (len(segs) == 0 || !segs[len(segs)-1].GetEndUncertain()) {
			err = fmt.Errorf("%d segments, the last one has a certain end", len(segs))
		}
		return err
	})
	return segs
}

// download fetches a URL into a file.
func download(t *testing.T, url, path string) {
	t.Helper()
	resp, err := http.Get(url) //nolint:noctx // the test's deadline is enough
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if resp.StatusCode != http.StatusOK {
		var why strings.Builder
		io.Copy(&why, io.LimitReader(resp.Body, 1000)) //nolint:errcheck // for the message
		t.Fatalf("get %s: %s: %s", url, resp.Status, why.String())
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		t.Fatalf("get %s: %v", url, err)
	}
}
