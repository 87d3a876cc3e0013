package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/join"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// network is sites with the links between them.
type network struct {
	t     *testing.T
	sites []*archive
	peers [][]int // of each
	log   []string
	steps int
}

// plan is what a site plans by what all hold now.
func (n *network) plan(i int) []Item {
	s := Stream{
		Name: "tv", Replicate: true, Silent: true, LiveWindow: 1, Mine: n.sites[i].held(), Here: n.sites[i].here,
		Heads: map[segment.TimelineID]timeline.Ticks{row: 3 * timeline.Wrap},
	}
	for _, p := range n.peers[i] {
		peer := Peer{ID: fmt.Sprint(p), Heads: s.Heads}
		for slot, copies := range n.sites[p].held() {
			peer.Slots = append(peer.Slots, inventory.Slot{Slot: slot, Copies: copies})
		}
		slices.SortFunc(peer.Slots, func(a, b inventory.Slot) int { return a.Slot.Compare(b.Slot) })
		s.Peers = append(s.Peers, peer)
	}
	return slices.DeleteFunc(Plan(State{Now: now, Streams: []Stream{s}}), func(it Item) bool { return it.WhyNot != "" })
}

// carryOut is what transfer does with an item.
func (n *network) carryOut(i int, it Item) {
	a := n.sites[i]
	n.steps++
	n.log = append(n.log, fmt.Sprintf("site %d: %s of %s, here %t, %.8s with %d", i, it.Why, it.Slot, it.Here, it.Copy.Info.Digest, len(it.With)))
	var p int
	_, _ = fmt.Sscan(it.Peer, &p)
	theirs := n.sites[p].find(it.Slot, it.Copy.Info.Digest)
	if theirs == nil && !it.Here { // superseded meanwhile
		return
	}
	if it.Why == Evidence { // which is remembered for a minute, until a comparison shows it
		a.tell(it.Slot, &it.Copy.Info)
		return
	}
	a.here[Place{it.Slot, it.Key()}] = Held{Against: it.Copy.Info.Evidence, Around: it.Around}
	if it.Here {
		a.join(append([]segment.Digest{it.Copy.Info.Digest}, it.With...), it)
		return
	}
	a.join(it.With, it, theirs.copy)
	a.put(theirs.copy)
}

// own gives copies that are here.
func (a *archive) own(slot segment.Slot, digests []segment.Digest) (out []join.Copy) {
	for _, d := range digests {
		if m := a.find(slot, d); m != nil {
			out = append(out, m.copy)
		}
	}
	return out
}

// join keeps the join of copies, and of those beside it, which know more now.
func (a *archive) join(here []segment.Digest, it Item, more ...join.Copy) {
	copies := append(more, a.own(it.Slot, here)...)
	before, behind := a.own(it.Before.Slot, it.Before.Copies), a.own(it.Behind.Slot, it.Behind.Copies)
	farBefore, farBehind := slices.Clip(before), slices.Clip(behind)
	for _, o := range it.Far {
		c := a.own(o.Slot, []segment.Digest{o.Digest})
		if o.Slot.Compare(it.Slot) < 0 {
			farBefore = append(farBefore, c...)
		} else {
			farBehind = append(farBehind, c...)
		}
	}
	joined, ok := joinOf(farBefore, copies, farBehind)
	if len(here) == 0 || !ok {
		return
	}
	a.put(joined)
	if len(before)+len(behind) == 0 {
		return
	}
	copies = append(copies, joined)
	if c, ok := joinOf(nil, before, copies); ok {
		a.put(c)
	}
	if c, ok := joinOf(copies, behind, nil); ok {
		a.put(c)
	}
}

func joinOf(before, copies, behind []join.Copy) (c join.Copy, ok bool) {
	if len(copies) == 0 || len(copies)+len(before)+len(behind) < 2 {
		return c, false
	}
	r, err := join.JoinBeside(before, copies, behind)
	return r.Copy, err == nil && (len(copies) > 1 || r.Info.Digest != copies[0].Info.Digest || r.Info.Evidence.Less(&copies[0].Info.Evidence))
}

// settle carries out what is planned, in any order, some of it by what was known before; false: it does not end.
func (n *network) settle(rnd *rand.Rand) bool {
	for most := n.steps + 2000; n.steps < most; {
		plans, left := make([][]Item, len(n.sites)), false
		for i := range plans {
			plans[i] = n.plan(i)
			left = left || len(plans[i]) > 0
		}
		if !left {
			return true
		}
		for range 1 + rnd.IntN(4) {
			i := rnd.IntN(len(n.sites))
			if len(plans[i]) == 0 {
				continue
			}
			k := rnd.IntN(len(plans[i])) * rnd.IntN(2)
			it := plans[i][k]
			plans[i] = slices.Delete(plans[i], k, k+1)
			n.carryOut(i, it)
		}
	}
	return false
}

// state says all that a site holds: copies by their bytes, and what is known against them. Where one that broke off ends is guessed.
func (n *network) state(i int) string {
	var out []string
	for slot, ms := range n.sites[i].slots {
		for _, m := range ms {
			out = append(out, fmt.Sprintf("%s %.8s %+v", slot, m.copy.Info.Digest, m.copy.Info.Evidence))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// tally counts what a test has seen.
type tally struct {
	steps, most        int
	surplus            int
	could, not, hidden map[string]int // slots of which all came to some site, of these those that are not whole, and units that are not presented
}

// TestExchange holds I5: sites that lost each something else, two, or three of which two never meet, exchange copies in any order
// until nothing is planned. Then all hold the same; nothing that was intact is lost, nothing is intact, or certain, that is not what was
// sent; and to plan again, without what was remembered, changes nothing.
func TestExchange(t *testing.T) {
	sum := exchanges(t, func(rnd *rand.Rand) feed { return anyFeed(rnd, 5+rnd.IntN(3)) })
	sum.judge(t, 20, "closed", "open")
}

// exchanges runs cases with feeds of a kind.
func exchanges(t *testing.T, kind func(*rand.Rand) feed) *tally {
	t.Helper()
	rnd := testkit.Rand(t)
	sum := &tally{could: map[string]int{}, not: map[string]int{}, hidden: map[string]int{}}
	cases := 150
	if testing.Short() {
		cases /= 3
	}
	for range cases {
		seed := rnd.Uint64()
		r := testkit.RandOf(seed)
		exchangeOf(t, r, kind(r), sum)
		if t.Failed() {
			t.Fatalf("case %d", seed)
		}
	}
	return sum
}

// judge says what was seen, and fails where sites that lost nothing together do not come to all of it. kinds are those of feeds of which one cut of so many may be
// unknown to both: of irregular ones near the beginning. Of long ones, and those without random access points, it is more.
func (s *tally) judge(t *testing.T, oneOf int, kinds ...string) {
	t.Helper()
	t.Logf("%d steps, at most %d copies of a slot, %d given up; slots of which all came somewhere: %v, of these not whole: %v; units that are not presented: %v", s.steps, s.most, s.surplus, s.could, s.not, s.hidden)
	for _, kind := range kinds {
		kind += ", holes apart true"
		if not, could := s.not[kind], s.could[kind]; not > could/oneOf { // where all around a cut came, but to none enough to know it
			t.Errorf("%s: %d slots of %d are not whole, of which all came somewhere", kind, not, could)
		}
	}
	for kind, n := range s.hidden { // a segment that ran over a cut stands in the place of the next
		if strings.HasSuffix(kind, "holes apart true") && n > 20 {
			t.Errorf("%s: %d access units that came to some site are in no copy that is presented", kind, n)
		}
	}
}

// TestExchangeOnce: in this case the last frame of sound of a join lasted up to where that of another copy ended.
func TestExchangeOnce(t *testing.T) {
	exchange(t, testkit.RandOf(15494428794863618704), &tally{could: map[string]int{}, not: map[string]int{}, hidden: map[string]int{}})
}

// TestExchangeBesideWhole: in these cases a copy gave way to one of which sound alone ran over its end, and to one that began early. Neither of those can
// be presented beside the whole segment there.
func TestExchangeBesideWhole(t *testing.T) {
	for _, seed := range []uint64{11088213997486687836, 3103681685857164413} {
		sum := tally{could: map[string]int{}, not: map[string]int{}, hidden: map[string]int{}}
		exchange(t, testkit.RandOf(seed), &sum)
		for kind, n := range sum.hidden {
			if n > 20 {
				t.Errorf("%d, %s: %d access units are not presented", seed, kind, n)
			}
		}
	}
}

// TestExchangeIrregular is TestExchange of irregular feeds.
func TestExchangeIrregular(t *testing.T) {
	exchanges(t, irregular).judge(t, 10, "irregular", "irregular, open")
}

// TestExchangeShows: in these cases what came to some site was in a copy that could not be presented beside others.
func TestExchangeShows(t *testing.T) {
	for _, c := range []struct {
		name      string
		seed      uint64
		irregular bool
	}{
		{"the next slot is certain of its start, and this one not of its end", 7930841876215526572, true},
		{"a copy runs over a slot behind that beside", 17034123408343667393, true},
		{"the slot behind was begun where no segment begins", 3897379448883012673, false},
		{"no random access point for longer than two cells", 7970940, false},
		{"slots three cells apart follow each other", 8699488, false},
		{"slots four cells apart follow each other", 13387536, false},
		{"it is known for certain where a segment begins without a random access point", 10219936, false},
		{"a segment without a random access point begins with a picture that is damaged everywhere", 42624484, false},
	} {
		r := testkit.RandOf(c.seed)
		sum := tally{could: map[string]int{}, not: map[string]int{}, hidden: map[string]int{}}
		if c.irregular {
			exchangeOf(t, r, irregular(r), &sum)
		} else {
			exchange(t, r, &sum)
		}
		for kind, n := range sum.hidden {
			t.Errorf("%s (%s): %d access units that came to some site are in no copy that is presented", c.name, kind, n)
		}
		for kind, n := range sum.not {
			t.Errorf("%s (%s): %d slots are not whole, of which all came somewhere", c.name, kind, n)
		}
	}
}

// TestExchangeTwoPictures: in this case two intact pictures are all that came of a segment, to either site, and those between them were lost on both: how far pictures are apart
// is not known then.
func TestExchangeTwoPictures(t *testing.T) {
	r := testkit.RandOf(5476455)
	exchangeOf(t, r, irregular(r), &tally{could: map[string]int{}, not: map[string]int{}, hidden: map[string]int{}})
}

// irregular makes a feed that has random access points where its scenes change, two in a row or none for two cells.
func irregular(rnd *rand.Rand) feed {
	return feedOf(rnd, []string{"irregular", "irregular, open"}[rnd.IntN(2)], 5+rnd.IntN(3))
}

func exchange(t *testing.T, rnd *rand.Rand, sum *tally) {
	exchangeOf(t, rnd, anyFeed(rnd, 5+rnd.IntN(3)), sum)
}

func exchangeOf(t *testing.T, rnd *rand.Rand, f feed, sum *tally) {
	apart := rnd.IntN(2) == 0
	n := &network{t: t, peers: [][]int{{1}, {0}}}
	if rnd.IntN(2) == 0 {
		n.peers = [][]int{{1}, {0, 2}, {1}}
	}
	had := map[access]bool{}
	for _, got := range f.lose(rnd, len(n.peers), apart) {
		a := &archive{t: t, slots: map[segment.Slot][]*member{}}
		for _, c := range record(f, got) {
			a.put(c)
			for _, u := range intactOf(t, &c) {
				had[u] = true
			}
		}
		a.here = map[Place]Held{} // from now on copies come from peers
		n.sites = append(n.sites, a)
	}
	for again := range 3 {
		was := n.state(0)
		if !n.settle(rnd) {
			t.Fatalf("it does not end:\n%s", strings.Join(n.log, "\n"))
		}
		for i := range n.sites {
			if n.state(i) != n.state(0) {
				t.Fatalf("%s: site %d differs:\n%s\n\n%s\n\n%s", f.name, i, strings.Join(n.log, "\n"), n.state(0), n.state(i))
			}
			n.sites[i].here = map[Place]Held{} // an hour later
		}
		if again == 2 && n.state(0) != was {
			t.Fatalf("%s: the same is planned again, and changes\n%s\n\n%s", f.name, was, n.state(0))
		}
	}
	for _, a := range n.sites {
		sum.surplus += a.surplus
	}
	sum.steps += n.steps
	n.judge(&f, apart, had, sum)
}

// judge holds what the first site has, as all have, against what was sent.
func (n *network) judge(f *feed, apart bool, had map[access]bool, sum *tally) {
	t := n.t
	a, sent, clean := n.sites[0], f.sent(), f.clean()
	have := map[access]bool{}
	for slot, ms := range a.slots {
		sum.most = max(sum.most, len(ms))
		c, known := clean[slot]
		for _, m := range ms {
			for _, u := range intactOf(t, &m.copy) {
				if have[u] = true; !sent[u] {
					t.Errorf("%s: PID %d at %d is not what was sent", slot, u.pid, u.dts)
				}
			}
			e := &m.copy.Info.Evidence
			if !e.StartUncertain && (!known || m.copy.Info.Start != c.Info.Start) {
				t.Errorf("%s begins at %d for certain, want %d", slot, m.copy.Info.Start, c.Info.Start)
			}
			if !e.StartUncertain && !e.EndUncertain && m.copy.Info.End != c.Info.End {
				t.Errorf("%s ends at %d for certain, want %d", slot, m.copy.Info.End, c.Info.End)
			}
			if e.Whole() && m.copy.Info.Digest != c.Info.Digest {
				t.Errorf("%s is whole, and not what was sent", slot)
			}
		}
	}
	for u := range had {
		if !have[u] {
			t.Fatalf("%s: PID %d at %d is lost:\n%s\n\n%s", f.name, u.pid, u.dts, n.state(0), strings.Join(n.log, "\n"))
		}
	}
	shown := map[access]bool{}
	var every []*member
	for _, ms := range a.slots {
		every = append(every, ms...)
	}
	slices.SortFunc(every, func(a, b *member) int { return a.slot.Compare(b.slot) })
	for _, m := range presented(every) {
		for _, u := range intactOf(t, &m.copy) {
			shown[u] = true
		}
	}
	for u := range had {
		if !shown[u] {
			sum.hidden[fmt.Sprintf("%s, holes apart %t", f.name, apart)]++
		}
	}
	for slot, c := range clean {
		all := c.Info.Evidence.Whole()
		for _, u := range intactOf(t, &c) {
			all = all && had[u]
		}
		if !all {
			continue
		}
		kind := fmt.Sprintf("%s, holes apart %t", f.name, apart)
		sum.could[kind]++
		if m := a.find(slot, c.Info.Digest); m == nil || !m.copy.Info.Evidence.Whole() {
			sum.not[kind]++
		}
	}
}
