package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// scene is what is shown at one moment.
type scene struct {
	since     time.Duration
	phase     string // what the mode is called
	meaning   string // and what it means
	source    string
	datagrams uint64
	units     int
	sites     [2]state
	began     time.Time
	now       time.Time
}

// view shows scenes, and lines that stay.
type view interface {
	scene(s scene)
	say(s scene, format string, args ...any)
}

// newView draws on a terminal, and writes lines elsewhere.
func newView(out *os.File) view {
	if size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ); err == nil && size.Col >= 60 && size.Row >= 16 {
		return &screen{out: out, width: int(min(size.Col, 140))}
	}
	return &lines{out: out}
}

// lines is for a log: changes, and one line each few seconds.
type lines struct {
	out    io.Writer
	active [2]string
	up     [2]bool
	shown  time.Duration
}

const lineEvery = 5 * time.Second

func (l *lines) say(s scene, format string, args ...any) {
	fmt.Fprintf(l.out, "%6.1f s  %-9s  %s\n", s.since.Seconds(), s.phase, fmt.Sprintf(format, args...))
}

func (l *lines) scene(s scene) {
	for i, st := range s.sites {
		if st.Up != l.up[i] {
			l.say(s, "%s is %s", st.Node, map[bool]string{true: "up", false: "down"}[st.Up])
		}
		if st.Up && st.Active != l.active[i] {
			l.say(s, "%s records from %s", st.Node, orNothing(st.Active))
			l.active[i] = st.Active
		}
		l.up[i] = st.Up
	}
	if s.since-l.shown < lineEvery {
		return
	}
	l.shown = s.since
	var b strings.Builder
	fmt.Fprintf(&b, "sent %d access units", s.units)
	for _, st := range s.sites {
		if st.Up {
			fmt.Fprintf(&b, "; %s: %d segments, %s", st.Node, len(st.Segments), st.Fetching)
		}
	}
	l.say(s, "%s", b.String())
}

func orNothing(s string) string {
	if s == "" {
		return "nothing yet"
	}
	return s
}

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

func (d *screen) scene(s scene) {
	colour := map[string]string{"normal": green, "emergency": red, "recovery": yellow}[s.phase]
	rows := []string{
		"",
		fmt.Sprintf("%s%s%-10s%s %s%5.1f s  %s", bold, colour, strings.ToUpper(s.phase), plain, dim, s.since.Seconds(), s.meaning+plain),
		fmt.Sprintf("source     %s, %d datagrams, %d access units", s.source, s.datagrams, s.units),
	}
	for i, st := range s.sites {
		rows = append(rows, "", d.heading(i, st))
		rows = append(rows, d.inputs(st)...)
		rows = append(rows, "  archive  "+d.bar(s, st)+fmt.Sprintf(" %d segments", len(st.Segments)))
		if st.Up && st.Fetching != "" {
			rows = append(rows, "  peer     "+st.Fetching)
		} else {
			rows = append(rows, "")
		}
	}
	rows = append(rows, "", dim+"archive: █ received by itself  ▒ from the peer  x damaged  · missing"+plain)
	fmt.Fprint(d.out, d.clear(), strings.Join(rows, "\n"), "\n")
	d.drawn = len(rows)
}

func (d *screen) heading(i int, st state) string {
	if !st.Up {
		return fmt.Sprintf("%ssite %c  %-8s%s %sdown%s", bold, 'A'+i, st.Node, plain, red, plain)
	}
	out := fmt.Sprintf("%ssite %c  %-8s%s pid %d", bold, 'A'+i, st.Node, plain, st.PID)
	if st.Problem != "" {
		out += "  " + red + st.Problem + plain
	}
	return out
}

// inputs has always two rows, so that nothing jumps.
func (d *screen) inputs(st state) []string {
	rows := []string{"", ""}
	for i, in := range st.Inputs {
		if i == len(rows) {
			break
		}
		mark, word := " ", "silent"
		if in.GetAlive() {
			word = "standby"
		}
		if in.GetActive() {
			mark, word = green+"►"+plain, "active"
		}
		rows[i] = fmt.Sprintf("  input %d %s %-8s %s", in.GetPriority(), mark, word, in.GetInput())
	}
	return rows
}

// bar draws the archive of a site over the time of the run.
func (d *screen) bar(s scene, st state) string {
	cells := d.width - 30
	total := max(s.now.Sub(s.began), time.Minute)
	at := func(t time.Time) int { return int(t.Sub(s.began) * time.Duration(cells) / total) }
	row := make([]rune, cells)
	for i := range row {
		row[i] = ' '
		if i < at(s.now) {
			row[i] = '·'
		}
	}
	for _, p := range st.Segments {
		r := '█'
		switch {
		case p.damaged:
			r = 'x'
		case p.origin != st.Node && p.origin != "":
			r = '▒'
		}
		for i := max(0, at(p.from)); i < min(cells, max(at(p.to), at(p.from)+1)); i++ {
			row[i] = r
		}
	}
	return "[" + string(row) + "]"
}
