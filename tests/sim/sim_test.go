package sim

import (
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
)

// seedsVariable is how many seeds TestSim tries, afterVariable how many of the same sequence it leaves out before them, timeVariable
// how long it begins new ones.
const seedsVariable, afterVariable, timeVariable = "TWINREEL_SIM", "TWINREEL_SIM_AFTER", "TWINREEL_SIM_FOR"

// enough seeds have to have seen every fault, and every number of sites.
const enough = 60

// number gives a number of the environment.
func number(t *testing.T, variable string, n int) int {
	t.Helper()
	if v := os.Getenv(variable); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
	}
	return n
}

// TestSim tries seeds, two at a time, or the one that TWINREEL_SEED names.
func TestSim(t *testing.T) {
	if v := os.Getenv(testkit.SeedVariable); v != "" && v != "random" {
		seed, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(simulate(t, seed))
		return
	}
	n, after := number(t, seedsVariable, 20), number(t, afterVariable, 0)
	var until time.Time
	if v := os.Getenv(timeVariable); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			t.Fatalf("%s: %v", timeVariable, err)
		}
		until = time.Now().Add(d)
	}
	debug.SetGCPercent(400) // it is garbage that most of the time goes to
	rnd, tried := testkit.Rand(t), 0
	seeds := make(chan uint64)
	var wg sync.WaitGroup
	var mu sync.Mutex // protects total
	total := map[string]int{}
	for range 2 {
		wg.Go(func() {
			for seed := range seeds {
				t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
					counts := simulate(t, seed)
					mu.Lock()
					defer mu.Unlock()
					for what, n := range counts {
						total[what] += n
					}
				})
			}
		})
	}
	for range after {
		rnd.Uint64()
	}
	for ; tried < n && (until.IsZero() || time.Now().Before(until)); tried++ {
		seeds <- rnd.Uint64()
	}
	close(seeds)
	wg.Wait()
	t.Logf("%d seeds: %v", tried, total)
	if tried < enough {
		return
	}
	wanted := []string{
		"2 sites", "3 sites", "4 sites", "5 sites", "one site keeps little", "all sites keep little",
		"joined segments", "fetched segments", "expired segments", "jump of the source's clock",
	}
	for _, f := range faults {
		wanted = append(wanted, f.name)
	}
	for _, what := range wanted {
		if total[what] == 0 {
			t.Errorf("%s: not once in %d seeds", what, tried)
		}
	}
}

// simulate is one run. Of one that fails, the story is told, and what the sites logged.
func simulate(t *testing.T, seed uint64) (counts map[string]int) {
	began := time.Now()
	var story []string
	var settled time.Duration
	defer func() { // a test that fails within the bubble does not come back from it
		if t.Failed() {
			for _, l := range story {
				t.Log(l)
			}
			t.Logf("to repeat: TWINREEL_SEED=%d make sim", seed)
		}
		t.Logf("%d events, settled in %v, took %v", len(story), settled.Round(time.Second), time.Since(began).Round(time.Millisecond))
	}()
	// Where a goroutine waits for a sync.Mutex that is held until a later moment, time stands still.
	late := time.AfterFunc(5*time.Minute, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("seed %d takes more than five minutes", seed))
	})
	defer late.Stop()
	synctest.Test(t, func(tt *testing.T) {
		c := newCluster(tt, seed)
		c.open()
		t := &trouble{cluster: c}
		t.run(150 * time.Second)
		t.verifyAll()
		time.Sleep(20 * time.Second)
		if seed%2 == 0 { // what was missed is back while live goes on
			upTo := c.newest()
			time.Sleep(leftAfter)
			c.settle(upTo)
		}
		c.say("the sources end")
		for _, s := range c.sites {
			s.muted.Store(true)
		}
		settled = c.settle(math.MaxInt)
		c.count()
		counts = c.counts
		if !tt.Failed() {
			c.rest()
		}
		c.close()
		if !tt.Failed() {
			c.check()
		}
		story = c.story
		if tt.Failed() {
			for _, s := range c.sites {
				tt.Logf("log of %s:\n%s", s.name, s.log.b.String())
			}
		}
	})
	return counts
}
