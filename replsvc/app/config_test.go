package app_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/internal/testdvr"
)

// text is a config of one stream, of the given directives.
func text(directives ...string) string {
	return "stream tv {\n  " + strings.Join(directives, ";\n  ") + ";\n}\n"
}

// inForce waits until a site has the inputs of a config, in their order.
func inForce(t *testing.T, s *site, urls ...string) {
	t.Helper()
	eventually(t, soon, "the config is in force", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		m, err := s.repl.GetStatus(ctx, &replv1.GetStatusRequest{})
		var got []string
		for _, p := range m.GetPeers() {
			got = append(got, p.GetUrl())
		}
		if err == nil && !slices.Equal(got, urls) {
			err = fmt.Errorf("peers %v", got)
		}
		return err
	})
}

// TestConfigChangeTouchesOnlyWhatChanged: neither how long a stream is kept, nor the options of an input, nor another
// input, breaks a feed; and what is said of the archive is followed all the same.
func TestConfigChangeTouchesOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	const peer, other = "m4f://b:7000/tv", "m4f://c:7000/tv"
	n := newNetwork()
	b := newSite(t, n, "b", config())
	a := newSite(t, n, "a", text("input "+peer, "input udp://127.0.0.1:1234", "dvr storage 3m"))
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	a.dvr.Role(peer, true, 0)
	eventually(t, soon, "the relay is active", func() error { return live(a, "active") })
	all := make10("b")
	first := all[0]
	b.dvr.Begin(first)
	b.dvr.Chunks(first, 0, 2)
	eventually(t, soon, "the feed runs", func() error {
		if len(a.dvr.Events()) == 0 {
			return errors.New("nothing has come")
		}
		return nil
	})
	records, tails := a.dvr.Records(), b.dvr.Tails()

	a.configure(text("input "+peer, "input udp://127.0.0.1:1234", "dvr storage 2m"))
	a.configure(text("input "+peer, "input udp://127.0.0.1:1234 source_timeout=9s", "dvr storage 2m"))
	a.configure(text("input "+peer+" source_timeout=9s", "input udp://127.0.0.1:1234 source_timeout=9s", "dvr other 2m"))
	a.configure(text("input "+other, "input udp://127.0.0.1:1234", "input "+peer, "dvr other 2m"))
	inForce(t, a, other, peer)
	b.dvr.Chunks(first, 2, 4)
	b.dvr.Seal(first)
	eventually(t, soon, "the segment that was open comes whole", func() error { return has(a.dvr, first) })
	if got, want := a.dvr.Events(), []string{"begin 100", "seal 100"}; !slices.Equal(got, want) {
		t.Errorf("tail has %v, want %v", got, want)
	}
	eventually(t, soon, "the new input calls", func() error {
		if got := a.dvr.Records(); got != records+1 {
			return fmt.Errorf("%d calls of producers, want that of the new input beside the %d before", got, records)
		}
		return nil
	})
	if got := b.dvr.Tails(); got != tails {
		t.Errorf("%d subscriptions, %d before the change", got, tails)
	}

	a.configure(text("input "+peer, "dvr other 1d replicate"))
	inForce(t, a, peer)
	b.dvr.Put(all...)
	a.dvr.Silence(true)
	eventually(t, soon, "what is to be kept now is fetched", hasAll(a.dvr, all))
	if got := b.dvr.Tails(); got != tails {
		t.Errorf("%d subscriptions, %d before the change", got, tails)
	}

	a.configure("dvr box {\n  root /nowhere;\n  server 127.0.0.1:1;\n}\n" + text("input "+peer, "dvr @box 1d replicate"))
	eventually(t, soon, "the link of another dvrsvc is another", func() error {
		if got := b.dvr.Tails(); got != tails+1 {
			return fmt.Errorf("%d subscriptions, %d before the change", got, tails)
		}
		return nil
	})
}

// TestReplicateIsTurnedOn: what only a peer has, rows and all, is taken up when the config says so, and not some minutes
// later, when archives of which nothing was wanted would have been compared again.
func TestReplicateIsTurnedOn(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", text("input m4f://b:7000/tv", "dvr storage 1d")), newSite(t, n, "b", config())
	a.dvr.Silence(true)
	b.dvr.Put(all...)
	a.dvr.Put(testdvr.Make(105, 1, "a")) // it contradicts: b's row is none of a's
	seen := map[string]bool{}
	compared := func(times int) func() error {
		return func() error {
			if at := a.status().GetCompared(); at != nil {
				seen[at.String()] = true
			}
			if len(seen) < times {
				return fmt.Errorf("compared %d times", len(seen))
			}
			return nil
		}
	}
	eventually(t, soon, "comparisons become rare", compared(4)) // the next is half a minute away
	a.configure(text("input m4f://b:7000/tv", "dvr storage 1d replicate"))
	eventually(t, 20*time.Second, "they are compared again", compared(5))
	eventually(t, soon, "a has all", hasAll(a.dvr, all))
}

// TestNoAgreementBesideAnotherRow: where nothing is replicated a timeline of the peer's that is none of ours is made none; what it holds is
// missing here all the same, and nobody says that the archives agree, or that no site has what is missing.
func TestNoAgreementBesideAnotherRow(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	b := newSiteHolding(t, n, "b", config(), all...)
	a := newSiteHolding(t, n, "a", text("input m4f://b:7000/tv", "dvr storage 1d"), testdvr.Make(105, 1, "a")) // it contradicts
	a.dvr.Silence(true)
	b.dvr.Silence(true)
	eventually(t, soon, "they are compared", func() error {
		if a.status().GetCompared() == nil {
			return errors.New("they were not")
		}
		return nil
	})
	if s := a.status(); s.GetInAgreement() {
		t.Errorf("a lacks all that b has, and says %v", s)
	}
}

// TestLinkAnew: where a link is begun anew while the input stays what it is, dvrsvc is told of another producer: it numbers what it
// brings from the beginning, and what was known of the one before, as on which row its first stretch is, does not hold for it.
func TestLinkAnew(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	b := newSite(t, n, "b", config())
	n.pipes["b:8002"] = n.pipes["b:7000"]
	a := newSite(t, n, "a", config("b"))
	incarnation := func(more func(uint64) bool) (is uint64) {
		eventually(t, soon, "the producer calls", func() error {
			in := a.dvr.Input("m4f://b:7000/tv", dvrv1.Kind_KIND_LIVE)
			if in == nil || !more(in.Incarnation) {
				return fmt.Errorf("the producer is %v", in)
			}
			is = in.Incarnation
			return nil
		})
		return is
	}
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	first := incarnation(func(uint64) bool { return true })
	b.dvr.Wipe() // the feed of another store is another producer too
	b.dvr.Restart()
	second := incarnation(func(is uint64) bool { return is > first })
	a.configure(strings.Replace(config("b"), "replicate", "replicate replication_port=8002", 1))
	incarnation(func(is uint64) bool { return is > second })
}
