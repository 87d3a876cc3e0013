package packager

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// A change is something that a source does to its multiplex, in order, from a packet on.
type change struct {
	name string
	// make changes the packets from at on.
	make func(packets [][]byte, at int, rnd *rand.Rand) [][]byte
	// jitter says that the change is still one, and the same, where the multiplex is another.
	jitter bool
}

func changesOfSource() []change {
	return []change{
		{"a track goes", func(packets [][]byte, at int, _ *rand.Rand) [][]byte {
			return remap(packets, at, func(es [][]byte) [][]byte { return es[:len(es)-1] }, func(pid uint16) (uint16, bool) {
				return pid, pid != lastPID(packets)
			})
		}, false},
		{"a track comes", func(packets [][]byte, at int, _ *rand.Rand) [][]byte {
			last := lastPID(packets)
			var entry []byte
			packets = remap(packets, 0, func(es [][]byte) [][]byte {
				entry = es[len(es)-1]
				return es[:len(es)-1]
			}, nil)
			var out [][]byte
			for i, p := range packets {
				if i >= at || pidOf(p) != last {
					out = append(out, p)
				}
			}
			// at is where the map of all tracks comes back.
			return remap(out, min(at, len(out)), func(es [][]byte) [][]byte {
				return append(es, entry)
			}, nil)
		}, false},
		{"a track goes for a moment", func(packets [][]byte, at int, rnd *rand.Rand) [][]byte {
			back := at + len(packets)/30 + rnd.IntN(len(packets)/10)
			last := lastPID(packets)
			same := func(es [][]byte) [][]byte { return es }
			without := remap(packets[:back], at, func(es [][]byte) [][]byte { return es[:len(es)-1] }, func(pid uint16) (uint16, bool) {
				return pid, pid != last
			})
			return append(without, remap(remap(packets[back:], 0, same, nil), 0, same, nil)...)
		}, false},
		{"a PID moves", func(packets [][]byte, at int, _ *rand.Rand) [][]byte {
			last := lastPID(packets)
			return remap(packets, at, func(es [][]byte) [][]byte {
				moved := slices.Clone(es[len(es)-1])
				moved[1], moved[2] = moved[1]&0xE0|byte((last+64)>>8), byte(last+64)
				return append(slices.Clone(es[:len(es)-1]), moved)
			}, func(pid uint16) (uint16, bool) {
				if pid == last {
					pid += 64
				}
				return pid, true
			})
		}, false},
		{"another version of the same map", func(packets [][]byte, at int, _ *rand.Rand) [][]byte {
			return remap(packets, at, func(es [][]byte) [][]byte { return es }, nil)
		}, true},
		{"an announced jump", func(packets [][]byte, at int, rnd *rand.Rand) [][]byte {
			return restart(packets, at, rnd.Int64N(1<<33), true)
		}, true},
		{"an encoder restarts", func(packets [][]byte, at int, rnd *rand.Rand) [][]byte {
			return restart(packets, at, rnd.Int64N(1<<33), false)
		}, true},
		{"a small step back", func(packets [][]byte, at int, rnd *rand.Rand) [][]byte {
			return restart(packets, at, -rnd.Int64N(2*int64(maxBack)), false)
		}, true},
		{"a step back", func(packets [][]byte, at int, rnd *rand.Rand) [][]byte {
			return restart(packets, at, -rnd.Int64N(2*int64(maxReordered)), false)
		}, true},
		{"a small step ahead", func(packets [][]byte, at int, rnd *rand.Rand) [][]byte {
			return restart(packets, at, rnd.Int64N(int64(maxAhead)), false)
		}, true},
	}
}

// lastPID is the highest PID of a clip's audio.
func lastPID(packets [][]byte) (last uint16) {
	for _, p := range packets {
		if pid := pidOf(p); pid < 0x1000 {
			last = max(last, pid)
		}
	}
	return last
}

// remap gives the program maps from a packet on the next version and other streams, and packets other PIDs; false: it is
// left out.
func remap(packets [][]byte, at int, streams func([][]byte) [][]byte, pid func(uint16) (uint16, bool)) [][]byte {
	var out [][]byte
	for i, p := range packets {
		if i < at {
			out = append(out, p)
			continue
		}
		p = slices.Clone(p)
		if pidOf(p) == 0x1000 && p[1]&0x40 != 0 {
			p = withStreams(p, streams)
		} else if pid != nil && pidOf(p) != 0x1000 {
			to, keep := pid(pidOf(p))
			if !keep {
				continue
			}
			p[1], p[2] = p[1]&0xE0|byte(to>>8), byte(to)
		}
		out = append(out, p)
	}
	return out
}

// withStreams writes a program map that lies in one packet anew.
func withStreams(p []byte, streams func([][]byte) [][]byte) []byte {
	s := p[5:]
	end := 3 + int(s[1]&0x0F)<<8 + int(s[2]) - 4
	from := 12 + int(s[10]&0x0F)<<8 + int(s[11])
	var es [][]byte
	for b := s[from:end]; len(b) >= 5; {
		n := 5 + int(b[3]&0x0F)<<8 + int(b[4])
		es, b = append(es, b[:n]), b[n:]
	}
	section := slices.Concat(s[:from], slices.Concat(streams(es)...))
	n := len(section) - 3 + 4
	section[1], section[2] = section[1]&0xF0|byte(n>>8), byte(n)
	section[5] = section[5]&0xC1 | (section[5]+2)&0x3E
	out := append(slices.Clone(p[:5]), withCRC(section)...)
	for len(out) < mpegts.PacketSize {
		out = append(out, 0xFF)
	}
	return out
}

// restart moves the clock from a packet on, and, announced or not, begins the continuity counters anew.
func restart(packets [][]byte, at int, by int64, announced bool) [][]byte {
	out := slices.Clone(packets[:at])
	first := map[uint16]bool{}
	counter := map[uint16]byte{}
	for _, p := range packets[at:] {
		p = shift(p, by)
		pid := pidOf(p)
		if !first[pid] {
			first[pid] = true
			counter[pid] = p[3] & 0x0F
			if announced && p[3]&0x20 != 0 && p[4] > 0 {
				p[5] |= 0x80
			}
		}
		p[3] = p[3]&0xF0 | (p[3]-counter[pid])&0x0F
		out = append(out, p)
	}
	return out
}

// TestChangesOfSource: I1 where the source itself changes: recorders that joined anywhere, one of which loses datagrams, got
// them from another multiplexer and in any size, have whole segments alike, wherever its clock stands.
func TestChangesOfSource(t *testing.T) {
	t.Parallel()
	whole := map[string][2]int{}
	few := os.Getenv(testkit.SeedVariable) == "" // then each clip has a third of the changes, and each change a third of the clips
	for n, clip := range clips {
		t.Run(clip.Name, func(t *testing.T) {
			rnd := testkit.Rand(t)
			for i, c := range changesOfSource() {
				if !few || (n+i)%3 == 0 {
					changedSource(t, clip.Seconds, source(t, clip), c, rnd, whole)
				}
			}
		})
	}
	for name, n := range whole {
		t.Logf("%-34s %d of %d segments of the others are whole", name, n[0], n[1])
		if n[0] == 0 {
			t.Errorf("%s: not one segment was whole: the test shows nothing", name)
		}
	}
}

func changedSource(t *testing.T, seconds int, ts []byte, c change, rnd *rand.Rand, whole map[string][2]int) {
	t.Helper()
	packets := slices.Collect(slices.Chunk(shift(ts, rnd.Int64N(int64(timeline.Wrap))), mpegts.PacketSize))
	at := len(packets)/3 + rnd.IntN(len(packets)/3)
	changed := slices.Concat(c.make(packets, at, rnd)...)
	want := record(t, changed, 1316)
	for _, loses := range []bool{false, true} {
		b := changed
		if rnd.IntN(2) == 0 && c.jitter {
			b = jitter(changed, 1+rnd.IntN(40), rnd)
		}
		from := rnd.IntN(len(b) / 2)
		if loses {
			b = loseDatagrams(b[from/mpegts.PacketSize*mpegts.PacketSize:], rnd)
		} else {
			b = b[from:]
		}
		got := record(t, b, 1+rnd.IntN(4000))
		n := whole[c.name]
		before := t.Failed()
		whole[c.name] = [2]int{n[0] + compare(t, want, got), n[1] + len(got.segs)}
		if t.Failed() && !before {
			t.Logf("%s, at packet %d of %d in %d s", c.name, at, len(packets), seconds)
		}
	}
}

// loseDatagrams takes a stream from a packet on (one of a byte within would be spliced where something is lost), and leaves out some of seven packets, but not so many in a row that the counters come round.
func loseDatagrams(ts []byte, rnd *rand.Rand) []byte {
	var out []byte
	for b := range slices.Chunk(ts, 7*mpegts.PacketSize) {
		if rnd.IntN(400) > 0 || len(out) < 200*mpegts.PacketSize {
			out = append(out, b...)
		}
	}
	return out
}
