package playback_test

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinreel/twinreel/gateway/internal/playback"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const cell = timeline.CellTicks

// incell is a segment of a row that fills a cell, on air the given cells after the beginning of the tests.
func incell(row byte, no, utc int) archivetest.Place {
	return archivetest.Place{Row: row, Start: timeline.Wrap + timeline.Ticks(no)*cell, Length: cell, UTC: at(timeline.Ticks(utc) * cell)}
}

// same compares the numbers of what two listings share, gaps apart, and says of how many segments that is.
func same(t *testing.T, what string, before, after map[string][2]int) int {
	t.Helper()
	shared := 0
	for uri, want := range before {
		if got, ok := after[uri]; ok && strings.Contains(uri, "segment/") {
			shared++
			if got != want {
				t.Errorf("%s: %s has number and discontinuities %v, before %v", what, uri, got, want)
			}
		}
	}
	return shared
}

// first is the number of the first entry, and the discontinuities before it.
func first(t *testing.T, list string) (segments, cuts int) {
	t.Helper()
	for line := range strings.Lines(list) {
		fmt.Sscanf(line, "#EXT-X-MEDIA-SEQUENCE:%d", &segments)     //nolint:errcheck // most lines are others
		fmt.Sscanf(line, "#EXT-X-DISCONTINUITY-SEQUENCE:%d", &cuts) //nolint:errcheck // most lines are others
	}
	return segments, cuts
}

// TestBackfillBeforeTheHead brings what is older than all that a window has listed (I4). Where the window begins at a
// moment, there is a gap of it from the first listing on, and the older segments take its place.
func TestBackfillBeforeTheHead(t *testing.T) {
	for _, tc := range []struct {
		name, window string
		now          int // in cells
		listed       int // segments after the backfill
	}{
		{"window of all", "archive-0-now", 1000, 4},
		{"window from a moment", fmt.Sprintf("archive-%d-now", at(cell/2).Unix()), 1000, 10},
		{"window that will end", fmt.Sprintf("archive-%d-90", at(cell/2).Unix()), 10, 10},
		{"live", "index", 10, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := &archivetest.Server{Name: "s"}
			for c := range 14 {
				row := byte(2)
				if c < 3 {
					row = 1 // and before the head lies another timeline
				}
				srv.Add(incell(row, int(row)*100+c, c))
			}
			all := srv.Copies
			base := serveAt(t, srv, at(timeline.Ticks(tc.now)*cell))
			url := base + tc.window + "/256.m3u8"
			srv.Copies = all[6:10]
			list := string(get(t, url, 200))
			before := numbers(t, list)
			segments, cuts := first(t, list)
			for _, state := range []struct {
				name     string
				from, to int
			}{{"backfill", 4, 10}, {"older timeline", 0, 10}, {"head expired", 2, 12}, {"more of it", 7, 14}} {
				srv.Copies = all[state.from:state.to]
				list = string(get(t, url, 200))
				after := numbers(t, list)
				if same(t, state.name, before, after) == 0 {
					t.Errorf("%s: nothing is as before", state.name)
				}
				s, c := first(t, list)
				if s < segments || c < cuts {
					t.Errorf("%s: MEDIA-SEQUENCE and DISCONTINUITY-SEQUENCE went from %d, %d to %d, %d", state.name, segments, cuts, s, c)
				}
				segments, cuts = s, c
				if n := strings.Count(list, "segment/"); state.name == "older timeline" && n != tc.listed {
					t.Errorf("%d segments are listed, want %d", n, tc.listed)
				}
				maps.Copy(before, after)
			}
		})
	}
}

// TestAnotherGatewayCountsAlike asks gateways that know nothing of what was listed before. Numbers come from the archive
// alone, over the restart of an encoder too; discontinuities as long as none has left the window.
func TestAnotherGatewayCountsAlike(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	for c := range 4 {
		srv.Add(incell(1, c, c))
	}
	for c := range 4 {
		srv.Add(incell(2, 1000+c, 9+c)) // five cells are missing
	}
	all := srv.Copies
	window := fmt.Sprintf("archive-%d-now/256.m3u8", utc.Unix())
	before := numbers(t, string(get(t, serve(t, srv)+window, 200)))
	if len(before) != 13 {
		t.Errorf("%d entries for 8 segments and 5 that are missing", len(before))
	}
	for n := range 8 {
		srv.Copies = all[:n+1]
		if same(t, fmt.Sprint("the first ", n+1), before, numbers(t, string(get(t, serve(t, srv)+window, 200)))) != n+1 {
			t.Errorf("the first %d are not listed", n+1)
		}
		srv.Copies = all[n:]
		for uri, got := range numbers(t, string(get(t, serve(t, srv)+window, 200))) {
			if strings.Contains(uri, "segment/") && got[0] != before[uri][0] {
				t.Errorf("%d expired: %s has number %d, before %d", n, uri, got[0], before[uri][0])
			}
		}
	}
}

// TestNumbersOutliveTheHead takes segment after segment away from archives whose numbers do not come from their cells
// alone (I4).
func TestNumbersOutliveTheHead(t *testing.T) {
	for _, tc := range []struct {
		name   string
		places []archivetest.Place
	}{
		{"encoder restarts, some cells are missing", []archivetest.Place{incell(1, 0, 0), incell(1, 1, 1), incell(2, 1000, 7), incell(2, 1001, 8), incell(2, 1002, 9)}},
		{"it is back at once", []archivetest.Place{incell(1, 0, 0), incell(1, 1, 1), incell(2, 1000, 2), incell(2, 1001, 3)}},
		{"the clock was set back", []archivetest.Place{incell(1, 0, 4), incell(1, 1, 5), incell(2, 1000, 2), incell(2, 1001, 3), incell(2, 1003, 5)}},
		{"years between", []archivetest.Place{incell(1, 0, 0), incell(1, 1, 1), incell(2, 1000, 20_000_000), incell(2, 1001, 20_000_001)}},
		{"long GOP", []archivetest.Place{long(0), long(2), long(4), long(7), long(9)}},
		{"two configurations in a cell", []archivetest.Place{
			incell(1, 0, 0), half(1, 0, "eng"), half(1, 1, "deu"), {Row: 1, Start: timeline.Wrap + 2*cell, Length: cell, UTC: at(2 * cell), Language: "deu"},
			{Row: 1, Start: timeline.Wrap + 3*cell, Length: cell, UTC: at(3 * cell), Language: "deu"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := &archivetest.Server{Name: "s"}
			for _, p := range tc.places {
				srv.Add(p)
			}
			all := srv.Copies
			url := serveAt(t, srv, at(40_000_000*cell)) + "archive-0-now/256.m3u8"
			before := numbers(t, string(get(t, url, 200)))
			for expired := range all {
				srv.Copies = all[expired:]
				if n := same(t, fmt.Sprint(expired, " expired"), before, numbers(t, string(get(t, url, 200)))); n != len(all)-expired {
					t.Errorf("%d expired: %d segments are listed, want %d", expired, n, len(all)-expired)
				}
			}
		})
	}
}

// TestLongGOPIsNoGap: a cell in which no segment begins is not missing.
func TestLongGOPIsNoGap(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	for no := range 6 {
		srv.Add(long(2 * no))
	}
	all := srv.Copies
	url := serve(t, srv) + "archive-0-now/256.m3u8"
	before := make(map[string][2]int)
	for n := range all {
		srv.Copies = all[max(0, n-3) : n+1]
		list := string(get(t, url, 200))
		if strings.Contains(list, "#EXT-X-GAP") {
			t.Fatalf("there is a gap in\n%s", list)
		}
		after := numbers(t, list)
		same(t, fmt.Sprint(n), before, after)
		maps.Copy(before, after)
	}
}

// TestWindowIsForgotten: what was fetched before its head is listed when nobody has watched for a while.
func TestWindowIsForgotten(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	for no := range 4 {
		srv.Add(incell(1, no, no))
	}
	all := srv.Copies
	var now moving
	h := httptest.NewServer(playback.New(srv.Dial(t), nil, &now, slog.New(slog.DiscardHandler)))
	t.Cleanup(h.Close)
	for _, tc := range []struct{ minute, from, want int }{{0, 2, 2}, {4, 0, 2}, {8, 0, 2}, {14, 0, 4}} {
		srv.Copies = all[tc.from:]
		now.ns.Store(at(1000*cell + timeline.Ticks(tc.minute)*60*timeline.TicksPerSecond).UnixNano())
		if got := strings.Count(string(get(t, h.URL+"/s/archive-0-now/256.m3u8", 200)), "segment/"); got != tc.want {
			t.Errorf("after %d min: %d segments, want %d", tc.minute, got, tc.want)
		}
	}
}

// long is a segment of two cells.
func long(no int) archivetest.Place {
	p := incell(1, no, no)
	p.Length = 2 * cell
	return p
}

// half is the first or the second half of cell 1.
func half(row byte, which timeline.Ticks, language string) archivetest.Place {
	from := cell + which*cell/2
	return archivetest.Place{Row: row, Start: timeline.Wrap + from, Length: cell / 2, UTC: at(from), Language: language}
}

// TestRepairRenumbersNothing puts whole segments in the place of some that had broken off (I4): what is missing of a
// cell is no entry of its own.
func TestRepairRenumbersNothing(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	for _, no := range []int{0, 1, 2, 5, 6} {
		p := incell(1, no, no)
		if no == 1 || no == 2 {
			p.Length = cell / 8
		}
		srv.Add(p)
	}
	url := serve(t, srv) + "archive-0-now/256.m3u8"
	list := string(get(t, url, 200))
	before := numbers(t, list)
	for line := range strings.Lines(list) {
		var sec float64
		if _, err := fmt.Sscanf(line, "#EXTINF:%f", &sec); err == nil && sec > 10 {
			t.Errorf("an entry of %v s is longer than the target duration", sec)
		}
	}
	srv.Copies = append(srv.Copies[:1], srv.Add(incell(1, 1, 1)), srv.Add(incell(1, 2, 2)), srv.Copies[3], srv.Copies[4])
	for _, url := range []string{url, serve(t, srv) + "archive-0-now/256.m3u8"} { // another gateway too
		if n := same(t, "repaired", before, numbers(t, string(get(t, url, 200)))); n != 3 {
			t.Errorf("%d segments are as before, want 3", n)
		}
	}
}

// TestWindowThatEnds is asked for while it grows and when it has ended: its numbers stay, and the end is marked (RFC
// 8216, 6.2.1 and 6.2.2).
func TestWindowThatEnds(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	for c := 2; c < 6; c++ {
		srv.Add(incell(byte(c/4), c, c))
	}
	var now moving
	now.ns.Store(at(6 * cell).UnixNano())
	h := httptest.NewServer(playback.New(srv.Dial(t), nil, &now, slog.New(slog.DiscardHandler)))
	t.Cleanup(h.Close)
	url := fmt.Sprintf("%s/s/archive-%d-60/256.m3u8", h.URL, utc.Unix())
	growing := string(get(t, url, 200))
	for _, later := range []time.Duration{3 * time.Minute, time.Hour} {
		now.ns.Store(at(6 * cell).Add(later).UnixNano())
		ended := string(get(t, url, 200))
		if n := same(t, "ended", numbers(t, growing), numbers(t, ended)); n != 4 {
			t.Errorf("%d segments, want 4", n)
		}
		if strings.Contains(growing, "#EXT-X-ENDLIST") || !strings.HasSuffix(ended, "#EXT-X-ENDLIST\n") || strings.Contains(ended, "#EXT-X-PLAYLIST-TYPE") {
			t.Errorf("growing:\n%s\nended:\n%s", growing, ended)
		}
		a, b := first(t, growing)
		if c, d := first(t, ended); c < a || d < b {
			t.Errorf("MEDIA-SEQUENCE and DISCONTINUITY-SEQUENCE went from %d, %d to %d, %d", a, b, c, d)
		}
	}
}

type moving struct {
	clock.System
	ns atomic.Int64
}

func (m *moving) Now() time.Time { return time.Unix(0, m.ns.Load()) }

func (m *moving) Mono() time.Duration { return time.Duration(m.ns.Load()) }
