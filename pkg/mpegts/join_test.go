package mpegts

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

// same compares what must be equal of two units; Lost may differ.
func same(a, b AccessUnit) error {
	switch {
	case a.PTS != b.PTS || a.DTS != b.DTS || a.HasPTS != b.HasPTS:
		return fmt.Errorf("times %d %d %v and %d %d %v", a.PTS, a.DTS, a.HasPTS, b.PTS, b.DTS, b.HasPTS)
	case !bytes.Equal(a.Data, b.Data):
		return fmt.Errorf("%d and %d bytes that differ", len(a.Data), len(b.Data))
	case a.Samples != b.Samples || a.Rate != b.Rate:
		return fmt.Errorf("%d samples at %d and %d at %d", a.Samples, a.Rate, b.Samples, b.Rate)
	}
	return nil
}

// key finds a unit of a clean run again.
type key struct {
	pid uint16
	dts int64
}

func byKey(t *testing.T, units []AccessUnit) map[key]AccessUnit {
	t.Helper()
	m := make(map[key]AccessUnit, len(units))
	for _, u := range units {
		k := key{u.PID, u.DTS}
		if _, twice := m[k]; twice {
			t.Fatalf("PID %d has two units with DTS %d", u.PID, u.DTS)
		}
		m[k] = u
	}
	return m
}

func clipData(t *testing.T, c clip) []byte {
	t.Helper()
	data, err := os.ReadFile(c.make(t))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// writeRandomly cuts data as no datagram would be cut.
func writeRandomly(d *Demuxer, data []byte, r *rand.Rand) {
	for len(data) > 0 {
		n := min(len(data), 1+r.IntN(3000))
		if r.IntN(2) == 0 {
			n = min(len(data), PacketSize*(1+r.IntN(7)))
		}
		d.Write(data[:n])
		data = data[n:]
	}
}

// I2, I3: a join at any packet, and at any byte, ends in what one that saw all has: from its first unit on, each PID's
// units are a suffix of the clean run's.
func TestJoinAnywhere(t *testing.T) {
	for _, c := range clips() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data := clipData(t, c)
			clean := demux(data, Options{})
			packets := len(data) / PacketSize
			for seed := range uint64(60) {
				r := rand.New(rand.NewPCG(seed, 1))
				from := r.IntN(packets*3/4) * PacketSize
				if seed%3 == 0 {
					from += r.IntN(PacketSize)
				}
				rec := &recorder{}
				d := NewDemuxer(rec, Options{})
				writeRandomly(d, data[from:], r)
				d.Flush()
				for _, s := range clean.programs[0].Streams {
					all, joined := clean.of(s.PID), rec.of(s.PID)
					if len(joined) == 0 {
						t.Fatalf("seed %d: nothing of PID %d from byte %d on", seed, s.PID, from)
					}
					if len(joined) > len(all) {
						t.Fatalf("seed %d: PID %d has %d units, more than the %d there are", seed, s.PID, len(joined), len(all))
					}
					for i, u := range joined {
						want := all[len(all)-len(joined)+i]
						if err := same(u, want); err != nil || u.Damage != want.Damage || u.Lost {
							t.Fatalf("seed %d, from byte %d: PID %d unit %d of %d: damage %b, lost %v: %v",
								seed, from, s.PID, i, len(joined), u.Damage, u.Lost, err)
						}
					}
				}
			}
		})
	}
}

// A joiner has the first frame that begins in the first PES it sees whole, once the program is known.
func TestJoinIsPrompt(t *testing.T) {
	data := clipData(t, clips()[1])
	clean := demux(data, Options{})
	for from := 0; from < len(data)/2; from += 97 * PacketSize {
		rec := demux(data[from:], Options{})
		for _, s := range clean.programs[0].Streams {
			if s.Codec.Video() {
				continue
			}
			// The clip has a PMT each 0.1 s and an audio PES each 0.2 s or so.
			begin := clean.of(s.PID)[0].DTS + int64(float64(from)/float64(len(data))*6*90000)
			if got := rec.of(s.PID)[0].DTS; got > begin+90000 {
				t.Errorf("from packet %d: the first audio frame has DTS %d, a second late", from/PacketSize, got)
			}
		}
	}
}

// I1, I2: each packet in turn is lost. What has no damage is what the clean run has; what is missing is announced.
func TestLossOfEachPacket(t *testing.T) {
	for _, c := range clips() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data := clipData(t, c)
			data = data[:min(len(data), 500*PacketSize)]
			clean := demux(data, Options{})
			units := byKey(t, clean.units)
			for lost := range len(data) / PacketSize {
				for _, how := range []struct {
					name  string
					alter func([]byte) []byte
				}{
					{"absent", func(b []byte) []byte {
						return append(bytes.Clone(b[:lost*PacketSize]), b[(lost+1)*PacketSize:]...)
					}},
					{"with transport error", func(b []byte) []byte {
						b = bytes.Clone(b)
						b[lost*PacketSize+1] |= 0x80
						return b
					}},
				} {
					rec := demux(how.alter(data), Options{})
					checkLoss(t, fmt.Sprintf("packet %d %s", lost, how.name), clean, units, rec)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// checkLoss holds a run with losses against the clean one. A loss behind the last unit cannot show.
func checkLoss(t *testing.T, what string, clean *recorder, units map[key]AccessUnit, rec *recorder) {
	t.Helper()
	if len(rec.programs) == 0 {
		return // it was the only PAT or PMT
	}
	for _, s := range clean.programs[0].Streams {
		all, got := clean.of(s.PID), rec.of(s.PID)
		if len(got) == 0 {
			continue
		}
		next := 0 // in all
		for next < len(all) && all[next].DTS != got[0].DTS {
			next++ // before the join
		}
		for _, u := range got {
			want, known := units[key{s.PID, u.DTS}]
			if u.Damage == 0 {
				if !known {
					t.Errorf("%s: PID %d DTS %d is no unit of the clean run and has no damage", what, s.PID, u.DTS)
					return
				}
				if err := same(u, want); err != nil {
					t.Errorf("%s: PID %d DTS %d is not damaged, and differs: %v", what, s.PID, u.DTS, err)
					return
				}
			}
			if next < len(all) && all[next].DTS != u.DTS {
				for next < len(all) && all[next].DTS != u.DTS {
					next++
				}
				if !u.Lost || u.LostReason == 0 {
					t.Errorf("%s: PID %d: a unit before DTS %d is missing without a word", what, s.PID, u.DTS)
					return
				}
			}
			next++
		}
	}
}

// I1: bursts, duplicates, kernel drops and noise in any mixture.
func TestRandomFaults(t *testing.T) {
	for _, c := range clips() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data := clipData(t, c)
			clean := demux(data, Options{})
			units := byKey(t, clean.units)
			for seed := range uint64(40) {
				r := rand.New(rand.NewPCG(seed, 2))
				rec := &recorder{}
				d := NewDemuxer(rec, Options{})
				for rest := data; len(rest) > 0; {
					n := min(len(rest), 7*PacketSize)
					datagram := rest[:n]
					rest = rest[n:]
					switch r.IntN(150) {
					case 0: // lost by the kernel
						d.KernelDrop(1)
						continue
					case 1: // lost on the way; up to 7 of each PID show in the counters
						continue
					case 2: // each packet twice, which is legal
						for ; len(datagram) > 0; datagram = datagram[PacketSize:] {
							d.Write(datagram[:PacketSize])
							d.Write(datagram[:PacketSize])
						}
						continue
					case 3: // a broken sync byte
						datagram = bytes.Clone(datagram)
						datagram[r.IntN(n/PacketSize)*PacketSize] ^= byte(1 + r.IntN(255))
					}
					d.Write(datagram)
				}
				d.Flush()
				rec.stats = d.Stats()
				checkLoss(t, fmt.Sprintf("seed %d", seed), clean, units, rec)
			}
		})
	}
}

// A legal duplicate of every packet changes nothing.
func TestDuplicatesChangeNothing(t *testing.T) {
	data := clipData(t, clips()[0])
	clean := demux(data, Options{})
	var twice []byte
	for at := 0; at < len(data); at += PacketSize {
		twice = append(append(twice, data[at:at+PacketSize]...), data[at:at+PacketSize]...)
	}
	rec := demux(twice, Options{})
	if len(rec.units) != len(clean.units) {
		t.Fatalf("%d units, want %d", len(rec.units), len(clean.units))
	}
	for i, u := range rec.units {
		if err := same(u, clean.units[i]); err != nil || u.Damage != clean.units[i].Damage || u.Lost {
			t.Fatalf("unit %d: damage %b, lost %v: %v", i, u.Damage, u.Lost, err)
		}
	}
	if rec.stats.Duplicates == 0 || rec.stats.ContinuityErrors != 0 {
		t.Errorf("stats %+v", rec.stats)
	}
}
