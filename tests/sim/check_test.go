package sim

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

const (
	settleWithin = 3 * time.Minute
	quiet        = 30 * time.Second
	// leftAfter is when the end of a timeline that the source has left is not a live edge any more.
	leftAfter = 70 * time.Second
	// quietBytes is what a link may carry in that time without media: beats, pings, and lists of what differs for good.
	quietBytes = 150_000
)

// view is what all sites have.
type view struct {
	copies []map[int][]segment.Digest // by site and segment, sorted
	intact []map[int]frames
	err    error
}

func (c *cluster) view() *view {
	v := &view{}
	for _, s := range c.sites {
		copies, intact := map[int][]segment.Digest{}, map[int]frames{}
		all, err := c.survey(s)
		if err != nil && v.err == nil {
			v.err = fmt.Errorf("%s: %w", s.name, err)
		}
		for _, x := range all {
			copies[x.k] = append(copies[x.k], x.digest)
			intact[x.k] |= x.intact
		}
		for _, d := range copies {
			slices.SortFunc(d, segment.Digest.Compare)
		}
		v.copies, v.intact = append(v.copies, copies), append(v.intact, intact)
	}
	return v
}

// newest is the last segment of which any site has released something.
func (c *cluster) newest() (k int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, held := range c.held {
		for n := range held {
			k = max(k, n)
		}
	}
	return k
}

// problems says what of I1 to I3 does not hold of the segments up to one; while live goes on, what of I1: a copy of a timeline that
// a peer has begun beside another comes when that has ended.
func (c *cluster) problems(v *view, upTo int) (out []string) {
	if v.err != nil {
		return []string{v.err.Error()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ks := map[int]bool{}
	for _, held := range c.held {
		for k := range held {
			ks[k] = true
		}
	}
	for _, m := range v.copies {
		for k := range m {
			ks[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(ks)) {
		if k > upTo {
			break
		}
		groups := c.groups(k)
		first := map[int]int{} // of each group the first site
		for i, s := range c.sites {
			copies := v.copies[i][k]
			if sure, ok := c.gone[i][k]; ok {
				if sure && len(copies) > 0 {
					out = append(out, fmt.Sprintf("segment %d was deleted on %s and is back", k, s.name))
				}
				continue
			}
			switch lost := c.held[i][k] &^ v.intact[i][k]; c.fate(s, k) {
			case stays:
			case leaves:
				if lost != 0 {
					out = append(out, fmt.Sprintf("segment %d lacks %d frames on %s, which keeps %v, after %v", k, lost.count(), s.name, s.keep, c.age(k)))
				}
				continue
			case mayGo:
				continue
			case over:
				if len(copies) > 0 {
					out = append(out, fmt.Sprintf("segment %d is on %s, which keeps %v, after %v", k, s.name, s.keep, c.age(k)))
				}
				continue
			}
			g := groups[i]
			if lost := c.owed(k, groups, g) &^ v.intact[i][k]; lost != 0 {
				out = append(out, fmt.Sprintf("segment %d lacks %d frames on %s (%032b) that were released", k, lost.count(), s.name, lost))
			}
			if len(slices.Compact(slices.Clone(copies))) != len(copies) {
				out = append(out, fmt.Sprintf("segment %d is on %s twice: %s", k, s.name, short(copies)))
			}
			if upTo < math.MaxInt {
				continue
			}
			if f, ok := first[g]; !ok {
				first[g] = i
			} else if !slices.Equal(copies, v.copies[f][k]) {
				out = append(out, fmt.Sprintf("segment %d is %s on %s and %s on %s", k, short(v.copies[f][k]), c.sites[f].name, short(copies), s.name))
			}
		}
	}
	return out
}

// fate is what a site is to do with a segment of its age.
type fate int

const (
	stays  fate = iota
	leaves      // what it has stays, what it lacks it need not fetch any more
	mayGo
	over
)

const (
	// worthwhile is how long a site has to keep yet what it fetches.
	worthwhile = time.Minute
	// vague is how far the time of a segment and of its end may be off.
	vague = 15 * time.Second
	// sweeps is how long after its time a segment may go: retention runs each ten seconds, and not while dvrsvc is away.
	sweeps = 25 * time.Second
)

func (c *cluster) age(k int) time.Duration {
	return time.Since(c.began) - timeline.Ticks(int64(k+1)*int64(timeline.CellTicks)).Duration()
}

// fate tells what a site that keeps little is to do with a segment. c.mu is held.
func (c *cluster) fate(s *site, k int) fate {
	switch age := c.age(k); {
	case age < s.keep-worthwhile-vague:
		return stays
	case age < s.keep-vague:
		return leaves
	case age < s.keep+vague+sweeps || c.locked[s.no][k]:
		return mayGo
	}
	return over
}

// groups numbers the sites: what one has of a segment comes to all of its number, since none between them deleted it. c.mu is held.
func (c *cluster) groups(k int) []int {
	g := make([]int, len(c.sites))
	for i := range g {
		g[i] = -1
	}
	var visit func(i, n int)
	visit = func(i, n int) {
		if _, gone := c.gone[i][k]; gone || g[i] >= 0 || c.fate(c.sites[i], k) != stays {
			return
		}
		g[i] = n
		for _, j := range c.peers[i] {
			visit(j, n)
		}
	}
	for i := range g {
		visit(i, i)
	}
	return g
}

func short(ds []segment.Digest) string {
	var out []string
	for _, d := range ds {
		out = append(out, d.String()[:6])
	}
	return "[" + strings.Join(out, " ") + "]"
}

// settle waits until the archives are what they have to be up to a segment, and says how long it took.
func (c *cluster) settle(upTo int) time.Duration {
	began := time.Now()
	for {
		time.Sleep(2 * time.Second)
		p := c.problems(c.view(), upTo)
		took := time.Since(began)
		if len(p) == 0 {
			return took
		}
		if took > settleWithin {
			for _, s := range c.sites {
				c.explain(s)
			}
			for i, l := range p {
				if i == 10 {
					c.errorf("and %d more", len(p)-i)
					break
				}
				c.errorf("%v after the end of all faults: %s", took.Round(time.Second), l)
			}
			return took
		}
	}
}

// explain adds to the story why a site does not fetch what it lacks.
func (c *cluster) explain(s *site) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all, err := c.survey(s)
	if err != nil {
		c.say("%s: %v", s.name, err)
	}
	for _, x := range all {
		c.say("%s has of segment %d %s, %032b, in row %s, from %s, against it: %s", s.name, x.k, x.digest.String()[:6], x.intact, x.row[:6], x.from.Format("15:04:05.000"), x.against)
	}
	for _, p := range s.status() {
		c.say("%s about its peer %s: %s %s, compared %v ago, in agreement: %v", s.name, p.GetPeerNode(), p.GetState(), p.GetProblem(), s.clock.Now().Sub(p.GetCompared().AsTime()).Round(time.Second), p.GetInAgreement())
	}
	m, err := replv1.NewReplicationServiceClient(s.operator).Plan(ctx, &replv1.PlanRequest{})
	if err != nil {
		c.say("%s has no plan: %v", s.name, err)
	}
	for _, i := range m.GetItems() {
		c.say("%s wants %s of %s, from %s: %s %s", s.name, i.GetDigest()[:6], i.GetPeerNode(), i.GetStart().AsTime().Format(time.TimeOnly), i.GetWhy(), i.GetWhyNot())
	}
}

// rest checks that nothing moves any more (I4).
func (c *cluster) rest() {
	time.Sleep(time.Minute) // evidence is told by comparison, and bytes are written again with it
	was, carried, fetched, written := c.view(), c.net.carriedTotal(), c.fetched(), c.written()
	time.Sleep(quiet)
	if n := c.written() - written; n > 0 {
		c.errorf("%d bytes were written when all had all", n)
	}
	if n := c.fetched() - fetched; n > 0 {
		c.errorf("%d segments were fetched when all had all", n)
	}
	links := uint64(0)
	for _, p := range c.peers {
		links += uint64(len(p))
	}
	if n := c.net.carriedTotal() - carried; n > links*quietBytes {
		c.errorf("%d bytes went over %d links in %v when all had all", n, links, quiet)
	}
	now := c.view()
	for i, s := range c.sites {
		if s.keep < retention { // what expires meanwhile may
			maps.DeleteFunc(was.copies[i], func(k int, _ []segment.Digest) bool { return len(now.copies[i][k]) == 0 })
		}
		if !maps.EqualFunc(was.copies[i], now.copies[i], slices.Equal) {
			c.errorf("what %s has has changed when all had all", s.name)
		}
	}
	problems := c.problems(now, math.MaxInt)
	for _, p := range problems {
		c.errorf("after all had all: %s", p)
	}
	if len(problems) > 0 {
		for _, s := range c.sites {
			c.explain(s)
		}
	}
}

// written is how many bytes of media the sites have written since they began.
func (c *cluster) written() (n uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, s := range c.sites {
		m, err := dvrv1.NewMaintenanceServiceClient(s.conn).GetStatistics(ctx, &dvrv1.GetStatisticsRequest{})
		if err != nil {
			c.errorf("statistics of %s: %v", s.name, err)
		}
		for _, st := range m.GetStorages() {
			for _, b := range st.GetTotal().GetBytesWritten() {
				n += b.GetBytes()
			}
		}
	}
	return n
}

// count notes what replsvc did since it began last.
func (c *cluster) count() {
	c.counts[fmt.Sprintf("%d sites", len(c.sites))]++
	short := 0
	for _, s := range c.sites {
		if s.keep < retention {
			short++
		}
		c.mu.Lock()
		for k := range c.held[s.no] {
			if c.fate(s, k) == over {
				c.counts["expired segments"]++
			}
		}
		c.mu.Unlock()
		for _, p := range s.status() {
			c.counts["joined segments"] += int(p.GetJoinedSegments())
			c.counts["fetched segments"] += int(p.GetFetchedSegments())
		}
	}
	switch short {
	case 0:
	case 1:
		c.counts["one site keeps little"]++
	default:
		c.counts["all sites keep little"]++
	}
}

func (c *cluster) fetched() (n uint64) {
	for _, s := range c.sites {
		for _, p := range s.status() {
			n += p.GetFetchedSegments()
		}
	}
	return n
}

// check has each storage look at itself (I5), with the index that it has and with a new one. What has rotted and could
// not be had again, or is found by a new index beside what was fetched instead of it, is told as such.
func (c *cluster) check() {
	for _, s := range c.sites {
		for _, rebuild := range []bool{false, true} {
			var out bytes.Buffer
			good, err := s.disk.app().Check(context.Background(), storage, s.name, rebuild, &out, slog.New(slog.DiscardHandler))
			if s.rotted {
				good = good || !slices.ContainsFunc(strings.Split(out.String(), "\n"), func(l string) bool {
					return l != "" && !strings.HasPrefix(l, "stream ") && !strings.HasPrefix(l, stream)
				})
			}
			if err != nil || !good {
				c.errorf("the storage of %s (rebuilt: %v): %v\n%s", s.name, rebuild, err, out.String())
			}
		}
	}
}
