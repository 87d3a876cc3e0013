package sim

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
)

// scene plays one story of two sites whose clocks are so far apart, without chance but for what each does not receive.
func scene(t *testing.T, apart time.Duration, play func(*trouble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, rnd: rand.New(rand.NewPCG(1, 2)), net: newNetwork(), contents: map[segment.Digest]content{}, counts: map[string]int{}, began: time.Now(), peers: [][]int{{1}, {0}}}
		c.cast = &broadcast{seed: 1, began: c.began, first: 7}
		c.add(1, 0, 0, retention)
		c.add(1, apart, 0, retention)
		c.open()
		play(&trouble{cluster: c})
		for _, s := range c.sites {
			s.muted.Store(true)
		}
		c.settle(math.MaxInt)
		if !t.Failed() {
			c.rest()
		}
		c.close()
		if t.Failed() {
			for _, l := range c.story {
				t.Log(l)
			}
		} else {
			c.check()
		}
	})
}

// TestEmptyPeer: a site that comes back on an empty disk, while no source sends, costs the other nothing and is refilled.
func TestEmptyPeer(t *testing.T) {
	scene(t, 0, func(f *trouble) {
		time.Sleep(time.Minute)
		for _, s := range f.sites {
			s.muted.Store(true)
		}
		time.Sleep(30 * time.Second)
		b := f.sites[1]
		f.learn(b)
		f.stop(b, func(*disk) *disk { return newDisk() })
		clear(f.held[1])
		b.startDVR()
		b.startRepl()
		time.Sleep(time.Minute)
		b.startIngest()
	})
}

// TestClocksApart: what two sites record alike is alike to them, whatever the time is at each.
func TestClocksApart(t *testing.T) {
	scene(t, 5*time.Hour+17*time.Minute, func(f *trouble) {
		time.Sleep(2 * time.Minute)
		for _, s := range f.sites {
			s.muted.Store(true)
		}
		time.Sleep(12 * time.Minute) // one comparison that is due by itself
		for _, s := range f.sites {
			for _, p := range s.status() {
				if !p.GetInAgreement() {
					t.Errorf("%s does not agree with %s", s.name, p.GetPeerNode())
				}
			}
		}
	})
}

// TestStoreReplacedAlone: dvrsvc of a site comes back on an empty disk while its replsvc goes on, twice, and what it records has the
// other's timelines: nobody records it a second time.
func TestStoreReplacedAlone(t *testing.T) {
	scene(t, 0, func(f *trouble) {
		b := f.sites[1]
		for range 2 {
			time.Sleep(30 * time.Second)
			f.learn(b)
			b.killDVR(func(*disk) *disk { return newDisk() })
			f.forget(b)
			b.startDVR()
		}
		time.Sleep(time.Minute)
	})
}
