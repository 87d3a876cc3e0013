package ledger

import (
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/timeline"
)

var began = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func at(n float64) time.Time { return began.Add(time.Duration(n * float64(time.Minute))) }

func span(from, to float64) Span { return Span{at(from), at(to)} }

func minutes(n float64) timeline.Ticks {
	return timeline.FromDuration(time.Duration(n * float64(time.Minute)))
}

// TestMake: a loss is told by who has what was lost.
func TestMake(t *testing.T) {
	now := at(200)
	good := Peer{Compared: at(199), Now: now}
	whole := []Range{{Span: span(10, 40)}, {Span: span(40, 60)}, {Span: span(60, 100)}}
	for _, c := range []struct {
		name  string
		state State
		want  []Hour
	}{
		{"nothing", State{}, nil},
		{"all is here", State{Ranges: whole, Peers: []Peer{good}}, []Hour{
			{Start: began, Expected: minutes(50), Clean: minutes(50)}, {Start: at(60), Expected: minutes(40), Clean: minutes(40)}}},
		{"a gap over the hour, which all lost", State{Ranges: []Range{{Span: span(10, 50)}, {Span: span(70, 80)}}, Gaps: []Gap{{Span: span(50, 70)}}, Peers: []Peer{good, good}}, []Hour{
			{Start: began, Expected: minutes(50), Clean: minutes(40), Missing: minutes(10), LostUpstream: minutes(10)},
			{Start: at(60), Expected: minutes(20), Clean: minutes(10), Missing: minutes(10), LostUpstream: minutes(10)}}},
		{"a peer has half of it", State{Ranges: []Range{{Span: span(0, 10)}}, Gaps: []Gap{{Span: span(10, 20)}}, Wanted: []Span{span(15, 18), span(17, 20)}, Peers: []Peer{good}}, []Hour{
			{Start: began, Expected: minutes(20), Clean: minutes(10), Missing: minutes(10), Pending: minutes(5), LostUpstream: minutes(5)}}},
		{"damage, of which a peer has half", State{Ranges: []Range{{Span: span(0, 10), Damaged: minutes(2)}}, Wanted: []Span{span(5, 10)}, Peers: []Peer{good}}, []Hour{
			{Start: began, Expected: minutes(10), Clean: minutes(8), Damaged: minutes(2), Pending: minutes(1), LostUpstream: minutes(1)}}},
		{"repaired", State{Ranges: []Range{{Span: span(0, 10)}, {Span: span(10, 12), Late: minutes(2)}}, Peers: []Peer{good}}, []Hour{
			{Start: began, Expected: minutes(12), Clean: minutes(12), Repaired: minutes(2)}}},
		{"no room", State{Gaps: []Gap{{span(0, 5), true}}, Peers: []Peer{good}}, []Hour{
			{Start: began, Expected: minutes(5), Missing: minutes(5), LostLocal: minutes(5)}}},
		{"no room, and a peer has it", State{Gaps: []Gap{{span(0, 5), true}}, Wanted: []Span{span(0, 5)}, Peers: []Peer{good}}, []Hour{
			{Start: began, Expected: minutes(5), Missing: minutes(5), Pending: minutes(5)}}},
		{"there is no peer", State{Gaps: []Gap{{Span: span(0, 5)}}}, []Hour{
			{Start: began, Expected: minutes(5), Missing: minutes(5), LostUnknown: minutes(5)}}},
		{"one of two is away", State{Gaps: []Gap{{Span: span(0, 5)}}, Peers: []Peer{good, {Now: now}}}, []Hour{
			{Start: began, Expected: minutes(5), Missing: minutes(5), LostUnknown: minutes(5)}}},
		{"it was compared before", State{Gaps: []Gap{{Span: span(0, 5)}}, Peers: []Peer{{Compared: at(5.4), Now: now}}}, []Hour{
			{Start: began, Expected: minutes(5), Missing: minutes(5), LostUnknown: minutes(5)}}},
		{"it keeps less", State{Gaps: []Gap{{Span: span(0, 5)}}, Peers: []Peer{{Compared: at(199), Keeps: 3 * time.Hour, Now: now}}}, []Hour{
			{Start: began, Expected: minutes(5), Missing: minutes(5), LostUnknown: minutes(5)}}},
		{"it has let that go for want of room", State{Gaps: []Gap{{Span: span(0, 10)}}, Peers: []Peer{good, {Compared: at(199), Since: at(5), Now: now}}}, []Hour{
			{Start: began, Expected: minutes(10), Missing: minutes(10), LostUnknown: minutes(10)}}},
		{"it has let go what was before", State{Gaps: []Gap{{Span: span(5, 10)}}, Peers: []Peer{{Compared: at(199), Since: at(5), Now: now}}}, []Hour{
			{Start: began, Expected: minutes(5), Missing: minutes(5), LostUpstream: minutes(5)}}},
		{"a part was deleted there", State{Gaps: []Gap{{Span: span(0, 10)}, {Span: span(20, 25)}}, Peers: []Peer{{Compared: at(199), Deleted: []Span{span(9, 12)}, Now: now}}}, []Hour{
			{Start: began, Expected: minutes(15), Missing: minutes(15), LostUnknown: minutes(10), LostUpstream: minutes(5)}}},
		{"a peer has what was before", State{Ranges: []Range{{Span: span(30, 40)}}, Wanted: []Span{span(20, 35)}, Peers: []Peer{good}}, []Hour{
			{Start: began, Expected: minutes(20), Clean: minutes(10), Missing: minutes(10), Pending: minutes(10)}}},
		{"a window", State{From: at(15), To: at(65), Ranges: whole, Gaps: []Gap{{Span: span(100, 120)}}, Wanted: []Span{span(0, 5)}, Peers: []Peer{good}}, []Hour{
			{Start: began, Expected: minutes(45), Clean: minutes(45)}, {Start: at(60), Expected: minutes(5), Clean: minutes(5)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Make(c.state)
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, c.want)
			}
			for _, h := range got {
				if h.Expected != h.Clean+h.Damaged+h.Missing || h.Damaged+h.Missing != h.Pending+h.Lost() {
					t.Errorf("it does not add up: %+v", h)
				}
			}
		})
	}
}

// A month of a stream that changes each minute takes a moment: what is quadratic takes minutes.
func TestMonth(t *testing.T) {
	s := State{Peers: []Peer{{Compared: at(60 * 24 * 31), Now: at(60 * 24 * 31)}}}
	for n := range 60 * 24 * 30 {
		s.Ranges = append(s.Ranges, Range{Span: span(float64(n), float64(n)+0.5), Damaged: 90})
		s.Gaps = append(s.Gaps, Gap{Span: span(float64(n)+0.5, float64(n)+1)})
		s.Wanted = append(s.Wanted, span(float64(n)+0.5, float64(n)+0.6))
	}
	start := time.Now()
	if n := len(Make(s)); n != 720 {
		t.Errorf("%d hours", n)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}
