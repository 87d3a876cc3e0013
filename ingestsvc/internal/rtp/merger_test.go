package rtp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// tape writes down what a merger hands on: "5" for the payload of that number, "-3" for three that are missing.
type tape struct{ got []string }

func (t *tape) Payload(_ uint32, _ uint16, b []byte) { t.got = append(t.got, string(b)) }
func (t *tape) Missing(n uint32)                     { t.got = append(t.got, fmt.Sprintf("-%d", n)) }

// run joins neighbours: 1 2 3 becomes 1..3.
func (t *tape) String() string {
	var out []string
	for i := 0; i < len(t.got); {
		var first, last uint32
		j := i
		for ; j < len(t.got); j++ {
			var n uint32
			if _, err := fmt.Sscanf(t.got[j], "%d", &n); err != nil || t.got[j][0] == '-' || j > i && uint16(n) != uint16(last+1) {
				break
			}
			if j == i {
				first = n
			}
			last = n
		}
		switch {
		case j <= i+1:
			out = append(out, t.got[i])
			j = i + 1
		default:
			out = append(out, fmt.Sprintf("%d..%d", first, last))
		}
		i = j
	}
	return fmt.Sprint(out)
}

type bench struct {
	*Merger
	*tape
	now time.Duration
}

func newBench(legs int, limits Limits) *bench {
	t := &tape{}
	return &bench{Merger: New(legs, limits, t), tape: t}
}

// send brings packets of a sender, a millisecond apart; their stamp goes with the number and the sender.
func (b *bench) send(leg int, ssrc uint32, seqs ...uint16) {
	for _, s := range seqs {
		b.now += time.Millisecond
		b.Packet(leg, b.now, Header{Type: TypeMP2T, Seq: s, SSRC: ssrc & 0xFF, Stamp: uint32(s) + ssrc}, []byte(fmt.Sprint(s)))
	}
}

// span is a run of numbers.
func span(from, n int) []uint16 {
	s := make([]uint16, n)
	for i := range s {
		s[i] = uint16(from + i)
	}
	return s
}

func TestMerger(t *testing.T) {
	small := Limits{Packets: 64, Bytes: 1 << 20, Wait: 100 * time.Millisecond}
	for _, c := range []struct {
		name   string
		legs   int
		limits Limits
		play   func(*bench)
		want   string
		stats  Stats
	}{
		{"in order, over the wrap", 1, OneLeg(), func(b *bench) { b.send(0, 1, span(65530, 12)...) },
			"[65530..5]", Stats{Legs: []LegStats{{Packets: 12}}}},
		{"overtaken", 1, OneLeg(), func(b *bench) { b.send(0, 1, 65534, 1, 0, 65535, 3, 2, 4) },
			"[65534..4]", Stats{Reordered: 3, Legs: []LegStats{{Packets: 7}}}},
		{"repeated", 1, OneLeg(), func(b *bench) { b.send(0, 1, 7, 7, 8, 7, 9, 8, 10) },
			"[7..10]", Stats{Legs: []LegStats{{Packets: 7, Duplicates: 3}}}},
		{"lost, by time", 1, OneLeg(), func(b *bench) {
			b.send(0, 1, 1, 2)
			b.send(0, 1, span(6, 110)...)
		}, "[1..2 -3 6..115]", Stats{Missing: 3, Legs: []LegStats{{Packets: 112, Lost: 3}}}},
		{"lost, by number", 1, small, func(b *bench) {
			b.send(0, 1, 1)
			b.now -= 90 * time.Millisecond
			b.send(0, 1, span(3, 64)...)
		}, "[1 -1 3..66]", Stats{Missing: 1, Legs: []LegStats{{Packets: 65, Lost: 1}}}},
		{"lost, by bytes", 1, Limits{Packets: 64, Bytes: 3, Wait: time.Second}, func(b *bench) { b.send(0, 1, 1, 3, 4, 5, 6, 8) },
			"[1 -1 3..6]", Stats{Missing: 1, Legs: []LegStats{{Packets: 6}}}},
		{"two holes have a time each", 1, OneLeg(), func(b *bench) {
			b.send(0, 1, 1, 3)
			b.now += 60 * time.Millisecond
			b.send(0, 1, 5)
			b.now += 45 * time.Millisecond
			b.Tick(b.now)
			b.send(0, 1, 4)
		}, "[1 -1 3..5]", Stats{Missing: 1, Reordered: 1, Legs: []LegStats{{Packets: 4}}}},
		{"late", 1, OneLeg(), func(b *bench) {
			b.send(0, 1, 1, 3)
			b.now += 200 * time.Millisecond
			b.send(0, 1, 4, 2, 5)
		}, "[1 -1 3..5]", Stats{Missing: 1, Late: 1, Legs: []LegStats{{Packets: 5}}}},
		{"older than the beginning", 1, OneLeg(), func(b *bench) { b.send(0, 1, 100, 99, 101) },
			"[100..101]", Stats{Late: 1, Legs: []LegStats{{Packets: 3}}}},
		{"a sender that takes over", 1, OneLeg(), func(b *bench) {
			b.send(0, 1, 1, 2, 3)
			b.send(0, 2, span(40000, 120)...)
		}, "[1..3 -0 40000..40119]", Stats{Restarts: 1, Legs: []LegStats{{Packets: 123}}}},
		{"a sender that takes over and goes on counting", 1, OneLeg(), func(b *bench) {
			b.send(0, 1, 1, 2, 3)
			b.send(0, 2, span(6, 120)...)
			b.now += time.Second
			b.Tick(b.now)
		}, "[1..3 -2 6..125]", Stats{Missing: 2, Legs: []LegStats{{Packets: 123, Lost: 2}}}},
		{"a sender that interferes", 1, OneLeg(), func(b *bench) {
			for i := range 300 {
				b.send(0, 1, uint16(i))
				b.send(0, 2, uint16(i+3), uint16(i+4))
			}
		}, "[0..299]", Stats{Legs: []LegStats{{Packets: 300, Foreign: 598}}}},
		{"a leap ahead is a loss of so many", 1, small, func(b *bench) {
			b.send(0, 1, 1, 2, 4)
			b.send(0, 1, span(1000, 120)...)
		}, "[1..2 -1 4 -995 1000..1119]", Stats{Missing: 996, Legs: []LegStats{{Packets: 123}}}},
		{"a leap back is a restart", 1, small, func(b *bench) {
			b.send(0, 1, span(5000, 10)...)
			b.send(0, 1, span(0, 120)...)
		}, "[5000..5009 -0 0..119]", Stats{Restarts: 1, Legs: []LegStats{{Packets: 130}}}},
		{"a restart within reach", 1, OneLeg(), func(b *bench) {
			b.send(0, 1, span(0, 50)...)
			b.send(0, 0x101, span(0, 130)...)
		}, "[0..49 -0 0..129]", Stats{Restarts: 1, Legs: []LegStats{{Packets: 180, Lost: 0}}}},
		{"one stray packet", 1, small, func(b *bench) {
			b.send(0, 1, span(0, 150)...)
			b.send(0, 1, 9000)
			b.send(0, 1, span(150, 150)...)
		}, "[0..299]", Stats{Legs: []LegStats{{Packets: 300, Foreign: 1}}}},

		{"two legs, each loses what the other has", 2, TwoLegs(), func(b *bench) {
			for i := range 300 {
				if i%3 != 0 || i == 0 {
					b.send(0, 1, uint16(i))
				}
				if j := i - 40; j >= 0 && j%3 == 0 {
					b.send(1, 2, uint16(j))
				}
			}
			b.send(1, 2, span(260, 140)...)
		}, "[0..399]", Stats{Reordered: 99, Legs: []LegStats{{Packets: 201, Lost: 78}, {Packets: 227, Lost: 173}}}},
		{"two legs, both lose one", 2, TwoLegs(), func(b *bench) {
			for i := range 900 {
				if i != 100 {
					b.send(i%2, 1, uint16(i))
					b.send(1-i%2, 1, uint16(i))
				}
			}
		}, "[0..99 -1 101..899]", Stats{Missing: 1, Legs: []LegStats{{Packets: 899, Lost: 1}, {Packets: 899, Lost: 1}}}},
		{"one leg of two is silent", 2, TwoLegs(), func(b *bench) { b.send(1, 1, span(0, 100)...) },
			"[0..99]", Stats{Legs: []LegStats{{}, {Packets: 100}}}},
		{"a leg that carries something else", 2, TwoLegs(), func(b *bench) {
			for i := range 900 {
				b.send(0, 1, uint16(i))
				b.send(1, 2, uint16(i+30000))
			}
		}, "[0..899]", Stats{Legs: []LegStats{{Packets: 900}, {Foreign: 512}}}},
		{"both legs begin anew", 2, TwoLegs(), func(b *bench) {
			for i := range 100 {
				b.send(0, 1, uint16(i))
				b.send(1, 1, uint16(i))
			}
			for i := range 900 {
				b.send(0, 5, uint16(i+30000))
				b.send(1, 5, uint16(i+30000))
			}
		}, "[0..99 -0 30000..30899]", Stats{Restarts: 1, Legs: []LegStats{{Packets: 1000}, {Packets: 1000}}}},
		{"one begins anew while the other brings the last of the sender before, and then nothing", 2, TwoLegs(), func(b *bench) {
			b.send(0, 1, span(0, 100)...)
			b.send(1, 1, span(0, 100)...)
			for i := range 600 {
				b.now += 9 * time.Millisecond
				b.send(0, 5, uint16(i+30000))
				if i < 3 {
					b.send(1, 1, uint16(i+100))
				}
			}
		}, "[0..102 -0 30000..30599]", Stats{Restarts: 1, Legs: []LegStats{{Packets: 700}, {Packets: 103}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(c.legs, c.limits)
			c.play(b)
			if got := b.tape.String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			s := b.Stats()
			for i := range s.Legs {
				s.Legs[i].Seen, s.Legs[i].Odd, s.Legs[i].Behind = 0, 0, 0
			}
			if fmt.Sprint(s) != fmt.Sprint(c.stats) {
				t.Errorf("counted %+v, want %+v", s, c.stats)
			}
			b.Flush()
			if b.Waiting() || b.bytes != 0 {
				t.Errorf("%d packets of %d bytes are held after the end", b.held, b.bytes)
			}
		})
	}
}

// I3: what has numbers within reach may be another stream all the same. A stranger's payload is its number and an x.
func TestNumbersWithinReach(t *testing.T) {
	stranger := func(b *bench, leg int, ssrc uint32, seqs ...uint16) {
		for _, s := range seqs {
			b.now += time.Millisecond
			h := Header{Type: TypeMP2T, Seq: s, SSRC: ssrc, Stamp: uint32(s) + 0x9000_0000}
			b.Packet(leg, b.now, h, []byte(fmt.Sprint("x", s)))
		}
	}
	both := func(b *bench, from, n int) {
		for i := range n {
			b.send(0, 1, uint16(from+i))
			b.send(1, 1, uint16(from+i))
		}
	}
	for _, c := range []struct {
		name  string
		legs  int
		play  func(*bench)
		first string // what comes of the sender before
		gap   bool   // a doubt behind it
		rest  string // what comes of the stranger
	}{
		{"a sender that takes over behind", 1, func(b *bench) {
			b.send(0, 1, span(0, 2000)...)
			stranger(b, 0, 2, span(1500, 700)...)
		}, "[0..1999]", true, "[1500..2199]"},
		{"a sender that takes over ahead", 1, func(b *bench) {
			b.send(0, 1, span(0, 200)...)
			stranger(b, 0, 2, span(300, 200)...)
		}, "[0..199]", true, "[300..499]"},
		{"a second leg with another stream", 2, func(b *bench) {
			for i := range 3000 {
				b.send(0, 1, uint16(i))
				stranger(b, 1, 2, uint16(i+500))
			}
		}, "[0..2999]", false, "[]"},
		{"a second leg with another stream, behind", 2, func(b *bench) {
			for i := range 3000 {
				b.send(0, 1, uint16(i+500))
				stranger(b, 1, 1, uint16(i))
			}
		}, "[500..3499]", false, "[]"},
		{"one leg begins anew far ahead", 2, func(b *bench) {
			both(b, 0, 1000)
			for i := range 3000 {
				b.send(0, 1, uint16(1000+i))
				stranger(b, 1, 1, uint16(5000+i))
			}
		}, "[0..3999]", false, "[]"},
		{"one leg begins anew ahead, after long", 2, func(b *bench) {
			both(b, 0, 100)
			b.send(0, 1, span(100, 40000)...)
			for i := range 3000 {
				b.send(0, 1, uint16(40100+i))
				stranger(b, 1, 1, uint16(40600+i))
			}
		}, "[0..43099]", false, "[]"},
		{"both senders are replaced, within reach", 2, func(b *bench) {
			both(b, 0, 1000)
			b.now += 20 * time.Second
			for i := range 1200 {
				stranger(b, 0, 2, uint16(500+i))
				stranger(b, 1, 2, uint16(500+i))
			}
		}, "[0..999]", true, "[500..1699]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			limits := OneLeg()
			if c.legs > 1 {
				limits = TwoLegs()
			}
			b := newBench(c.legs, limits)
			c.play(b)
			b.Flush()
			var first, rest tape
			doubts := 0
			for _, g := range b.got {
				switch {
				case g == "-0":
					doubts++
				case g[0] == 'x':
					rest.got = append(rest.got, g[1:])
				default:
					first.got = append(first.got, g)
				}
			}
			if first.String() != c.first || rest.String() != c.rest {
				t.Errorf("got %s and of the stranger %s, want %s and %s", &first, &rest, c.first, c.rest)
			}
			if want := map[bool]int{true: 1}[c.gap]; doubts != want {
				t.Errorf("%d doubts, want %d", doubts, want)
			}
		})
	}
}

// A leg is joined for what the other lost, though the two never bring the same; and a stranger is not, whatever is lost.
func TestLegsThatBothLose(t *testing.T) {
	for _, strange := range []bool{false, true} {
		b := newBench(2, TwoLegs())
		for i := range 6000 {
			if i%2 == 0 {
				b.send(0, 1, uint16(i))
			}
			if j := i - 25; j >= 0 && (j%2 == 1 || strange) {
				h := Header{Type: TypeMP2T, Seq: uint16(j), SSRC: 1, Stamp: uint32(j)}
				text := fmt.Sprint(j)
				if strange {
					text = "x" + text
				}
				b.Packet(1, b.now, h, []byte(text))
			}
		}
		b.Flush()
		if s := b.Stats(); !strange && (s.Missing > 13 || s.Restarts > 0) || strange && s.Legs[1].Packets > 0 {
			t.Errorf("a stranger %v: counted %+v", strange, s)
		}
	}
}

// I4: a leg that is ahead is joined too, at any rate.
func TestLegAhead(t *testing.T) {
	for _, ahead := range []int{40, 400, 800, 4000, 8000} {
		b := newBench(2, TwoLegs())
		for i := range 3*ahead + 3000 {
			b.now += 400 * time.Millisecond / time.Duration(ahead)
			for leg, n := range []int{i, i + ahead} {
				if lost := i > 2*ahead && i%10 == 0 && leg == 0; !lost {
					b.Packet(leg, b.now, Header{Type: TypeMP2T, Seq: uint16(n), SSRC: 1, Stamp: uint32(n)}, fmt.Append(nil, n))
				}
			}
		}
		b.Flush()
		if s := b.Stats(); s.Missing > 0 || s.Legs[1].Foreign > 0 {
			t.Errorf("%d packets ahead: counted %+v", ahead, s)
		}
	}
}

// I2, I3: a leg that begins anew only a little ahead is mixed in until the other leg shows that one of them is wrong. It is
// told, and ends after a few packets.
func TestLegsThatDiffer(t *testing.T) {
	b := newBench(2, TwoLegs())
	for i := range 1000 {
		b.send(0, 1, uint16(i))
		b.send(1, 1, uint16(i))
	}
	b.got = nil
	for i := range 1000 {
		b.send(0, 1, uint16(1000+i))
		b.now += time.Millisecond
		b.Packet(1, b.now, Header{Type: TypeMP2T, Seq: uint16(1001 + i), SSRC: 1, Stamp: 7}, fmt.Append(nil, "x", i))
	}
	b.Flush()
	mixed, doubts := 0, 0
	for i, g := range b.got {
		if g == "-0" {
			doubts++
		}
		if i > 0 && (g[0] == 'x') != (b.got[i-1][0] == 'x') {
			mixed++
		}
	}
	if doubts != 1 || mixed > 4 {
		t.Errorf("%d doubts and %d changes between the streams, want 1 and 4 at most", doubts, mixed)
	}
}

// How far a leg is behind the other shows, and a repetition does not move it.
func TestLegBehind(t *testing.T) {
	b := newBench(2, TwoLegs())
	for i := range 2000 {
		now := time.Duration(i) * time.Millisecond
		b.Packet(0, now, Header{Seq: uint16(i), SSRC: 1, Stamp: uint32(i)}, fmt.Append(nil, i))
		if j := i - 80; j >= 0 {
			h := Header{Seq: uint16(j), SSRC: 1, Stamp: uint32(j)}
			b.Packet(1, now, h, fmt.Append(nil, j))
			b.Packet(1, now+time.Second/10, h, fmt.Append(nil, j))
		}
	}
	legs := b.Stats().Legs
	if d := legs[1].Behind; d < 78*time.Millisecond || d > 82*time.Millisecond || legs[0].Behind != 0 {
		t.Errorf("the legs are %v and %v behind, want 0 and 80 ms", legs[0].Behind, d)
	}
}

// I1, I2, I4 on random paths: what comes out is what went in, with each hole in its place and with its size.
func TestRandomPaths(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		legs := 1 + int(seed%2)
		limits := []Limits{OneLeg(), TwoLegs()}[legs-1]
		type arrival struct {
			leg  int
			at   time.Duration
			seq  uint16
			path int
		}
		const packets = 2000
		start := r.IntN(1 << 16)
		var arrivals []arrival
		came := make([]bool, packets)
		for l := range legs {
			delay := time.Duration(0)
			if l == 1 {
				delay = time.Duration(r.IntN(300)) * time.Millisecond
			}
			for i := range packets {
				if i > 0 && r.IntN(20) == 0 {
					continue
				}
				for range 1 + r.IntN(50)/49 { // now and then twice
					jitter := time.Duration(r.IntN(40)) * time.Millisecond
					if i == 0 {
						jitter = -time.Second // the stream begins with its first packet
					}
					arrivals = append(arrivals, arrival{l, time.Duration(i)*time.Millisecond + delay + jitter, uint16(start + i), l})
				}
				came[i] = true
			}
		}
		slices.SortStableFunc(arrivals, func(a, b arrival) int { return int(a.at - b.at) })
		b := newBench(legs, limits)
		for _, a := range arrivals {
			b.Packet(a.leg, a.at, Header{Type: TypeMP2T, Seq: a.seq, SSRC: 9, Stamp: uint32(a.seq)}, []byte(fmt.Sprint(a.seq)))
		}
		b.Flush()
		var want []string
		hole := 0
		for i, ok := range came {
			if !ok {
				hole++
				continue
			}
			if hole > 0 {
				want = append(want, fmt.Sprintf("-%d", hole))
				hole = 0
			}
			want = append(want, fmt.Sprint(uint16(start+i)))
		}
		if !slices.Equal(b.got, want) {
			t.Fatalf("seed %d: got\n%v\nwant\n%v", seed, b.tape, &tape{want})
		}
	}
}

// I5.
func TestNothingIsAllocated(t *testing.T) {
	m := New(2, TwoLegs(), discard{})
	payload := make([]byte, 1316)
	seq := uint16(0)
	now := time.Duration(0)
	round := func() {
		for _, s := range []uint16{0, 2, 1, 3, 3, 5, 6, 7, 4} {
			now += time.Millisecond
			h := Header{Type: TypeMP2T, Seq: seq + s, SSRC: 1, Stamp: uint32(seq + s)}
			m.Packet(0, now, h, payload)
			m.Packet(1, now, h, payload)
		}
		seq += 8
	}
	round()
	if n := testing.AllocsPerRun(1000, round); n != 0 {
		t.Errorf("%v allocations in 18 packets", n)
	}
}

type discard struct{}

func (discard) Payload(uint32, uint16, []byte) {}
func (discard) Missing(uint32)                 {}

// encode writes a packet as a sender does.
func encode(h Header, csrcs int, extension, padding []byte, payload []byte) []byte {
	b := []byte{0x80 | byte(csrcs), h.Type}
	b = binary.BigEndian.AppendUint16(b, h.Seq)
	b = binary.BigEndian.AppendUint32(b, h.Stamp)
	b = binary.BigEndian.AppendUint32(b, h.SSRC)
	b = append(b, make([]byte, 4*csrcs)...)
	if extension != nil {
		b[0] |= 0x10
		b = binary.BigEndian.AppendUint16(append(b, 0xBE, 0xDE), uint16(len(extension)/4))
		b = append(b, extension...)
	}
	b = append(b, payload...)
	if padding != nil {
		b[0] |= 0x20
		b = append(b, padding...)
	}
	return b
}

func TestParse(t *testing.T) {
	ts := bytes.Repeat(append([]byte{syncByte}, make([]byte, 187)...), 7)
	m2ts := bytes.Repeat(append([]byte{1, 2, 3, 4, syncByte}, make([]byte, 187)...), 7)
	rs := bytes.Repeat(append([]byte{syncByte}, make([]byte, 203)...), 6)
	h := Header{Type: TypeMP2T, Seq: 0xFFFE, Stamp: 0x01020304, SSRC: 0xDEADBEEF}
	dynamic := Header{Type: 96, SSRC: 1}
	for _, c := range []struct {
		name    string
		b       []byte
		payload []byte // nil: not RTP
		carries bool
		looks   bool
	}{
		{"plain", encode(h, 0, nil, nil, ts), ts, true, true},
		{"CSRCs", encode(h, 15, nil, nil, ts), ts, true, true},
		{"extension", encode(h, 2, make([]byte, 12), nil, ts), ts, true, true},
		{"empty extension", encode(h, 0, []byte{}, nil, ts), ts, true, true},
		{"padding", encode(h, 0, nil, []byte{0, 0, 0, 4}, ts), ts, true, true},
		{"192 bytes a packet", encode(h, 0, nil, nil, m2ts), m2ts, true, true},
		{"204 bytes a packet", encode(h, 0, nil, nil, rs), rs, true, true},
		{"a type of its own", encode(dynamic, 0, nil, nil, ts), ts, true, false},
		{"a type of its own, not TS", encode(dynamic, 0, nil, nil, make([]byte, 1316)), make([]byte, 1316), false, false},
		{"no payload", encode(h, 0, nil, nil, nil), []byte{}, true, false},
		{"a type of its own, padding alone", encode(dynamic, 0, nil, []byte{0, 0, 0, 4}, nil), []byte{}, true, false},
		{"no TS", encode(h, 0, nil, nil, []byte("x")), []byte("x"), true, false},
		{"padding alone", encode(h, 0, nil, []byte{0, 0, 0, 4}, nil), []byte{}, true, false},
		{"padding beyond", encode(h, 0, nil, []byte{0, 0, 0, 5}, nil), nil, false, false},
		{"padding of 0", encode(h, 0, nil, []byte{0}, ts), nil, false, false},
		{"extension beyond", encode(h, 0, make([]byte, 12), nil, nil)[:26], nil, false, false},
		{"extension cut", encode(h, 0, []byte{}, nil, nil)[:14], nil, false, false},
		{"CSRCs beyond", encode(h, 1, nil, nil, nil)[:14], nil, false, false},
		{"short", encode(h, 0, nil, nil, nil)[:11], nil, false, false},
		{"bare TS", ts, nil, false, false},
		{"nothing", nil, nil, false, false},
	} {
		got, payload, ok := Parse(c.b)
		if ok != (c.payload != nil) || !bytes.Equal(payload, c.payload) {
			t.Errorf("%s: got %d bytes, %t, want %d", c.name, len(payload), ok, len(c.payload))
		}
		if ok && got != h && got != dynamic {
			t.Errorf("%s: got %+v", c.name, got)
		}
		if ok && got.Carries(payload) != c.carries {
			t.Errorf("%s: carries TS: %t", c.name, !c.carries)
		}
		if Looks(c.b) != c.looks {
			t.Errorf("%s: looks like TS in RTP: %t", c.name, !c.looks)
		}
	}
}

func FuzzParse(f *testing.F) {
	h := Header{Type: TypeMP2T, Seq: 1, SSRC: 1}
	f.Add(encode(h, 0, nil, nil, []byte("abc")))
	f.Add(encode(h, 3, make([]byte, 8), []byte{0, 2}, []byte("abc")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, ok := Parse(b)
		if !ok {
			return
		}
		if len(payload) > len(b)-headerSize || h.Type > 127 {
			t.Fatalf("%d bytes of payload from %d", len(payload), len(b))
		}
		Looks(b)
	})
}

// I5 on anything: a datagram of the fuzz input is 5 bytes of leg, number, sender and time.
func FuzzMerger(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 1, 0, 0, 3, 0, 1, 1, 0, 2, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		out := &tape{}
		limits := Limits{Packets: 64, Bytes: 1000, Wait: 10 * time.Millisecond}
		m := New(2, limits, out)
		now := time.Duration(0)
		for ; len(b) >= 5; b = b[5:] {
			now += time.Duration(b[4]) * time.Millisecond
			seq := binary.BigEndian.Uint16(b[1:])
			m.Packet(int(b[0]&1), now, Header{Type: TypeMP2T, Seq: seq, SSRC: uint32(b[3] & 3), Stamp: uint32(b[3] >> 2)}, []byte(fmt.Sprint(seq)))
			if m.held > limits.Packets || m.bytes > limits.Bytes || m.held == 0 && m.bytes != 0 || len(m.free) > keptBuffers {
				t.Fatalf("%d packets of %d bytes are held", m.held, m.bytes)
			}
		}
		m.Flush()
		last := -1
		for i, g := range out.got {
			if g[0] == '-' {
				last = -1
				continue
			}
			var n int
			fmt.Sscan(g, &n)
			if last >= 0 && n != (last+1)&0xFFFF {
				t.Fatalf("%d follows %d without a word, at %d", n, last, i)
			}
			last = n
		}
	})
}
