package store

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// TestStateIsSyncedBesideAppends writes the state by each of its ways, and looks whether Append could go on meanwhile:
// the live tail must not wait for a disk.
func TestStateIsSyncedBesideAppends(t *testing.T) {
	x := newSite(t)
	synced := 0
	x.fault.Fail = func(_ int64, op vfs.Op, path string) bool {
		if op == vfs.OpSync && strings.HasPrefix(filepath.Base(path), stateName) {
			synced++
			if !x.st.mu.TryLock() {
				t.Error("the stream is locked while its state is synced")
			} else {
				x.st.mu.Unlock()
			}
		}
		return false
	}
	if err := x.st.PutTimeline(Row{ID: x.row, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.UnixNano()}}}); err != nil {
		t.Fatal(err)
	}
	x.st.SetRetention(Rule{Age: time.Hour})
	x.clock.move(2 * time.Minute)
	x.sweep()
	if synced != 3 {
		t.Errorf("the state was written %d times, want 3", synced)
	}
}
