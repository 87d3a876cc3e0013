package manifest

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/twinreel/twinreel/ingestsvc/internal/packager"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// samplesRoot is where recorded streams lie beside the repository, if they do.
const samplesRoot = "../../../../../shared/samples"

// manifestFile is a line of the manifest of recorded streams.
type manifestFile struct {
	name string // its path
	ts   bool   // else a seed of somebody's fuzz target
}

func manifest(t *testing.T) (out []manifestFile) {
	t.Helper()
	f, err := os.Open(filepath.Join(samplesRoot, "manifest.tsv"))
	if err != nil {
		t.Skip("no recorded samples beside the repository")
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	columns := map[string]int{}
	for lines.Scan() {
		cells := strings.Split(lines.Text(), "\t")
		if len(columns) == 0 {
			for i, c := range cells {
				columns[c] = i
			}
			continue
		}
		out = append(out, manifestFile{cells[columns["local_file"]], cells[columns["kind"]] == "ts"})
	}
	if err := lines.Err(); err != nil || len(out) == 0 {
		t.Fatalf("%d files in the manifest: %v", len(out), err)
	}
	return out
}

// recording is a Sink that keeps the chunks, and the init segments before each of them.
type recording struct {
	inits  []segment.Init
	chunks []chunk
	tracks map[uint16]segment.Track
}

type chunk struct {
	pid  uint16
	init segment.Init
	data []byte
}

func (r *recording) Begin(_ segment.Key, inits []segment.Init, tracks []segment.Track, _, _ bool) {
	r.inits = inits
	for _, t := range tracks {
		r.tracks[t.PID] = t
	}
}

func (r *recording) Chunk(_ uint64, c segment.Chunk, data []byte, _ segment.Evidence) {
	for _, in := range r.inits {
		if in.PID == c.PID {
			r.chunks = append(r.chunks, chunk{c.PID, in, data})
		}
	}
}

func (*recording) Seal(uint64, segment.Info)   {}
func (*recording) Head(uint32, timeline.Ticks) {}

// record runs a file through demuxer and packager.
func record(ts []byte, program uint16) *recording {
	r := &recording{tracks: map[uint16]segment.Track{}}
	p := packager.New(packager.Options{}, r)
	d := mpegts.NewDemuxer(p, mpegts.Options{Program: program})
	for c := range slices.Chunk(ts, 1316) {
		d.Write(c)
	}
	d.Flush()
	p.Flush()
	return r
}

// unlike is a track that does not come out as ffmpeg reads the source.
type unlike struct {
	file  string // the end of its path
	pid   uint16
	found string // what likeness says
	why   string
}

// likeness says how what was recorded stands to what the source has. "": they are equal.
func likeness(want, got []string) string {
	switch {
	case slices.Equal(want, got):
		return ""
	case len(got) == 0:
		return fmt.Sprintf("none of %d", len(want))
	case len(want) == 0:
		return fmt.Sprintf("%d of none", len(got))
	}
	if at, err := testkit.Contiguous(want, got); err == nil {
		return fmt.Sprintf("lacks %d before, %d behind", at, len(want)-at-len(got))
	}
	if at, err := testkit.Contiguous(got, want); err == nil {
		return fmt.Sprintf("has %d more before, %d behind", at, len(got)-at-len(want))
	}
	at, common := 0, 0
	for _, h := range got {
		if i := slices.Index(want[at:], h); i >= 0 {
			at += i + 1
			common++
		}
	}
	return fmt.Sprintf("%d, %d of the source's %d", len(got), common, len(want))
}

// probed is what ffprobe finds in a file.
type probed struct {
	Programs []struct {
		Num uint16 `json:"program_num"`
	} `json:"programs"`
	Streams []struct {
		ID    string `json:"id"`
		Type  string `json:"codec_type"`
		Codec string `json:"codec_name"`
	} `json:"streams"`
}

func probe(t *testing.T, path string) (out probed) {
	t.Helper()
	b, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "quiet", "-show_programs", "-show_streams", "-of", "json", path).Output()
	if err != nil || json.Unmarshal(b, &out) != nil {
		return probed{}
	}
	return out
}

// sourcePackets is what ffmpeg finds of an audio PID.
func sourcePackets(t *testing.T, path string, pid uint16, adts bool) []string {
	t.Helper()
	args := []string{"-v", "quiet", "-nostdin", "-i", path, "-map", fmt.Sprintf("0:i:%#x", pid), "-c", "copy"}
	if adts {
		args = append(args, "-bsf:a", "aac_adtstoasc")
	}
	out, err := exec.CommandContext(t.Context(), "ffmpeg", append(args, "-f", "framemd5", "-")...).Output()
	if err != nil {
		return nil
	}
	return testkit.Hashes(string(out))
}

// packets are the samples of a PID.
func (r *recording) packets(t *testing.T, pid uint16) (out []string) {
	t.Helper()
	for _, c := range r.chunks {
		if c.pid != pid {
			continue
		}
		parsed, err := fmp4.ParseChunk(c.data)
		if err != nil {
			t.Fatal(err)
		}
		for s := range parsed.All() {
			sum := md5.Sum(s.Data)
			out = append(out, hex.EncodeToString(sum[:]))
		}
	}
	return out
}

// pictures is what ffmpeg decodes of a PID, each run of one init segment by itself.
func (r *recording) pictures(t *testing.T, pid uint16) (out []string) {
	t.Helper()
	var file []byte
	var of segment.Digest
	decode := func() {
		if len(file) == 0 {
			return
		}
		path := filepath.Join(t.TempDir(), "recorded.mp4")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		out = append(out, testkit.AllFrames(t, path, "v:0")...)
	}
	for _, c := range r.chunks {
		if c.pid != pid {
			continue
		}
		if c.init.Hash != of {
			decode()
			of, file = c.init.Hash, slices.Clone(c.init.Data)
		}
		file = append(file, c.data...)
	}
	decode()
	return out
}

// TestManifest: of every recorded stream, what comes out of the whole ingest is what ffmpeg reads from the source: pictures
// by their hash, packets of sound by theirs. Where it is not, the table below says how and why; one that is not in it, and
// one that is in it and does not occur, fails the test.
func TestManifest(t *testing.T) {
	if testing.Short() {
		t.Skip("ffmpeg decodes all of them")
	}
	testkit.RequireFFmpeg(t)
	files := manifest(t)
	j := judge{seen: map[int]bool{}}
	t.Run("files", func(t *testing.T) {
		for _, f := range files {
			if f.ts {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					j.file(t, f.name)
				})
			}
		}
	})
	for i, u := range unlikes {
		if !j.seen[i] {
			t.Errorf("%s, PID %#x: %q no longer occurs", u.file, u.pid, u.found)
		}
		t.Logf("%-24s %#06x  %-32s %s", u.file, u.pid, u.found, u.why)
	}
	t.Logf("%d tracks, %d equal", j.tracks, j.equal)
}

// judge counts what was compared.
type judge struct {
	mu            sync.Mutex // protects the fields below
	tracks, equal int
	seen          map[int]bool // of the table
}

func (j *judge) file(t *testing.T, name string) {
	path := filepath.Join(samplesRoot, name)
	ts, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := probe(t, path)
	programs := []uint16{0}
	if len(found.Programs) > 1 {
		programs = programs[:0]
		for _, p := range found.Programs {
			programs = append(programs, p.Num)
		}
	}
	done := map[uint16]bool{}
	for _, program := range programs {
		r := record(ts, program)
		for pid, tr := range r.tracks {
			if tr.Data() || done[pid] {
				continue
			}
			done[pid] = true
			if tr.Video() {
				j.compare(t, name, pid, tr.Codec, testkit.AllFrames(t, path, fmt.Sprintf("i:%#x", pid)), r.pictures(t, pid))
			} else {
				j.compare(t, name, pid, tr.Codec, sourcePackets(t, path, pid, strings.HasPrefix(tr.Codec, "mp4a.40")), r.packets(t, pid))
			}
		}
	}
	for _, s := range found.Streams {
		id, err := strconv.ParseUint(s.ID, 0, 13)
		pid := uint16(id)
		if err != nil || done[pid] {
			continue
		}
		done[pid] = true
		switch s.Type {
		case "video":
			j.compare(t, name, pid, s.Codec, testkit.AllFrames(t, path, fmt.Sprintf("i:%#x", pid)), nil)
		case "audio":
			j.compare(t, name, pid, s.Codec, sourcePackets(t, path, pid, s.Codec == "aac"), nil)
		}
	}
}

func (j *judge) compare(t *testing.T, name string, pid uint16, codec string, want, got []string) {
	t.Helper()
	if len(want) == 0 && len(got) == 0 {
		return
	}
	found := likeness(want, got)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tracks++
	if found == "" {
		j.equal++
		return
	}
	i := slices.IndexFunc(unlikes, func(u unlike) bool {
		return strings.HasSuffix(name, "/"+u.file) && u.pid == pid && u.found == found
	})
	if i < 0 {
		parent := filepath.Base(filepath.Dir(name)) + "/" + filepath.Base(name)
		t.Errorf("{%q, %#x, %q, %q},", parent, pid, found, codec)
		return
	}
	j.seen[i] = true
}
