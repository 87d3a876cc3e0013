package app_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// named is a stream of a site's own.
func named(names ...string) (out string) {
	for _, n := range names {
		out += "stream " + n + " { input udp://127.0.0.1:1234; dvr storage 1d replicate; }\n"
	}
	return out
}

func sourceOf(hosts ...string) (out string) {
	for _, h := range hosts {
		out += "source " + h + " { dvr storage 1d replicate; }\n"
	}
	return out
}

// sources is what a site takes from its sources, as "HOST:stream,stream named,alike".
func (s *site) sources() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m, err := s.repl.GetStatus(ctx, &replv1.GetStatusRequest{})
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, x := range m.GetSources() {
		host, _, _ := strings.Cut(x.GetAddress(), ":")
		text := host + ":" + strings.Join(x.GetStreams(), ",")
		if n := x.GetNamedAlike(); len(n) > 0 {
			text += " " + strings.Join(n, ",")
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func takes(s *site, want string) func() error {
	return func() error {
		if got := s.sources(); got != want {
			return fmt.Errorf("%s takes %q, want %q", s.node, got, want)
		}
		return nil
	}
}

// TestSource: every stream of a peer is a stream here, with what it has of the archive. New ones come and others go by themselves, a
// name that is taken stays what it is and is told, and a peer that is away changes nothing.
func TestSource(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("a")
	a, b := newSite(t, n, "a", named("tv", "own")), newSite(t, n, "b", named("own")+sourceOf("a"))
	a.dvr.Put(all...)
	b.dvr.Silence(true)
	eventually(t, soon, "b takes tv", takes(b, "a:tv own"))
	eventually(t, soon, "b has what a has", hasAll(b.dvr, all))
	a.configure(named("tv", "own", "news"))
	eventually(t, soon, "b takes what is new", takes(b, "a:news,tv own"))
	a.configure(named("own", "news"))
	eventually(t, soon, "b lets go what has gone", takes(b, "a:news own"))
	if got := len(b.dvr.Slots()); got != 10 {
		t.Errorf("b has %d slots", got)
	}
	a.stop()
	a.stop = func() {}
	eventually(t, soon, "a is away", func() error {
		if s := b.sources(); s != "a:news own" {
			return fmt.Errorf("b takes %q", s)
		}
		m, err := b.repl.GetStatus(t.Context(), &replv1.GetStatusRequest{})
		if err != nil || m.GetSources()[0].GetProblem() == "" {
			return fmt.Errorf("no problem is told: %v, %v", m, err)
		}
		return nil
	})
}

// TestSourceOfAnotherName: a source that comes back as another node, with the same streams, is the one over which they come: else that
// node would take them back from here.
func TestSourceOfAnotherName(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	a, b := newSite(t, n, "a", named("tv")), newSite(t, n, "b", sourceOf("a"))
	via := func(want string) func() error {
		return func() error {
			b.gate.mu.Lock()
			defer b.gate.mu.Unlock()
			if got := fmt.Sprint(b.gate.found["a:7000"]); got != "[{tv ["+want+"]}]" {
				return fmt.Errorf("b takes %s", got)
			}
			return nil
		}
	}
	eventually(t, soon, "b takes tv over a", via("a"))
	a.stop()
	a.node = "x"
	a.start()
	eventually(t, 30*time.Second, "b takes tv over x", via("x"))
}

// TestSourcesOfEachOther holds I3 of peer: sites that take everything from each other multiply nothing, and what the first one drops
// goes from all.
func TestSourcesOfEachOther(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	a := newSite(t, n, "a", named("x", "y")+sourceOf("b", "c"))
	b := newSite(t, n, "b", named("z")+sourceOf("c", "a"))
	c := newSite(t, n, "c", sourceOf("b", "a"))
	eventually(t, soon, "a has all", takes(a, "b:z; c: z"))
	// Whichever of the two was asked first: each name comes from one of them.
	each := func(s *site, names string) func() error {
		return func() error {
			got := s.sources()
			for _, name := range strings.Split(names, ",") {
				taken := 0
				for _, of := range strings.Split(got, "; ") {
					list, _, _ := strings.Cut(of, " ")
					_, list, _ = strings.Cut(list, ":")
					if strings.Contains(","+list+",", ","+name+",") {
						taken++
					}
				}
				if taken != 1 {
					return fmt.Errorf("%s takes %s %d times: %s", s.node, name, taken, got)
				}
			}
			return nil
		}
	}
	eventually(t, soon, "b has all", each(b, "x,y"))
	eventually(t, soon, "c has all", each(c, "x,y,z"))
	a.configure(named("x") + sourceOf("b", "c"))
	eventually(t, 2*soon, "y is gone from all", func() error {
		for _, s := range []*site{a, b, c} {
			if strings.Contains(s.sources(), "y") {
				return fmt.Errorf("%s takes %s", s.node, s.sources())
			}
		}
		return nil
	})
	for _, s := range []*site{a, b, c} {
		s.gate.mu.Lock()
		reports := s.gate.reports
		s.gate.mu.Unlock()
		if reports > 12 {
			t.Errorf("%s has reported %d times", s.node, reports)
		}
	}
}

// TestReadersOfAStream: a peer that is none of the readers gets nothing, live or of the archive, and says why; one that becomes one does.
func TestReadersOfAStream(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	readers := func(nodes string) string { return strings.Replace(config(), "  dvr", "  readers "+nodes+";\n  dvr", 1) }
	a, c, b := newSite(t, n, "a", config("b")), newSite(t, n, "c", config("b")), newSite(t, n, "b", readers("c d"))
	b.dvr.Put(all...)
	a.dvr.Put(all[0])
	c.dvr.Put(all[0])
	eventually(t, soon, "c has all", hasAll(c.dvr, all))
	eventually(t, soon, "a says why it has not", func() error {
		if s := a.status(); s.GetLive() != "withheld" || !strings.Contains(s.GetProblem(), "readers") {
			return fmt.Errorf("a says %v", s)
		}
		return nil
	})
	if has(a.dvr, all[1]) == nil {
		t.Error("a has what it may not read")
	}
	b.configure(readers("a c d"))
	eventually(t, soon, "a has all", hasAll(a.dvr, all))
}

// TestReaderNoMore: of what a peer that was a reader knew of the stream nothing is left once it is none, and nothing is asked for again and
// again.
func TestReaderNoMore(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a := newSite(t, n, "a", "replication_speed 3M;\n"+config("b"))
	b := newSiteHolding(t, n, "b", config(), all...)
	a.dvr.Put(all[0])
	eventually(t, soon, "a fetches", func() error {
		if s := a.status(); s.GetFetchedSegments() == 0 {
			return fmt.Errorf("a says %v", s)
		}
		return nil
	})
	b.configure(strings.Replace(config(), "  dvr", "  readers c;\n  dvr", 1))
	eventually(t, soon, "a knows nothing of it", func() error {
		if s := a.status(); s.GetCompared() != nil || s.GetBacklogSlots() > 0 || !strings.Contains(s.GetProblem(), "readers") {
			return fmt.Errorf("a says %v", s)
		}
		return nil
	})
	before := a.status().GetFailedFetches()
	time.Sleep(3 * time.Second)
	if now := a.status().GetFailedFetches(); now > before+2 { // some were on their way
		t.Errorf("it is asked %d times in three seconds for what is refused", now-before)
	}
}

// TestPull: a site with replicate=pull has what its peer has and gives it nothing, neither live nor of the archive; the peer knows
// that, and both can be compared.
func TestPull(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a := newSite(t, n, "a", config("b"))
	b := newSite(t, n, "b", strings.Replace(config("a"), "replicate", "replicate=pull", 1))
	a.dvr.Put(all[:9]...)
	b.dvr.Put(all[0], all[9])
	a.dvr.Silence(true)
	b.dvr.Silence(true)
	eventually(t, soon, "b has what a has", hasAll(b.dvr, all[:9]))
	eventually(t, soon, "a knows why it does not get the last one", func() error {
		for _, it := range a.plan() {
			if it.GetDigest() == all[9].Info.Digest.String() && it.GetWhyNot() == "withheld" {
				return nil
			}
		}
		return fmt.Errorf("the plan is %v", a.plan())
	})
	eventually(t, soon, "a says so of live too", func() error {
		if s := a.status(); s.GetLive() != "withheld" || s.GetBacklogSlots() != 0 || s.GetState() != "connected" {
			return fmt.Errorf("a says %v", s)
		}
		return nil
	})
	if b.dvr.Reads() > 0 || b.dvr.Tails() > 0 {
		t.Errorf("a has read %d segments of b, and followed it %d times", b.dvr.Reads(), b.dvr.Tails())
	}
	eventually(t, soon, "the last one is the difference", func() error {
		if c, err := a.compare(); err != nil || len(c.GetDifferences()) != 1 {
			return fmt.Errorf("compared: %v, %w", c, err)
		}
		return nil
	})
	if err := has(a.dvr, all[9]); err == nil {
		t.Error("a has the last one")
	}
}
