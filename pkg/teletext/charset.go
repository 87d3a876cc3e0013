package teletext

// charset is a set as EN 300 706 numbers them (table 32): the region in bits 3 to 6, the national option in bits 0 to 2.
type charset uint8

// g0 is a set of the characters from 0x20 to 0x7F.
type g0 struct {
	national string // replaces the places of nationalPlaces
	upper    string // or: from 0x40 on, 64 characters
	replaced map[byte]rune
	none     bool // not read: the order of its characters is that of the picture
}

// nationalPlaces are those that the Latin sets fill differently (table 36).
const nationalPlaces = "\x23\x24\x40\x5B\x5C\x5D\x5E\x5F\x60\x7B\x7C\x7D\x7E"

// National options of the Latin set (table 36).
const (
	english    = "£$@←½→↑#―¼‖¾÷"
	german     = "#$§ÄÖÜ^_°äöüß"
	swedish    = "#¤ÉÄÖÅÜ_éäöåü"
	italian    = "£$é°ç→↑#ùàòèì"
	french     = "éïàëêùî#èâôûç"
	portuguese = "ç$¡áéíóú¿üñèà"
	czech      = "#ůčťžýířéáěúš"
	polish     = "#ńąŻŚŁćóężśłź"
	turkish    = "₤ğİŞÖÇÜĞışöçü"
	serbian    = "#ËČĆŽĐŠëčćžđš"
	rumanian   = "#¤ŢÂŞĂÎıţâşăî"
	estonian   = "#õŠÄÖŽÜÕšäöžü"
	lettish    = "#$ŠėęŽčūšąųžį"
)

// Other alphabets, from 0x40 on (tables 38 to 41).
const (
	cyrillic1 = "ЧАБЦДЕФГХИЈКЛМНОПЌРСТУВЃЉЊЗЋЖЂШЏчабцдефгхијклмнопќрстувѓљњзћжђш■"
	cyrillic2 = "ЮАБЦДЕФГХИЙКЛМНОПЯРСТУЖВЬЪЗШЭЩЧЫюабцдефгхийклмнопярстужвьъзшэщч■"
	cyrillic3 = "ЮАБЦДЕФГХИЙКЛМНОПЯРСТУЖВЬІЗШЄЩЧЇюабцдефгхийклмнопярстужвьізшєщч■"
	greek     = "ΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ΄ΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ■"
)

// g2 is the supplementary Latin set (table 37), from 0x20 on.
const g2 = ("" +
	" ¡¢£$¥#§¤‘“«←↑→↓" +
	"°±²³×µ¶·÷’”»¼½¾¿" +
	" `´ˆ˜¯˘˙¨.˚¸_˝˛ˇ" +
	"―¹®©™♪€‰α   ⅛⅜⅝⅞" +
	"ΩÆĐªĦ ĲĿŁØŒºÞŦŊŉ" +
	"ĸæđðħıĳŀłøœßþŧŋ■")

// set finds the characters of a charset; nil: it is none.
func (c charset) set() *g0 {
	latin := func(national string) *g0 { return &g0{national: national} }
	switch c {
	case 0x00, 0x10, 0x40:
		return latin(english)
	case 0x01, 0x09, 0x11, 0x21:
		return latin(german)
	case 0x02, 0x0A, 0x12:
		return latin(swedish)
	case 0x03, 0x0B, 0x13:
		return latin(italian)
	case 0x04, 0x0C, 0x14, 0x44:
		return latin(french)
	case 0x05, 0x15:
		return latin(portuguese)
	case 0x06, 0x0E, 0x26:
		return latin(czech)
	case 0x08:
		return latin(polish)
	case 0x16, 0x36:
		return latin(turkish)
	case 0x1D:
		return latin(serbian)
	case 0x1F:
		return latin(rumanian)
	case 0x22:
		return latin(estonian)
	case 0x23:
		return latin(lettish)
	case 0x20:
		return &g0{upper: cyrillic1}
	case 0x24:
		return &g0{upper: cyrillic2, replaced: map[byte]rune{0x26: 'ы'}}
	case 0x25:
		return &g0{upper: cyrillic3, replaced: map[byte]rune{0x26: 'ї'}}
	case 0x37:
		return &g0{upper: greek, replaced: map[byte]rune{0x3C: '«', 0x3E: '»'}}
	case 0x47, 0x55, 0x57:
		return &g0{none: true}
	}
	return nil
}

// choose is the set of a page: the region that X/28 or M/29 names, with the option of the header, or what they name, or the
// option alone.
func choose(named charset, option uint8) *g0 {
	for _, c := range []charset{named&^7 | charset(option), named, charset(option)} {
		if s := c.set(); s != nil {
			return s
		}
	}
	return charset(0).set()
}

// rune gives the character of a code from 0x20 to 0x7F.
func (s *g0) rune(c byte) rune {
	if r, ok := s.replaced[c]; ok {
		return r
	}
	if c == 0x7F {
		return '■'
	}
	if s.upper != "" {
		if c >= 0x40 {
			return nth(s.upper, int(c-0x40))
		}
		return rune(c)
	}
	for i := range len(nationalPlaces) {
		if nationalPlaces[i] == c {
			return nth(s.national, i)
		}
	}
	return rune(c)
}

func nth(s string, n int) rune {
	for _, r := range s {
		if n == 0 {
			return r
		}
		n--
	}
	return ' '
}

// accents are the diacritical marks of X/26, modes 0x11 to 0x1F (table 37, column 4), as combining characters.
var accents = [16]rune{
	0, 0x300, 0x301, 0x302, 0x303, 0x304, 0x306, 0x307, 0x308, 0x323, 0x30A, 0x327, 0x332, 0x30B, 0x328, 0x30C,
}
