package operator_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/teletext/teletexttest"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestExportSubtitles: each page that showed something is a file of its own beside the MP4, and each has its name.
func TestExportSubtitles(t *testing.T) {
	unit := archivetest.Unit{At: 90000, Data: append([]byte{0, 0, 1, 0xBD, 0, 0, 0x84, 0, 0}, teletexttest.Payload(889, "Hello")...)}
	track := func(pid uint16) archivetest.Data {
		return archivetest.Data{PID: pid, Name: segment.Teletext, StreamType: 6, Descriptors: teletexttest.Descriptor("fra", 2, 889, 890), Units: []archivetest.Unit{unit}}
	}
	srv := &archivetest.Server{Name: "s"}
	srv.Add(archivetest.Place{Start: timeline.Wrap, Length: 6 * 90000, UTC: utc, Data: []archivetest.Data{track(500), track(501)}})
	for _, with := range []bool{false, true} {
		var out bytes.Buffer
		dir := t.TempDir()
		if err := operator.New(srv.Dial(t), &out, false).Export(t.Context(), "s", archive.Range{}, filepath.Join(dir, "show.x.mp4"), with); err != nil {
			t.Fatal(err)
		}
		var got []string
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			got = append(got, e.Name())
		}
		want := []string{"show.x.mp4"}
		if with {
			want = []string{"show.x.889.fra.501.vtt", "show.x.889.fra.vtt", "show.x.mp4"}
		}
		if err != nil || !slices.Equal(got, want) || strings.Contains(out.String(), "show.x.889.fra.vtt: subtitles") != with {
			t.Errorf("%q, %v, it says %s", got, err, out.String())
		}
		if with {
			if b, err := os.ReadFile(filepath.Join(dir, want[1])); err != nil || !strings.Contains(string(b), "00:00:01.000 --> 00:00:06.000\nHello\n") {
				t.Errorf("%s, %v", b, err)
			}
		}
	}
}
