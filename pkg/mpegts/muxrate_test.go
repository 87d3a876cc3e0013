package mpegts

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// constantMux is 30 s of a multiplex of constant rate with two kinds of sound.
func constantMux(t testing.TB, rate string) []byte {
	return muxed(t, "constant "+rate, "-muxrate "+rate)
}

func muxed(t testing.TB, name, options string) []byte {
	t.Helper()
	path := clip{name, "-f lavfi -i testsrc2=s=320x180:r=25:d=30,noise=alls=10:allf=t -f lavfi -i sine=440:d=30:r=48000" +
		" -map 0 -map 1 -map 1 -c:v libx264 -preset ultrafast -b:v 900k -maxrate 1M -bufsize 300k -bf 2 -g 25" +
		" -c:a:0 aac -c:a:1 mp2 " + options}.make(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func pidOf(p []byte) uint16 { return binary.BigEndian.Uint16(p[1:]) & 0x1FFF }

// hiddenBurst finds a run of packets from the given one on that takes a multiple of 16 of each PID, nulls apart, and at
// least one of any.
func hiddenBurst(data []byte, from, most int) (to int, ok bool) {
	counts := map[uint16]int{}
	odd, all := 0, 0
	for i := from; i < from+most && (i+1)*PacketSize <= len(data); i++ {
		p := data[i*PacketSize:]
		if pid := pidOf(p); pid != nullPID && p[3]&0x10 != 0 {
			if counts[pid]%16 == 0 {
				odd++
			}
			counts[pid]++
			all++
			if counts[pid]%16 == 0 {
				odd--
			}
		}
		if all > 0 && odd == 0 {
			return i + 1, true
		}
	}
	return 0, false
}

func without(data []byte, from, to int) []byte {
	return slices.Delete(slices.Clone(data), from*PacketSize, to*PacketSize)
}

// checkIntact compares units without damage with those of clean reception.
func checkIntact(t *testing.T, what string, clean, got []AccessUnit) (intact int) {
	t.Helper()
	want := map[key][]byte{}
	for _, u := range clean {
		want[key{u.PID, u.DTS}] = u.Data
	}
	for _, u := range got {
		if u.Damage != 0 || !u.HasPTS {
			continue
		}
		if w, ok := want[key{u.PID, u.DTS}]; !ok || !bytes.Equal(w, u.Data) {
			t.Errorf("%s: %s passes for intact", what, line(u))
		}
		intact++
	}
	return intact
}

// measured has the counts from before the end, after which no rate is known any more.
func measured(data []byte) (*recorder, Stats) {
	rec := &recorder{}
	d := NewDemuxer(rec, Options{})
	d.Write(data)
	s := d.Stats()
	d.Flush()
	return rec, s
}

// A burst that takes a multiple of 16 packets of each PID shows in no continuity counter, and in the rate.
func TestHiddenBurst(t *testing.T) {
	for _, rate := range []string{"1800k", "2500k"} {
		data := constantMux(t, rate)
		clean, stats := measured(data)
		if s := stats; !s.MuxConstant || s.HiddenLosses != 0 || s.DamagedUnits > 3 || s.TR101290.PCRAccuracyError != 0 {
			t.Errorf("%s: clean: %+v", rate, s)
		}
		packets, bursts, caught := len(data)/PacketSize, 0, 0
		r := rand.New(rand.NewPCG(1, 2))
		for range 4000 {
			from := packets/2 + r.IntN(packets/3)
			to, ok := hiddenBurst(data, from, 250)
			if !ok {
				continue
			}
			rec, s := measured(without(data, from, to))
			if s.ContinuityErrors != 0 {
				t.Fatalf("%s: the burst of %d to %d is not hidden", rate, from, to)
			}
			bursts++
			caught += int(s.HiddenLosses)
			intact := checkIntact(t, rate, clean.units, rec.units)
			if most := len(clean.units); intact < most-30 {
				t.Errorf("%s: burst of %d packets leaves %d of %d units intact", rate, to-from, intact, most)
			}
			if bursts == 40 {
				break
			}
		}
		if bursts < 20 || caught != bursts {
			t.Errorf("%s: %d of %d bursts were seen", rate, caught, bursts)
		}
	}
}

// Whatever is no loss, and whatever a multiplex of varying rate or with jitter does, is no evidence.
func TestRateIsNoEvidence(t *testing.T) {
	constant := constantMux(t, "1800k")
	each := func(data []byte, do func(i int, p []byte) [][]byte) []byte {
		var out []byte
		for i := range len(data) / PacketSize {
			for _, p := range do(i, slices.Clone(data[i*PacketSize:(i+1)*PacketSize])) {
				out = append(out, p...)
			}
		}
		return out
	}
	jittered := func(span int64) []byte {
		r := rand.New(rand.NewPCG(3, 4))
		return each(constant, func(_ int, p []byte) [][]byte {
			if p[3]&0x20 != 0 && p[4] >= 7 && p[5]&0x10 != 0 {
				v := pcrValue(p[6:]) + r.Int64N(2*span) - span + pcrHz
				base, ext := v/300, v%300
				copy(p[6:], []byte{byte(base >> 25), byte(base >> 17), byte(base >> 9), byte(base >> 1), byte(base<<7) | 0x7E | byte(ext>>8), byte(ext)})
			}
			return [][]byte{p}
		})
	}
	packets := len(constant) / PacketSize
	counter := byte(0)
	for _, c := range []struct {
		name string
		data []byte
		lost bool // packets are missing, and continuity counters say so, or they were null packets
	}{
		{"varying rate", muxed(t, "varying", ""), false},
		{"PCR with 20 us of jitter", jittered(540), false},
		{"PCR with 300 us of jitter", jittered(8100), false},
		{"PCR with 5 ms of jitter", jittered(135_000), false},
		{"PCR with 40 ms of jitter", jittered(1_080_000), false},
		{"a relay takes the null packets", each(constant, func(_ int, p []byte) [][]byte {
			if pidOf(p) == nullPID {
				return nil
			}
			return [][]byte{p}
		}), false},
		{"a relay takes most null packets", each(constant, func(i int, p []byte) [][]byte {
			if pidOf(p) == nullPID && i%20 != 0 {
				return nil
			}
			return [][]byte{p}
		}), false},
		{"a relay takes the null packets of a multiplex that had none for 20 s", each(constant, func(i int, p []byte) [][]byte {
			if pidOf(p) == nullPID {
				if i > packets*2/3 {
					return nil
				}
				counter++
				copy(p, []byte{syncByte, 0x03, 0x00, 0x10 | counter&0x0F})
			}
			return [][]byte{p}
		}), false},
		{"packets come twice", each(constant, func(i int, p []byte) [][]byte {
			if i > packets/2 && i%100 == 0 && pidOf(p) != nullPID {
				return [][]byte{p, p}
			}
			return [][]byte{p}
		}), false},
		{"a datagram lost each second", each(constant, func(i int, p []byte) [][]byte {
			if i > packets/2 && i%1200 < 7 {
				return nil
			}
			return [][]byte{p}
		}), true},
		{"15 null packets lost each second", each(constant, func(i int, p []byte) [][]byte {
			if i > packets/2 && i%1200 < 60 && pidOf(p) == nullPID {
				return nil
			}
			return [][]byte{p}
		}), false},
	} {
		_, s := measured(c.data)
		if s.HiddenLosses != 0 {
			t.Errorf("%s: %d losses were seen that are none", c.name, s.HiddenLosses)
		}
		if want := uint64(3); !c.lost && s.DamagedUnits > want { // at the end, where a picture's end is not seen
			t.Errorf("%s: %d damaged units", c.name, s.DamagedUnits)
		}
	}
}

// What waits for a PCR that does not come any more, is not lost, nor does it wait for ever.
func TestHeldPacketsAreReleased(t *testing.T) {
	data := constantMux(t, "1800k")
	clean := demux(data, Options{})
	whole := len(data) / PacketSize
	for _, c := range []struct {
		name string
		end  func(d *Demuxer)
	}{
		{"flush", func(d *Demuxer) { d.Flush() }},
		{"a loss that is known", func(d *Demuxer) {
			d.KernelDrop(1)
			d.Write(data[(whole-2000)*PacketSize:])
			d.Flush()
			if s := d.Stats(); s.ContinuityErrors > 6 || s.DamagedUnits > 8 {
				t.Errorf("a drop: %d continuity errors, %d damaged units", s.ContinuityErrors, s.DamagedUnits)
			}
			d.stats.Packets -= 2000
		}},
		{"a loss of sync", func(d *Demuxer) { d.Write(make([]byte, 2000)); d.Flush() }},
		{"silence", func(d *Demuxer) {
			d.SetNow(time.Hour)
			if n := len(d.mux.held); n > 0 {
				t.Errorf("%d bytes still wait", n)
			}
			d.Flush()
		}},
	} {
		for cut := range 40 {
			rec := &recorder{}
			d := NewDemuxer(rec, Options{})
			at := whole*3/4 + cut*3
			d.Write(data[:at*PacketSize])
			c.end(d)
			s := d.Stats()
			if s.Packets != uint64(at) || len(d.mux.held) > 0 {
				t.Fatalf("%s: %d packets were used and %d bytes wait, of %d packets", c.name, s.Packets, len(d.mux.held), at)
			}
			checkIntact(t, c.name, clean.units, rec.units)
		}
	}
}

// A map may announce the PID of null packets, and change then.
func TestNullPIDIsNoStream(t *testing.T) {
	b := newBuilder()
	b.section(patPID, patSection(0, 0, 0, programAt{1, 0x1000}))
	for version := range uint8(3) {
		b.section(0x1000, pmtSection(1, version, 0x1FFF, streamAt{0x1B, 0x1FFF, nil}, streamAt{0x04, 0x100, nil}))
		b.adaptation(0x100, 0x80, 0)
	}
	rec := demux(b.data, Options{})
	if n := len(rec.programs); n != 3 || len(rec.programs[2].Streams) != 1 {
		t.Errorf("%d programs: %+v", n, rec.programs)
	}
}

func TestPCR(t *testing.T) {
	for _, want := range []int64{0, 1, 299, 300, 301, 27_000_511, pcrWrap - 1} {
		b := newBuilder()
		b.program(0x1B)
		b.pcrPacket(0x100, want, 0)
		if got := demux(b.data, Options{}).stats.PCR; got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
}

// I5, also where packets wait.
func TestNoAllocationAtConstantRate(t *testing.T) {
	d := NewDemuxer(discard{}, Options{})
	data := constantMux(t, "1800k")
	half := len(data) / PacketSize / 2 * PacketSize
	d.Write(data[:half+half/4])
	at := half + half/4
	step := half / 8
	d.Write(data[at : at+step])
	at += step
	if n := testing.AllocsPerRun(1, func() { d.Write(data[at : at+step]); at += step }); n > 0 || !d.mux.constant {
		t.Errorf("%v allocations, constant %v", n, d.mux.constant)
	}
}

func BenchmarkWriteConstantRate(b *testing.B) {
	data := constantMux(b, "1800k")
	for b.Loop() {
		d := NewDemuxer(discard{}, Options{})
		b.SetBytes(int64(len(data)))
		d.Write(data)
	}
}
