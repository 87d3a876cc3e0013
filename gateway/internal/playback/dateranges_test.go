package playback

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

func TestDateRanges(t *testing.T) {
	zero := time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)
	at := func(s float64) *timestamppb.Timestamp {
		return timestamppb.New(zero.Add(time.Duration(s * float64(time.Second))))
	}
	insert := func(received, when float64, id uint32, leaves bool, ticks uint64) *dvrv1.Event {
		return &dvrv1.Event{
			Received: at(received), Time: at(when), Pts: uint64(when * 90000), Pid: 500, Command: "splice_insert", EventId: id,
			OutOfNetwork: leaves, DurationTicks: ticks, Raw: []byte{0xFC, byte(id)},
		}
	}
	signal := func(received, when float64, id, kind uint32, ticks uint64) *dvrv1.Event {
		e := insert(received, when, id, false, ticks)
		e.Command, e.SegmentationType = "time_signal", kind
		return e
	}
	cancel := func(e *dvrv1.Event) *dvrv1.Event { e.Cancel = true; return e }
	broken := insert(0, 0, 1, true, 0)
	broken.Problem = "the CRC is wrong"
	const day = "2024-01-01T12:00:"
	for _, c := range []struct {
		name   string
		events []*dvrv1.Event
		want   []string
	}{
		{"out, said three times, and in", []*dvrv1.Event{
			insert(1, 4, 1, true, 2700000), insert(2, 4, 1, true, 2700000), insert(3, 4.01, 1, true, 2700000), insert(31, 34, 1, false, 0), insert(32, 34, 1, false, 0),
		}, []string{`ID="scte35-500-1-0-360000",START-DATE="` + day + `04.000Z",END-DATE="` + day + `34.000Z",PLANNED-DURATION=30.000,SCTE35-OUT=0xFC01,SCTE35-IN=0xFC01`}},
		{"an id that is used again", []*dvrv1.Event{insert(1, 4, 1, true, 0), insert(8, 9, 1, false, 0), insert(10, 11, 1, true, 0)}, []string{
			`ID="scte35-500-1-0-360000",START-DATE="` + day + `04.000Z",END-DATE="` + day + `09.000Z",SCTE35-OUT=0xFC01,SCTE35-IN=0xFC01`,
			`ID="scte35-500-1-0-990000",START-DATE="` + day + `11.000Z",SCTE35-OUT=0xFC01`,
		}},
		{"in of what nobody saw begin", []*dvrv1.Event{insert(1, 4, 7, false, 0)},
			[]string{`ID="scte35-500-7-0-360000",START-DATE="` + day + `04.000Z",END-DATE="` + day + `04.000Z",SCTE35-IN=0xFC07`}},
		{"called off in time, and too late", []*dvrv1.Event{
			insert(1, 4, 1, true, 0), cancel(insert(2, 2, 1, false, 0)), insert(1, 4, 2, true, 0), cancel(insert(5, 5, 2, false, 0)),
		}, []string{`ID="scte35-500-2-0-360000",START-DATE="` + day + `04.000Z",SCTE35-OUT=0xFC02`}},
		{"placement opportunity, program start", []*dvrv1.Event{signal(1, 2, 3, 0x34, 900000), signal(1, 2, 9, 0x10, 0), signal(11, 12, 3, 0x35, 0)}, []string{
			`ID="scte35-500-3-52-180000",START-DATE="` + day + `02.000Z",END-DATE="` + day + `12.000Z",PLANNED-DURATION=10.000,SCTE35-OUT=0xFC03,SCTE35-IN=0xFC03`,
			`ID="scte35-500-9-16-180000",START-DATE="` + day + `02.000Z",SCTE35-CMD=0xFC09`,
		}},
		{"unreadable", []*dvrv1.Event{broken}, nil},
	} {
		var got []string
		for _, r := range dateRanges(c.events) {
			b := &bytes.Buffer{}
			r.write(b)
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(b.String(), "#EXT-X-DATERANGE:"), "\n"))
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

func TestDateRangeIsOver(t *testing.T) {
	zero := time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)
	raw := []byte{1}
	for _, c := range []struct {
		r    dateRange
		want bool
	}{
		{dateRange{start: zero.Add(-time.Hour), out: raw}, false},
		{dateRange{start: zero.Add(-time.Hour), out: raw, planned: time.Minute}, true},
		{dateRange{start: zero.Add(-time.Hour), out: raw, planned: 2 * time.Hour}, false},
		{dateRange{start: zero.Add(-time.Hour), out: raw, end: zero.Add(-time.Minute)}, true},
		{dateRange{start: zero.Add(-time.Hour), cmd: raw}, true},
		{dateRange{start: zero.Add(time.Hour), cmd: raw}, false},
	} {
		if got := c.r.over(zero); got != c.want {
			t.Errorf("%+v: over is %t", c.r, got)
		}
	}
}
