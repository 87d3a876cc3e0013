package containers

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
)

// TestCompose: the shipped compose file, as its README says, gives two sites that go through the three modes. With the v2
// plugin too, where there is one.
func TestCompose(t *testing.T) {
	ways := map[string][]string{"docker-compose": {"docker-compose"}}
	if exec.CommandContext(t.Context(), "docker", "compose", "version").Run() == nil {
		ways["docker compose"] = []string{"docker", "compose"}
	}
	for name, command := range ways {
		t.Run(name, func(t *testing.T) { testCompose(t, command) })
	}
}

func testCompose(t *testing.T, command []string) {
	if os.Getenv("TWINREEL_IMAGES") == "" {
		t.Skip("TWINREEL_IMAGES is not set: run make e2e, which starts a Docker Engine and builds the images")
	}
	testkit.RequireFFmpeg(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../../deploy/compose")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.key"), []byte(strings.Repeat("ab", 32)), 0o644); err != nil { //nolint:gosec // another user in the container
		t.Fatal(err)
	}
	if err := tsplay.MakeClip(t.Context(), filepath.Join(dir, "clip.ts"), tsplay.ClipOptions{}); err != nil {
		t.Fatal(err)
	}
	compose := func(ctx context.Context, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(ctx, command[0], slices.Concat(command[1:], []string{"-p", "twinreeltest"}, args)...) //nolint:gosec // of the list above
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v %v: %v\n%s", command, args, err, out)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			cmd := exec.CommandContext(ctx, command[0], append(command[1:], "-p", "twinreeltest", "logs", "--tail=12", "--no-color")...) //nolint:gosec // as above
			cmd.Dir = dir
			out, _ := cmd.CombinedOutput()
			t.Logf("ends of the logs:\n%s", out)
		}
		compose(ctx, "down", "-v", "-t", "3")
	})
	sites := []string{"gateway-main", "dvrsvc-main", "ingestsvc-main", "replsvc-main", "gateway-replica", "dvrsvc-replica", "ingestsvc-replica", "replsvc-replica"}
	compose(t.Context(), append([]string{"up", "-d"}, sites...)...)
	w := watch(t)
	compose(t.Context(), "up", "-d", "source")

	at := func(site, addr string) testkit.Archive {
		conn, err := grpcx.Dial(addr, grpcx.DialOptions{Media: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return testkit.Archive{Site: site, Stream: "example_stream", Conn: conn}
	}
	main, replica := at("main", "127.0.0.1:7002"), at("replica", "127.0.0.1:7012")
	waitActive(t, main, "udp://")
	waitActive(t, replica, "m4f://")
	more(t, main, 2)
	compose(t.Context(), append([]string{"kill"}, sites[:4]...)...)
	waitActive(t, replica, "udp://")
	more(t, replica, 2)
	compose(t.Context(), append([]string{"up", "-d"}, sites[:4]...)...)
	waitActive(t, main, "udp://")
	waitActive(t, replica, "m4f://")
	more(t, main, 1)
	testkit.Eventually(t, 60*time.Second, "status finds nothing wrong with the two sites", func() error {
		return allWell(run(t, "twinreel", "status", "--grpc", "127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003",
			"--grpc", "127.0.0.1:7010,127.0.0.1:7011,127.0.0.1:7012,127.0.0.1:7013"))
	})
	looksInside(t, "example_stream", "-plaintext", "127.0.0.1:7002")
	compose(t.Context(), "stop", "source")
	judge(t, w, main, replica)
}
