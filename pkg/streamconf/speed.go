package streamconf

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Speed is a limit in bits a second that may differ by the time of the day, UTC: "50M 22:00-06:00:500M". Its text is
// canonical, so that speeds are comparable. Empty: none is said.
type Speed string

// minSpeed is the least limit but for 0, which is none: below it a segment takes hours.
const minSpeed, maxSpeed = 64_000, 1_000_000_000_000

const speedForms = "write bits a second as 50M, 0 for no limit, and behind it other limits for times of the day (UTC), as 22:00-06:00:500M"

// day is a day in minutes.
const day = 24 * 60

// window is a part of the day, half-open; from behind to: over midnight.
type window struct {
	from, to int // minutes
	bits     uint64
}

// parts are the minutes that it covers, without one over midnight.
func (w window) parts() [][2]int {
	if w.from < w.to {
		return [][2]int{{w.from, w.to}}
	}
	return [][2]int{{w.from, day}, {0, w.to}}
}

func (w window) covers(minute int) bool {
	return slices.ContainsFunc(w.parts(), func(p [2]int) bool { return minute >= p[0] && minute < p[1] })
}

func (w window) meets(o window) bool {
	for _, a := range w.parts() {
		for _, b := range o.parts() {
			if a[0] < b[1] && b[0] < a[1] {
				return true
			}
		}
	}
	return false
}

// String is the window as it is written.
func (w window) String() string {
	return fmt.Sprintf("%02d:%02d-%02d:%02d:%s", w.from/60, w.from%60, w.to/60, w.to%60, formatBits(w.bits))
}

// ParseSpeed reads a limit with its windows. An empty text is no speed.
func ParseSpeed(text string) (Speed, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return "", nil
	}
	base, windows, err := parseSpeed(words)
	if err != nil {
		return "", fmt.Errorf("%w; %s", err, speedForms)
	}
	return speedOf(base, windows), nil
}

func speedOf(base uint64, windows []window) Speed {
	out := formatBits(base)
	slices.SortFunc(windows, func(a, b window) int { return cmp.Compare(a.from, b.from) })
	for _, w := range windows {
		out += " " + w.String()
	}
	return Speed(out)
}

func parseSpeed(words []string) (base uint64, windows []window, err error) {
	if base, err = parseBits(words[0]); err != nil {
		return 0, nil, err
	}
	for _, x := range words[1:] {
		w, err := parseWindow(x)
		if err != nil {
			return 0, nil, err
		}
		if i := slices.IndexFunc(windows, w.meets); i >= 0 {
			return 0, nil, fmt.Errorf("%s and %s overlap", windows[i], w)
		}
		windows = append(windows, w)
	}
	return base, windows, nil
}

var windowForm = regexp.MustCompile(`^([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2}):(.*)$`)

// isWindow says whether a word is meant as a window.
func isWindow(s string) bool {
	from, to, found := strings.Cut(s, "-")
	return found && strings.Contains(from, ":") && strings.Contains(to, ":")
}

func parseWindow(s string) (window, error) {
	m := windowForm.FindStringSubmatch(s)
	if m == nil {
		return window{}, fmt.Errorf("%q is not a time of the day with its limit", clip(s))
	}
	minute := func(h, m string) int {
		hours, _ := strconv.Atoi(h) // two digits
		minutes, _ := strconv.Atoi(m)
		if minutes > 59 {
			return math.MaxInt
		}
		return hours*60 + minutes
	}
	w := window{from: minute(m[1], m[2]), to: minute(m[3], m[4])}
	switch {
	case w.from >= day || w.to > day:
		return window{}, fmt.Errorf("%q is not from 00:00 to 24:00", clip(s))
	case w.from == w.to:
		return window{}, fmt.Errorf("%q is empty, a whole day is 00:00-24:00", clip(s))
	}
	var err error
	w.bits, err = parseBits(m[5])
	return w, err
}

func parseBits(s string) (uint64, error) {
	num, unit := s, uint64(1)
	if s != "" {
		if i := slices.IndexFunc(sizes, func(x struct {
			name  byte
			bytes int64
		}) bool {
			return x.name == strings.ToUpper(s)[len(s)-1]
		}); i >= 0 {
			num, unit = s[:len(s)-1], uint64(sizes[i].bytes)
		}
	}
	n, err := strconv.ParseUint(num, 10, 64)
	if err != nil || n > maxSpeed/unit || n != 0 && n*unit < minSpeed {
		return 0, fmt.Errorf("%q is not 0 and not from 64K to 1T bits a second", clip(s))
	}
	return n * unit, nil
}

func formatBits(n uint64) string {
	for _, u := range slices.Backward(sizes) {
		if n > 0 && n%uint64(u.bytes) == 0 {
			return fmt.Sprintf("%d%c", n/uint64(u.bytes), u.name)
		}
	}
	return strconv.FormatUint(n, 10)
}

// SpeedOf is a limit that is the same all day; 0: none.
func SpeedOf(bits uint64) Speed { return speedOf(bits, nil) }

// At is the limit at a moment, in bits a second; 0: none. set: one is said.
func (s Speed) At(t time.Time) (bits uint64, set bool) {
	words := strings.Fields(string(s))
	if len(words) == 0 {
		return 0, false
	}
	base, windows, err := parseSpeed(words)
	if err != nil { // not made by ParseSpeed
		return minSpeed, true
	}
	t = t.UTC()
	minute := t.Hour()*60 + t.Minute()
	for _, w := range windows {
		if w.covers(minute) {
			return w.bits, true
		}
	}
	return base, true
}

// Peer is what the config says of a whole peer.
type Peer struct {
	Addr  string // HOST:PORT, as of its m4f inputs
	Speed Speed  // of everything that is fetched from it
}

// String is the peer's block in canonical form.
func (p Peer) String() string {
	speed := ""
	if p.Speed != "" {
		speed = fmt.Sprintf("  replication_speed %s;\n", p.Speed)
	}
	return fmt.Sprintf("peer %s {\n%s}\n", p.Addr, speed)
}

// ParsePeer reads HOST, HOST:PORT or the m4f URL of a peer, and gives HOST:PORT.
func ParsePeer(text string) (string, error) {
	if _, rest, ok := strings.Cut(text, "://"); ok {
		text, _, _ = strings.Cut(rest, "/")
	}
	m, what, do := parseM4F(text, "x")
	if what != "" || strings.Contains(text, "/") {
		return "", fmt.Errorf("%q is not the address of a peer; %s", clip(text), cmp.Or(do, m4fForms))
	}
	return m.Addr(), nil
}

// isSpeed tells a statement replication_speed, in either spelling.
func isSpeed(s statement) bool {
	word, _, _ := strings.Cut(s.words[0].text, "=")
	return word == "replication_speed"
}

// speed reads "replication_speed 50M 22:00-06:00:500M", or with "=" behind the first word.
func (b *builder) speed(words []token) Speed {
	var texts []string
	if _, value, ok := strings.Cut(words[0].text, "="); ok {
		texts = append(texts, value)
	}
	for _, w := range words[1:] {
		texts = append(texts, w.text)
	}
	if len(texts) == 0 {
		b.add(words[0].pos, "replication_speed has no value", speedForms)
		return ""
	}
	base, windows, err := parseSpeed(texts)
	if err != nil {
		b.add(words[0].pos, err.Error(), speedForms)
		return ""
	}
	return speedOf(base, windows)
}

// serverSpeed reads the limit of all that is fetched.
func (b *builder) serverSpeed(s statement) {
	b.noBlock(s)
	if b.conf.Speed != "" {
		b.add(s.words[0].pos, "replication_speed of the server is given twice", "keep one")
	}
	b.conf.Speed = b.speed(s.words)
}

// peer reads peer HOST:PORT { replication_speed 50M; }.
func (b *builder) peer(s statement) {
	const form = `write "peer HOST:PORT { replication_speed 50M; }"`
	at := s.words[0].pos
	if !s.hasBlock || len(s.words) != 2 {
		b.add(at, "peer has one address and a block", form)
		return
	}
	addr, err := ParsePeer(s.words[1].text)
	if err != nil {
		b.add(s.words[1].pos, fmt.Sprintf("%q is not the address of a peer", clip(s.words[1].text)), form)
		return
	}
	if slices.ContainsFunc(b.conf.Peers, func(p Peer) bool { return p.Addr == addr }) {
		b.add(s.words[1].pos, fmt.Sprintf("peer %s is given twice", addr), "keep one")
	}
	p := Peer{Addr: addr}
	for _, x := range s.block {
		b.noBlock(x)
		switch {
		case !isSpeed(x):
			b.unknown(x.words[0], "directive", nil, `the directive of a peer is "replication_speed"`)
		case p.Speed != "":
			b.add(x.words[0].pos, "replication_speed is given twice", "keep one")
		default:
			p.Speed = b.speed(x.words)
		}
	}
	b.conf.Peers = append(b.conf.Peers, p)
}
