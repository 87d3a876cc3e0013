package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
)

// TestTrouble: whatever is wrong gives one clear line, and a running site goes on.
func TestTrouble(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	waitSegments(t, p.main, 1)
	goesOn := func(t *testing.T) {
		t.Helper()
		waitSegments(t, p.main, 1)
	}
	good, err := os.ReadFile(p.main.conf)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("bad config", func(t *testing.T) {
		p.main.configure(string(good) + "\nstream other {\n  inputt udp://127.0.0.1:1;\n}\n")
		line := p.main.svc["gateway"].waitLog(t, 10*time.Second, ":8:3: ")
		if !strings.Contains(line, "inputt") {
			t.Errorf("the line does not name what is wrong: %s", line)
		}
		goesOn(t)
		p.main.configure(string(good))
	})
	t.Run("port in use", func(t *testing.T) {
		port := testkit.FreePort(t)
		hold := holdUDP(t, port)
		defer hold()
		p.main.configure(string(good) + fmt.Sprintf("\nstream other {\n  input udp://127.0.0.1:%d;\n  dvr media 1d;\n}\n", port))
		p.main.svc["ingestsvc"].waitLog(t, 20*time.Second, "in use")
		goesOn(t)
		p.main.configure(string(good))
	})
	t.Run("unwritable storage", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		p.main.configure(string(good) + fmt.Sprintf("\nstream other {\n  input udp://127.0.0.1:%d;\n  dvr %s 1d;\n}\n",
			testkit.FreePort(t), filepath.Join(file, "media")))
		p.main.svc["dvrsvc"].waitLog(t, 20*time.Second, filepath.Join(file, "media"))
		goesOn(t)
		p.main.configure(string(good))
	})
	t.Run("storage in use", func(t *testing.T) {
		media := filepath.Join(mainData(p.main), "media")
		other := newSite(t, "third", fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t)), fmt.Sprintf(
			"stream other {\n  input udp://127.0.0.1:%d;\n  dvr %s 1d;\n}\n", testkit.FreePort(t), media))
		other.restart("gateway", "dvrsvc")
		line := other.svc["dvrsvc"].waitLog(t, 20*time.Second, media)
		if !strings.Contains(line, "use") {
			t.Errorf("the line does not say that it is in use: %s", line)
		}
		goesOn(t)
	})
	t.Run("unreachable peer", func(t *testing.T) {
		p.replica.kill(order...)
		p.main.svc["replsvc"].waitLog(t, 20*time.Second, "peer")
		goesOn(t)
		p.replica.restart(order...)
	})
}

// mainData is the data directory of a site's dvrsvc.
func mainData(s *site) string {
	for _, e := range s.svc["dvrsvc"].env {
		if dir, ok := strings.CutPrefix(e, "DVR_DATA="); ok {
			return dir
		}
	}
	return ""
}

// TestWrongClusterKey: two sites with different keys each record alone, and both say why.
func TestWrongClusterKey(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, s := range []*site{p.main, p.replica} {
		text, err := os.ReadFile(s.conf)
		if err != nil {
			t.Fatal(err)
		}
		s.configure("cluster_key of-" + s.node + ";\n" + string(text))
	}
	for _, s := range []*site{p.main, p.replica} {
		s.svc["replsvc"].waitLog(t, 30*time.Second, "key")
		waitSegments(t, s, 2)
	}
}
