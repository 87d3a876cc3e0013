package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	retention = 24 * time.Hour
	// shortest is the least that a site keeps: what goes within a minute is not worth fetching.
	shortest = 90 * time.Second
)

// cluster is all sites, and what is known of what they have to keep.
type cluster struct {
	t     testing.TB
	rnd   *rand.Rand
	net   *network
	cast  *broadcast
	sites []*site
	peers [][]int // of each site

	mu       sync.Mutex       // protects the fields below
	held     []map[int]frames // by site and segment: intact, and durable there
	gone     []map[int]bool   // by site and segment: deleted there; false: it may be
	rotten   []map[int]bool   // by site and segment: it has rotted there, so nothing is owed because of that site
	locked   []map[int]bool   // by site and segment: it does not expire there
	contents map[segment.Digest]content
	story    []string
	counts   map[string]int // of what was done, and came of it
	began    time.Time
}

func (c *cluster) errorf(format string, args ...any) { c.t.Errorf(format, args...) }

// say adds to the story of the run.
func (c *cluster) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.story = append(c.story, fmt.Sprintf("%7.1fs ", time.Since(c.began).Seconds())+fmt.Sprintf(format, args...))
}

func newCluster(t testing.TB, seed uint64) *cluster {
	rnd := rand.New(rand.NewPCG(seed, 2))
	c := &cluster{t: t, rnd: rnd, net: newNetwork(), contents: map[segment.Digest]content{}, counts: map[string]int{}, began: time.Now()}
	c.cast = &broadcast{seed: seed, began: c.began, first: rnd.Int64N(1 << 14)}
	if rnd.IntN(4) == 0 {
		c.cast.first = 1<<14 - 1 - rnd.Int64N(20) // the clock wraps
	}
	n := 2 + rnd.IntN(2) + rnd.IntN(2)*rnd.IntN(3)
	short := rnd.IntN(12) // 0 and 1: all sites keep little, 2 and 3: the first does
	c.peers = make([][]int, n)
	for i := range n {
		for j := range i {
			if j == i-1 || rnd.IntN(3) > 0 { // all are joined, not all with all
				c.peers[i], c.peers[j] = append(c.peers[i], j), append(c.peers[j], i)
			}
		}
	}
	for range n {
		skew := time.Duration(0)
		drift := float64(rnd.IntN(401)-200) / 1e6
		if rnd.IntN(2) == 0 {
			skew = time.Duration(rnd.Int64N(int64(12*time.Hour))) - 6*time.Hour
		}
		keep := retention
		if short < 2 || short < 4 && len(c.sites) == 0 {
			keep = shortest + time.Duration(rnd.Int64N(int64(time.Minute)))
		}
		c.add(seed, skew, drift, keep)
	}
	c.cast.jumps = jumpsOf(seed)
	for _, j := range c.cast.jumps {
		c.say("the clock of the source will jump by %d cells, after %v", j.by, timeline.Ticks(int64(j.k)*int64(timeline.CellTicks)).Duration().Round(time.Second))
		c.counts["jump of the source's clock"]++
	}
	return c
}

// jumpsOf gives the jumps of the source's clock in a run: of one in three, one or two of them, as of an encoder that begins anew, or
// that goes back over what it has said, or leaves some of it out: by more than a peer may be behind.
func jumpsOf(seed uint64) (out []jump) {
	if seed%3 != 0 {
		return nil
	}
	rnd := rand.New(rand.NewPCG(seed, 3))
	var sum int64
	for range 1 + rnd.IntN(2) {
		j := jump{k: 4 + rnd.IntN(24), by: rnd.Int64N(timeline.CellsPerTurn)}
		if n := rnd.IntN(3); n > 0 {
			j.by = 4 + rnd.Int64N(16)
			if n == 1 {
				j.by = -j.by
			}
		}
		if sum += j.by; sum > -4 && sum < 4 { // back to where it was, or nearly: what is less than 5 s off is the same timeline
			break
		}
		out = append(out, j)
	}
	slices.SortFunc(out, func(a, b jump) int { return a.k - b.k })
	return out
}

// add makes the next site, of which the peers are set.
func (c *cluster) add(seed uint64, skew time.Duration, drift float64, keep time.Duration) {
	i := len(c.sites)
	s := &site{c: c, no: i, name: siteName(i), disk: newDisk(), config: newDisk().data, log: &siteLog{}, keep: keep}
	s.clock = &siteClock{began: c.began, drift: drift, skew: skew}
	var names []string
	for _, j := range c.peers[i] {
		names = append(names, siteName(j))
	}
	s.conf = configOf(keep, names)
	c.sites = append(c.sites, s)
	c.held, c.gone, c.rotten, c.locked = append(c.held, map[int]frames{}), append(c.gone, map[int]bool{}), append(c.rotten, map[int]bool{}), append(c.locked, map[int]bool{})
	c.say("site %s with peers %v, clock %v off, keeps %v", s.name, names, skew.Round(time.Second), keep.Round(time.Second))
}

func (c *cluster) open() {
	for _, s := range c.sites {
		s.open()
	}
}

func (c *cluster) close() {
	for _, s := range c.sites {
		s.close()
	}
}

// released notes what dvrsvc has called durable.
func (c *cluster) released(s *site, m *made) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.rotten[s.no][m.k] {
		c.held[s.no][m.k] |= m.intact
	}
	c.contents[m.info.Digest] = content{m.k, m.intact}
}

// owed is what each site of a group has to have of a segment. c.mu is held.
func (c *cluster) owed(k int, groups []int, g int) (all frames) {
	for i, h := range c.held {
		if groups[i] == g {
			all |= h[k]
		}
	}
	return all
}

// stored is a copy in an archive.
type stored struct {
	digest   segment.Digest
	k        int
	intact   frames
	from, to time.Time
	row      string
	against  string // for people
}

// survey is what a site has, in the order of its media.
func (c *cluster) survey(s *site) ([]stored, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	rpc, err := dvrv1.NewIndexServiceClient(s.conn).ListSegments(ctx, &dvrv1.ListSegmentsRequest{Stream: stream, IncludeUnpresented: true})
	if err != nil {
		return nil, err
	}
	var all []stored
	for {
		m, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		x := m.GetSegment()
		if x.GetQuarantined() {
			continue
		}
		d, err := segment.ParseDigest(x.GetDigest())
		if err != nil {
			return nil, err
		}
		has, err := c.content(ctx, s, d)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", d, err)
		}
		all = append(all, stored{
			digest: d, k: has.k, intact: has.intact, from: x.GetStart().AsTime(), to: x.GetEnd().AsTime(), row: x.GetTimeline(),
			against: fmt.Sprintf("start %v end %v missing %d damaged %d, T %d to %d, %d bytes, from %s", x.GetStartUncertain(), x.GetEndUncertain(), x.GetMissingTicks(), x.GetDamagedSamples(),
				x.GetStartTicks(), x.GetEndTicks(), x.GetBytes(), x.GetOrigin()),
		})
	}
}

// content gives what a copy holds.
func (c *cluster) content(ctx context.Context, s *site, d segment.Digest) (content, error) {
	c.mu.Lock()
	has, ok := c.contents[d]
	c.mu.Unlock()
	if ok {
		return has, nil
	}
	seg, data, err := archive.New(s.conn, stream).ReadDigest(ctx, d)
	if err != nil {
		return has, err
	}
	if has, err = contentOf(&seg.Info, data); err != nil {
		c.errorf("%s has what nobody sent, in %s: %v", s.name, d, err)
		return has, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.contents[d] = has
	return has, nil
}
