package store

import (
	"reflect"
	"testing"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/segment"
)

// TestRunsStay: the packets of damaged access units are read again from the files alone, also when those are written anew,
// and go with the copy.
func TestRunsStay(t *testing.T) {
	x := newSite(t)
	m, runs := x.whole(3), []segment.Run{{
		PID: 256, DTS: x.whole(3).info.Start, Links: []segment.Link{{DTS: x.whole(3).info.Start - 3600, At: 7, Whole: true}},
		Packets: []segment.Packet{{At: 0, Counter: 5, Start: true, Data: []byte("head")}, {At: 2, Counter: 7, Data: []byte("tail")}},
	}}
	m.info.Evidence = segment.Evidence{StartUncertain: true, EndUncertain: true}
	m.info.Runs = runs
	if r := x.store(m, true); r.err != nil {
		t.Fatal(r.err)
	}
	has := func(when string) {
		t.Helper()
		r, err := x.st.NewReader(m.info.Digest, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got := r.Runs(); !reflect.DeepEqual(got, runs) {
			t.Errorf("%s: %+v", when, got)
		}
		if r.copy.Info.Runs != nil {
			t.Errorf("%s: the index has them", when)
		}
	}
	has("as it is")
	x.powerCut(nil)
	has("after a power cut")
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	x.index = newIndexFS()
	x.open()
	has("with the index lost")

	better := m.info
	better.Evidence, better.Runs = segment.Evidence{StartUncertain: true}, nil
	told := make(chan error, 1)
	if !x.st.Absorb(m.slot, &better, func(err error) { told <- err }) {
		t.Fatal("not contained")
	}
	for waits := true; waits; {
		select {
		case err := <-told:
			if err != nil {
				t.Fatal(err)
			}
			waits = false
		default:
			x.commit()
		}
	}
	has("written anew with smaller evidence")

	whole := m.info
	whole.Evidence = segment.Evidence{}
	told = make(chan error, 1)
	x.st.Absorb(m.slot, &whole, func(err error) { told <- err })
	for waits := true; waits; {
		select {
		case err := <-told:
			if err != nil {
				t.Fatal(err)
			}
			waits = false
		default:
			x.commit()
		}
	}
	runs = nil
	has("of a whole copy")
}

// TestRunsAreSkipped: a reader that does not know runs reads the record before them.
func TestRunsAreSkipped(t *testing.T) {
	x := newSite(t)
	m := x.whole(3)
	c := index.Copy{Slot: m.slot, Info: m.info, At: make([]int64, len(m.info.Chunks))}
	want, _, err := index.ParseRecord(index.AppendRecord(nil, &c))
	if err != nil {
		t.Fatal(err)
	}
	got, rest, err := index.ParseRecord(append(index.AppendRecord(nil, &c), segment.AppendRuns(nil, []segment.Run{{PID: 256}})...))
	if err != nil || !reflect.DeepEqual(got, want) || len(rest) == 0 {
		t.Errorf("%v, %+v, want %+v", err, got, want)
	}
}
