package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// screenRows is the height of the picture; it is always the same, so that nothing jumps.
const screenRows = 19

// screen redraws itself in place; lines that stay are printed above it.
type screen struct {
	out   io.Writer
	width int
	drawn int // lines
}

func (d *screen) clear() string {
	if d.drawn == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\x1b[J", d.drawn)
}

func (d *screen) say(s scene, format string, args ...any) {
	fmt.Fprintf(d.out, "%s%6.1f s  %s\n", d.clear(), s.since.Seconds(), fmt.Sprintf(format, args...))
	d.drawn = 0
	d.scene(s)
}

const (
	bold, dim, red, green, yellow, plain = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
)

// What a bar is drawn with.
const (
	signOwn     = '█'
	signPeer    = '▒'
	signDamaged = 'x'
	signOpen    = '─'
	signMissing = '·'
)

func (d *screen) scene(s scene) {
	colour := map[string]string{"normal": green, "emergency": red, "recovery": yellow}[s.phase]
	rows := []string{
		"",
		fmt.Sprintf("%s%s%-10s%s %s%5.1f s  %s", bold, colour, strings.ToUpper(s.phase), plain, dim, s.since.Seconds(), s.meaning+plain),
		fmt.Sprintf("source     %s  %d datagrams, %d access units", s.source, s.datagrams, s.units),
	}
	for i, st := range s.sites {
		rows = append(rows, "", d.heading(i, s, st))
		rows = append(rows, d.inputs(st)...)
		rows = append(rows, "  archive  "+d.bar(s, st), "  ranges   "+ranges(st), "  peer     "+peer(st))
	}
	rows = append(rows, "", fmt.Sprintf("%sarchive: %c own  %c from the peer  %c open, not sealed yet  %c damaged  %c missing%s",
		dim, signOwn, signPeer, signOpen, signDamaged, signMissing, plain))
	for i := range rows {
		rows[i] = fit(rows[i], d.width)
	}
	fmt.Fprint(d.out, d.clear(), strings.Join(rows, "\n"), "\n")
	d.drawn = len(rows)
}

func (d *screen) heading(i int, s scene, st state) string {
	name := fmt.Sprintf("%ssite %c  %-8s%s ", bold, 'A'+i, st.Node, plain)
	if !st.Up {
		return name + red + "down" + plain
	}
	name += fmt.Sprintf("pid %d", st.PID)
	if st.Problem != "" && s.ended.IsZero() {
		name += "  " + red + st.Problem + plain
	}
	return name
}

// inputs has always two rows.
func (d *screen) inputs(st state) []string {
	rows := []string{"", ""}
	for i, in := range st.Inputs {
		if i == len(rows) {
			break
		}
		mark, colour := " ", ""
		switch word := in.word; word {
		case "active":
			mark, colour = "►", green
		case "standby", "cold":
		default:
			colour = yellow
		}
		rows[i] = fmt.Sprintf("  input %d  %s%s %-8s%s %s", in.priority, colour, mark, in.word, plain, in.url)
	}
	return rows
}

// bar draws the archive of a site over the time of the run. What follows the last sealed segment is open where the site
// is recording, and missing where it was away.
func (d *screen) bar(s scene, st state) string {
	cells := d.width - 14
	total := max(s.until().Sub(s.began), time.Minute)
	at := func(t time.Time) int {
		return min(cells, max(0, int(t.Sub(s.began)*time.Duration(cells)/total)))
	}
	row := []rune(strings.Repeat(" ", cells))
	draw := func(from, to int, sign rune) {
		for i := from; i < to; i++ {
			row[i] = sign
		}
	}
	if s.began.IsZero() {
		return "[" + string(row) + "]"
	}
	first := s.until()
	if len(st.Segments) > 0 {
		first = st.Segments[0].from
	}
	draw(at(first), at(s.until()), signMissing)
	if st.Up && st.Active != "" {
		from := st.Since
		if n := len(st.Segments); n > 0 && st.Segments[n-1].to.After(from) {
			from = st.Segments[n-1].to
		}
		draw(at(from), at(s.until()), signOpen)
	}
	for _, p := range st.Segments {
		sign := signOwn
		switch {
		case p.damaged:
			sign = signDamaged
		case p.origin != st.Node && p.origin != "":
			sign = signPeer
		}
		draw(at(p.from), min(cells, max(at(p.to), at(p.from)+1)), sign)
	}
	return "[" + string(row) + "]"
}

// maxRanges is how many are written out.
const maxRanges = 3

// ranges are the stretches that are sealed, in UTC.
func ranges(st state) string {
	if len(st.Segments) == 0 {
		return "nothing sealed yet"
	}
	const hole = 100 * time.Millisecond // less is the rounding of UTC
	type stretch struct{ from, to time.Time }
	var all []stretch
	for _, p := range st.Segments {
		if n := len(all); n > 0 && p.from.Sub(all[n-1].to) < hole {
			all[n-1].to = p.to
			continue
		}
		all = append(all, stretch{p.from, p.to})
	}
	var out []string
	if n := len(all) - maxRanges; n > 0 {
		out, all = append(out, fmt.Sprintf("%d more", n)), all[n:]
	}
	for _, r := range all {
		out = append(out, r.from.UTC().Format("15:04:05.0")+"–"+r.to.UTC().Format("15:04:05.0"))
	}
	return fmt.Sprintf("%s (%d segments)", strings.Join(out, ", "), len(st.Segments))
}

// peer is what is replicated at the moment.
func peer(st state) string {
	if !st.Up {
		return ""
	}
	if st.Backlog > 0 {
		return yellow + st.Fetching + plain
	}
	return st.Fetching
}

// fit cuts a row at the width of the screen; what is longer would wrap, and the picture would climb.
func fit(row string, width int) string {
	var b strings.Builder
	n, escape := 0, false
	for _, r := range row {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		case n == width:
			continue // the escapes behind it still count
		default:
			n++
		}
		b.WriteRune(r)
	}
	return b.String()
}
