package playback_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/twinreel/twinreel/gateway/internal/httpapi"
	"github.com/twinreel/twinreel/gateway/internal/playback"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const cuePID, id3PID, txtPID = 500, 501, 502

// section completes a splice_info_section that begins with its command: length and CRC.
func section(t *testing.T, command string) []byte {
	t.Helper()
	body, err := hex.DecodeString(strings.ReplaceAll(command, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	b := append([]byte{0xFC, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF}, body...)
	binary.BigEndian.PutUint16(b[1:], 0x3000|uint16(len(b)-3+4))
	crc := ^uint32(0)
	for _, c := range b {
		crc ^= uint32(c) << 24
		for range 8 {
			crc = crc<<1 ^ 0x04C1_1DB7*(crc>>31)
		}
	}
	return binary.BigEndian.AppendUint32(b, crc)
}

// insertAt is a splice_insert that leaves the programme at a time, for 30 s.
func insertAt(t *testing.T, id uint32, pts timeline.Ticks) []byte {
	p := uint64(pts) & (1<<33 - 1)
	return section(t, fmt.Sprintf("05 %08x 7f ef %02x%08x fe0029 32e0 0001 00 00 0000", id, 0xFE|p>>32, uint32(p)))
}

// dataPES is a PES with the payload and no time.
func dataPES(payload []byte) []byte {
	b := append([]byte{0, 0, 1, 0xBD, 0, 0, 0x84, 0, 0}, payload...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-6))
	return b
}

// TestEventMessages: what SCTE-35 and ID3 say stands before the chunks of the pictures, for players; nothing else about a
// segment changes, and what is downloaded raw has its digest.
func TestEventMessages(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	start := 2*timeline.Wrap - 3*timeline.TicksPerSecond // the splice lies behind the wrap
	cue := insertAt(t, 7, start+5*timeline.TicksPerSecond)
	tags := []byte("ID3\x04\x00\x00\x00\x00\x00\x00")
	late := append([]byte{0, 0xF5, 1, 0, byte(len(tags))}, tags...)
	place := archivetest.Place{Row: 1, Turn: 2, Start: start, Length: length, UTC: at(0), Data: []archivetest.Data{
		{PID: cuePID, Name: segment.SCTE35, StreamType: 0x86, Units: []archivetest.Unit{
			{At: 90000, Data: cue}, {At: 180000, Data: section(t, "00 0000")}, {At: 200000, Data: cue[:20]},
		}},
		{PID: id3PID, Name: segment.ID3, StreamType: 0x15, Units: []archivetest.Unit{
			{At: 270000, Shown: 900, Data: dataPES(tags)}, {At: length, Data: []byte("junk")}, {At: length + 40000, Data: dataPES(late)},
		}},
	}}
	c := srv.Add(place)
	place.Data, place.UTC = nil, at(length)
	srv.Add(place)
	conn := srv.Dial(t)
	h := httptest.NewServer(playback.New(conn, nil, fixed{now: at(1000 * length)}, slog.New(slog.DiscardHandler)))
	t.Cleanup(h.Close)

	path := fmt.Sprintf("/s/segment/%s/2/", c.Info.Digest)
	b := get(t, h.URL+path+"256.m4s", 200)
	f, err := mp4.DecodeFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	zero := 1026 * timeline.Wrap
	var got []string
	for i := 0; i < len(b); {
		n := int(binary.BigEndian.Uint32(b[i:]))
		if string(b[i+4:i+8]) == "emsg" {
			box, err := mp4.DecodeBox(0, bytes.NewReader(b[i:i+n]))
			if err != nil {
				t.Fatal(err)
			}
			e := box.(*mp4.EmsgBox)
			got = append(got, fmt.Sprintf("v%d %s %q at %d/%d for %d id %08x: %x", e.Version, e.SchemeIDURI, e.Value,
				timeline.Ticks(e.PresentationTime)-zero-start, e.TimeScale, e.EventDuration, e.ID, e.MessageData))
		}
		i += n
	}
	want := []string{
		fmt.Sprintf(`v1 urn:scte:scte35:2013:bin "500" at 450000/90000 for 2700000 id %x: %x`, cue[len(cue)-4:], cue),
		fmt.Sprintf(`v1 https://aomedia.org/emsg/ID3 "" at 270900/90000 for 4294967295 id [0-9a-f]{8}: %x`, tags),
		fmt.Sprintf(`v1 https://aomedia.org/emsg/ID3 "" at 580000/90000 for 4294967295 id [0-9a-f]{8}: %x`, tags),
	}
	if !regexp.MustCompile("^" + strings.Join(want, "\n") + "$").MatchString(strings.Join(got, "\n")) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	plain, err := mp4.DecodeFile(bytes.NewReader(get(t, h.URL+strings.Replace(path, c.Info.Digest.String(), srv.Copies[1].Info.Digest.String(), 1)+"256.m4s", 200)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fragments(f), fragments(plain); got != want {
		t.Errorf("with messages the segment has %s, without %s", got, want)
	}
	if b := get(t, h.URL+path+"257.m4s", 200); bytes.Contains(b, []byte("emsg")) {
		t.Error("messages in the sound of a segment that has pictures")
	}
	api := httptest.NewServer(httpapi.New(conn))
	t.Cleanup(api.Close)
	if raw := get(t, api.URL+"/api/v1/streams/s/segments/"+c.Info.Digest.String(), 200); segment.Sum(raw) != c.Info.Digest || bytes.Contains(raw, []byte("emsg")) {
		t.Error("the raw download is not what was recorded")
	}

	ffprobe, err := exec.LookPath("ffprobe")
	if err != nil {
		t.Skip("no ffprobe")
	}
	init := regexp.MustCompile(`\.\./(init/\S+)"`).FindSubmatch(get(t, h.URL+fmt.Sprintf("/s/archive-%d-6/256.m3u8", utc.Unix()), 200))[1]
	file := filepath.Join(t.TempDir(), "s.mp4")
	if err := os.WriteFile(file, append(get(t, h.URL+"/s/"+string(init), 200), b...), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(ffprobe, "-v", "error", "-show_entries", "packet=pts", "-of", "csv=p=0", file).Output()
	if n := strings.Count(string(out), "\n"); err != nil || n != int(length/archivetest.VideoTicks) {
		t.Errorf("ffprobe finds %d packets: %v", n, err)
	}
}

// fragments describes the samples of a file.
func fragments(f *mp4.File) string {
	var s strings.Builder
	for _, seg := range f.Segments {
		for _, frag := range seg.Fragments {
			fmt.Fprint(&s, frag.Moof.Traf.Tfdt.BaseMediaDecodeTime(), " ", frag.Moof.Traf.Trun.SampleCount(), ", ")
		}
	}
	return s.String()
}
