package e2e

import (
	"cmp"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/deploy/twinreel/verdict"
	"github.com/twinreel/twinreel/deploy/twinreel/witness"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// rule is which access units are not held to what the drop lists say. FORMAT.md has why: "Packet runs", "Evidence".
const rule = "where no counter tells how much is missing, and before a picture whose beginning both did"

type unitKey struct {
	pid uint16
	dts int64
}

// judge compares what both sites hold with what the drop lists say, access unit by access unit.
type judge struct {
	tape  *tape
	relay *relay
	rtp   bool
	hash  map[unitKey]witness.Hash

	doubt map[unitKey]bool // by rule
	bad   map[unitKey]bool // damaged or missing on a site
	// On both sites together: units, those of which a, b and both lost packets, those that are left damaged by the drop lists, those of
	// doubt, and those of them that are damaged.
	judged, left, unsure, spared int
	hit                          [3]int
}

// mark finds what the rule leaves out.
func (j *judge) mark(t *testing.T) {
	t.Helper()
	j.doubt, j.bad = map[unitKey]bool{}, map[unitKey]bool{}
	cells := map[int64]bool{}
	for pid, units := range j.tape.units {
		for site := range j.relay.lost {
			row := 0 // packets of the PID lost in a row
			for n, u := range units {
				for _, d := range u.packets {
					if !j.relay.lost[site][d] {
						row = 0
						continue
					}
					if row++; row < 16 {
						continue
					}
					// Without a sequence both copies of the segment may be held for intact, and then they are not joined.
					for k := max(0, n-1); !j.rtp && k <= min(n+1, len(units)-1); k++ {
						cells[cellOf(units[k].pts)] = true
					}
				}
			}
			hidden := j.hidden(site)
			for _, u := range units {
				if j.rtp && slices.ContainsFunc(u.packets, func(d int) bool { return hidden[d] }) && j.lost(0, u) && j.lost(1, u) {
					j.doubt[unitKey{pid, u.dts}] = true // nothing is kept of its packets
				}
			}
		}
		for n, u := range units[:max(0, len(units)-1)] {
			if j.both(units[n+1].packets[:1]) {
				j.doubt[unitKey{pid, u.dts}] = true // nobody knows where it ended
			}
		}
	}
	for pid, units := range j.tape.units {
		for _, u := range units {
			if cells[cellOf(u.pts)] {
				j.doubt[unitKey{pid, u.dts}] = true
			}
		}
	}
}

// hidden are the datagrams of one site's losses of more than two in a row.
func (j *judge) hidden(site int) map[int]bool {
	out := map[int]bool{}
	lost := j.relay.lost[site]
	for from := 0; from < len(lost); from++ {
		to := from
		for to < len(lost) && lost[to] {
			to++
		}
		for d := from; to-from > 2 && d < to; d++ {
			out[d] = true
		}
		from = max(from, to-1)
	}
	return out
}

func cellOf(pts int64) int64 { return timeline.Ticks(pts).Cell() }

func (j *judge) lost(site int, u *unit) bool {
	return slices.ContainsFunc(u.packets, func(d int) bool { return j.relay.lost[site][d] })
}

// both reports whether one of these packets was lost on both sites.
func (j *judge) both(packets []int) bool {
	return slices.ContainsFunc(packets, func(d int) bool { return j.relay.lost[0][d] && j.relay.lost[1][d] })
}

// site judges one site.
func (j *judge) site(t *testing.T, s *site, stream string) {
	t.Helper()
	intact, from, to := s.intact(t, stream)
	for pid, units := range j.tape.units {
		for _, u := range units {
			k := unitKey{pid, u.dts}
			got, ok := intact[k]
			if ok && got != j.hash[k] {
				if ok = false; !j.doubt[k] {
					t.Errorf("%s: PID %d at %d is held for intact, and is not what was sent", s.node, pid, u.dts)
				}
			}
			if !ok {
				j.bad[k] = true
			}
			if u.dts < from || u.dts >= to { // the first and the last segment have no certain cut
				continue
			}
			j.count(u)
			switch want := !j.both(u.packets); {
			case j.doubt[k]:
				if j.unsure++; !ok {
					j.spared++
				}
			case ok && !want:
				t.Errorf("%s: PID %d at %d is held for intact, and both lost packets of it: %v", s.node, pid, u.dts, u.packets)
			case !ok && want:
				t.Errorf("%s: PID %d at %d is not intact, and no packet of it was lost on both; lost of its %d: %v on a, %v on b",
					s.node, pid, u.dts, len(u.packets), j.places(0, u), j.places(1, u))
			case !ok:
				j.left++
			}
		}
	}
}

func (j *judge) count(u *unit) {
	j.judged++
	a, b := j.lost(0, u), j.lost(1, u)
	for i, is := range []bool{a, b, a && b} {
		if is {
			j.hit[i]++
		}
	}
}

// places are those of the packets of a unit that a site lost.
func (j *judge) places(site int, u *unit) (out []int) {
	for i, d := range u.packets {
		if j.relay.lost[site][d] {
			out = append(out, i)
		}
	}
	return out
}

// intact gives the access units against which a site knows nothing, and between which times they are to be judged.
func (s *site) intact(t *testing.T, stream string) (units map[unitKey]witness.Hash, from, to int64) {
	t.Helper()
	src := archive.New(s.conn, stream)
	faulty := map[unitKey]bool{}
	var starts []int64
	for seg, err := range src.Locate(t.Context(), archive.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range seg.Info.Evidence.Faulty {
			faulty[unitKey{f.PID, int64(f.DTS) & (1<<33 - 1)}] = true
		}
		starts = append(starts, int64(seg.Info.Start)&(1<<33-1))
	}
	slices.SortFunc(starts, cmp.Compare)
	read, err := verdict.Read(t.Context(), s.node, src)
	if err != nil {
		t.Fatal(err)
	}
	units = map[unitKey]witness.Hash{}
	for _, seg := range read.Segments {
		for _, u := range seg.Units {
			k := unitKey{u.PID, u.DTS}
			if _, twice := units[k]; twice {
				t.Errorf("%s: PID %d at %d is there twice", s.node, u.PID, u.DTS)
			}
			if !faulty[k] {
				units[k] = u.Hash
			}
		}
	}
	return units, starts[1] + 90000, starts[len(starts)-1] - 90000
}
