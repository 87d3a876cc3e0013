package input

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/tsplay"
)

// BenchmarkPipeline is the packet path from the socket's batch to the ring, without the kernel: 8 ns a byte would be
// 1 CPU second for each Gbit.
func BenchmarkPipeline(b *testing.B) {
	path := filepath.Join(b.TempDir(), "clip.ts")
	err := tsplay.MakeClip(b.Context(), path, tsplay.ClipOptions{Width: 1280, Height: 720, VideoKbit: 8000})
	if errors.Is(err, tsplay.ErrNoFFmpeg) {
		b.Skip(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	conn, err := grpcx.Dial("127.0.0.1:1", grpcx.DialOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	const batch = 16
	var datagrams [][]byte
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		in := New("tv", streamconf.Input{Kind: streamconf.KindUDP}, 1, Deps{
			Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), DVR: conn, RingBytes: 64 << 20,
		})
		p := newPipeline(in)
		for rest := data; len(rest) > 0; {
			datagrams = datagrams[:0]
			for len(datagrams) < batch && len(rest) > 0 {
				n := min(7*188, len(rest))
				datagrams, rest = append(datagrams, rest[:n]), rest[n:]
			}
			p.take(in.deps.Clock.Mono(), datagrams, 0)
		}
		p.close()
	}
}
