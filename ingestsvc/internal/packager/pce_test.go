package packager

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/testkit"
)

// TestProgramConfig: AAC whose channels are told by a program_config_element in the frames alone is recorded so that a decoder
// knows them, and every recorder tells them alike.
func TestProgramConfig(t *testing.T) {
	ts := source(t, testkit.Clip{
		Name: "program-config", Seconds: 20, Rate: "25", X264: "keyint=50:bframes=2:scenecut=0",
		Audio: []string{"-c:a:0 aac -filter:a:0 aformat=channel_layouts=2.1"},
	})
	r := record(t, ts, 1316)
	allWhole(t, "from the start", r)
	file, err := fmp4.ComposeMoov(r.segs[0].inits[1].Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.segs {
		for data, err := range fmp4.Split(s.data) {
			if err != nil {
				t.Fatal(err)
			}
			if c, err := fmp4.ParseChunk(data); err != nil {
				t.Fatal(err)
			} else if c.Kind == fmp4.Audio {
				file = append(file, data...)
			}
		}
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.ts"), filepath.Join(dir, "out.mp4")
	for path, data := range map[string][]byte{in: ts, out: file} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sameAudio(t, in, out)
	said, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-nostdin", "-i", out, "-f", "null", "-").CombinedOutput()
	if err != nil || len(said) > 0 {
		t.Errorf("ffmpeg decodes it with %v, %.300s", err, said)
	}
	compare(t, r, record(t, ts[len(ts)/3/mpegts.PacketSize*mpegts.PacketSize:], 1316))
}
