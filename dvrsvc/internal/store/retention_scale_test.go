package store

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/vfs"
)

// TestRetentionHoldsNoCommitUp commits while retention writes a state: with a thousand streams it does so all the time.
func TestRetentionHoldsNoCommitUp(t *testing.T) {
	x := newSite(t)
	x.store(x.whole(0), true)
	x.st.SetRetention(Rule{Age: time.Hour})
	x.clock.move(5 * time.Minute)
	committed := false
	x.fault.Fail = func(_ int64, _ vfs.Op, path string) bool {
		if committed || !strings.HasSuffix(path, stateName+".tmp") {
			return false
		}
		committed = true
		done := make(chan error, 1)
		go func() { done <- x.s.Commit(context.Background()) }()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("a commit waits for retention, which writes a state")
		}
		return false
	}
	x.sweep()
	x.fault.Fail = nil
	if !committed {
		t.Error("retention wrote no state")
	}
}

// TestExpiryUncoversWhatStays lets the better copy of a slot expire: the other one, which ends later, is played then.
func TestExpiryUncoversWhatStays(t *testing.T) {
	x := newSite(t)
	from, to := cellFrames(1)
	better := x.whole(1)
	longer := x.make((from+to)/2, to+250, nil, nil).uncertain(true, true)
	x.store(better, true)
	x.store(longer, false)
	if copies, err := x.st.Copies(longer.slot); err != nil || len(copies) != 2 || copies[1].Presented {
		t.Fatalf("before: %+v, %v", copies, err)
	}
	end := x.st.At(x.row, better.info.End)
	x.clock.move(time.Hour)
	x.st.SetRetention(Rule{Age: x.clock.Now().Sub(end) - time.Millisecond})
	clockIsRight(x.s)
	x.sweep()
	copies, err := x.st.Copies(longer.slot)
	if err != nil || len(copies) != 1 || copies[0].Info.Digest != longer.info.Digest || !copies[0].Presented {
		t.Errorf("after: %+v, %v", copies, err)
	}
}
