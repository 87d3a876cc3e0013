package teletext

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/twinreel/twinreel/pkg/teletext/teletexttest"
)

// coded84 is table 8.2 of EN 300 706, as it is printed.
var coded84 = [16]byte{0x15, 0x02, 0x49, 0x5E, 0x64, 0x73, 0x38, 0x2F, 0xD0, 0xC7, 0x8C, 0x9B, 0xA1, 0xB6, 0xFD, 0xEA}

func TestHamming(t *testing.T) {
	for v, b := range coded84 {
		for flip := -1; flip < 8; flip++ {
			c := b
			if flip >= 0 {
				c ^= 1 << flip
			}
			if got, ok := hamming84(c); !ok || got != uint8(v) {
				t.Errorf("%#x, bit %d: %d, %t", b, flip, got, ok)
			}
			for second := range max(flip, 0) {
				if _, ok := hamming84(c ^ 1<<second); ok {
					t.Errorf("%#x: bits %d and %d pass", b, flip, second)
				}
			}
		}
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		v := rnd.Uint32N(1 << 18)
		b := protect2418(v)
		w := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		for flip := -1; flip < 24; flip++ {
			c := w
			if flip >= 0 {
				c ^= 1 << flip
			}
			if got, ok := hamming2418([]byte{byte(c), byte(c >> 8), byte(c >> 16)}); !ok || got != v {
				t.Fatalf("%#x, bit %d: %#x, %t", v, flip, got, ok)
			}
			for second := range max(flip, 0) {
				c := c ^ 1<<second
				if _, ok := hamming2418([]byte{byte(c), byte(c >> 8), byte(c >> 16)}); ok {
					t.Fatalf("%#x: bits %d and %d pass", v, flip, second)
				}
			}
		}
	}
}

// protect2418 codes as EN 300 706, 8.3 draws it: data bits into their places, then each parity over its bits.
func protect2418(v uint32) []byte {
	var place [25]uint32
	n := 0
	for p := 3; p < 24; p++ {
		if p&(p-1) != 0 {
			place[p] = v >> n & 1
			n++
		}
	}
	for k := 1; k < 24; k *= 2 {
		sum := uint32(1)
		for p := k + 1; p < 24; p++ {
			if p&k != 0 {
				sum ^= place[p]
			}
		}
		place[k] = sum
	}
	place[24] = 1
	for p := 1; p < 24; p++ {
		place[24] ^= place[p]
	}
	var b [3]byte
	for p := 1; p < 25; p++ {
		b[(p-1)/8] |= byte(place[p]) << ((p - 1) % 8)
	}
	return b[:]
}

// sender makes the payloads of PES packets.
type sender struct{ b []byte }

func (s *sender) packet(mag, number int, data []byte) *sender {
	p := append([]byte{coded84[mag&7|number&1<<3], coded84[number>>1]}, data...)
	for len(p) < unitLength-2 {
		p = append(p, teletexttest.Odd(" ")...)
	}
	if len(s.b) == 0 {
		s.b = []byte{0x10}
	}
	s.b = append(s.b, unitSubtitle, unitLength, 0xC7, 0xE4)
	for _, c := range p[:unitLength-2] {
		s.b = append(s.b, bits.Reverse8(c))
	}
	return s
}

// header begins a page; option are C12 to C14, from left to right.
func (s *sender) header(page int, erase, serial bool, option int) *sender {
	h := [8]int{page % 10, page / 10 % 10, 0, 0, 0, 8, 0, option & 4 >> 1}
	h[7] = option>>2&1<<1 | option>>1&1<<2 | option&1<<3
	if erase {
		h[3] |= 8
	}
	if serial {
		h[7] |= 1
	}
	var b []byte
	for _, v := range h {
		b = append(b, coded84[v])
	}
	return s.packet(page/100, 0, b)
}

// row is a row with its text in a box.
func (s *sender) row(page, n int, text string) *sender {
	return s.packet(page/100, n, teletexttest.Odd("\x07\x0B\x0B"+text+"\x0A\x0A"))
}

// triplets is a packet with triplets of address, mode and data.
func (s *sender) triplets(page, number, code int, list ...[3]uint32) *sender {
	b := []byte{coded84[code]}
	for i := range 13 {
		x := [3]uint32{63, 0x1F, 0x7F} // an end
		if i < len(list) {
			x = list[i]
		}
		b = append(b, protect2418(x[0]|x[1]<<6|x[2]<<11)...)
	}
	return s.packet(page/100, number, b)
}

// sets is a packet X/28/0 or M/29/0.
func (s *sender) sets(page, number, first, second int) *sender {
	v := uint32(first)<<7 | uint32(second)<<14
	b := append([]byte{coded84[0]}, protect2418(v&0x3FFFF)...)
	b = append(b, protect2418(uint32(second)>>4)...)
	return s.packet(page/100, number, b)
}

func (s *sender) end(page int) *sender { return s.header(page/100*100+99, false, false, 0) }

func show(list []Shown) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%d %q; ", s.At, s.Lines)
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func TestPages(t *testing.T) {
	for _, c := range []struct {
		name string
		page int
		pes  []*sender // one every 1000 ticks
		want string
	}{
		{"two rows, and cleared", 888, []*sender{
			new(sender).header(888, true, false, 0).row(888, 20, "Hello,").row(888, 22, "  world  ").end(888),
			new(sender).header(888, true, false, 0).end(888),
		}, `0 ["Hello," "world"]; 1000 []`},
		{"double height covers the row below", 150, []*sender{
			new(sender).header(150, true, false, 0).row(150, 20, "\x0DHIGH").row(150, 21, "covered").row(150, 22, "\x0Dtoo").end(150),
		}, `0 ["HIGH" "too"]`},
		{"double height begins before the box, as most send it", 150, []*sender{
			new(sender).header(150, true, false, 0).row(150, 21, "of before").row(150, 23, "what follows").end(150),
			new(sender).header(150, false, false, 0).packet(1, 20, teletexttest.Odd("\x0D\x0B\x0BHIGH\x0A\x0A")).
				packet(1, 22, teletexttest.Odd("\x0D\x0C\x0B\x0Bnot\x0A\x0A")).end(150),
		}, `0 ["of before" "what follows"]; 1000 ["HIGH" "not" "what follows"]`},
		{"outside of the box, mosaics, colours", 150, []*sender{
			new(sender).header(150, true, false, 0).packet(1, 20, teletexttest.Odd("before\x0B\x0Ba\x01b\x11cQ#\x02d\x0A\x0Abehind")).packet(1, 21, teletexttest.Odd("no box")).end(150),
		}, `0 ["a b Q d"]`},
		{"other pages of the magazine and other magazines", 150, []*sender{
			new(sender).header(150, true, false, 0).row(150, 20, "mine").row(250, 20, "not mine").header(151, true, false, 0).row(150, 20, "nor this").end(150),
		}, `0 ["mine"]`},
		{"a header of another magazine ends it, in series", 150, []*sender{
			new(sender).header(150, true, true, 0).row(150, 20, "mine").header(250, true, true, 0).row(150, 21, "not mine"),
		}, `0 ["mine"]`},
		{"and does not, in parallel", 150, []*sender{
			new(sender).header(150, true, false, 0).row(150, 20, "mine").header(250, true, false, 0).row(150, 21, "mine too").end(150),
		}, `0 ["mine" "mine too"]`},
		{"without erasure rows stay", 150, []*sender{
			new(sender).header(150, true, false, 0).row(150, 20, "one").end(150),
			new(sender).header(150, false, false, 0).row(150, 21, "two").end(150),
		}, `0 ["one"]; 1000 ["one" "two"]`},
		{"what is sent again is nothing new", 150, []*sender{
			new(sender).header(150, true, false, 0).row(150, 20, "one").end(150),
			new(sender).header(150, true, false, 0).row(150, 20, "one").end(150),
		}, `0 ["one"]`},
		{"over several PES, and not ended", 150, []*sender{
			new(sender).header(150, true, false, 0).row(150, 20, "one"), new(sender).row(150, 21, "two"),
		}, `0 ["one" "two"]`},
		{"national options", 150, []*sender{
			new(sender).header(150, true, false, 1).row(150, 20, "[\\] {|}~ @").end(150),
			new(sender).header(150, true, false, 4).row(150, 20, "@ # { }").end(150),
			new(sender).header(150, true, false, 6).row(150, 20, "@ ` ~").end(150),
		}, `0 ["ÄÖÜ äöüß §"]; 1000 ["à é â û"]; 2000 ["č é š"]`},
		{"a region by X/28, another by M/29", 150, []*sender{
			new(sender).sets(150, 29, 0x08, 0x7F).header(150, true, false, 0).row(150, 20, "[ ] ^").end(150),
			new(sender).header(150, true, false, 4).sets(150, 28, 0x24, 0x7F).row(150, 20, "pRIWET").end(150),
			new(sender).header(150, true, false, 7).sets(150, 28, 0x37, 0x7F).row(150, 20, "aBc").end(150),
		}, `0 ["Ż Ł ć"]; 1000 ["пРИВЕТ"]; 2000 ["αΒγ"]`},
		{"a second set", 150, []*sender{
			new(sender).header(150, true, false, 4).sets(150, 28, 0x24, 0x00).row(150, 20, "A\x1BA\x1BA").end(150),
		}, `0 ["А A А"]`},
		{"Hebrew is not read", 150, []*sender{new(sender).header(150, true, false, 5).sets(150, 28, 0x55, 0x7F).row(150, 20, "abc").end(150)}, `0 []`},
		{"accents and G2", 150, []*sender{
			new(sender).header(150, true, false, 0).triplets(150, 26, 0, [3]uint32{60, 4, 0}, [3]uint32{4, 0x12, 'e'}, [3]uint32{5, 0x1F, 'z'},
				[3]uint32{6, 0x0F, 0x55}, [3]uint32{7, 0x10, '*'}, [3]uint32{8, 0x1D, 'o'}, [3]uint32{9, 0x14, 'q'}).
				row(150, 20, "abcdefgh").end(150),
			new(sender).header(150, false, false, 0).row(150, 20, "again").end(150),
		}, `0 ["aéž♪@őqh"]; 1000 ["again"]`},
		{"a byte with wrong parity", 150, []*sender{
			new(sender).header(150, true, false, 0).packet(1, 20, append(teletexttest.Odd("\x0B\x0Bab"), 'c'^0x80^'c'&1)).end(150),
		}, "0 [\"ab\uFFFD\"]"},
	} {
		d, wanted := NewDecoder(c.page), c.want
		for i, s := range c.pes {
			d.Take(s.b, int64(i)*1000)
		}
		if got := show(d.Shown()); got != wanted {
			t.Errorf("%s: %s, want %s", c.name, got, wanted)
		}
	}
}

func TestDescriptors(t *testing.T) {
	got := Pages([]byte{0x0A, 1, 0, 0x56, 20,
		'f', 'r', 'a', 0x28, 0x88, // hearing, magazine 8
		'F', 'r', 'A', 0x10, 0x89,
		'd', 'e', 'u', 0x09, 0x00, // initial page
		0, 0, 0, 0x11, 0x5A, // no page of people's
		0x46, 10, 1, 2, 3, 0x11, 0x50, 'x', 'y', 'z', 0x10, 0x89, 0x56, 9})
	want := []Page{{888, "fra", true}, {889, "fra", false}, {150, "", false}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestSets(t *testing.T) {
	if n := utf8.RuneCountInString(g2); n != 96 {
		t.Errorf("G2 has %d characters", n)
	}
	for c := range charset(128) {
		s := c.set()
		switch {
		case s == nil || s.none:
		case s.upper != "" && utf8.RuneCountInString(s.upper) != 64:
			t.Errorf("set %#x has %d characters from 0x40 on", c, utf8.RuneCountInString(s.upper))
		case s.upper == "" && utf8.RuneCountInString(s.national) != len(nationalPlaces):
			t.Errorf("set %#x has %d national characters", c, utf8.RuneCountInString(s.national))
		}
	}
}

func TestCues(t *testing.T) {
	text := func(s string) []string { return []string{s} }
	shown := []Shown{{900, text("late")}, {100, text("a & b <i>")}, {300, nil}, {500, text("x")}, {600, text("x")}, {1200, text("never")}}
	got := Cues(shown, 200, 1000)
	want := []Cue{{200, 300, text("a & b <i>")}, {500, 900, text("x")}, {900, 1000, text("late")}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	const hour = 3600 * 90000
	vtt := string(AppendCues([]byte("WEBVTT\n"), []Cue{{hour, hour + 90000*61 + 45, []string{"a & b", "<i>"}}}, -90))
	if want := "WEBVTT\n\n01:00:00.001 --> 01:01:01.002\na &amp; b\n&lt;i&gt;\n"; vtt != want {
		t.Errorf("%q, want %q", vtt, want)
	}
}

// FuzzDecoder holds I1 and I2.
func FuzzDecoder(f *testing.F) {
	f.Add(new(sender).header(150, true, false, 0).triplets(150, 26, 0, [3]uint32{60, 4, 0}, [3]uint32{4, 0x12, 'e'}).row(150, 20, "abc").end(150).b)
	f.Add(new(sender).sets(150, 29, 0x37, 0x25).header(150, true, true, 7).row(150, 1, "\x0D\x1Babc").end(150).b)
	f.Fuzz(func(t *testing.T, b []byte) {
		Pages(b)
		once := NewDecoder(150)
		once.Take(b, 0)
		if len(once.extras) > maxExtras {
			t.Errorf("%d characters are held", len(once.extras))
		}
		want := once.Shown()
		pieces := NewDecoder(150)
		if len(b) == 0 || b[0]&0xF0 != 0x10 {
			return
		}
		for rest := b[1:]; len(rest) >= 2 && 2+int(rest[1]) <= len(rest); rest = rest[2+int(rest[1]):] {
			pieces.Take(slices.Concat([]byte{0x10}, rest[:2+int(rest[1])]), 0)
		}
		if got := pieces.Shown(); !reflect.DeepEqual(got, want) {
			t.Errorf("in pieces %s, at once %s", show(got), show(want))
		}
		for _, s := range want {
			for _, l := range s.Lines {
				if !utf8.ValidString(l) || strings.ContainsAny(l, "\n\r") {
					t.Errorf("line %q", l)
				}
			}
		}
	})
}
