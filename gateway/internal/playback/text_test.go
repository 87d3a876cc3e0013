package playback_test

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/gateway/internal/playback"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/teletext/teletexttest"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestSubtitles: teletext is also a rendition of WebVTT: announced, aligned with the others, with each text where it stands
// on the media's timeline, also where it was sent in the segment before, and the same whatever window asks for it.
func TestSubtitles(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	const second = timeline.TicksPerSecond
	teletext := func(units ...archivetest.Unit) []archivetest.Data {
		d := append(teletexttest.Descriptor("fra", 5, 888), teletexttest.Descriptor("fra", 2, 889)...)
		return []archivetest.Data{{PID: txtPID, Name: segment.Teletext, Language: "fra", StreamType: 6, Descriptors: d, Units: units}}
	}
	unit := func(at timeline.Ticks, lines ...string) archivetest.Unit {
		return archivetest.Unit{At: at, Shown: 9000, Data: dataPES(teletexttest.Payload(889, lines...))}
	}
	start := 2*timeline.Wrap - length - second // the second segment holds the wrap, the third is of the next turn
	place := func(n timeline.Ticks, d []archivetest.Data) archivetest.Place {
		p := archivetest.Place{Row: 1, Turn: 2, Start: start + n*length, Length: length, UTC: at(n * length), Data: d}
		if p.Start >= 2*timeline.Wrap {
			p.Start, p.Turn = p.Start-timeline.Wrap, 3
		}
		return p
	}
	srv.Add(place(0, teletext(unit(second, "one & only"), unit(3*second), unit(5*second, "over the", "cut"))))
	srv.Add(place(1, teletext()))
	srv.Add(place(2, teletext(unit(2*second), unit(length-4500, "later"))))
	srv.Add(place(3, teletext(unit(second), unit(5*second, "before the gap"))))
	srv.Add(place(5, teletext(unit(0, "alone")))) // behind a gap
	h := httptest.NewServer(playback.New(srv.Dial(t), nil, fixed{now: at(1000 * length)}, slog.New(slog.DiscardHandler)))
	t.Cleanup(h.Close)

	name := fmt.Sprintf("archive-%d-3600", utc.Unix())
	master := string(get(t, h.URL+"/s/"+name+".m3u8", 200))
	for _, want := range []string{
		`#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="fra 889/502",LANGUAGE="fra",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="` + name + `/502-889.m3u8"`,
		`NAME="fra 888/502, for the hard of hearing",LANGUAGE="fra",CHARACTERISTICS="public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound",`,
		`,AUDIO="audio-mp4a.40.2",SUBTITLES="subtitles"`,
	} {
		if !strings.Contains(master, want) {
			t.Errorf("master playlist:\n%swant in it\n%s", master, want)
		}
	}

	list := string(get(t, h.URL+"/s/"+name+"/502-889.m3u8", 200))
	numbers := func(list string) string {
		return strings.Join(regexp.MustCompile(`(?m)^#EXT-X-(MEDIA-SEQ|DISC|GAP|TARGET|PROGRAM|END).*|^#EXTINF`).FindAllString(list, -1), "\n")
	}
	if video := string(get(t, h.URL+"/s/"+name+"/256.m3u8", 200)); numbers(video) != numbers(list) || strings.Contains(list, "EXT-X-MAP") {
		t.Errorf("playlist of subtitles:\n%sof pictures:\n%s", list, video)
	}
	uris := regexp.MustCompile(`\.\./(segment/\S+)`).FindAllStringSubmatch(list, -1)
	var got []string
	for _, u := range uris {
		got = append(got, string(get(t, h.URL+"/s/"+u[1], 200)))
	}
	zero := start + 1026*timeline.Wrap
	head := func(n timeline.Ticks) string {
		return fmt.Sprintf("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:%d,LOCAL:00:00:00.000\n", zero+n*length)
	}
	want := []string{
		head(0) + "\n00:00:01.100 --> 00:00:03.100\none &amp; only\n\n00:00:05.100 --> 00:00:06.000\nover the\ncut\n",
		head(1) + "\n00:00:00.000 --> 00:00:06.000\nover the\ncut\n",
		head(2) + "\n00:00:00.000 --> 00:00:02.100\nover the\ncut\n",
		head(3) + "\n00:00:00.050 --> 00:00:01.100\nlater\n\n00:00:05.100 --> 00:00:06.000\nbefore the gap\n", // its time lies in this one
		head(5) + "\n00:00:00.100 --> 00:00:06.000\nalone\n",
	}
	if strings.Join(got, "\n--\n") != strings.Join(want, "\n--\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "--\n"), strings.Join(want, "--\n"))
	}

	// A window that begins later names the same paths.
	later := fmt.Sprintf("archive-%d-3600", at(2*length).Unix())
	for i, u := range regexp.MustCompile(`\.\./(segment/\S+)`).FindAllStringSubmatch(string(get(t, h.URL+"/s/"+later+"/502-889.m3u8", 200)), -1) {
		if u[1] != uris[i+2][1] {
			t.Errorf("segment %d: %s, in a longer window %s", i, u[1], uris[i+2][1])
		}
	}

	path := strings.SplitN(uris[3][1], "?", 2)[0]
	gone := strings.Repeat("0", 64)
	for q, code := range map[string]int{"": 200, "?after=" + gone: 200, "?after=1": 400, "?after=" + strings.Repeat(gone+".", 2) + gone: 400} {
		get(t, h.URL+"/s/"+path+q, code)
	}
	get(t, h.URL+"/s/"+strings.Replace(path, "502-889", "256-889", 1), 404)
	get(t, h.URL+"/s/"+strings.Replace(path, "502-889", "502-99", 1), 400)
	get(t, h.URL+"/s/"+name+"/999-889.m3u8", 404)
}
