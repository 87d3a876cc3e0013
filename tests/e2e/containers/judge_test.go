package containers

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/verdict"
	"github.com/twinreel/twinreel/deploy/twinreel/witness"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/export"
	"github.com/twinreel/twinreel/pkg/testkit"
)

// watch counts what the source sends, at the bridge of its network.
func watch(t *testing.T) *witness.Witness {
	t.Helper()
	sock, err := witness.Listen(netip.MustParseAddrPort(group), netip.MustParseAddr(air+"1"))
	if err != nil {
		t.Fatal(err)
	}
	w := witness.New()
	go func() {
		if err := sock.Run(t.Context(), w); err != nil {
			t.Error(err)
		}
	}()
	return w
}

// judge waits until both archives hold the same, the source having stopped, and compares them with what was sent.
// ffmpeg then decodes what main holds, whole.
func judge(t *testing.T, w *witness.Witness, a, b testkit.Archive) {
	t.Helper()
	var seen string
	var since time.Time
	testkit.Eventually(t, 90*time.Second, "both sites have sealed and exchanged everything", func() error {
		x, err := a.Segments(t.Context())
		if err != nil {
			return err
		}
		y, err := b.Segments(t.Context())
		if err != nil {
			return err
		}
		if err := testkit.SameArchive(x, y); err != nil {
			return err
		}
		if now := fmt.Sprint(len(x), len(y)); now != seen || len(x) != len(y) {
			seen, since = now, time.Now()
		}
		if time.Since(since) < 4*time.Second { // longer than the timeout of the inputs
			return fmt.Errorf("%s segments, and something was still coming", seen)
		}
		return nil
	})
	var held [2]verdict.Site
	for i, s := range []testkit.Archive{a, b} {
		var err error
		if held[i], err = verdict.Read(t.Context(), s.Site, archive.New(s.Conn, s.Stream)); err != nil {
			t.Fatal(err)
		}
	}
	v := verdict.Judge(w.Log(), held[0], held[1])
	t.Logf("%d access units sent, %d slots compared: %s lost %d and has %d twice, %s %d and %d", v.Sent, v.Slots,
		v.Sites[0].Site, v.Sites[0].Lost, v.Sites[0].Doubled, v.Sites[1].Site, v.Sites[1].Lost, v.Sites[1].Doubled)
	for _, p := range v.Problems() {
		t.Error(p)
	}
	decode(t, a)
}

// decode has ffmpeg decode the whole archive, and fail at the first error.
func decode(t *testing.T, a testkit.Archive) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	e, err := export.Plan(ctx, archive.New(a.Conn, a.Stream), archive.Range{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "all.mp4")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := e.Write(ctx, file); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-xerror", "-i", path, "-f", "null", "-").CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("ffmpeg does not decode the archive of %s: %v\n%s", a.Site, err, out)
	}
}
