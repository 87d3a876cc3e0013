package app_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/replsvc/internal/testdvr"
)

// box serves a dvrsvc of a site on a port.
func box(t *testing.T, d *testdvr.DVR) string {
	t.Helper()
	srv, err := grpcx.NewServer(grpcx.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.Register(srv.Server)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Server.Serve(lis) //nolint:errcheck // ends with Stop
	t.Cleanup(srv.Server.Stop)
	return lis.Addr().String()
}

// TestMovedStream: what the dvrsvc that recorded a stream before still has is taken from there; from the peer comes what
// it lacks, or has rotten.
func TestMovedStream(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		has     int
		corrupt bool
		fetched uint64
	}{{"all", 8, false, 0}, {"a part", 5, false, 3}, {"rotten", 8, true, 8}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork()
			all := make10("b")
			before := testdvr.New("a", epoch)
			before.Put(all[:c.has]...)
			before.Corrupt(c.corrupt)
			conf := fmt.Sprintf("dvr old { root x; server %s; }\n", box(t, before)) + config("b")
			b := newSite(t, n, "b", strings.ReplaceAll(config(), " replicate", ""))
			b.dvr.Put(all...)
			a := newSite(t, n, "a", conf)
			a.dvr.Put(all[8:]...)
			eventually(t, soon, "a has all", hasAll(a.dvr, all))
			eventually(t, soon, "the archives agree", func() error {
				if s := a.status(); !s.GetInAgreement() {
					return fmt.Errorf("status %v", s)
				}
				return nil
			})
			if got := a.status().GetFetchedSegments(); got != c.fetched || uint64(b.dvr.Reads()) != c.fetched {
				t.Errorf("%d segments were fetched, the peer was read %d times; want %d", got, b.dvr.Reads(), c.fetched)
			}
			if before.Records() != 0 {
				t.Error("something was recorded where the stream was before")
			}
		})
	}
}
