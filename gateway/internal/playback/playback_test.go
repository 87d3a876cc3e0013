package playback_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/twinreel/twinreel/gateway/internal/playback"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const length = 6 * timeline.TicksPerSecond

var utc = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func at(d timeline.Ticks) time.Time { return utc.Add(d.Duration()) }

type fixed struct {
	clock.System
	now time.Time
}

func (f fixed) Now() time.Time { return f.now }

// site has two segments, a gap of two lengths, a segment of another configuration, one of another timeline, after an
// outage one of a third (a turn before its row's first) without MP2, and the open segment.
func site(t *testing.T, now time.Time) *httptest.Server {
	t.Helper()
	srv := &archivetest.Server{Name: "s"}
	wrap := timeline.Wrap
	srv.Add(archivetest.Place{Row: 1, Start: wrap, Length: length, UTC: at(0)})
	srv.Add(archivetest.Place{Row: 1, Start: wrap + length, Length: length, UTC: at(length)})
	srv.Add(archivetest.Place{Row: 1, Start: wrap + 4*length, Length: length, UTC: at(4 * length), Language: "deu"})
	srv.Add(archivetest.Place{Row: 3, Start: wrap + 9*length, Length: length, UTC: at(5 * length), Language: "deu"})
	srv.Add(archivetest.Place{Row: 2, Turn: -1, Start: wrap, Length: length, UTC: at(7 * length), NoMP2: true})
	srv.Add(archivetest.Place{Row: 2, Turn: -1, Start: wrap + length, Length: length / 3, UTC: at(8 * length), NoMP2: true, Open: true})
	h := httptest.NewServer(playback.New(srv.Dial(t), nil, fixed{now: now}, slog.New(slog.DiscardHandler)))
	t.Cleanup(h.Close)
	return h
}

func get(t *testing.T, url string, want int) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != want {
		t.Fatalf("GET %s: %s, want %d\n%s", url, resp.Status, want, b)
	}
	if got := resp.Header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "*" {
		t.Errorf("GET %s: %s, and a browser shows it to the pages of %q, want any", url, resp.Status, got)
	}
	return b
}

// shape takes what differs from run to run out of a playlist.
func shape(b []byte) []string {
	s := regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(strings.TrimSpace(string(b)), "HASH")
	return strings.Split(s, "\n")
}

func TestPlaylists(t *testing.T) {
	h := site(t, at(1000*length))
	window := fmt.Sprintf("archive-%d-3600", utc.Unix())
	got := shape(get(t, h.URL+"/s/"+window+".m3u8", 200))
	for i, want := range []string{
		"#EXTM3U", "#EXT-X-VERSION:8",
		`#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio-mp4a.40.2",NAME="PID 257",DEFAULT=YES,AUTOSELECT=YES,URI="` + window + `/257.m3u8"`,
		`#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio-mp4a.6b",NAME="PID 258",LANGUAGE="fra",DEFAULT=YES,AUTOSELECT=YES,URI="` + window + `/258.m3u8"`,
		`#EXT-X-STREAM-INF:BANDWIDTH=[0-9]+,AVERAGE-BANDWIDTH=[0-9]+,CODECS="avc1.42c00c,mp4a.40.2",AUDIO="audio-mp4a.40.2"`, window + "/256.m3u8",
		`#EXT-X-STREAM-INF:BANDWIDTH=[0-9]+,AVERAGE-BANDWIDTH=[0-9]+,CODECS="avc1.42c00c,mp4a.6B",AUDIO="audio-mp4a.6b"`, window + "/256.m3u8",
	} {
		if i >= len(got) || !regexp.MustCompile("^"+want+"$").MatchString(got[i]) {
			t.Errorf("master playlist, line %d:\n%s\nwant\n%s", i+1, strings.Join(got, "\n"), want)
			break
		}
	}

	segment := func(offset timeline.Ticks, turn, pid int, sec string) []string {
		return []string{
			"#EXT-X-PROGRAM-DATE-TIME:" + at(offset).Format("2006-01-02T15:04:05.000Z"), "#EXTINF:" + sec + ",",
			fmt.Sprintf("../segment/HASH/%d/%d.m4s", turn, pid),
		}
	}
	gap := func(offset timeline.Ticks) []string {
		return []string{
			"#EXT-X-GAP", "#EXT-X-PROGRAM-DATE-TIME:" + at(offset).Format("2006-01-02T15:04:05.000Z"), "#EXTINF:6.00000,",
			fmt.Sprintf("../gap/%d.m4s", at(offset).UnixMilli()),
		}
	}
	want := slices.Concat(
		[]string{"#EXTM3U", "#EXT-X-VERSION:8", "#EXT-X-TARGETDURATION:10", "#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-MEDIA-SEQUENCE:308188641", "#EXT-X-DISCONTINUITY-SEQUENCE:1", `#EXT-X-MAP:URI="../init/HASH.mp4"`},
		segment(0, 0, 256, "6.00000"), segment(length, 0, 256, "6.00000"), gap(2*length), gap(3*length),
		[]string{"#EXT-X-DISCONTINUITY"}, segment(4*length, 0, 256, "6.00000"),
		[]string{"#EXT-X-DISCONTINUITY"}, segment(5*length, 0, 256, "6.00000"), gap(6*length),
		[]string{"#EXT-X-DISCONTINUITY"}, segment(7*length, -1, 256, "6.00000"), []string{"#EXT-X-ENDLIST"},
	)
	if got := shape(get(t, h.URL+"/s/"+window+"/256.m3u8", 200)); !slices.Equal(got, want) {
		t.Errorf("video playlist:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// The track that ends has a gap where the others go on, behind the same discontinuity (I2).
	got = shape(get(t, h.URL+"/s/"+window+"/258.m3u8", 200))
	if tail := slices.Concat([]string{"#EXT-X-DISCONTINUITY"}, gap(7*length), []string{"#EXT-X-ENDLIST"}); !slices.Equal(got[len(got)-len(tail):], tail) {
		t.Errorf("MP2 playlist:\n%s\nwant at the end\n%s", strings.Join(got, "\n"), strings.Join(tail, "\n"))
	}
}

func TestSegmentsAreOnTheTimelineOfTheRow(t *testing.T) {
	h := site(t, at(1000*length))
	list := string(get(t, h.URL+fmt.Sprintf("/s/archive-%d-3600/257.m3u8", utc.Unix()), 200))
	var starts []timeline.Ticks
	for _, uri := range regexp.MustCompile(`\.\./(segment/\S+)`).FindAllStringSubmatch(list, -1) {
		b := get(t, h.URL+"/s/"+uri[1], 200)
		f, err := mp4.DecodeFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		var next uint64
		for _, s := range f.Segments {
			for _, frag := range s.Fragments {
				if id := frag.Moof.Traf.Tfhd.TrackID; id != archivetest.AAC {
					t.Errorf("a fragment of track %d", id)
				}
				tfdt := frag.Moof.Traf.Tfdt.BaseMediaDecodeTime()
				if next != 0 && tfdt != next {
					t.Errorf("tfdt %d, want %d", tfdt, next)
				}
				if next == 0 {
					starts = append(starts, timeline.Ticks(tfdt)-1024*timeline.Wrap)
				}
				next = tfdt + uint64(frag.Moof.Traf.Trun.SampleCount())*archivetest.AACTicks
			}
		}
	}
	grid := func(t timeline.Ticks) timeline.Ticks {
		return (t + archivetest.AACTicks - 1) / archivetest.AACTicks * archivetest.AACTicks
	}
	w := timeline.Wrap
	if want := []timeline.Ticks{grid(w), grid(w + length), grid(w + 4*length), grid(w + 9*length), grid(w) - w}; !slices.Equal(starts, want) {
		t.Errorf("segments start at %d, want %d", starts, want)
	}
	init := regexp.MustCompile(`\.\./(init/\S+)"`).FindStringSubmatch(list)[1]
	if f, err := mp4.DecodeFile(bytes.NewReader(get(t, h.URL+"/s/"+init, 200))); err != nil || f.Init == nil {
		t.Errorf("init segment: %v", err)
	}
}

func TestWindows(t *testing.T) {
	h := site(t, at(6*length))
	from := utc.Unix()
	for _, tc := range []struct {
		path string
		code int
		with string // in the answer
		not  string
	}{
		{fmt.Sprintf("archive-%d-now/256.m3u8", from), 200, "#EXTINF", "ENDLIST"},
		{fmt.Sprintf("archive-%d-now/256.m3u8", from), 200, "MEDIA-SEQUENCE", "PLAYLIST-TYPE"},
		{fmt.Sprintf("archive-%d-3600/256.m3u8", from), 200, "MEDIA-SEQUENCE", "ENDLIST"},
		{fmt.Sprintf("archive-%d-3600/256.m3u8", from-6), 200, "MEDIA-SEQUENCE:308188638\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-MAP", "ENDLIST"},
		{fmt.Sprintf("archive-%d.5-0.25/256.m3u8", from), 200, "#EXTINF", "DISCONTINUITY\n"},
		{"archive-" + utc.Format(time.RFC3339) + "-12/256.m3u8", 200, "#EXTINF", "GAP"},
		{fmt.Sprintf("archive-%d-20.mp4", from), 200, "moov", ""},
		{fmt.Sprintf("archive-%d-3600.mp4", from), 409, "changes its configuration at 2026-11-23T09:00:24Z", ""},
		{fmt.Sprintf("archive-%d-60.m3u8", from+3600), 404, "nothing is recorded", ""},
		{fmt.Sprintf("archive-%d-60.mp4", from+3600), 404, "nothing is recorded", ""},
		{fmt.Sprintf("archive-%d-60.ts", from), 400, "not served", ""},
		{fmt.Sprintf("archive-%d-0.m3u8", from), 400, "no duration", ""},
		{fmt.Sprintf("archive-%d-60/999.m3u8", from), 404, "no track of PID 999", ""},
		{"archive-yesterday-60.m3u8", 400, "RFC 3339", ""},
		{"gap/1.m4s", 400, "", ""},
		{"init/00.mp4", 400, "hex digits", ""},
		{"init/" + strings.Repeat("0", 64) + ".mp4", 404, "UNKNOWN", ""},
		{"segment/" + strings.Repeat("0", 64) + "/0/256.m4s", 404, "UNKNOWN", ""},
		{"segment/" + strings.Repeat("0", 64) + "/x/256.m4s", 400, "no turn", ""},
	} {
		b := string(get(t, h.URL+"/s/"+tc.path, tc.code))
		if !strings.Contains(b, tc.with) || (tc.not != "" && strings.Contains(b, tc.not)) {
			t.Errorf("GET %s: want %q in and %q not in\n%.300s", tc.path, tc.with, tc.not, b)
		}
	}
	get(t, h.URL+"/other/archive-0-now.m3u8", 404)
	get(t, h.URL+"/s/no/such/path", 404)
}
