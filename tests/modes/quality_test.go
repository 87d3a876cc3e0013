package modes

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
)

// An input that loses its sound while its pictures go on is left for one that has it, and had back when it was good for a
// while. The archive has every access unit once: no gap, nothing damaged, nothing doubled.
func TestInputWithoutSoundIsLeft(t *testing.T) {
	t.Parallel()
	testkit.RequireFFmpeg(t)
	clip := t.TempDir() + "/clip.ts"
	if err := tsplay.MakeClip(t.Context(), clip, tsplay.ClipOptions{Width: 160, Height: 90, VideoKbit: 200}); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, "a")
	first := fmt.Sprintf("udp://127.0.0.1:%d", testkit.FreePort(t))
	var mute atomic.Bool
	relayed := relay(t, first, &mute)
	s.configure(first+" audio_timeout=2", s.udpURL())
	s.start()
	waitForInput(t, s)
	testkit.Play(t, clip, tsplay.Options{Loop: true}, relayed, s.source)
	waitActive(t, s, first, 20*time.Second)
	time.Sleep(15 * time.Second)

	mute.Store(true)
	waitActive(t, s, s.udpURL(), 6*time.Second)
	in := inputOf(t, s, first)
	if in.GetFault() != "no_audio" || in.GetProblem() == "" {
		t.Errorf("the input that was left: fault %q, problem %q", in.GetFault(), in.GetProblem())
	}
	time.Sleep(15 * time.Second)
	if got, err := s.archive().Active(t.Context()); err != nil || got != s.udpURL() {
		t.Errorf("it records from %s, %v: not where it has stayed", got, err)
	}
	mute.Store(false)
	waitActive(t, s, first, 60*time.Second)
	back := time.Now()
	time.Sleep(10 * time.Second)
	testkit.Eventually(t, 30*time.Second, "the archive is complete", func() error {
		segs := s.archive().MustSegments(t)
		if err := testkit.Overlap(segs); err != nil {
			return err
		}
		if gaps := s.archive().Gaps(t); len(gaps) > 0 {
			return fmt.Errorf("gaps: %v", gaps)
		}
		if last := segs[len(segs)-1]; last.GetEnd().AsTime().Before(back) {
			return fmt.Errorf("it ends at %v", last.GetEnd().AsTime())
		}
		for i, g := range segs[1:] {
			if !g.GetWhole() || len(g.GetTracks()) != 3 {
				return fmt.Errorf("segment %d: %v", i+1, g)
			}
		}
		return nil
	})
	if in := inputOf(t, s, first); in.GetFault() != "" || in.GetActivations() != 2 {
		t.Errorf("the input that is back: fault %q, active %d times", in.GetFault(), in.GetActivations())
	}
}

// relay passes datagrams on to a URL of this machine, without sound while mute is set.
func relay(t *testing.T, url string, mute *atomic.Bool) *testkit.Output {
	t.Helper()
	in, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	if err := in.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	out, err := net.Dial("udp4", url[len("udp://"):])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, err := in.Read(b)
			if err != nil {
				return
			}
			for p := b[:n]; mute.Load() && len(p) >= 188; p = p[188:] {
				if pid := int(p[1]&0x1F)<<8 | int(p[2]); pid == 257 || pid == 258 {
					p[1], p[2] = 0x1F, 0xFF
				}
			}
			out.Write(b[:n]) //nolint:errcheck // a receiver that is not there is no error
		}
	}()
	return testkit.NewOutput(t, in.LocalAddr().(*net.UDPAddr).Port)
}

// inputOf is one of the site's inputs as its ingestsvc shows it.
func inputOf(t *testing.T, s *site, url string) *ingestv1.Input {
	t.Helper()
	resp, err := ingestv1.NewIngestServiceClient(s.conn).ListInputs(t.Context(), &ingestv1.ListInputsRequest{Stream: stream})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range resp.GetInputs() {
		if in.GetUrl() == url {
			return in
		}
	}
	t.Fatalf("%s has no input %s", s.Node, url)
	return nil
}
