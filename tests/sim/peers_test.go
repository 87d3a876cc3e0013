package sim

import (
	"math/rand/v2"
	"testing"
	"time"
)

// between says something of both directions between two sites.
func (t *trouble) between(a, b *site, change func(*link)) {
	t.net.link(a.name, b.name).set(change)
	t.net.link(b.name, a.name).set(change)
}

func block(on bool) func(*link) { return func(l *link) { l.blocked = on } }

// only mutes the source of one site.
func (t *trouble) only(s *site, muted bool) { s.muted.Store(muted) }

// segments is how many segments a site has something of.
func (t *trouble) segments(s *site) int {
	all, err := t.survey(s)
	if err != nil {
		t.t.Errorf("%s: %v", s.name, err)
	}
	ks := map[int]bool{}
	for _, x := range all {
		ks[x.k] = true
	}
	return len(ks)
}

// state is what a site says of its only peer.
func (t *trouble) state(s *site) string {
	for _, p := range s.status() {
		return p.GetState()
	}
	return ""
}

// TestPeerAwayFromTheStart: fault 35. Sites that have never met record alone, one of them not even all the time, and are alike once they meet.
func TestPeerAwayFromTheStart(t *testing.T) {
	scene(t, 3*time.Hour, func(f *trouble) {
		a, b := f.sites[0], f.sites[1]
		f.between(a, b, block(true))
		time.Sleep(2 * time.Minute)
		f.only(b, true)
		time.Sleep(8 * time.Minute)
		f.only(b, false)
		time.Sleep(2 * time.Minute)
		if n, m := f.segments(a), f.segments(b); m == 0 || n < m+60 {
			t.Errorf("%d segments on a, %d on b: it tests nothing", n, m)
		}
		f.between(a, b, block(false))
		time.Sleep(30 * time.Second)
	})
}

// TestFlappingLink: fault 36. A link that comes and goes each second or so carries little more than what there is to carry.
func TestFlappingLink(t *testing.T) {
	scene(t, 0, func(f *trouble) {
		a, b := f.sites[0], f.sites[1]
		f.only(b, true)
		time.Sleep(4 * time.Minute)
		f.only(b, false)
		before, media := f.net.carriedTotal(), f.written()
		rnd := rand.New(rand.NewPCG(4, 5))
		for range 60 {
			f.between(a, b, func(l *link) { l.blocked = true })
			f.net.link(a.name, b.name).set(func(l *link) { l.cutAfter = 1 + rnd.IntN(4000) })
			time.Sleep(time.Second + time.Duration(rnd.Int64N(int64(time.Second))))
			f.between(a, b, block(false))
			time.Sleep(time.Second + time.Duration(rnd.Int64N(int64(time.Second))))
		}
		f.between(a, b, (*link).free)
		time.Sleep(time.Minute)
		carried, written := f.net.carriedTotal()-before, f.written()-media
		t.Logf("%d bytes were carried, %d written on both sites", carried, written)
		if most := 3*written + 2_000_000; carried > most {
			t.Errorf("%d bytes were carried for %d that were written, want %d at most", carried, written, most)
		}
	})
}

// TestDeafPeer: fault 37. Where nothing passes one way both take the other for gone within a minute, and each goes on by itself.
func TestDeafPeer(t *testing.T) {
	scene(t, 0, func(f *trouble) {
		a, b := f.sites[0], f.sites[1]
		time.Sleep(time.Minute)
		f.net.link(a.name, b.name).set(block(true))
		time.Sleep(time.Minute)
		for _, s := range f.sites {
			if got := f.state(s); got == "connected" {
				t.Errorf("%s is %s to a peer from which, or to which, nothing has passed for a minute", s.name, got)
			}
		}
		n := [2]int{f.segments(a), f.segments(b)}
		time.Sleep(time.Minute)
		for i, s := range f.sites {
			if more := f.segments(s) - n[i]; more < 8 {
				t.Errorf("%s recorded %d segments in a minute", s.name, more)
			}
		}
		f.net.link(a.name, b.name).set(block(false))
		time.Sleep(30 * time.Second)
	})
}

// TestTrickle: fault 39. A peer that sends 500 bytes a second holds up nothing: both record, and what was missing comes when it can.
func TestTrickle(t *testing.T) {
	scene(t, 0, func(f *trouble) {
		a, b := f.sites[0], f.sites[1]
		time.Sleep(30 * time.Second)
		f.only(b, true) // so that there is something to fetch
		time.Sleep(time.Minute)
		f.between(a, b, func(l *link) { l.rate = 500 })
		f.only(b, false)
		n := [2]int{f.segments(a), f.segments(b)}
		time.Sleep(2 * time.Minute)
		for i, s := range f.sites {
			if more := f.segments(s) - n[i]; more < 18 {
				t.Errorf("%s recorded %d segments in two minutes", s.name, more)
			}
		}
		f.between(a, b, (*link).free)
		time.Sleep(30 * time.Second)
	})
}

// TestRestartsDuringBackfill: fault 42. Whichever side is killed every few seconds while ten minutes of media come over, no segment that was
// there is gone again, and in the end all is there.
func TestRestartsDuringBackfill(t *testing.T) {
	scene(t, 0, func(f *trouble) {
		a, b := f.sites[0], f.sites[1]
		f.only(b, true)
		f.between(a, b, block(true))
		time.Sleep(10 * time.Minute)
		f.between(a, b, func(l *link) { l.blocked, l.rate = false, 20_000 })
		had := f.segments(b)
		for i := range 12 {
			s := f.sites[i%2]
			s.killRepl()
			if i%3 == 0 {
				s.killDVR((*disk).killed)
			}
			time.Sleep(time.Second)
			s.startDVR()
			s.startRepl()
			time.Sleep(4 * time.Second)
			if n := f.segments(b); n < had {
				t.Errorf("b has %d segments after a restart of %s, and had %d", n, s.name, had)
			} else {
				had = n
			}
		}
		if had < 5 {
			t.Errorf("b has %d segments after a minute of restarts", had)
		}
		f.between(a, b, (*link).free)
		f.only(b, false)
		time.Sleep(30 * time.Second)
	})
}

// TestSplitBrain: fault 46. Two sites that do not see each other both record, lose unlike things, and merge to the same bytes, whatever their clocks say.
func TestSplitBrain(t *testing.T) {
	scene(t, time.Hour, func(f *trouble) {
		a, b := f.sites[0], f.sites[1]
		time.Sleep(time.Minute)
		for range 2 {
			f.between(a, b, block(true))
			time.Sleep(2 * time.Minute)
			f.between(a, b, block(false))
			time.Sleep(20 * time.Second)
		}
		time.Sleep(30 * time.Second)
	})
}

// TestAllLosePower: fault 49. Power fails on both at once, and one comes back on an empty disk: what was released is on the other, and comes back whole.
func TestAllLosePower(t *testing.T) {
	scene(t, 0, func(f *trouble) {
		time.Sleep(3 * time.Minute)
		a, b := f.sites[0], f.sites[1]
		f.learn(b)
		f.stop(a, func(d *disk) *disk { return d.crashed(rand.New(rand.NewPCG(6, 7))) })
		f.stop(b, func(*disk) *disk { return newDisk() })
		clear(f.held[b.no])
		for _, s := range []*site{b, a} { // the empty one first
			s.startDVR()
			s.startRepl()
			time.Sleep(20 * time.Second)
		}
		if n := f.segments(b); n < 20 {
			t.Errorf("b has %d segments after 20 s with its peer", n)
		}
		a.startIngest()
		b.startIngest()
		time.Sleep(time.Minute)
	})
}

// free takes back what was said of a link, but for what it has carried.
func (l *link) free() { l.blocked, l.refused, l.delay, l.rate, l.cutAfter = false, false, 0, 0, 0 }
