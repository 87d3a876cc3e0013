package demo

import (
	"bytes"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/verdict"
	"github.com/twinreel/twinreel/pkg/timeline"
)

func parts(from timeline.Ticks, digests ...string) state {
	var s state
	for i, d := range digests {
		if d != "" {
			s.Segments = append(s.Segments, part{ticks: from + timeline.Ticks(i)*timeline.CellTicks, digest: d})
		}
	}
	return s
}

func TestAgree(t *testing.T) {
	w := timeline.Wrap
	for _, tc := range []struct {
		name  string
		a, b  state
		slots int
		ok    bool
	}{
		{"alike", parts(w, "1", "2", "3"), parts(w, "1", "2", "3"), 3, true},
		{"the live edge of one is ahead", parts(w, "1", "2", "3", "4"), parts(w, "1", "2", "3"), 3, true},
		{"a slot is missing", parts(w, "1", "", "3"), parts(w, "1", "2", "3"), 2, false},
		{"a slot differs", parts(w, "1", "x", "3"), parts(w, "1", "2", "3"), 3, false},
		{"the beginning is missing", parts(w, "", "2", "3"), parts(w, "1", "2", "3"), 2, false},
		{"nothing on one", parts(w), parts(w, "1"), 0, false},
		{"across the wrap", parts(2*w-timeline.CellTicks, "1"), parts(2*w-timeline.CellTicks, "1"), 1, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			slots, _, ok := agree(tc.a, tc.b)
			if slots != tc.slots || ok != tc.ok {
				t.Errorf("agree: %d slots, %v; want %d, %v", slots, ok, tc.slots, tc.ok)
			}
		})
	}
	// T begins again at the wrap: the older segment has the larger T.
	a, b := parts(2*w-timeline.CellTicks, "1"), parts(2*w-timeline.CellTicks, "1")
	a.Segments = append(a.Segments, part{ticks: w, digest: "2"})
	b.Segments = append(b.Segments, part{ticks: w, digest: "2"})
	if slots, _, ok := agree(a, b); slots != 2 || !ok {
		t.Errorf("agree across the wrap: %d slots, %v; want 2, true", slots, ok)
	}
}

func TestLine(t *testing.T) {
	r := Report{Emergency: 3.14, Recovery: 6.28, Verdict: verdict.Verdict{Sent: 1, Slots: 12}}
	if got, want := r.line(), "verdict: 0 lost, 0 doubled; archives identical (12 slots); emergency after 3.1 s; recovery 6.3 s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, tc := range []struct {
		name string
		r    Report
		want string
	}{
		{"lost", Report{Verdict: verdict.Verdict{Sent: 9, Slots: 12}, Problems: []string{"a lost 7 of 9", "2 of 12 slots differ"}},
			"FAILED: a lost 7 of 9; 2 of 12 slots differ"},
		{"nothing lost, and yet", Report{Verdict: verdict.Verdict{Sent: 9, Slots: 12}, Problems: []string{"waited in vain"}},
			"FAILED: waited in vain"},
		{"the witness is blind", Report{Verdict: verdict.Verdict{Sent: 9, Slots: 12, Missed: 1}, Problems: []string{"the witness missed 1"}},
			"NOT JUDGED: the witness missed 1"},
		{"blind, and the archives differ", Report{Verdict: verdict.Verdict{Sent: 9, Slots: 12, Missed: 1, Different: make([]verdict.Difference, 1)},
			Problems: []string{"1 differs"}}, "FAILED: 1 differs"},
	} {
		if got := tc.r.line(); got != tc.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

func TestPrintNamesWhatIsNotJudged(t *testing.T) {
	var out bytes.Buffer
	printText(&out, &Report{Verdict: verdict.Verdict{
		Sites:  [2]verdict.Count{{Site: "a"}, {Site: "b"}},
		Tracks: []verdict.Track{{Name: "PID 257 AAC", Sent: 8, Lost: [2]int{0, 3}}}, NotJudged: []string{"PID 258 AC-3"},
	}})
	for _, want := range []string{"PID 257 AAC            sent 8, lost by a 0, by b 3\n", "not judged: PID 258 AC-3"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it says\n%s\nwant %q in it", out.String(), want)
		}
	}
}

func TestDirectoryWithData(t *testing.T) {
	dir := t.TempDir()
	if err := emptyDir(dir + "/new"); err != nil {
		t.Error(err)
	}
	if err := emptyDir(dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("of a directory that has data: %v", err)
	}
}

// TestScreen holds that the picture has always the same number of lines, and fits.
func TestScreen(t *testing.T) {
	began := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	full := scene{phase: "recovery", meaning: "…", began: began, now: began.Add(90 * time.Second), since: 90 * time.Second}
	full.sites[0] = state{Node: "main", Up: true, PID: 7, Active: "udp://1", Since: began, Inputs: []input{{1, "udp://1", "active"}, {2, strings.Repeat("long", 30), "away"}, {}}}
	for i := range 14 {
		from := began.Add(time.Duration(i) * 6 * time.Second)
		full.sites[0].Segments = append(full.sites[0].Segments, part{from: from, to: from.Add(6 * time.Second), origin: []string{"main", "replica"}[i/8], damaged: i == 3})
	}
	full.sites[1] = state{Node: "replica"}
	var heights []int
	for _, s := range []scene{{began: began, now: began}, full} {
		var out bytes.Buffer
		d := screen{out: &out, width: 80}
		d.scene(s)
		lines := strings.Split(strings.TrimSuffix(regexp.MustCompile("\x1b\\[[0-9;]*[a-zA-Z]").ReplaceAllString(out.String(), ""), "\n"), "\n")
		heights = append(heights, len(lines))
		if d.drawn != len(lines) {
			t.Errorf("it thinks to have drawn %d lines, want %d", d.drawn, len(lines))
		}
		for _, l := range lines {
			if n := len([]rune(l)); n > 80 {
				t.Errorf("a line of %d columns: %s", n, l)
			}
		}
		if bar := strings.Join(lines, "\n"); s.sites[0].Up && !regexp.MustCompile(`\[█+x+█+▒+─+\]`).MatchString(bar) {
			t.Errorf("the bar of main does not show what it received, what was damaged, what came from the peer and what is open:\n%s", bar)
		}
	}
	if heights[0] != screenRows || heights[1] != screenRows {
		t.Errorf("pictures of %v lines, want %d", heights, screenRows)
	}
}

// TestBar holds what a person reads out of a bar: a minute in a cell a second.
func TestBar(t *testing.T) {
	began := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	second := func(n int) time.Time { return began.Add(time.Duration(n) * time.Second) }
	sealed := []part{{from: second(2), to: second(8), origin: "a"}, {from: second(8), to: second(14), origin: "a"}}
	up := state{Node: "a", Up: true, Active: "udp://1", Since: began, Segments: sealed}
	for _, tc := range []struct {
		name  string
		st    state
		now   int
		ended int
		want  string
	}{
		{"the live edge is open, not missing", up, 20, 0, "  ████████████──────"},
		{"nothing is sealed yet", state{Node: "a", Up: true, Active: "udp://1", Since: second(1)}, 5, 0, " ────"},
		{"down: it misses what is sent", state{Node: "a", Segments: sealed}, 20, 0, "  ████████████······"},
		{"up again, and open since", state{Node: "a", Up: true, Active: "udp://1", Since: second(18), Segments: sealed}, 20, 0, "  ████████████····──"},
		{"the hole is filled by the peer", state{Node: "a", Up: true, Since: second(18), Segments: append(sealed, part{from: second(14), to: second(20), origin: "b"})},
			20, 0, "  ████████████▒▒▒▒▒▒"},
		{"a hole between segments", state{Node: "a", Segments: []part{sealed[0], {from: second(10), to: second(12), origin: "a"}}}, 12, 0, "  ██████··██"},
		{"after the source has stopped there is nothing to miss", up, 30, 14, "  ████████████"},
	} {
		s := scene{began: began, now: second(tc.now)}
		if tc.ended > 0 {
			s.ended = second(tc.ended)
		}
		d := screen{width: 60 + 14}
		if got := strings.TrimRight(strings.Trim(d.bar(s, tc.st), "[]"), " "); got != tc.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

func TestRanges(t *testing.T) {
	began := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	var st state
	if got := ranges(st); got != "nothing sealed yet" {
		t.Errorf("got %s", got)
	}
	for _, n := range []time.Duration{0, 6, 20, 40, 60} {
		from := began.Add(n * time.Second)
		st.Segments = append(st.Segments, part{from: from, to: from.Add(6 * time.Second)})
	}
	if got, want := ranges(st), "1 more, 09:00:20.0–09:00:26.0, 09:00:40.0–09:00:46.0, 09:01:00.0–09:01:06.0 (5 segments)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestProcessThatEndsByItself(t *testing.T) {
	log := t.TempDir() + "/log"
	p, err := start("site x", log, "/bin/sh", "-c", "echo listen: address already in use >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	if err := p.failed(); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "already in use") {
		t.Errorf("failed: %v, want the exit status and the last words", err)
	}
	q, err := start("site y", log, "/bin/sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	q.end(syscall.SIGKILL, time.Second)
	if err := q.failed(); err != nil {
		t.Errorf("failed: %v, want nil for one that was killed on purpose", err)
	}
}

func TestSourceIsMulticast(t *testing.T) {
	for url, ok := range map[string]bool{
		"rtp://239.0.0.1:1234/127.0.0.1": false, "rtp://239.0.0.1:1234+rtp://239.0.0.2:1234": false, "udp://239.0.0.1:1234/127.0.0.1": true, "udp://239.0.0.1:1234": true,
		"udp://127.0.0.1:1234": false, "m4f://a/b": false, "nonsense": false,
	} {
		if _, err := parseSource(url); (err == nil) != ok {
			t.Errorf("parseSource(%q): %v", url, err)
		}
	}
}
