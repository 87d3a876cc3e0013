package packager

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
)

// samplesRoot is where recorded streams lie beside the repository, if they do.
const samplesRoot = "../../../../shared/samples"

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

// counting lies between demuxer and packager.
type counting struct {
	*Packager
	units, bytes int
}

func (c *counting) AccessUnit(u *mpegts.AccessUnit) {
	c.units++
	c.bytes += len(u.Data)
	c.Packager.AccessUnit(u)
}

// small is how long a file is of which it is not measured what is held: it would be seen of longer ones, too.
const small = 64 << 10

// TestManifestBounded: every recorded stream, and every seed of others' fuzz targets, runs through the whole ingest without
// a panic, and the work and memory are bounded by its bytes: units and their bytes, what is allocated, what is held.
func TestManifestBounded(t *testing.T) {
	var worst struct{ units, bytes, allocated, grown float64 }
	files := manifest(t)
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(samplesRoot, f.name))
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		feeds := [][]byte{data}
		if _, text, ok := bytes.Cut(data, []byte("[]byte(")); !f.ts && ok {
			if s, err := strconv.Unquote(strings.TrimSuffix(strings.TrimSpace(string(text)), ")")); err == nil {
				feeds = append(feeds, []byte(s))
			}
		}
		for _, data := range feeds {
			p := New(Options{}, nothing{})
			c := &counting{Packager: p}
			d := mpegts.NewDemuxer(c, mpegts.Options{})
			feed := func(times int) (held uint64) {
				for range times {
					for b := range slices.Chunk(data, 1316) {
						d.Write(b)
					}
				}
				if len(data) <= small {
					return 0
				}
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			first := feed(2)
			runtime.ReadMemStats(&after)
			second := feed(2)
			d.Flush()
			p.Flush()
			if p.pending != 0 || p.head != nil {
				t.Errorf("%s: %d bytes wait after Flush, open segment %v", f.name, p.pending, p.head != nil)
			}
			// A unit has a packet's payload or a few bytes of one; four runs over the bytes.
			n := float64(4*len(data) + 1)
			worst.units = max(worst.units, float64(c.units)/(n+1000))
			worst.bytes = max(worst.bytes, float64(c.bytes)/n)
			allocated := float64(after.TotalAlloc - before.TotalAlloc)
			worst.allocated = max(worst.allocated, (allocated-1<<20)/n*2)
			grown := float64(int64(second) - int64(first))
			worst.grown = max(worst.grown, grown)
			if c.units > 4*len(data)/8+64 || c.bytes > 4*len(data) {
				t.Errorf("%s: %d units of %d bytes from four times %d", f.name, c.units, c.bytes, len(data))
			}
			if allocated > 8*float64(2*len(data))+1<<20 {
				t.Errorf("%s: %.0f bytes are allocated for twice %d", f.name, allocated, len(data))
			}
			if grown > 256<<10 {
				t.Errorf("%s: %.0f bytes more are held after another two runs over %d", f.name, grown, len(data))
			}
		}
	}
	t.Logf("%d files; at most %.4f units and %.2f bytes of units a byte, %.2f bytes allocated a byte beyond 1 MiB, %.0f bytes more held",
		len(files), worst.units, worst.bytes, worst.allocated, worst.grown)
}
