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
	began     time.Time // the source
	ended     time.Time // the source; zero: it plays
	now       time.Time
}

// until is how far there is anything to record.
func (s *scene) until() time.Time {
	if !s.ended.IsZero() {
		return s.ended
	}
	return s.now
}

// view shows scenes, and lines that stay.
type view interface {
	scene(s scene)
	say(s scene, format string, args ...any)
}

// newView draws on a terminal, and writes lines elsewhere.
func newView(out *os.File) view {
	if size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ); err == nil && size.Col >= 60 && size.Row > screenRows {
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
			fmt.Fprintf(&b, "; %s has %d segments (peer %s)", st.Node, len(st.Segments), st.Fetching)
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
