package playback

import (
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/segment"
)

// TestRolesInThePlaylist: what a track is for is said as players know it, and no such track is the default where there is
// another; a role of a newer program is none.
func TestRolesInThePlaylist(t *testing.T) {
	l := &playlist{}
	err := l.add(archive.Segment{Info: segment.Info{Tracks: []segment.Track{
		{PID: 256, Codec: "avc1.64001f"},
		{PID: 257, Codec: "mp4a.40.2", Language: "deu", Role: "visually-impaired"},
		{PID: 258, Codec: "mp4a.40.2", Language: "deu"},
		{PID: 259, Codec: "mp4a.40.2", Language: "deu", Role: "hearing-impaired"},
		{PID: 260, Codec: "mp4a.40.2", Role: "visually-impaired-mix"},
		{PID: 261, Codec: "mp4a.40.2", Role: "x\",URI=\"http://elsewhere\n"},
		{PID: 262, Codec: "ac-3", Role: "commentary"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(l.master("w").String(), "\n") {
		if s, ok := strings.CutPrefix(line, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio-"); ok {
			got = append(got, s)
		}
	}
	want := []string{
		`mp4a.40.2",NAME="PID 258",LANGUAGE="deu",DEFAULT=YES,AUTOSELECT=YES,URI="w/258.m3u8"`,
		`mp4a.40.2",NAME="PID 257, audio description",LANGUAGE="deu",CHARACTERISTICS="public.accessibility.describes-video",DEFAULT=NO,AUTOSELECT=YES,URI="w/257.m3u8"`,
		`mp4a.40.2",NAME="PID 259, for the hard of hearing",LANGUAGE="deu",CHARACTERISTICS="public.accessibility.enhances-speech-intelligibility",DEFAULT=NO,AUTOSELECT=YES,URI="w/259.m3u8"`,
		`mp4a.40.2",NAME="PID 260, audio description alone",CHARACTERISTICS="public.accessibility.describes-video",DEFAULT=NO,AUTOSELECT=NO,URI="w/260.m3u8"`,
		`mp4a.40.2",NAME="PID 261",DEFAULT=NO,AUTOSELECT=YES,URI="w/261.m3u8"`,
		`ac-3",NAME="PID 262, commentary",DEFAULT=YES,AUTOSELECT=YES,URI="w/262.m3u8"`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
