package server

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestListPassesWhatHasGone: a segment that is deleted, or goes in any other way, while events are listed ends no list.
func TestListPassesWhatHasGone(t *testing.T) {
	for _, err := range []error{errs.ErrUnknown, errs.ErrExpired, errs.ErrDeleted, &store.SupersededError{}, errs.ErrCorrupt, errs.ErrQuarantined} {
		if !isGone(fmt.Errorf("read segment: %w", err)) {
			t.Errorf("%v ends the list", err)
		}
	}
	if isGone(errs.ErrNotReady) || isGone(nil) {
		t.Error("an archive that is closed is passed")
	}
}

func TestSectionEvents(t *testing.T) {
	zero := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		section string // of SCTE 35, clause 14
		at      timeline.Ticks
		want    []string
	}{
		{"/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowo=", 1936310318 - 180000,
			[]string{"splice_insert 4800008f type 0 out true cancel false at 2s for 5426421 "}},
		// At a turn of the clock the time is the nearer one.
		{"/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowo=", 1936310318 + timeline.Wrap + 90000,
			[]string{"splice_insert 4800008f type 0 out true cancel false at -1s for 5426421 "}},
		{"/DBIAAAAAAAA///wBQb+ek2ItgAyAhdDVUVJSAAAGH+fCAgAAAAALMvDRBEAAAIXQ1VFSUgAABl/nwgIAAAAACyk26AQAACZcuND", 2051901622,
			[]string{"time_signal 48000018 type 11 out false cancel false at 0s for 0 ", "time_signal 48000019 type 10 out false cancel false at 0s for 0 "}},
		{"/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowA=", 5,
			[]string{" 0 type 0 out false cancel false at 0s for 0 the CRC of the section is wrong"}},
	} {
		b, err := base64.StdEncoding.DecodeString(c.section)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range sectionEvents(b, c.at, func(u timeline.Ticks) time.Time { return zero.Add((u - c.at).Duration()) }) {
			got = append(got, fmt.Sprintf("%s %x type %x out %t cancel %t at %v for %d %s", e.GetCommand(), e.GetEventId(), e.GetSegmentationType(),
				e.GetOutOfNetwork(), e.GetCancel(), e.GetTime().AsTime().Sub(zero), e.GetDurationTicks(), e.GetProblem()))
			if e.GetReceived().AsTime() != zero || string(e.GetRaw()) != string(b) {
				t.Errorf("received %v, %d bytes", e.GetReceived().AsTime(), len(e.GetRaw()))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("got\n%q, want\n%q", got, c.want)
		}
	}
}
