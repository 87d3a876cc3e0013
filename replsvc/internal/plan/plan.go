package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// Why a copy is wanted.
type Why string

// The reasons to fetch, and the one to tell dvrsvc what the peer knows, without the bytes.
const (
	Missing  Why = "missing"  // nothing is here
	Faulty   Why = "faulty"   // what is here lacks something of it
	Expiring Why = "expiring" // either, and the peer is about to drop it
	Evidence Why = "evidence" // its bytes are here, and the peer knows less against them
	Join     Why = "join"     // neither it nor what is here is whole, and each may have what the other lacks
)

// WhyNot is why a wanted copy is not fetched now; empty: it is.
type WhyNot string

// The reasons to wait.
const (
	InFlight        WhyNot = "in_flight"
	Paused          WhyNot = "paused"
	Refused         WhyNot = "refused"
	Offered         WhyNot = "offered"
	LiveEdge        WhyNot = "live_edge"
	BeyondRetention WhyNot = "beyond_retention"
	Deleted         WhyNot = "deleted"
	Future          WhyNot = "future"
	NotReplicated   WhyNot = "not_replicated"
	Withheld        WhyNot = "withheld"
)

const (
	// expiringWithin is how close to the end of the peer's retention a copy is fetched before newer ones.
	expiringWithin = 15 * time.Minute
	// keepFor is how long our own retention must still keep a copy for it to be worth fetching.
	keepFor = time.Minute
	// aheadBy is how far ahead of now a copy may begin: clocks are measured, mappings are slewed.
	aheadBy = time.Minute
)

// State is everything that a plan depends on.
type State struct {
	Now     time.Time
	Streams []Stream
}

// Stream is one stream: what is here, what its peers have, and what is already being done.
type Stream struct {
	Name      string
	Store     string // the id of ours: what is remembered from another one is void
	Replicate bool
	Retention time.Duration // by age; 0: any
	// LowWater is the UTC before which dvrsvc takes nothing: what ends there has expired or gone to a limit.
	LowWater time.Time
	// Locked is wanted however old it is, and Deleted never.
	Locked, Deleted inventory.Spans
	// Asked is what somebody waits for.
	Asked inventory.Spans
	// Silent says that all inputs have stood still for source_timeout: then there is no live edge.
	Silent bool
	// Paused says that dvrsvc takes nothing now, or that live lags.
	Paused bool
	// LiveWindow is how far behind the peer's head the live edge can reach.
	LiveWindow time.Duration
	// Heads is the end (U) of the newest durable segment of each row here.
	Heads map[segment.TimelineID]timeline.Ticks
	// Mine has the slots here that differ from a peer's, and those around them. Slots without a difference may be
	// left out, since no peer's copy is looked up in them.
	Mine  map[segment.Slot][]inventory.Copy
	Peers []Peer
	// Here has copies that came after Mine was learned, or that what is here contains without having their digest, with
	// what the peer knew against them.
	Here map[Place]Held
	// InFlight and Offered are digests of this stream.
	InFlight map[segment.Digest]bool
	Offered  map[segment.Digest]bool
	// Refused tells until when.
	Refused map[Refusal]time.Time
}

// Place is a digest in a slot: a source that repeats itself gives one in several.
type Place struct {
	Slot   segment.Slot
	Digest segment.Digest
}

// Held is a copy that is here whatever was listed.
type Held struct {
	Against segment.Evidence
	// Around is Item.Around of when it came; where that has changed since, dvrsvc may judge otherwise. Zero: it tells of evidence alone.
	Around segment.Digest
	// Doubted is when something was found rotten here, or may have gone: a comparison that began later tells better. 0: it was not.
	Doubted time.Duration
}

// holds tells that a copy is here, whatever a peer's comparison shows; h is the zero Held where it is not.
func (s *Stream) holds(p *Peer, at Place) (h Held, ok bool) {
	h, ok = s.Here[at]
	return h, ok && (h.Doubted == 0 || p.Compared < h.Doubted)
}

// Refusal is a copy that could not be had from a peer, or, with an empty peer, is not taken here from anyone.
type Refusal struct {
	Peer   string
	Digest segment.Digest
}

// Peer is what one peer has, in our numbering of rows and by our clock.
type Peer struct {
	ID        string        // one word per configured peer; its URL
	Compared  time.Duration // when the comparison began of which this is; as Held.Doubted
	Retention time.Duration // 0: unknown
	Slots     []inventory.Slot
	Heads     map[segment.TimelineID]timeline.Ticks
	// OnlyMissing: it packages the stream in another way, so its copies can fill whole gaps but repair nothing.
	OnlyMissing bool
	// Paused says that an operator wants nothing from it now.
	Paused bool
	// Withholds says that it gives no media of the stream.
	Withholds bool
}

// Item is one copy that a peer has and this node wants.
type Item struct {
	Stream string
	Peer   string
	Slot   segment.Slot
	Copy   inventory.Copy
	// With are the copies here with which it is joined. Here: it is one of ours too, and nothing is to be fetched.
	With []segment.Digest
	Here bool
	// Before and Behind are what is here of the slots beside, where one of the copies has lost the cut between: what it has of the
	// slot may be in those.
	Before, Behind Beside
	// Far are copies here of slots farther off. Those before Before run over this one: all random access points between were lost to them. Those
	// behind Behind tell where this one ends, if what Behind has was begun where no segment begins.
	Far []Place
	// Around stands for the better copies here by which dvrsvc judges it.
	Around segment.Digest
	Asked  bool // somebody waits for it
	Why    Why
	WhyNot WhyNot
}

// Beside are copies here of a slot beside that of an item.
type Beside struct {
	Slot   segment.Slot
	Copies []segment.Digest
}

// Key tells what is done about an item from all else: the digest of what is fetched, or one of all the copies here that are
// joined.
func (it *Item) Key() segment.Digest {
	if !it.Here {
		return it.Copy.Info.Digest
	}
	key := slices.Clone(it.Copy.Info.Digest[:])
	for _, digests := range [][]segment.Digest{it.With, it.Before.Copies, it.Behind.Copies} {
		for i := range digests {
			key = append(key, digests[i][:]...)
		}
	}
	for i := range it.Far {
		key = append(key, it.Far[i].Digest[:]...)
	}
	return segment.Sum(key)
}

// Plan says what to tell and to fetch, in order, followed by what is wanted but not done now.
func Plan(s State) []Item {
	var told, asked, urgent, normal, later [][]Item // one list per stream
	for i := range s.Streams {
		o := planStream(s.Now, &s.Streams[i])
		told, asked, urgent = append(told, o.told), append(asked, o.asked), append(urgent, o.urgent)
		normal, later = append(normal, o.normal), append(later, o.later)
	}
	return slices.Concat(takeTurns(told), takeTurns(asked), takeTurns(urgent), takeTurns(normal), takeTurns(later))
}

// order is what is planned of one stream.
type order struct{ told, asked, urgent, normal, later []Item }

// Backlog is the part of a plan that is missing or not intact here and can be had: what waits for a good reason that
// has nothing to do with us (it is too old, or refused) is not part of it, nor is the live edge, nor what is here, joined or not.
func Backlog(items []Item) []Item {
	return slices.DeleteFunc(slices.Clone(items), func(i Item) bool {
		return i.Why == Evidence || i.Here || i.WhyNot != "" && i.WhyNot != InFlight && i.WhyNot != Paused
	})
}

func planStream(now time.Time, s *Stream) (o order) {
	best := make(map[segment.Digest]Item)
	load := make(map[string]int)
	mine := Hold(s.Mine)
	for p := range s.Peers {
		there := Listed(s.Peers[p].Slots)
		for _, slot := range s.Peers[p].Slots {
			for _, c := range slot.Copies {
				held, known := s.holds(&s.Peers[p], Place{slot.Slot, c.Info.Digest})
				known = known && !c.Info.Evidence.Less(&held.Against)
				if known && held.Around.IsZero() {
					continue
				}
				why := mine.Wants(slot.Slot, c, there)
				if why == "" || s.Peers[p].OnlyMissing && (why != Missing || !mine.free(slot.Slot, c)) {
					continue
				}
				it := Item{Stream: s.Name, Peer: s.Peers[p].ID, Slot: slot.Slot, Copy: c, Why: why}
				if why != Evidence {
					it.Around = mine.state(slot.Slot, c)
				}
				if known && held.Around == it.Around {
					continue
				}
				if why == Faulty {
					if it.With = mine.joins(slot.Slot, &c.Info); len(it.With) > 0 {
						it.Why = Join
						copies := append(slices.Clip(mine.slots[slot.Slot]), c)
						it.Before, it.Behind = beside(s.Mine, slot.Slot, copies)
						it.Far = far(s.Mine, slot.Slot, it.Before, it.Behind, copies)
					}
				}
				it.WhyNot = whyNot(now, s, &s.Peers[p], &it)
				if r := s.Peers[p].Retention; why != Evidence && r > 0 && c.StartUTC.Add(r).Before(now.Add(expiringWithin)) {
					it.Why = Expiring
				}
				was, ok := best[c.Info.Digest]
				if !ok || preferred(it, was, load) {
					if ok {
						load[was.Peer]--
					}
					best[c.Info.Digest] = it
					load[it.Peer]++
				}
			}
		}
	}
	wholeInstead(best)
	for _, it := range joinsHere(now, s, best) {
		best[it.Key()] = it
	}
	for _, it := range best {
		it.Asked = it.Why != Evidence && s.Asked.Touch(it.Copy.StartUTC, it.Copy.EndUTC())
		switch {
		case it.WhyNot != "":
			o.later = append(o.later, it)
		case it.Why == Evidence:
			o.told = append(o.told, it)
		case it.Asked:
			o.asked = append(o.asked, it)
		case it.Why == Expiring:
			o.urgent = append(o.urgent, it)
		default:
			o.normal = append(o.normal, it)
		}
	}
	for _, oldestFirst := range [][]Item{o.asked, o.urgent} {
		slices.SortFunc(oldestFirst, func(a, b Item) int { return cmp.Or(byStart(a, b), byDigest(a, b)) })
	}
	for _, newestFirst := range [][]Item{o.told, o.normal, o.later} {
		slices.SortFunc(newestFirst, func(a, b Item) int { return cmp.Or(byStart(b, a), byDigest(a, b)) })
	}
	return o
}

// preferred decides between two peers that hold the same copy: less against it is worth more than fewer fetches.
func preferred(a, b Item, load map[string]int) bool {
	if (a.WhyNot == "") != (b.WhyNot == "") {
		return a.WhyNot == ""
	}
	if x, y := &a.Copy.Info.Evidence, &b.Copy.Info.Evidence; x.Less(y) || y.Less(x) {
		return x.Less(y)
	}
	return load[a.Peer]+1 < load[b.Peer]
}

func byStart(a, b Item) int { return a.Copy.StartUTC.Compare(b.Copy.StartUTC) }

func byDigest(a, b Item) int {
	return cmp.Or(a.Copy.Info.Digest.Compare(b.Copy.Info.Digest), a.Key().Compare(b.Key()))
}

// takeTurns takes the first of each list, then the second of each.
func takeTurns(lists [][]Item) []Item {
	var out []Item
	for k := 0; ; k++ {
		n := len(out)
		for _, l := range lists {
			if k < len(l) {
				out = append(out, l[k])
			}
		}
		if len(out) == n {
			return out
		}
	}
}

func whyNot(now time.Time, s *Stream, p *Peer, it *Item) WhyNot {
	c, d := &it.Copy, it.Key()
	end := c.EndUTC()
	old := s.Retention > 0 && c.StartUTC.Add(s.Retention).Before(now.Add(keepFor)) || !end.After(s.LowWater)
	switch {
	case !s.Replicate:
		return NotReplicated
	case p.Withholds && it.Why != Evidence:
		return Withheld
	case s.Deleted.Contain(c.StartUTC, end):
		return Deleted
	case old && !s.Locked.Touch(c.StartUTC, end):
		return BeyondRetention
	case c.StartUTC.After(now.Add(aheadBy)):
		return Future
	case s.InFlight[d]:
		return InFlight
	case s.Paused || p.Paused:
		return Paused
	case s.Refused[Refusal{p.ID, d}].After(now) || s.Refused[Refusal{"", d}].After(now):
		return Refused
	case s.Offered[d]:
		return Offered
	case it.Why != Evidence && now.Sub(end) < 2*s.LiveWindow && atLiveEdge(s, p, it.Slot, c):
		return LiveEdge
	}
	return ""
}

// atLiveEdge reports whether the copy, if it is of now, may still come by itself: nothing later of its timeline is durable here. The
// end of a timeline that the source has left is no live edge: nothing later of it is ever durable here.
func atLiveEdge(s *Stream, p *Peer, slot segment.Slot, c *inventory.Copy) bool {
	if s.Silent {
		return false
	}
	end := inventory.U(slot, c.Info.End)
	if s.Heads[slot.Timeline] > end {
		return false
	}
	return p.Heads[slot.Timeline]-end < timeline.FromDuration(s.LiveWindow)
}
