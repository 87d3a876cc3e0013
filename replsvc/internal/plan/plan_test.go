package plan

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

var (
	now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	row = segment.TimelineID{1}
)

const retention = 24 * time.Hour

func digest(b ...byte) (d segment.Digest) { copy(d[:], b); return d }

func slotAt(cell int) segment.Slot { return segment.Slot{Timeline: row, Cell: uint16(cell)} }

func otherInit(s segment.Slot) segment.Slot {
	s.InitSet = segment.InitSet{9}
	return s
}

// startUTC is when cell began: cell 1000 is now.
func startUTC(cell int) time.Time {
	return now.Add(timeline.Ticks(cell-1000).Duration() * time.Duration(timeline.CellTicks))
}

// copyOf is a whole copy that fills its cell, with one video track.
func copyOf(cell int, d segment.Digest, change ...func(*segment.Info)) inventory.Copy {
	start := timeline.Wrap + timeline.Ticks(cell)*timeline.CellTicks
	i := segment.Info{
		Start: start, End: start + timeline.CellTicks, Digest: d, Bytes: 1000,
		Tracks: []segment.Track{{PID: 256, Codec: "avc1.64001f", Start: start, End: start + timeline.CellTicks, Samples: 145}},
	}
	for _, f := range change {
		f(&i)
	}
	return inventory.Copy{Info: i, StartUTC: startUTC(cell)}
}

func faulty(i *segment.Info) {
	i.Evidence.Faulty = []segment.FaultySample{{PID: 256, DTS: i.Start + 3600}}
}

func brokenOff(i *segment.Info) { i.Evidence.EndUncertain = true }

func longer(i *segment.Info) {
	i.End += 1024
	i.Tracks[0].End += 1024
}

func startUncertain(i *segment.Info) {
	i.Evidence.StartUncertain = true
	i.Start += 9000
	i.Tracks[0].Start, i.Tracks[0].Samples = i.Start, 140
}

// stream is one with a peer that holds cell 500, long ago, while our own head is at cell 1000.
func stream(mine ...inventory.Copy) Stream {
	s := Stream{
		Name: "tv", Replicate: true, Retention: retention, LiveWindow: 30 * time.Second,
		Heads: map[segment.TimelineID]timeline.Ticks{row: timeline.Wrap + 1000*timeline.CellTicks},
		Mine:  map[segment.Slot][]inventory.Copy{slotAt(500): mine},
		Peers: []Peer{{
			ID: "p", Retention: retention, Slots: []inventory.Slot{{Slot: slotAt(500), Copies: []inventory.Copy{copyOf(500, digest(7))}}},
			Heads: map[segment.TimelineID]timeline.Ticks{row: timeline.Wrap + 1000*timeline.CellTicks},
		}},
		InFlight: map[segment.Digest]bool{}, Offered: map[segment.Digest]bool{}, Here: map[Place]Held{},
		Refused: map[Refusal]time.Time{},
	}
	return s
}

func TestPlanOneCopy(t *testing.T) {
	d := digest(7)
	theirs := func(s *Stream, c inventory.Copy) { s.Peers[0].Slots[0].Copies = []inventory.Copy{c} }
	for _, c := range []struct {
		name   string
		mine   []inventory.Copy
		change func(*Stream)
		why    Why // "": not wanted
		whyNot WhyNot
	}{
		{"nothing here", nil, nil, Missing, ""},
		{"the same here", []inventory.Copy{copyOf(500, d)}, nil, "", ""},
		{"damaged here", []inventory.Copy{copyOf(500, digest(8), faulty)}, nil, Faulty, ""},
		{"cut short here", []inventory.Copy{copyOf(500, digest(8), startUncertain)}, nil, Faulty, ""},
		{"two whole ones: a conflict, both are kept", []inventory.Copy{copyOf(500, digest(8))}, nil, Faulty, ""},
		{"damaged there, whole here", []inventory.Copy{copyOf(500, digest(8))}, func(s *Stream) { theirs(s, copyOf(500, d, faulty)) }, "", ""},
		{"damaged there, whole here and there, too", []inventory.Copy{copyOf(500, digest(8))}, func(s *Stream) {
			s.Peers[0].Slots[0].Copies = []inventory.Copy{copyOf(500, digest(8)), copyOf(500, d, faulty)}
		}, Faulty, ""},
		{"damaged there, whole here and there, too, and another segment here", []inventory.Copy{copyOf(500, digest(8))}, func(s *Stream) {
			s.Peers[0].Slots[0].Copies = []inventory.Copy{copyOf(500, digest(8)), copyOf(500, d, faulty)}
			s.Mine[slotAt(495)] = []inventory.Copy{copyOf(495, digest(9))}
		}, Faulty, ""},
		{"damaged there, whole here, and another whole one there", []inventory.Copy{copyOf(500, digest(8))}, func(s *Stream) {
			s.Peers[0].Slots[0].Copies = []inventory.Copy{copyOf(500, digest(9), faulty, startUncertain), copyOf(500, d, faulty)}
		}, "", ""},
		{"the same samples, of which the last lasts longer here", []inventory.Copy{copyOf(500, digest(6), brokenOff, longer)}, func(s *Stream) {
			theirs(s, copyOf(500, d, brokenOff))
		}, Join, ""},
		{"the same samples, of which the last lasts longer there", []inventory.Copy{copyOf(500, digest(8), brokenOff)}, func(s *Stream) {
			theirs(s, copyOf(500, d, brokenOff, longer))
		}, Join, ""}, // the evidence does not say which samples they are
		{"a certain end here, more bytes there", []inventory.Copy{copyOf(500, digest(6), faulty)}, func(s *Stream) {
			theirs(s, copyOf(500, d, faulty, brokenOff, func(i *segment.Info) { i.Bytes++ }))
		}, Join, ""},
		{"cut short there, whole here", []inventory.Copy{copyOf(500, digest(8))}, func(s *Stream) { theirs(s, copyOf(500, d, startUncertain)) }, "", ""},
		{"the same here, in another row", nil, func(s *Stream) {
			s.Mine[segment.Slot{Timeline: segment.TimelineID{2}, Cell: 500}] = []inventory.Copy{copyOf(500, d)}
		}, "", ""},
		{"the same here, in another row at another time", nil, func(s *Stream) {
			again := copyOf(500, d)
			again.StartUTC = again.StartUTC.Add(sameMoment)
			s.Mine[segment.Slot{Timeline: segment.TimelineID{2}, Cell: 500}] = []inventory.Copy{again}
		}, Missing, ""},
		{"more against it in its slot, by another clock", []inventory.Copy{copyOf(500, d, faulty)}, func(s *Stream) {
			s.Peers[0].Slots[0].Copies[0].StartUTC = startUTC(500).Add(time.Minute)
		}, Evidence, ""},
		{"another showing of it came meanwhile", nil, func(s *Stream) {
			s.Here[Place{segment.Slot{Timeline: segment.TimelineID{2}, Cell: 500}, d}] = Held{}
		}, Missing, ""},
		{"came meanwhile", nil, func(s *Stream) { s.Here[Place{slotAt(500), d}] = Held{} }, "", ""},
		{"came meanwhile, then something rotted", nil, func(s *Stream) {
			s.Here[Place{slotAt(500), d}], s.Peers[0].Compared = Held{Doubted: 8}, 7
		}, "", ""},
		{"came meanwhile, then something rotted, and was compared", nil, func(s *Stream) {
			s.Here[Place{slotAt(500), d}], s.Peers[0].Compared = Held{Doubted: 8}, 9
		}, Missing, ""},
		{"in flight", nil, func(s *Stream) { s.InFlight[d] = true }, Missing, InFlight},
		{"dvrsvc takes nothing", nil, func(s *Stream) { s.Paused = true }, Missing, Paused},
		{"refused by this peer", nil, func(s *Stream) { s.Refused[Refusal{"p", d}] = now.Add(time.Second) }, Missing, Refused},
		{"refused from anyone", nil, func(s *Stream) { s.Refused[Refusal{"", d}] = now.Add(time.Second) }, Missing, Refused},
		{"refused by another", nil, func(s *Stream) { s.Refused[Refusal{"q", d}] = now.Add(time.Second) }, Missing, ""},
		{"refused long ago", nil, func(s *Stream) { s.Refused[Refusal{"p", d}] = now }, Missing, ""},
		{"offered", nil, func(s *Stream) { s.Offered[d] = true }, Missing, Offered},
		{"without replicate", nil, func(s *Stream) { s.Replicate = false }, Missing, NotReplicated},
		{"damaged here, packaged in another way there", []inventory.Copy{copyOf(500, digest(8), faulty)}, func(s *Stream) { s.Peers[0].OnlyMissing = true }, "", ""},
		{"missing here, packaged in another way there", nil, func(s *Stream) { s.Peers[0].OnlyMissing = true }, Missing, ""},
		{"here with other init segments, packaged in another way there", nil, func(s *Stream) {
			s.Peers[0].OnlyMissing = true
			s.Mine[otherInit(slotAt(500))] = []inventory.Copy{copyOf(500, digest(8))}
		}, "", ""},
		{"the one before reaches into it, packaged in another way there", nil, func(s *Stream) {
			s.Peers[0].OnlyMissing = true
			s.Mine[otherInit(slotAt(499))] = []inventory.Copy{copyOf(499, digest(8), func(i *segment.Info) { i.End++ })}
		}, "", ""},
		{"the ones around end and begin where it does, packaged in another way there", nil, func(s *Stream) {
			s.Peers[0].OnlyMissing = true
			for _, cell := range []int{499, 501} {
				s.Mine[otherInit(slotAt(cell))] = []inventory.Copy{copyOf(cell, digest(byte(cell)))}
			}
		}, Missing, ""},
		{"older than retention", nil, func(s *Stream) { s.Retention = time.Minute }, Missing, BeyondRetention},
		{"below the low water", nil, func(s *Stream) { s.LowWater = startUTC(501).Add(time.Second) }, Missing, BeyondRetention},
		{"across the low water", nil, func(s *Stream) { s.LowWater = startUTC(501).Add(-time.Second) }, Missing, ""},
		{"below the low water, and locked", nil, func(s *Stream) {
			s.LowWater, s.Retention = startUTC(501).Add(time.Second), time.Minute
			s.Locked = inventory.Spans{{From: startUTC(501).Add(-time.Second), To: startUTC(600)}}
		}, Missing, ""},
		{"older than retention, and what is locked ends where it begins", nil, func(s *Stream) {
			s.Retention = time.Minute
			s.Locked = inventory.Spans{{From: startUTC(400), To: startUTC(500)}}
		}, Missing, BeyondRetention},
		{"deleted here", nil, func(s *Stream) {
			s.Deleted = inventory.Spans{{From: startUTC(500), To: startUTC(501).Add(time.Millisecond)}}
			s.Locked = s.Deleted
		}, Missing, Deleted},
		{"across the end of what was deleted", nil, func(s *Stream) {
			s.Deleted = inventory.Spans{{From: startUTC(400), To: startUTC(501).Add(-time.Second)}}
		}, Missing, ""},
		{"of no age to expire at", nil, func(s *Stream) { s.Retention = 0 }, Missing, ""},
		{"of the future", nil, func(s *Stream) { s.Peers[0].Slots[0].Copies[0].StartUTC = now.Add(aheadBy + time.Second) }, Missing, Future},
		{"by a clock that is a little ahead", nil, func(s *Stream) { s.Peers[0].Slots[0].Copies[0].StartUTC = now.Add(aheadBy) }, Missing, ""},
		{"about to expire here", nil, func(s *Stream) { s.Retention = now.Sub(startUTC(500)) + 30*time.Second }, Missing, BeyondRetention},
		{"about to expire there", nil, func(s *Stream) { s.Peers[0].Retention = now.Sub(startUTC(500)) + time.Minute }, Expiring, ""},
		{"the same here, with more against it", []inventory.Copy{copyOf(500, d, faulty)}, nil, Evidence, ""},
		{"the same here, with less against it", []inventory.Copy{copyOf(500, d)}, func(s *Stream) { theirs(s, copyOf(500, d, faulty)) }, "", ""},
		{"more against it in another row", nil, func(s *Stream) {
			s.Mine[segment.Slot{Timeline: segment.TimelineID{2}, Cell: 500}] = []inventory.Copy{copyOf(500, d, faulty)}
		}, Evidence, ""},
		{"more against it, and about to expire there", []inventory.Copy{copyOf(500, d, faulty)}, func(s *Stream) {
			s.Peers[0].Retention = now.Sub(startUTC(500)) + time.Minute
		}, Evidence, ""},
		{"more against the newest", []inventory.Copy{copyOf(500, d, faulty)}, func(s *Stream) {
			s.Heads[row] = copyOf(500, d).Info.End
			s.Peers[0].Heads = s.Heads
		}, Evidence, ""},
		{"more against it, packaged in another way there", []inventory.Copy{copyOf(500, d, faulty)}, func(s *Stream) { s.Peers[0].OnlyMissing = true }, "", ""},
		{"more against it, without replicate", []inventory.Copy{copyOf(500, d, faulty)}, func(s *Stream) { s.Replicate = false }, Evidence, NotReplicated},
		{"told meanwhile", []inventory.Copy{copyOf(500, d, faulty)}, func(s *Stream) { s.Here[Place{slotAt(500), d}] = Held{} }, "", ""},
		{"more was told meanwhile", []inventory.Copy{copyOf(500, d, startUncertain)}, func(s *Stream) {
			s.Here[Place{slotAt(500), d}] = Held{Against: segment.Evidence{EndUncertain: true}}
		}, Evidence, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stream(c.mine...)
			if c.change != nil {
				c.change(&s)
			}
			got := Plan(State{Now: now, Streams: []Stream{s}})
			if c.why == "" {
				if len(got) != 0 {
					t.Errorf("got %+v, want nothing", got)
				}
				return
			}
			if len(got) != 1 || got[0].Why != c.why || got[0].WhyNot != c.whyNot {
				t.Errorf("got %+v, want %s %s", got, c.why, c.whyNot)
			}
		})
	}
}

// TestLiveEdge holds I4: interleaving 11, what the peer has and we lack is true of each fresh segment.
func TestLiveEdge(t *testing.T) {
	head := func(cell int) map[segment.TimelineID]timeline.Ticks {
		return map[segment.TimelineID]timeline.Ticks{row: timeline.Wrap + timeline.Ticks(cell)*timeline.CellTicks}
	}
	for _, c := range []struct {
		name         string
		mine, theirs map[segment.TimelineID]timeline.Ticks
		silent       bool
		ago          time.Duration // its end
		want         WhyNot
	}{
		{"a later one is durable here", head(502), head(503), false, 0, ""},
		{"it would be the newest here", head(500), head(502), false, 0, LiveEdge},
		{"it would be the newest here, and all inputs are silent", head(500), head(502), true, 0, ""},
		{"it ends where ours ends", head(501), head(502), false, 0, LiveEdge},
		{"nothing is here, and the peer is far ahead", nil, head(520), false, 0, ""},
		{"nothing is here, and the peer is just ahead", nil, head(502), false, 0, LiveEdge},
		{"the last of a while ago, and the clocks are not quite right", head(500), head(502), false, 40 * time.Second, LiveEdge},
		{"the last of a timeline that the source has left", head(500), head(502), false, 90 * time.Second, ""},
		{"the last of one that we never were on", nil, head(502), false, 90 * time.Second, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stream()
			s.Heads, s.Peers[0].Heads, s.Silent = c.mine, c.theirs, c.silent
			copy := &s.Peers[0].Slots[0].Copies[0]
			copy.StartUTC = now.Add(-c.ago - (copy.Info.End - copy.Info.Start).Duration())
			got := Plan(State{Now: now, Streams: []Stream{s}})
			if len(got) != 1 || got[0].WhyNot != c.want {
				t.Errorf("got %+v, want %q", got, c.want)
			}
		})
	}
}

// TestLostRAP holds interleaving 1: one uncertain copy that spans two whole ones of ours is not wanted, while each of
// ours is wanted on the other side.
func TestLostRAP(t *testing.T) {
	long := copyOf(500, digest(1), func(i *segment.Info) {
		i.End += timeline.CellTicks / 2
		i.Tracks[0].End, i.Tracks[0].Samples = i.End, 217
		i.Evidence.EndUncertain = true
	})
	s := stream(copyOf(500, digest(2)))
	s.Mine[slotAt(501)] = []inventory.Copy{copyOf(501, digest(3))}
	s.Peers[0].Slots[0].Copies = []inventory.Copy{long}
	if got := Plan(State{Now: now, Streams: []Stream{s}}); len(got) != 0 {
		t.Errorf("got %+v, want nothing: ours contain it", got)
	}
	s = stream(long)
	s.Peers[0].Slots = []inventory.Slot{
		{Slot: slotAt(500), Copies: []inventory.Copy{copyOf(500, digest(2))}},
		{Slot: slotAt(501), Copies: []inventory.Copy{copyOf(501, digest(3))}},
	}
	if got := Plan(State{Now: now, Streams: []Stream{s}}); len(got) != 2 {
		t.Errorf("got %+v, want both", got)
	}
}

// TestBothDamagedAlike: of two copies that lack the same, both sites keep the same one (R6), and nothing ping-pongs.
func TestBothDamagedAlike(t *testing.T) {
	x, y := copyOf(500, digest(1), faulty), copyOf(500, digest(2), faulty)
	want := func(mine, theirs inventory.Copy) int {
		s := stream(mine)
		s.Peers[0].Slots[0].Copies = []inventory.Copy{theirs}
		return len(Plan(State{Now: now, Streams: []Stream{s}}))
	}
	if got := [2]int{want(x, y), want(y, x)}; got != [2]int{0, 1} {
		t.Errorf("wanted %v, want that the one with x keeps it and the other fetches it", got)
	}
}

func TestOrder(t *testing.T) {
	streams := make([]Stream, 2)
	for i := range streams {
		s := stream()
		s.Name = []string{"a", "b"}[i]
		s.Peers[0].Slots = nil
		for k := range 3 {
			cell := 500 + k
			s.Peers[0].Slots = append(s.Peers[0].Slots, inventory.Slot{
				Slot: slotAt(cell), Copies: []inventory.Copy{copyOf(cell, digest(byte(i), byte(k)))},
			})
		}
		streams[i] = s
	}
	// The oldest of b is about to expire on its peer.
	streams[1].Peers[0].Retention = now.Sub(startUTC(500)) + expiringWithin - time.Second
	want := []segment.Digest{digest(1, 0), digest(0, 2), digest(1, 2), digest(0, 1), digest(1, 1), digest(0, 0)}
	var got []segment.Digest
	for _, it := range Plan(State{Now: now, Streams: streams}) {
		got = append(got, it.Copy.Info.Digest)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// TestSecondPeer holds that a copy that one peer cannot give is sought from another, and that two share the work.
func TestSecondPeer(t *testing.T) {
	s := stream()
	s.Peers[0].Slots = nil
	for k := range 10 {
		s.Peers[0].Slots = append(s.Peers[0].Slots, inventory.Slot{
			Slot: slotAt(500 + k), Copies: []inventory.Copy{copyOf(500+k, digest(byte(k)))},
		})
	}
	second := s.Peers[0]
	second.ID = "q"
	s.Peers = append(s.Peers, second)
	s.Refused[Refusal{"p", digest(3)}] = now.Add(time.Minute)
	count := map[string]int{}
	for _, it := range Plan(State{Now: now, Streams: []Stream{s}}) {
		if it.WhyNot != "" {
			t.Errorf("%s waits: %s", it.Copy.Info.Digest, it.WhyNot)
		}
		if it.Copy.Info.Digest == digest(3) && it.Peer != "q" {
			t.Errorf("%s is asked of the peer that refused it", it.Copy.Info.Digest)
		}
		count[it.Peer]++
	}
	if count["p"]+count["q"] != 10 || count["p"] < 4 || count["q"] < 4 {
		t.Errorf("fetches are %v, want them shared", count)
	}
}

// TestLeastEvidence holds that of two peers the one with less against a copy is heard, or asked for it.
func TestLeastEvidence(t *testing.T) {
	for name, mine := range map[string][]inventory.Copy{"held": {copyOf(500, digest(7), startUncertain, faulty)}, "missing": nil} {
		s := stream(mine...)
		for _, p := range []Peer{{ID: "q"}, {ID: "r"}} {
			p.Slots, p.Heads = s.Peers[0].Slots, s.Peers[0].Heads
			s.Peers = append(s.Peers, p)
		}
		for i, change := range []func(*segment.Info){startUncertain, func(*segment.Info) {}, faulty} {
			s.Peers[i].Slots = []inventory.Slot{{Slot: slotAt(500), Copies: []inventory.Copy{copyOf(500, digest(7), change)}}}
		}
		if got := Plan(State{Now: now, Streams: []Stream{s}}); len(got) != 1 || got[0].Peer != "q" {
			t.Errorf("%s: got %+v, want q's", name, got)
		}
	}
}

// TestEvidenceIsNoBacklog: it costs no bytes, and is told before anything is fetched.
func TestEvidenceIsNoBacklog(t *testing.T) {
	s := stream(copyOf(500, digest(7), faulty))
	s.Peers[0].Slots = append(s.Peers[0].Slots, inventory.Slot{Slot: slotAt(501), Copies: []inventory.Copy{copyOf(501, digest(8))}})
	items := Plan(State{Now: now, Streams: []Stream{s}})
	if len(items) != 2 || items[0].Why != Evidence {
		t.Fatalf("got %+v, want evidence and what is missing", items)
	}
	if b := Backlog(items); len(b) != 1 || b[0].Why != Missing {
		t.Errorf("backlog %+v, want what is missing", b)
	}
}

// genState makes any state of a few streams, peers and cells.
func genState(t *rapid.T) State {
	st := State{Now: now}
	anyCopy := func(cell int) inventory.Copy {
		var changes []func(*segment.Info)
		if rapid.Bool().Draw(t, "faulty") {
			changes = append(changes, faulty)
		}
		if rapid.Bool().Draw(t, "uncertain") {
			changes = append(changes, startUncertain)
		}
		return copyOf(cell, digest(byte(cell), rapid.Byte().Draw(t, "digest")%4), changes...)
	}
	slots := func() (out []inventory.Slot) {
		for cell := 990; cell < 1000; cell++ {
			if n := rapid.IntRange(0, 2).Draw(t, "copies"); n > 0 {
				s := inventory.Slot{Slot: slotAt(cell)}
				for range n {
					s.Copies = append(s.Copies, anyCopy(cell))
				}
				out = append(out, s)
			}
		}
		return out
	}
	for range rapid.IntRange(1, 3).Draw(t, "streams") {
		s := stream()
		s.Name = rapid.StringMatching(`[a-z]{8}`).Draw(t, "name")
		s.Replicate, s.Silent = rapid.Bool().Draw(t, "replicate"), rapid.Bool().Draw(t, "silent")
		s.Retention = time.Duration(rapid.IntRange(1, 100).Draw(t, "retention")) * time.Second
		s.Heads = map[segment.TimelineID]timeline.Ticks{row: timeline.Wrap + timeline.Ticks(rapid.IntRange(989, 1001).Draw(t, "head"))*timeline.CellTicks}
		for _, m := range slots() {
			s.Mine[m.Slot] = m.Copies
		}
		s.Peers = nil
		for i := range rapid.IntRange(0, 3).Draw(t, "peers") {
			s.Peers = append(s.Peers, Peer{ID: string(rune('p' + i)), Slots: slots(), Heads: s.Heads})
		}
		for range rapid.IntRange(0, 5).Draw(t, "in flight") {
			s.InFlight[digest(byte(rapid.IntRange(990, 999).Draw(t, "cell")), rapid.Byte().Draw(t, "d")%4)] = true
		}
		st.Streams = append(st.Streams, s)
	}
	return st
}

func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := genState(t)
		items := Plan(st)
		if again := Plan(st); !reflect.DeepEqual(items, again) {
			t.Fatalf("I1: two plans of one state differ:\n%+v\n%+v", items, again)
		}
		seen := map[string]bool{}
		streams := map[string]*Stream{}
		for i := range st.Streams {
			streams[st.Streams[i].Name] = &st.Streams[i]
		}
		fetching := true
		for _, it := range items {
			key := it.Stream + it.Key().String()
			if seen[key] {
				t.Fatalf("I2: %s is planned twice", key)
			}
			seen[key] = true
			s := streams[it.Stream]
			if it.WhyNot != "" {
				fetching = false
				continue
			}
			if !fetching {
				t.Fatalf("%s comes after what is not fetched", key)
			}
			if s.InFlight[it.Key()] {
				t.Fatalf("I2: %s is in flight", key)
			}
			if !s.Replicate || it.Copy.StartUTC.Add(s.Retention).Before(now) {
				t.Fatalf("I3: %s would not be kept", key)
			}
			if it.Here {
				continue
			}
			held := false
			for _, h := range s.Mine[it.Slot] {
				if h.Info.Digest != it.Copy.Info.Digest {
					continue
				}
				if held = true; !it.Copy.Info.Evidence.Less(&h.Info.Evidence) {
					t.Fatalf("%s is here, and nothing more is known of it there", key)
				}
			}
			if held != (it.Why == Evidence) {
				t.Fatalf("%s is here: %t; it is planned for %s", key, held, it.Why)
			}
		}
	})
}

// TestPlanJoins: what neither side has whole is joined, with all that is here of its slot; several such copies that are here
// are joined as they are, once.
func TestPlanJoins(t *testing.T) {
	lacks := func(at timeline.Ticks) func(*segment.Info) {
		return func(i *segment.Info) {
			i.Evidence.Faulty = []segment.FaultySample{{PID: 256, DTS: i.Start + at, Reason: segment.ReasonContinuity}}
		}
	}
	a, b, theirs, whole := copyOf(500, digest(1), lacks(0)), copyOf(500, digest(2), lacks(3600)), copyOf(500, digest(7), lacks(7200)), copyOf(500, digest(8))
	type want struct {
		why    Why
		whyNot WhyNot
		here   bool
		with   int
	}
	for _, c := range []struct {
		name   string
		mine   []inventory.Copy
		theirs inventory.Copy
		change func(*Stream)
		want   []want
	}{
		{"with what is here", []inventory.Copy{a}, theirs, nil, []want{{Join, "", false, 1}}},
		{"with all of it", []inventory.Copy{b, a}, theirs, nil, []want{{Join, "", false, 2}}},
		{"theirs is whole", []inventory.Copy{a}, whole, nil, []want{{Faulty, "", false, 0}}},
		{"theirs is whole too", []inventory.Copy{a}, theirs, func(s *Stream) {
			s.Peers[0].Slots[0].Copies = append(s.Peers[0].Slots[0].Copies, whole)
		}, []want{{Faulty, "", false, 0}}},
		{"ours is whole", []inventory.Copy{whole, a}, theirs, nil, nil},
		{"theirs is here too", []inventory.Copy{a, b}, a, nil, []want{{Join, "", true, 1}}},
		{"it was joined", []inventory.Copy{a, b}, a, func(s *Stream) {
			it := Item{Copy: a, With: []segment.Digest{b.Info.Digest}, Here: true}
			s.Here[Place{slotAt(500), it.Key()}] = Held{}
		}, nil},
		{"it is being joined", []inventory.Copy{a, b}, a, func(s *Stream) {
			it := Item{Copy: a, With: []segment.Digest{b.Info.Digest}, Here: true}
			s.InFlight[it.Key()] = true
		}, []want{{Join, InFlight, true, 1}}},
		{"theirs cannot be had: ours are joined meanwhile", []inventory.Copy{a, b}, theirs, func(s *Stream) {
			s.Refused[Refusal{"p", theirs.Info.Digest}] = now.Add(time.Minute)
		}, []want{{Join, "", true, 1}, {Join, Refused, false, 2}}},
		{"at the live edge more may come", []inventory.Copy{a, b}, a, func(s *Stream) {
			s.Heads[row] = theirs.Info.End
			s.Peers[0].Heads = s.Heads
			for i := range s.Mine[slotAt(500)] {
				s.Mine[slotAt(500)][i].StartUTC = now.Add(-time.Minute)
			}
		}, []want{{Join, LiveEdge, true, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stream(c.mine...)
			s.Peers[0].Slots[0].Copies = []inventory.Copy{c.theirs}
			if c.change != nil {
				c.change(&s)
			}
			var got []want
			for _, it := range Plan(State{Now: now, Streams: []Stream{s}}) {
				got = append(got, want{it.Why, it.WhyNot, it.Here, len(it.With)})
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestAskedFirst: what somebody waits for comes before all else, as it is played, and streams take turns; what is not to be had now is
// only said to be asked for.
func TestAskedFirst(t *testing.T) {
	tv, radio := stream(), stream()
	radio.Name = "radio"
	for _, s := range []*Stream{&tv, &radio} {
		s.Mine, s.Peers[0].Slots = map[segment.Slot][]inventory.Copy{}, nil
		for cell := 500; cell < 510; cell++ {
			s.Peers[0].Slots = append(s.Peers[0].Slots, inventory.Slot{Slot: slotAt(cell), Copies: []inventory.Copy{copyOf(cell, digest(byte(cell-500)))}})
		}
	}
	tv.Asked = inventory.Spans{{From: startUTC(502).Add(time.Second), To: startUTC(505).Add(-time.Second)}}
	tv.Refused[Refusal{"p", digest(3)}] = now.Add(time.Minute)
	radio.Asked = inventory.Spans{{From: startUTC(501).Add(time.Second), To: startUTC(502).Add(-time.Second)}}
	items := Plan(State{Now: now, Streams: []Stream{tv, radio}})
	var got []string
	asked := 0
	for _, it := range items {
		if len(got) < 4 {
			got = append(got, fmt.Sprintf("%s %d", it.Stream, it.Slot.Cell))
		}
		if it.Asked {
			asked++
		}
	}
	if want := []string{"tv 502", "radio 501", "tv 504", "tv 509"}; !slices.Equal(got, want) || asked != 4 || len(items) != 20 {
		t.Errorf("%d items, %d asked for, the first %v, want %v", len(items), asked, got, want)
	}
}

// TestJoinsBeside: where a cut is certain on neither side, what is here of the slot beside takes part in a join, also in that of one copy.
func TestJoinsBeside(t *testing.T) {
	one, two, far := copyOf(500, digest(1)), copyOf(501, digest(2)), copyOf(506, digest(3))
	one.Info.Evidence.EndUncertain, two.Info.Evidence.StartUncertain, far.Info.Evidence.StartUncertain = true, true, true
	s := stream(one)
	s.Mine[slotAt(501)], s.Mine[slotAt(506)] = []inventory.Copy{two}, []inventory.Copy{far}
	s.Peers[0].Slots = nil
	got := map[segment.Slot][2]Beside{}
	for _, it := range Plan(State{Now: now, Streams: []Stream{s}}) {
		if it.Why != Join || !it.Here || it.WhyNot != "" {
			t.Errorf("planned %+v", it)
		}
		got[it.Slot] = [2]Beside{it.Before, it.Behind}
	}
	want := map[segment.Slot][2]Beside{
		slotAt(500): {{}, {slotAt(501), []segment.Digest{digest(2)}}},
		slotAt(501): {{slotAt(500), []segment.Digest{digest(1)}}, {}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestJoinsOver: what runs over a slot from before the one beside takes part, whoever is certain of the cuts; where the slot is whole nothing does.
func TestJoinsOver(t *testing.T) {
	over, beside, own := copyOf(500, digest(1)), copyOf(502, digest(2)), copyOf(503, digest(3))
	over.Info.Evidence.EndUncertain, over.Info.End = true, own.Info.End
	own.Info.Evidence.Missing = []segment.MissingSpan{{PID: 256, From: own.Info.Start, To: own.Info.Start + 1}}
	s := stream(over)
	s.Mine[slotAt(502)], s.Mine[slotAt(503)] = []inventory.Copy{beside}, []inventory.Copy{own}
	s.Peers[0].Slots = nil
	of := func() (out []Place) {
		for _, it := range Plan(State{Now: now, Streams: []Stream{s}}) {
			if it.Slot == slotAt(503) {
				out = append(out, it.Far...)
			}
		}
		return out
	}
	if got := of(); !slices.Equal(got, []Place{{slotAt(500), digest(1)}}) {
		t.Errorf("got %v, want the copy that runs over it", got)
	}
	s.Mine[slotAt(500)][0].Info.End = own.Info.Start
	if got := of(); got != nil {
		t.Errorf("got %v, want nothing: it ends before", got)
	}
}
