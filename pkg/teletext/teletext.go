package teletext

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

const (
	rows, columns = 25, 40 // row 0 is the header
	unitSubtitle  = 0x03   // data_unit_id (EN 300 472, table 1)
	unitOther     = 0x02
	unitLength    = 44
	framingCode   = 0x27 // as the bits came
	packetData    = 40
	// maxExtras bounds the characters that packets X/26 set on a page: sixteen packets of thirteen.
	maxExtras = 16 * 13
)

// Page is what a teletext descriptor says of a page of subtitles (EN 300 468, 6.2.43).
type Page struct {
	Number   int // 100 to 899
	Language string
	Hearing  bool // for the hard of hearing
}

// Types of a page.
const (
	typeSubtitle = 2
	typeHearing  = 5
)

// Pages reads the pages of subtitles that the descriptors of a stream name (tags 0x56 and 0x46), each once.
func Pages(descriptors []byte) (out []Page) {
	for b := descriptors; len(b) >= 2 && 2+int(b[1]) <= len(b); b = b[2+int(b[1]):] {
		if b[0] != 0x56 && b[0] != 0x46 {
			continue
		}
		for e := b[2 : 2+int(b[1])]; len(e) >= 5; e = e[5:] {
			kind, tens, units := e[3]>>3, int(e[4]>>4), int(e[4]&15)
			if kind != typeSubtitle && kind != typeHearing || tens > 9 || units > 9 {
				continue
			}
			p := Page{Number: magazine(e[3]&7)*100 + tens*10 + units, Hearing: kind == typeHearing}
			if !strings.ContainsFunc(string(e[:3]), func(r rune) bool { return r|0x20 < 'a' || r|0x20 > 'z' }) {
				p.Language = strings.ToLower(string(e[:3]))
			}
			if !slices.ContainsFunc(out, func(o Page) bool { return o.Number == p.Number }) {
				out = append(out, p)
			}
		}
	}
	return out
}

func magazine(n uint8) int {
	if n == 0 {
		return 8
	}
	return int(n)
}

// Shown is what a page shows from a time on: lines, none when it is cleared.
type Shown struct {
	At    int64
	Lines []string
}

// Decoder reads one page.
type Decoder struct {
	number int
	shown  []Shown

	open   bool // packets of the page may come
	at     int64
	option uint8 // national, of the header
	cells  [rows][columns]byte
	extras []extra
	sent   int // how often the page was
	row    int // active position of X/26
	named  designation
	magaz  designation // of M/29
}

// designation is what X/28 and M/29 say of the sets.
type designation struct {
	known         bool
	first, second charset
}

// extra is a character of X/26.
type extra struct {
	row, column int
	char        rune
	sent        int // Decoder.sent
}

// wrong stands for a byte whose parity is wrong.
const wrong = 0xFF

// NewDecoder returns a decoder of a page, 100 to 899.
func NewDecoder(page int) *Decoder {
	d := &Decoder{number: page}
	d.erase()
	return d
}

// Take takes the payload of a PES packet (EN 300 472, 4.3) that is to be shown at a time.
func (d *Decoder) Take(payload []byte, at int64) {
	if len(payload) == 0 || payload[0]&0xF0 != 0x10 { // data_identifier
		return
	}
	for b := payload[1:]; len(b) >= 2; {
		id, n := b[0], int(b[1])
		if 2+n > len(b) {
			return
		}
		if (id == unitSubtitle || id == unitOther) && n == unitLength {
			d.unit(b[2:2+n], at)
		}
		b = b[2+n:]
	}
}

// Shown gives what was shown since the last call, in the order in which it came, and what the page is now, as far as it is
// here.
func (d *Decoder) Shown() []Shown {
	d.publish()
	out := d.shown
	d.shown = nil
	return out
}

// unit takes a line: field and line, framing code, a packet of teletext.
func (d *Decoder) unit(b []byte, at int64) {
	var p [unitLength - 2]byte
	for i := range p {
		p[i] = bits.Reverse8(b[2+i])
	}
	if bits.Reverse8(b[1]) != framingCode {
		return
	}
	low, ok := hamming84(p[0])
	high, okHigh := hamming84(p[1])
	if !ok || !okHigh {
		return
	}
	mag, number := magazine(low&7), int(low>>3|high<<1)
	data := p[2:]
	switch mine := mag == d.number/100; {
	case number == 0:
		d.header(mag, data, at)
	case mine && number == 29:
		designate(&d.magaz, data)
	case !mine || !d.open:
	case number < rows:
		d.extras = slices.DeleteFunc(d.extras, func(x extra) bool { return x.row == number && x.sent != d.sent })
		for i, c := range data {
			d.cells[number][i] = wrong
			if v, ok := parity(c); ok {
				d.cells[number][i] = v
			}
		}
	case number == 26:
		d.enhance(data)
	case number == 28:
		designate(&d.named, data)
	}
}

// header takes the beginning of a page (EN 300 706, 9.3.1), which ends the one before.
func (d *Decoder) header(mag int, data []byte, at int64) {
	var h [8]uint8
	for i := range h {
		v, ok := hamming84(data[i])
		if !ok {
			return
		}
		h[i] = v
	}
	const serial, erase = 1, 8
	page := mag*100 + int(h[1])*10 + int(h[0])
	mine := h[0] <= 9 && h[1] <= 9 && page == d.number
	if mag == d.number/100 || h[7]&serial != 0 {
		d.publish()
		d.open = false
	}
	if !mine {
		return
	}
	d.open, d.at, d.row = true, at, 0
	d.sent++
	d.option = h[7]>>1&1<<2 | h[7]>>2&1<<1 | h[7]>>3&1
	if h[3]&erase != 0 {
		d.erase()
	}
}

func (d *Decoder) erase() {
	for r := range d.cells {
		for c := range d.cells[r] {
			d.cells[r][c] = ' '
		}
	}
	d.extras, d.named = d.extras[:0], designation{}
}

// designate takes which sets a page, or a magazine, has (9.4.2, 9.5.1).
func designate(to *designation, data []byte) {
	code, ok := hamming84(data[0])
	first, ok1 := hamming2418(data[1:4])
	second, ok2 := hamming2418(data[4:7])
	if !ok || !ok1 || !ok2 || code != 0 && code != 4 || code == 0 && first&0x7F != 0 {
		return
	}
	*to = designation{true, charset(first >> 7 & 0x7F), charset(first>>14&0xF | second&7<<4)}
}

// enhance takes a packet X/26 (12.2): accents, and characters that the page's set lacks.
func (d *Decoder) enhance(data []byte) {
	const rowFirst, position, fromG2, plain = 40, 0x04, 0x0F, 0x10
	for i := range 13 {
		t, ok := hamming2418(data[1+3*i : 4+3*i])
		if !ok {
			continue
		}
		address, mode, v := int(t&0x3F), t>>6&0x1F, byte(t>>11&0x7F)
		switch {
		case address >= rowFirst && mode == position:
			if d.row = address - rowFirst; d.row == 0 {
				d.row = rows - 1
			}
		case address >= rowFirst || d.row == 0 || v < 0x20:
		case mode == fromG2:
			d.add(address, nth(g2, int(v-0x20)))
		case mode >= plain:
			char := rune(v)
			if mode == plain && v == '*' {
				char = '@'
			}
			if accent := accents[mode&0xF]; accent != 0 {
				composed := []rune(norm.NFC.String(string([]rune{char, accent})))
				char = composed[0] // where there is no such letter, without its accent
			}
			d.add(address, char)
		}
	}
}

// add sets a character at the active row.
func (d *Decoder) add(column int, char rune) {
	x := extra{d.row, column, char, d.sent}
	i := slices.IndexFunc(d.extras, func(o extra) bool { return o.row == x.row && o.column == x.column })
	switch {
	case i >= 0:
		d.extras[i] = x
	case len(d.extras) < maxExtras:
		d.extras = append(d.extras, x)
	}
}

// publish notes what the page shows now, if that is another thing than before.
func (d *Decoder) publish() {
	if !d.open {
		return
	}
	lines := d.lines()
	if n := len(d.shown); n > 0 && (d.shown[n-1].At == d.at || slices.Equal(d.shown[n-1].Lines, lines)) {
		if d.shown[n-1].At == d.at {
			d.shown[n-1].Lines = lines
		}
		return
	}
	d.shown = append(d.shown, Shown{d.at, lines})
}

// lines gives the text in the boxes of the page.
func (d *Decoder) lines() (out []string) {
	named := d.named
	if !named.known {
		named = d.magaz
	}
	first := choose(named.first, d.option)
	second := first
	if named.known {
		if s := named.second.set(); s != nil {
			second = s
		}
	}
	if first.none || second.none {
		return nil
	}
	for r := 1; r < rows; r++ {
		line, high := d.line(r, first, second)
		if line != "" {
			out = append(out, line)
		}
		if high {
			r++ // it is covered
		}
	}
	return out
}

// Spacing attributes (12.2, table 26).
const (
	alphaLast      = 0x07
	endBox         = 0x0A
	startBox       = 0x0B
	normalSize     = 0x0C
	doubleHeight   = 0x0D
	doubleWidth    = 0x0E
	doubleSize     = 0x0F
	mosaicFirst    = 0x10
	mosaicLast     = 0x17
	escape         = 0x1B
	firstCharacter = 0x20
)

func (d *Decoder) line(r int, first, second *g0) (text string, high bool) {
	var b strings.Builder
	box, mosaic, tall, set := false, false, false, first
	for c, v := range d.cells[r] {
		char := ' '
		switch {
		case v == wrong:
			char = '\uFFFD'
		case v >= firstCharacter:
			if !mosaic || v >= 0x40 && v < 0x60 {
				char = set.rune(v)
			}
		case v <= alphaLast:
			mosaic = false
		case v == endBox:
			box = false
		case v == startBox:
			box = true
		case v == doubleHeight, v == doubleSize:
			tall = true
		case v == normalSize, v == doubleWidth:
			tall = false
		case v >= mosaicFirst && v <= mosaicLast:
			mosaic = true
		case v == escape:
			if set == first {
				set = second
			} else {
				set = first
			}
		}
		for _, x := range d.extras {
			if x.row == r && x.column == c {
				char = x.char
			}
		}
		if box {
			b.WriteRune(char)
			high = high || tall // whether that began within the box or before it
		}
	}
	return strings.Join(strings.Fields(b.String()), " "), high
}

// String is for logs.
func (p Page) String() string { return fmt.Sprintf("%d %s", p.Number, p.Language) }
