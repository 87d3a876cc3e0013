package e2e

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
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
		p.main.svc["gateway"].waitLog(t, 10*time.Second, func() {
			p.main.configure(string(good) + "\nstream other {\n  inputt udp://127.0.0.1:1;\n}\n")
		}, ":8:3: ", "inputt")
		goesOn(t)
		p.main.configure(string(good))
	})
	t.Run("port in use", func(t *testing.T) {
		port := testkit.FreePort(t)
		hold := holdUDP(t, port)
		defer hold()
		p.main.svc["ingestsvc"].waitLog(t, 20*time.Second, func() {
			p.main.configure(string(good) + fmt.Sprintf("\nstream other {\n  input udp://127.0.0.1:%d;\n  dvr media 1d;\n}\n", port))
		}, "in use", fmt.Sprint(port))
		goesOn(t)
		p.main.configure(string(good))
	})
	t.Run("unwritable storage", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		p.main.svc["dvrsvc"].waitLog(t, 20*time.Second, func() {
			p.main.configure(string(good) + fmt.Sprintf("\nstream other {\n  input udp://127.0.0.1:%d;\n  dvr %s 1d;\n}\n",
				testkit.FreePort(t), filepath.Join(file, "media")))
		}, filepath.Join(file, "media"), "directory")
		goesOn(t)
		p.main.configure(string(good))
	})
	t.Run("storage in use", func(t *testing.T) {
		media := filepath.Join(mainData(p.main), "media")
		other := newSite(t, "third", fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t)), fmt.Sprintf(
			"stream other {\n  input udp://127.0.0.1:%d;\n  dvr %s 1d;\n}\n", testkit.FreePort(t), media))
		other.svc["dvrsvc"].waitLog(t, 20*time.Second, func() { other.restart("gateway", "dvrsvc") }, media, "in use")
		goesOn(t)
	})
	t.Run("unreachable peer", func(t *testing.T) {
		p.main.svc["replsvc"].waitLog(t, 20*time.Second, func() { p.replica.kill(order...) },
			"level=WARN", "peer", p.replica.svc["replsvc"].grpc)
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

// TestStranger: who does not know the cluster key can look, and cannot record, whatever it says it is.
func TestStranger(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	waitSegments(t, p.main, 1)
	active, err := p.main.archive().Active(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rpc, err := dvrv1.NewRecordingServiceClient(p.main.conn).Record(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: &dvrv1.Hello{
		Stream: stream, Input: active, Incarnation: math.MaxUint64, Kind: dvrv1.Kind_KIND_LIVE, Format: segment.Format,
	}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.Recv(); !errors.Is(err, errs.ErrBadKey) {
		t.Errorf("a stranger's Hello was answered with %v", err)
	}
	waitSegments(t, p.main, 2)
	if err := p.main.archive().Gaps(t); len(err) > 0 {
		t.Errorf("it cost the stream something: %v", err)
	}
}

// TestWrongClusterKey: two sites with different keys each record alone, and both say why.
func TestWrongClusterKey(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	waitSegments(t, p.main, 1)
	p.main.svc["replsvc"].waitLog(t, 30*time.Second, func() {
		p.replica.svc["replsvc"].waitLog(t, 30*time.Second, func() {
			if err := os.WriteFile(p.replica.key, []byte("the key of the replica alone"), 0o600); err != nil {
				t.Fatal(err)
			}
			p.replica.kill(order...)
			p.replica.restart(order...)
		}, "cluster key", "wrong")
	}, "cluster key", "wrong")
	for _, s := range []*site{p.main, p.replica} {
		waitSegments(t, s, 2)
	}
}
