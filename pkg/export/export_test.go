package export_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/export"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/teletext/teletexttest"
	"github.com/twinreel/twinreel/pkg/timeline"
)

var utc = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// sample is one sample of the file: where it is, and what it was in the archive.
type sample struct {
	at  timeline.Ticks
	was []byte
}

// samples reads a file with a reader that is not ours.
func samples(t *testing.T, b []byte) map[uint16][]sample {
	t.Helper()
	f, err := mp4.DecodeFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[uint16][]sample)
	for _, s := range f.Segments {
		for _, frag := range s.Fragments {
			id := frag.Moof.Traf.Tfhd.TrackID
			var trex *mp4.TrexBox
			for _, x := range f.Init.Moov.Mvex.Trexs {
				if x.TrackID == id {
					trex = x
				}
			}
			full, err := frag.GetFullSamples(trex)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range full {
				out[uint16(id)] = append(out[uint16(id)], sample{timeline.Ticks(s.DecodeTime), s.Data})
			}
		}
	}
	return out
}

const length = 6 * timeline.TicksPerSecond

func at(d timeline.Ticks) time.Time { return utc.Add(d.Duration()) }

func TestExport(t *testing.T) {
	wrap := timeline.Wrap
	for _, tc := range []struct {
		name   string
		places []archivetest.Place
		r      archive.Range
		// places by index that are in the file, and where each begins in it
		in   []int
		on   []timeline.Ticks
		gaps int
	}{
		{
			name: "everything, with the open tail",
			places: []archivetest.Place{
				{Start: wrap + 900000, Length: length, UTC: at(0)},
				{Start: wrap + 900000 + length, Length: length, UTC: at(length)},
				{Start: wrap + 900000 + 2*length, Length: length / 2, UTC: at(2 * length), Open: true},
			},
			in: []int{0, 1, 2}, on: []timeline.Ticks{0, length, 2 * length},
		},
		{
			name: "a window takes whole segments that overlap it",
			places: []archivetest.Place{
				{Start: wrap + 900000, Length: length, UTC: at(0)},
				{Start: wrap + 900000 + length, Length: length, UTC: at(length)},
				{Start: wrap + 900000 + 2*length, Length: length, UTC: at(2 * length)},
			},
			r:  archive.Range{From: at(length), To: at(length + 1)},
			in: []int{1}, on: []timeline.Ticks{0},
		},
		{
			name: "across the wrap, with a gap that keeps its time",
			places: []archivetest.Place{
				{Start: 2*wrap - length, Length: length, UTC: at(0), Turn: -1},
				{Start: wrap + 2*length, Length: length, UTC: at(3 * length), Turn: 0},
			},
			in: []int{0, 1}, on: []timeline.Ticks{0, 3 * length}, gaps: 1,
		},
		{
			name: "a later timeline follows by UTC",
			places: []archivetest.Place{
				{Start: wrap + 900000, Length: length, UTC: at(0), Row: 1},
				{Start: wrap + 77*900000, Length: length, UTC: at(2 * length), Row: 2},
			},
			in: []int{0, 1}, on: []timeline.Ticks{0, 2 * length}, gaps: 1,
		},
		{
			name: "a later timeline never goes back, whatever UTC says",
			places: []archivetest.Place{
				{Start: wrap + 900000, Length: length, UTC: at(0), Row: 1},
				{Start: wrap + 900000, Length: length, UTC: at(length / 2), Row: 2},
			},
			in: []int{0, 1}, on: []timeline.Ticks{0, length + 1648}, // the end of the last MP2 frame
		},
		{
			name: "a timeline that is left for another goes on by its own clock",
			places: []archivetest.Place{
				{Start: wrap + 900000, Length: length, UTC: at(0), Row: 1},
				{Start: wrap + 77*900000, Length: length, UTC: at(length + 9000), Row: 2},
				{Start: wrap + 900000 + 3*length, Length: length, UTC: at(3*length + 900), Row: 1}, // its UTC was slewed
				{Start: wrap + 900000 + 4*length, Length: length, UTC: at(4*length + 900), Row: 1},
			},
			in: []int{0, 1, 2, 3}, on: []timeline.Ticks{0, length + 9000, 3 * length, 4 * length}, gaps: 2,
		},
		{
			name: "a track that comes later",
			places: []archivetest.Place{
				{Start: wrap + 900000, Length: length, UTC: at(0), NoMP2: true},
				{Start: wrap + 900000 + length, Length: length, UTC: at(length)},
			},
			in: []int{0, 1}, on: []timeline.Ticks{0, length},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := &archivetest.Server{Name: "s"}
			for _, p := range tc.places {
				srv.Add(p)
			}
			e, err := export.Plan(t.Context(), archive.New(srv.Dial(t), "s"), tc.r)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			res, err := e.Write(t.Context(), &b)
			if err != nil {
				t.Fatal(err)
			}
			last := srv.Copies[tc.in[len(tc.in)-1]]
			if want := last.Start.Add((last.Info.End - last.Info.Start).Duration()); !res.To.Equal(want) ||
				!res.From.Equal(srv.Copies[tc.in[0]].Start) || res.Segments != len(tc.in) || res.Gaps != tc.gaps || res.Bytes != int64(b.Len()) {
				t.Errorf("result %+v, want to %v, %d segments, %d gaps, %d bytes", res, want, len(tc.in), tc.gaps, b.Len())
			}
			want := make(map[uint16][]sample)
			for k, i := range tc.in {
				c := srv.Copies[i]
				for _, tr := range c.Info.Tracks {
					step := map[uint16]timeline.Ticks{archivetest.Video: archivetest.VideoTicks, archivetest.AAC: archivetest.AACTicks, archivetest.MP2: archivetest.MP2Ticks}[tr.PID]
					for x := tr.Start; x < tr.End; x += step {
						want[tr.PID] = append(want[tr.PID], sample{x - c.Info.Start + tc.on[k], archivetest.Sample(tr.PID, x)})
					}
				}
			}
			got := samples(t, b.Bytes())
			if len(got) != len(want) {
				t.Fatalf("%d tracks, want %d", len(got), len(want))
			}
			for pid := range want {
				if !slices.EqualFunc(got[pid], want[pid], func(a, b sample) bool { return a.at == b.at && bytes.Equal(a.was, b.was) }) {
					t.Errorf("PID %d: %d samples, the last at %d; want %d and %d", pid, len(got[pid]), got[pid][len(got[pid])-1].at, len(want[pid]), want[pid][len(want[pid])-1].at)
				}
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	srv.Add(archivetest.Place{Start: timeline.Wrap, Length: length, UTC: at(0), Language: "deu"})
	srv.Add(archivetest.Place{Start: timeline.Wrap + length, Length: length, UTC: at(length), Language: "eng"})
	src := archive.New(srv.Dial(t), "s")

	var conf *export.ConfigurationError
	if _, err := export.Plan(t.Context(), src, archive.Range{}); !errors.As(err, &conf) || conf.PID != archivetest.AAC || !conf.At.Equal(at(length)) {
		t.Errorf("Plan over a change of configuration: %v, want a ConfigurationError at %v", err, at(length))
	}
	if _, err := export.Plan(t.Context(), src, archive.Range{From: at(length)}); err != nil {
		t.Errorf("Plan from the change of configuration: %v", err)
	}
	if _, err := export.Plan(t.Context(), src, archive.Range{From: at(2 * length)}); !errors.Is(err, export.ErrNothing) {
		t.Errorf("Plan behind the end: %v, want ErrNothing", err)
	}
	if _, err := export.Plan(t.Context(), archive.New(srv.Dial(t), "other"), archive.Range{}); !errors.Is(err, errs.ErrStreamUnknown) {
		t.Errorf("Plan of another stream: %v, want ErrStreamUnknown", err)
	}
}

// TestReadFindsTheReplacement holds I2 of package archive.
func TestReadFindsTheReplacement(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	srv.Add(archivetest.Place{Start: timeline.Wrap, Length: length / 2, UTC: at(0)})
	src := archive.New(srv.Dial(t), "s")
	e, err := export.Plan(context.Background(), src, archive.Range{})
	if err != nil {
		t.Fatal(err)
	}
	srv.Copies = nil
	c := srv.Add(archivetest.Place{Start: timeline.Wrap, Length: length, UTC: at(0)})
	var b bytes.Buffer
	if _, err := e.Write(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if got, want := len(samples(t, b.Bytes())[archivetest.Video]), int(c.Info.Track(archivetest.Video).Samples); got != want {
		t.Errorf("%d pictures, want %d of the copy that took the place", got, want)
	}
	srv.Copies[0].Bytes[5000] ^= 1
	e, _ = export.Plan(t.Context(), src, archive.Range{})
	if _, err := e.Write(t.Context(), &b); !errors.Is(err, errs.ErrCorrupt) {
		t.Errorf("Write of rotten bytes: %v, want ErrCorrupt", err)
	}
}

// TestText: subtitles stand on the timeline of the file, over cuts, and not over gaps or into another row.
func TestText(t *testing.T) {
	const second = timeline.TicksPerSecond
	unit := func(at timeline.Ticks, lines ...string) archivetest.Unit {
		return archivetest.Unit{At: at, Data: append([]byte{0, 0, 1, 0xBD, 0, 0, 0x84, 0, 0}, teletexttest.Payload(889, lines...)...)}
	}
	data := func(units ...archivetest.Unit) []archivetest.Data {
		return []archivetest.Data{{PID: 500, Name: segment.Teletext, Language: "fra", StreamType: 6, Descriptors: teletexttest.Descriptor("fra", 2, 889, 890), Units: units}}
	}
	srv := &archivetest.Server{Name: "s"}
	wrap := timeline.Wrap
	for _, p := range []archivetest.Place{
		{Row: 1, Start: wrap, Length: length, UTC: at(0), Data: data(unit(second, "one"), unit(2*second), unit(5*second, "two"))},
		{Row: 1, Start: wrap + length, Length: length, UTC: at(length), Data: data(unit(second), unit(4*second, "lost"))},
		{Row: 1, Start: wrap + 3*length, Length: length, UTC: at(3 * length), Data: data(unit(2*second, "three"))},
		{Row: 2, Start: wrap + 900*second, Length: length, UTC: at(4 * length), Data: data(unit(3*second, "four"))},
	} {
		srv.Add(p)
	}
	e, err := export.Plan(t.Context(), archive.New(srv.Dial(t), "s"), archive.Range{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.WithText(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Write(t.Context(), io.Discard); err != nil {
		t.Fatal(err)
	}
	texts := e.Texts()
	if len(texts) != 2 || texts[0].Page.Number != 889 || texts[0].Cues != 5 || texts[1].Cues != 0 {
		t.Fatalf("%+v", texts)
	}
	want := `WEBVTT

00:00:01.000 --> 00:00:02.000
one

00:00:05.000 --> 00:00:07.000
two

00:00:10.000 --> 00:00:12.000
lost

00:00:20.000 --> 00:00:24.000
three

00:00:27.000 --> 00:00:30.000
four
`
	if got := string(texts[0].WebVTT); !regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), `27\.000 --> 00:00:30\.000`, `27\.0[0-2]\d --> 00:00:30\.0[0-2]\d`) + "$").MatchString(got) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
