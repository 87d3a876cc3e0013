package containers

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/testkit"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
)

// TestFleet: two sites of four containers each go through what hosts go through, one after the other, and end with
// identical archives without a gap.
func TestFleet(t *testing.T) {
	f := newFleet(t)
	f.site("main", f.udp("main"), "m4fs://replsvc-replica/"+stream)
	f.site("replica", "m4fs://replsvc-main/"+stream, f.udp("replica"))
	main, replica := f.archive("main"), f.archive("replica")
	w := watch(t)
	f.source()
	waitActive(t, main, "udp://")
	waitActive(t, replica, "m4fs://")
	more(t, main, 2)

	t.Run("a stranger is refused", func(t *testing.T) {
		theirs := testkit.NewCA(t, "theirs").Issue(t, "stranger")
		theirs.CA = f.ca.File
		for name, port := range map[string]int{"dvrsvc-main": 7002, "replsvc-main": 7000, "gateway-main": 7003, "ingestsvc-main": 7001} {
			for _, tls := range []grpcx.TLS{theirs, {CA: f.ca.File}, {}} {
				conn, err := grpcx.Dial(fmt.Sprintf("%s:%d", f.hosts[name].ips["main"], port), grpcx.DialOptions{TLS: tls, Name: name})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				if _, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}); err == nil {
					t.Errorf("%s let in a stranger with %+v", name, tls)
				}
				cancel()
				conn.Close()
			}
		}
	})

	t.Run("config changed while recording", func(t *testing.T) {
		before := sealed(t, f)
		conf := gatewayv1.NewConfigServiceClient(f.proving("gateway-main", 7003))
		f.box("main")
		text := fmt.Sprintf("stream second { input %s; dvr @box 1d; }", f.udp("main"))
		if out, err := f.operate(text, []string{"main"}, "config", "put", "/stream.txt", "--grpc", "gateway-main:7003", "-m", "on a third host"); err != nil ||
			!strings.Contains(out, "stream second is in force") {
			t.Fatalf("%v\n%s", err, out)
		}
		put, err := conf.Get(t.Context(), &gatewayv1.GetRequest{Stream: "second"})
		if err != nil {
			t.Fatal(err)
		}
		second := testkit.Archive{Site: "box", Stream: "second", Conn: f.dial("dvrsvc-main-box", 7002)}
		more(t, second, 2)
		if _, err := (testkit.Archive{Site: "main", Stream: "second", Conn: main.Conn}).Segments(t.Context()); err == nil {
			t.Error("the site's own dvrsvc has what is to be on the box")
		}
		played(t, f, "second")
		tls, addr := f.ca.Issue(t, "operator"), f.hosts["dvrsvc-main-box"].ips["main"]+":7002"
		looksInside(t, "second", "-cacert", tls.CA, "-cert", tls.Cert, "-key", tls.Key, "-servername", "dvrsvc-main-box", addr)
		for _, stranger := range [][]string{{"-plaintext"}, {"-cacert", tls.CA, "-servername", "dvrsvc-main-box"}} {
			if out, err := run(t, "grpcurl", append(stranger, "-max-time", "5", addr, "list")...); err == nil {
				t.Errorf("grpcurl %v is let in:\n%s", stranger, out)
			}
		}
		if got := sealed(t, f); got[stream] < before[stream]+2 {
			t.Errorf("the input of %s had sealed %d segments, has %d: it was touched", stream, before[stream], got[stream])
		}
		if _, err := conf.Put(t.Context(), &gatewayv1.PutRequest{Text: "stream second { input udp://:5; dvr media 1d; }", Revision: "old"}); err == nil {
			t.Error("a change by who has not seen the config was taken")
		}
		if _, err := gatewayv1.NewConfigServiceClient(f.dial("gateway-main", 7003)).Delete(t.Context(), &gatewayv1.DeleteRequest{
			Stream: "second", Revision: put.GetRevision(),
		}); err == nil {
			t.Error("a change without the cluster key was taken")
		}
		if out, err := f.operate("", []string{"main"}, "config", "delete", "second", "--grpc", "gateway-main:7003", "--revision", put.GetRevision()); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})

	t.Run("gateway away", func(t *testing.T) {
		f.stop("gateway-main")
		more(t, main, 2)
		f.kill("dvrsvc-main") // and a service that starts without it has its last known config
		f.restart("dvrsvc-main")
		more(t, main, 2)
		for name, port := range map[string]int{"dvrsvc-main": 7002, "replsvc-main": 7000, "ingestsvc-main": 7001} {
			if p := f.problem(name, port); !strings.Contains(p, "gateway is away") {
				t.Errorf("%s says %q of a gateway that is away", name, p)
			}
		}
		f.restart("gateway-main")
	})

	t.Run("partition of the link", func(t *testing.T) {
		heal := f.cut("replsvc-main", "link")
		waitActive(t, replica, "udp://")
		more(t, main, 2)
		more(t, replica, 2)
		heal()
		waitActive(t, replica, "m4fs://")
	})

	t.Run("main killed", func(t *testing.T) {
		f.kill(services("main")...)
		waitActive(t, replica, "udp://")
		more(t, replica, 2)
		f.restart(services("main")...)
		waitActive(t, main, "udp://")
		waitActive(t, replica, "m4fs://")
	})

	t.Run("replica stopped", func(t *testing.T) {
		f.stop(services("replica")...)
		more(t, main, 2)
		f.restart(services("replica")...)
		more(t, replica, 1)
	})

	more(t, main, 1)
	testkit.Eventually(t, 60*time.Second, "status finds nothing wrong with the two sites", func() error {
		return allWell(f.operate("", []string{"main", "replica"}, "status", "--grpc", addresses("main"), "--grpc", addresses("replica")))
	})
	f.stop("source")
	judge(t, w, main, replica)
	for _, a := range []testkit.Archive{main, replica} {
		if gaps := a.Gaps(t); len(gaps) > 0 {
			t.Errorf("%s has gaps: %v", a.Site, gaps)
		}
	}
}

// played fetches the live playlist of a stream, and a segment of it, from main's gateway: wherever the stream is kept.
func played(t *testing.T, f *fleet, name string) {
	t.Helper()
	tls, err := f.ca.Issue(t, "player").Config("gateway-main")
	if err != nil {
		t.Fatal(err)
	}
	c := http.Client{Transport: &http.Transport{TLSClientConfig: tls}, Timeout: 10 * time.Second}
	get := func(path string) string {
		t.Helper()
		resp, err := c.Get(fmt.Sprintf("https://%s:8080/%s/%s", f.hosts["gateway-main"].ips["main"], name, path))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v\n%s", path, resp.Status, err, b)
		}
		return string(b)
	}
	if master := get("index.m3u8"); !strings.Contains(master, "index/256.m3u8") {
		t.Fatalf("master playlist:\n%s", master)
	}
	segment := regexp.MustCompile(`(?m)^\.\./(segment/.*)$`).FindStringSubmatch(get("index/256.m3u8"))
	if segment == nil {
		t.Fatal("the live playlist has no segment")
	}
	if b := get(segment[1]); !strings.HasPrefix(b[4:], "moof") {
		t.Errorf("%s is no fragment", segment[1])
	}
}

// sealed is how many segments the UDP input of each stream of main has sealed since it was opened.
func sealed(t *testing.T, f *fleet) map[string]uint64 {
	t.Helper()
	m, err := ingestv1.NewIngestServiceClient(f.dial("ingestsvc-main", 7001)).ListInputs(t.Context(), &ingestv1.ListInputsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]uint64{}
	for _, in := range m.GetInputs() {
		out[in.GetStream()] = in.GetSegments()
	}
	return out
}

func waitActive(t *testing.T, a testkit.Archive, scheme string) {
	t.Helper()
	testkit.Eventually(t, 60*time.Second, a.Site+" records from "+scheme, func() error {
		url, err := a.Active(t.Context())
		if err == nil && !strings.HasPrefix(url, scheme) {
			err = fmt.Errorf("its active input is %q", url)
		}
		return err
	})
}

// more waits until an archive has n more segments than now.
func more(t *testing.T, a testkit.Archive, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	before, _ := a.Segments(ctx) // not there yet: none
	cancel()
	testkit.Eventually(t, 60*time.Second, fmt.Sprintf("%s records %d more segments of %s", a.Site, n, a.Stream), func() error {
		segs, err := a.Segments(t.Context())
		if err == nil && len(segs) < len(before)+n {
			err = fmt.Errorf("it has %d, had %d", len(segs), len(before))
		}
		return err
	})
}
