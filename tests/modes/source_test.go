package modes

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// write replaces the config file.
func (s *site) write(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.config(), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// configured says whether a site has the stream in its config, and what it has of it.
func configured(t *testing.T, s *site) (in bool, segments uint64) {
	t.Helper()
	m, err := dvrv1.NewIndexServiceClient(s.conn).ListStreams(t.Context(), &dvrv1.ListStreamsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range m.GetStreams() {
		if st.GetStream() == stream {
			return st.GetConfigured(), st.GetSegments()
		}
	}
	return false, 0
}

// A site that says of another one nothing but "source" records what that one has, live and archive, byte for byte. What goes there
// goes from its config and stays in its archive.
func TestSourceTakesEveryStream(t *testing.T) {
	t.Parallel()
	path := testkit.Clip{Name: "clip", Seconds: 30, Rate: "25", X264: "open-gop=0:keyint=50:min-keyint=50:scenecut=0"}.Make(t)
	a, b := newSite(t, "a"), newSite(t, "b")
	a.configure(a.udpURL())
	b.write("source " + a.addr() + " { dvr storage 1d replicate; }\n")
	a.start()
	waitForInput(t, a)
	src := testkit.Play(t, path, tsplay.Options{}, a.source)
	testkit.Eventually(t, 20*time.Second, "a has recorded something", func() error {
		if _, n := configured(t, a); n < 2 {
			return fmt.Errorf("%d segments", n)
		}
		return nil
	})
	b.start() // it fetches what was before, and has the rest live
	src.Wait(t)
	want := waitForEnd(t, a)
	testkit.Eventually(t, 60*time.Second, "b has what a has", func() error {
		got, err := b.archive().Segments(t.Context())
		if err != nil {
			return err
		}
		if len(got) != len(want) {
			return fmt.Errorf("b has %d segments, a %d", len(got), len(want))
		}
		for i := range want {
			if got[i].GetDigest() != want[i].GetDigest() {
				return fmt.Errorf("segment %d differs", i)
			}
		}
		return nil
	})
	if in, _ := configured(t, b); !in {
		t.Error("the stream is not in b's config")
	}
	a.write(strings.ReplaceAll("stream other { input udp://127.0.0.1:PORT; dvr storage 1d; }\n", "PORT", fmt.Sprint(a.udp)))
	testkit.Eventually(t, 30*time.Second, "b lets it go, and keeps the archive", func() error {
		in, n := configured(t, b)
		if n != uint64(len(want)) {
			t.Fatalf("b has %d segments of %d", n, len(want))
		}
		if in {
			return errors.New("it is in b's config")
		}
		return nil
	})
}
