package playback_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/gateway/internal/playback"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// serve serves an archive at a time behind everything in it.
func serve(t *testing.T, srv *archivetest.Server) string {
	t.Helper()
	return serveAt(t, srv, at(1000*length))
}

func serveAt(t *testing.T, srv *archivetest.Server, now time.Time) string {
	t.Helper()
	h := httptest.NewServer(playback.New(srv.Dial(t), nil, fixed{now: now}, slog.New(slog.DiscardHandler)))
	t.Cleanup(h.Close)
	return h.URL + "/s/"
}

// numbers gives the number and the count of discontinuities of each segment of a playlist, by the place of its media;
// gaps by their time.
func numbers(t *testing.T, list string) map[string][2]int {
	t.Helper()
	first := func(tag string) int {
		m := regexp.MustCompile(tag + `:(\d+)`).FindStringSubmatch(list)
		if m == nil {
			t.Fatalf("no %s in\n%s", tag, list)
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	n, cuts := first("#EXT-X-MEDIA-SEQUENCE"), first("#EXT-X-DISCONTINUITY-SEQUENCE")
	out := make(map[string][2]int)
	for line := range strings.Lines(list) {
		switch line = strings.TrimSpace(line); {
		case line == "#EXT-X-DISCONTINUITY":
			cuts++
		case !strings.HasPrefix(line, "#"):
			out[line] = [2]int{n, cuts}
			n++
		}
	}
	return out
}

// TestLiveWindowKeepsItsNumbers reloads a window while its head expires and its gap is filled (I4; RFC 8216, 6.2.2).
func TestLiveWindowKeepsItsNumbers(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	place := func(cell int, language string) archivetest.Place {
		from := timeline.Ticks(cell) * timeline.CellTicks
		return archivetest.Place{Row: 1, Start: timeline.Wrap + from, Length: timeline.CellTicks, UTC: at(from), Language: language}
	}
	for _, cell := range []int{0, 1, 2, 6, 7, 8} {
		language := "eng"
		if cell > 1 {
			language = "deu"
		}
		srv.Add(place(cell, language))
	}
	url := serve(t, srv) + "archive-0-now/256.m3u8"
	before := numbers(t, string(get(t, url, 200)))
	if len(before) != 9 {
		t.Fatalf("%d entries for 6 segments and 3 that are missing", len(before))
	}
	filled := slices.Insert(slices.Clone(srv.Copies), 3, srv.Add(place(4, "deu")))
	for expired := range 6 {
		srv.Copies = filled[expired:]
		same := 0
		for uri, want := range before {
			if got, ok := numbers(t, string(get(t, url, 200)))[uri]; ok {
				same++
				if got != want {
					t.Errorf("%d expired: %s has number and discontinuities %v, before %v", expired, uri, got, want)
				}
			}
		}
		if same == 0 {
			t.Errorf("%d expired: nothing is as before", expired)
		}
	}
}

// TestNumbersWhenTheClockIsSet: a wall clock that is set right while somebody watches makes no window another, though its numbers do not
// come from the archive alone (I4).
func TestNumbersWhenTheClockIsSet(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	for cell, language := range []string{"eng", "deu", "deu", "deu"} {
		from := timeline.Ticks(cell) * timeline.CellTicks
		srv.Add(archivetest.Place{Row: 1, Start: timeline.Wrap + from, Length: timeline.CellTicks, UTC: at(from), Language: language})
	}
	now := at(0)
	h := httptest.NewServer(playback.New(srv.Dial(t), nil, setClock{now: &now}, slog.New(slog.DiscardHandler)))
	t.Cleanup(h.Close)
	before := numbers(t, string(get(t, h.URL+"/s/archive-0-now/256.m3u8", 200)))
	srv.Copies = srv.Copies[2:] // what was before the discontinuity has expired
	now = now.Add(time.Hour)
	for uri, got := range numbers(t, string(get(t, h.URL+"/s/archive-0-now/256.m3u8", 200))) {
		if want := before[uri]; got != want {
			t.Errorf("%s has number and discontinuities %v, before %v", uri, got, want)
		}
	}
}

// setClock is a clock that a test sets.
type setClock struct {
	clock.System
	now *time.Time
}

func (c setClock) Now() time.Time { return *c.now }

// TestSegmentOfAnOldPlaylist: a player that asks for what a playlist listed a moment ago gets what has taken its place since, as where a
// damaged segment was repaired from another site.
func TestSegmentOfAnOldPlaylist(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	c := srv.Add(archivetest.Place{Row: 1, Start: timeline.Wrap, Length: timeline.CellTicks, UTC: at(0)})
	damaged, broken := segment.Digest{1}, segment.Digest{2}
	srv.Superseded = map[string]string{string(damaged[:]): c.Info.Digest.String(), string(broken[:]): "no digest"}
	url := serve(t, srv)
	path := func(d segment.Digest, track string) string { return url + "segment/" + d.String() + "/0/" + track }
	if got, want := get(t, path(damaged, "256.m4s"), 200), get(t, path(c.Info.Digest, "256.m4s"), 200); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, want the %d of the copy that took its place", len(got), len(want))
	}
	get(t, path(damaged, "99.m4s"), 404)
	get(t, path(broken, "256.m4s"), 404)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(path(damaged, "256-888.vtt") + "?after=" + c.Info.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	want := "../../" + c.Info.Digest.String() + "/0/256-888.vtt?after=" + c.Info.Digest.String()
	if got := resp.Header.Get("Location"); got != want || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("text leads to %q, want %q; Cache-Control is %q", got, want, resp.Header.Get("Cache-Control"))
	}
}

// TestHeadOfAFile: who asks what a file will be has none of it read: it may be days.
func TestHeadOfAFile(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	c := srv.Add(archivetest.Place{Row: 1, Start: timeline.Wrap, Length: timeline.CellTicks, UTC: at(0)})
	c.Bytes = c.Bytes[1:] // what reads it fails
	resp, err := http.Head(serve(t, srv) + "archive-" + strconv.FormatInt(at(0).Unix(), 10) + "-10.mp4")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Range-From") == "" {
		t.Errorf("%s, %v", resp.Status, resp.Header)
	}
}

// TestLive: the last minute, without what is older, and not to be kept by any cache.
func TestLive(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	const cells = 40
	for cell := range cells {
		from := timeline.Ticks(cell) * timeline.CellTicks
		srv.Add(archivetest.Place{Row: 1, Start: timeline.Wrap + from, Length: timeline.CellTicks, UTC: at(from)})
	}
	h := httptest.NewServer(playback.New(srv.Dial(t), nil, fixed{now: at(cells * timeline.CellTicks)}, slog.New(slog.DiscardHandler)))
	t.Cleanup(h.Close)
	if master := string(get(t, h.URL+"/s/index.m3u8", 200)); !strings.Contains(master, "\nindex/256.m3u8\n") {
		t.Errorf("master:\n%s", master)
	}
	list := string(get(t, h.URL+"/s/index/256.m3u8", 200))
	if n := strings.Count(list, "#EXTINF"); n < 10 || n > 12 {
		t.Errorf("%d segments of 5.8 s, want a minute of them", n)
	}
	for _, bad := range []string{"#EXT-X-ENDLIST", "#EXT-X-PLAYLIST-TYPE"} {
		if strings.Contains(list, bad) {
			t.Errorf("live has %s", bad)
		}
	}
	resp, err := http.Get(h.URL + "/s/index/256.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("Cache-Control is %q", got)
	}
}

// TestYearsBetweenTimelines has nothing to say of what lies between two timelines, and refuses a window that would not
// end on one (faults 61).
func TestYearsBetweenTimelines(t *testing.T) {
	for _, row := range []byte{1, 2} {
		srv := &archivetest.Server{Name: "s"}
		year := timeline.Ticks(365*24*3600) * timeline.TicksPerSecond
		srv.Add(archivetest.Place{Row: 1, Start: timeline.Wrap, Length: length, UTC: at(-year)})
		turn, start := int32(year/timeline.Wrap), timeline.Wrap+year%timeline.Wrap
		srv.Add(archivetest.Place{Row: row, Turn: turn, Start: start, Length: length, UTC: at(0)})
		url := serve(t, srv) + "archive-0-3600000000/256.m3u8"
		if row == 1 {
			if b := string(get(t, strings.Replace(url, "3600000000", "now", 1), 400)); !strings.Contains(b, "ask for a shorter one") {
				t.Error(b)
			}
			continue
		}
		b := string(get(t, strings.Replace(url, "3600000000", "now", 1), 200))
		if strings.Contains(b, "GAP") || strings.Count(b, "#EXT-X-DISCONTINUITY\n") != 1 || strings.Count(b, "#EXTINF") != 2 {
			t.Error(b)
		}
	}
}

// TestTrackWithoutSamples plays a segment that broke off before a track had begun (I2).
func TestTrackWithoutSamples(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	c := srv.Add(archivetest.Place{Row: 1, Start: timeline.Wrap, Length: length, UTC: at(0)})
	track := c.Info.Track(archivetest.AAC)
	track.Samples, track.Start, track.End, track.Bytes = 0, c.Info.Start, c.Info.Start, 0
	c.Info.Independent = false
	var chunks []segment.Chunk
	var b []byte
	for _, ch := range c.Info.Chunks {
		if ch.PID != archivetest.AAC {
			data := c.Bytes[ch.Offset : ch.Offset+uint64(ch.Size)]
			ch.Offset = uint64(len(b))
			chunks, b = append(chunks, ch), append(b, data...)
		}
	}
	c.Info.Chunks, c.Bytes, c.Info.Bytes, c.Info.Digest = chunks, b, uint64(len(b)), segment.Sum(b)
	url := serve(t, srv)
	list := string(get(t, url+"archive-0-now/257.m3u8", 200))
	if strings.Contains(list, "segment/") || !strings.Contains(list, "#EXT-X-GAP") {
		t.Errorf("a segment without samples is listed:\n%s", list)
	}
	if strings.Contains(list, "INDEPENDENT") {
		t.Errorf("its segments are said to be independent:\n%s", list)
	}
	get(t, url+"segment/"+c.Info.Digest.String()+"/0/257.m4s", 404)
}
