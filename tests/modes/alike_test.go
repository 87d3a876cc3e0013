package modes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// Two sites that know nothing of each other hold the same bytes from each one's first whole segment on.
func TestSitesCutAlike(t *testing.T) {
	t.Parallel()
	const videoPID = 256 // of ffmpeg's muxer
	for _, c := range []struct {
		name string
		opts tsplay.Options
		data bool // subtitles and the like beside picture and sound
		// fault does something to b; most is how many segments of a it may cost there.
		fault func(t *testing.T, b *site)
		most  int
	}{
		{name: "join at different moments"},
		{name: "pts wrap", opts: tsplay.Options{PTSOffset: 1<<33 - 25*90000}},
		{name: "data", data: true},
		{
			name: "lost RAP",
			// Three in a row hold the first of a cell (5.8 s) whatever its phase, as a GOP has 2 s; and at least one
			// segment before them is whole.
			fault: func(_ *testing.T, b *site) { b.source.Keep(testkit.LoseRAPs(videoPID, 9, 10, 11)) },
			most:  4,
		},
		{
			name: "killed in the middle of a cell",
			fault: func(t *testing.T, b *site) {
				time.Sleep(17 * time.Second)
				b.kill()
				b.start()
			},
			most: 4,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := testkit.Clip{
				Name: "clip", Seconds: 50, Rate: "25", X264: "open-gop=1:keyint=50:min-keyint=50:scenecut=0:bframes=2:b-adapt=0",
				Audio: []string{"-c:a:0 aac -ar:a:0 48000 -b:a:0 64k", "-c:a:1 mp2 -ar:a:1 48000 -b:a:1 64k"},
			}.Make(t)
			if c.data {
				addData(t, path)
			}
			a, b := newSite(t, "a"), newSite(t, "b")
			for _, s := range []*site{a, b} {
				s.configure(s.udpURL())
				s.start()
				waitForInput(t, s)
			}
			b.source.Keep(testkit.Nothing)
			src := testkit.Play(t, path, c.opts, a.source, b.source)
			time.Sleep(7300 * time.Millisecond)
			b.source.Keep(nil)
			if c.fault != nil {
				c.fault(t, b)
			}
			src.Wait(t)
			segsA, segsB := waitForEnd(t, a), waitForEnd(t, b)
			for _, x := range [][]*dvrv1.Segment{segsA, segsB} {
				if err := testkit.Overlap(x); err != nil {
					t.Error(err)
				}
			}
			same(t, a, b, whole(segsA), whole(segsB), 3, c.most, c.fault != nil)
			if c.data {
				checkData(t, a, segsA)
			}
		})
	}
}

// whole gives the segments against which nothing is known.
func whole(segs []*dvrv1.Segment) []*dvrv1.Segment {
	var out []*dvrv1.Segment
	for _, s := range segs {
		if s.GetWhole() {
			out = append(out, s)
		}
	}
	return out
}

// same checks that from b's first whole segment on, each whole one of b is one of a to the byte, and that b lacks at
// most so many of a's; with faulty, that it lacks any: else the fault was none. b has least of them or more, a twice that.
func same(t *testing.T, a, b *site, ofA, ofB []*dvrv1.Segment, least, most int, faulty bool) {
	t.Helper()
	if len(ofA) < 2*least || len(ofB) < least {
		t.Fatalf("whole segments: %d at a, %d at b", len(ofA), len(ofB))
	}
	byStart := make(map[int64]*dvrv1.Segment)
	for _, s := range ofB {
		byStart[s.GetStartTicks()] = s
	}
	begun, equal, missing := false, 0, 0
	for _, s := range ofA {
		o := byStart[s.GetStartTicks()]
		begun = begun || o != nil
		switch {
		case !begun:
		case o == nil:
			missing++
		case o.GetDigest() != s.GetDigest():
			t.Errorf("segment at %d: digest %s at a, %s at b, both whole", s.GetStartTicks(), s.GetDigest(), o.GetDigest())
		default:
			equal++
			if !bytes.Equal(a.archive().Read(t, s.GetDigest()), b.archive().Read(t, o.GetDigest())) {
				t.Errorf("segment at %d: bytes differ under digest %s", s.GetStartTicks(), s.GetDigest())
			}
		}
	}
	if equal < len(ofB) {
		t.Errorf("b has %d whole segments, of which a has only %d", len(ofB), equal)
	}
	if missing > most || faulty && missing == 0 {
		t.Errorf("of a's whole segments b lacks %d, want at most %d (and any, if there was a fault: %v)", missing, most, faulty)
	}
	t.Logf("%d equal, %d that only a has whole", equal, missing)
}

// addData puts streams of data into a file.
func addData(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, _ = testkit.WithData(b, 1)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkData holds every segment to having all streams of data, and the whole archive to being played beside them.
func checkData(t *testing.T, s *site, segs []*dvrv1.Segment) {
	t.Helper()
	for _, seg := range segs {
		data := 0
		for _, tr := range seg.GetTracks() {
			if strings.HasPrefix(tr.GetCodec(), segment.DataCodec) {
				data++
			}
			if tr.GetPid() == testkit.EmptyPID && tr.GetSamples() != 0 {
				t.Errorf("%d samples of a stream that shows nothing", tr.GetSamples())
			}
		}
		if data != len(testkit.DataPIDs()) {
			t.Errorf("segment at %v: %d tracks of data", seg.GetStart().AsTime(), data)
		}
	}
	from, to := segs[0].GetStart().AsTime(), segs[len(segs)-1].GetEnd().AsTime()
	checkEvents(t, s, from, to)
	window := fmt.Sprintf("%s/archive-%d-%d", stream, from.Unix()-1, int(to.Sub(from).Seconds())+3)
	if n := len(testkit.Frames(t, s.httpURL(window+".m3u8"))); n < 1000 {
		t.Errorf("%d pictures by HLS", n)
	}
	if n := len(testkit.Frames(t, s.httpURL(window+".mp4"))); n < 1000 {
		t.Errorf("%d pictures in the file", n)
	}
}

// checkEvents holds the list of events and the date ranges of HLS to each other.
func checkEvents(t *testing.T, s *site, from, to time.Time) {
	t.Helper()
	rpc, err := dvrv1.NewIndexServiceClient(s.conn).ListEvents(t.Context(), &dvrv1.ListEventsRequest{Stream: stream})
	out, in := 0, 0
	for err == nil {
		var m *dvrv1.ListEventsResponse
		if m, err = rpc.Recv(); err != nil {
			break
		}
		for _, e := range m.GetEvents() {
			ahead := e.GetTime().AsTime().Sub(e.GetReceived().AsTime())
			if e.GetProblem() != "" || e.GetPid() != testkit.CuePID || e.GetCommand() != "splice_insert" || ahead < 0 || ahead > 3*time.Second {
				t.Errorf("event %v", e)
			}
			if e.GetReceived().AsTime().Before(m.GetStart().AsTime().Add(-time.Second)) || e.GetReceived().AsTime().After(m.GetEnd().AsTime()) {
				t.Errorf("received at %v in a segment from %v to %v", e.GetReceived().AsTime(), m.GetStart().AsTime(), m.GetEnd().AsTime())
			}
			if e.GetOutOfNetwork() {
				out++
			} else {
				in++
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if out < 10 || out-in > 1 || in-out > 1 {
		t.Errorf("%d times out, %d times in", out, in)
	}
	url := s.httpURL(fmt.Sprintf("%s/archive-%d-%d/256.m3u8", stream, from.Unix()-1, int(to.Sub(from).Seconds())+3))
	resp, err := http.Get(url) //nolint:noctx // of the test's own site
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "SCTE35-OUT=0xFC3"); n != out {
		t.Errorf("%d date ranges of %d", n, out)
	}
	if n := strings.Count(string(b), "SCTE35-IN=0xFC3"); n != in {
		t.Errorf("%d ends of %d", n, in)
	}
}
