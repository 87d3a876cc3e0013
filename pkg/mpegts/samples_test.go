package mpegts

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// samplesDir is where recorded streams lie beside the repository, if they do.
func samplesDir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
	}
	samples := filepath.Join(filepath.Dir(dir), "shared", "samples")
	if _, err := os.Stat(samples); err != nil {
		t.Skip("no recorded samples beside the repository")
	}
	return samples
}

// I4: whatever a file holds, nothing panics, hangs or grows.
func TestSamples(t *testing.T) {
	files := 0
	err := filepath.WalkDir(samplesDir(t), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		bounded(t, path, data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files", files)
}

// bounded demuxes any bytes and checks what is held afterwards.
func bounded(t *testing.T, name string, data []byte) *recorder {
	t.Helper()
	rec := &recorder{}
	d := NewDemuxer(rec, Options{MaxUnitBytes: 256 << 10, MaxPIDs: 64, MaxStreams: 8})
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 7*PacketSize)
		d.Write(rest[:n])
		rest = rest[n:]
	}
	if len(d.carry) > lockBytes {
		t.Errorf("%s: %d bytes carried", name, len(d.carry))
	}
	for _, q := range d.tracked {
		if q.stream == nil {
			continue
		}
		if v := videoOf(q.stream.framer); v != nil && len(v.buf) > 256<<10+PacketSize {
			t.Errorf("%s: PID %d holds %d bytes", name, q.num, len(v.buf))
		}
		switch f := q.stream.framer.(type) {
		case *audioFramer:
			if len(f.buf) > 4*8192 {
				t.Errorf("%s: PID %d holds %d bytes", name, q.num, len(f.buf))
			}
			if g, ok := f.units.(*ac3Units); ok && len(g.buf) > 256<<10 {
				t.Errorf("%s: PID %d holds a unit of %d bytes", name, q.num, len(g.buf))
			}
		}
	}
	d.Flush()
	rec.stats = d.Stats()
	var size int
	for _, u := range rec.units {
		size += len(u.Data)
		if u.PTS < 0 || u.PTS > timeMask || u.DTS < 0 || u.DTS > timeMask {
			t.Errorf("%s: PID %d has times %d and %d", name, u.PID, u.PTS, u.DTS)
		}
	}
	if size > len(data) {
		t.Errorf("%s: %d bytes of units from %d", name, size, len(data))
	}
	return rec
}

// videoOf is what the framers of video have in common, or nil.
func videoOf(f framer) *videoFramer {
	switch f := f.(type) {
	case *h264Framer:
		return &f.videoFramer
	case *hevcFramer:
		return &f.videoFramer
	case *mpegVideoFramer:
		return &f.videoFramer
	}
	return nil
}

// I5: no allocation in the steady state.
func TestNoAllocation(t *testing.T) {
	for _, c := range clips() {
		t.Run(c.name, func(t *testing.T) { noAllocation(t, clipData(t, c)) })
	}
}

func noAllocation(t *testing.T, data []byte) {
	t.Helper()
	d := NewDemuxer(discard{}, Options{})
	d.Write(data)
	d.Write(data)
	if n := testing.AllocsPerRun(5, func() { d.Write(data) }); n > 0 {
		t.Errorf("%v allocations for %d packets", n, len(data)/PacketSize)
	}
}

type discard struct{}

func (discard) Program(Program)        {}
func (discard) AccessUnit(*AccessUnit) {}

func BenchmarkWrite(b *testing.B) {
	for _, c := range []clip{
		{"video 10 Mbit/s", "-f lavfi -i testsrc2=s=1280x720:r=25:d=4,noise=alls=20:allf=t -f lavfi -i sine=440:d=4:r=48000" +
			" -map 0 -map 1 -c:v libx264 -preset ultrafast -b:v 10M -bf 2 -c:a aac"},
		{"four audio tracks", clips()[2].args},
	} {
		b.Run(c.name, func(b *testing.B) {
			data, err := os.ReadFile(c.make(b))
			if err != nil {
				b.Fatal(err)
			}
			const datagram = 7 * PacketSize
			data = data[:len(data)/datagram*datagram]
			d := NewDemuxer(discard{}, Options{})
			d.Write(data) // its buffers have their size from here on
			d.Write(data)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				for at := 0; at < len(data); at += datagram {
					d.Write(data[at : at+datagram])
				}
			}
		})
	}
}
