package app

import (
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// A timeline that has begun and holds nothing yet is told with the place of the source: by that a peer's is united with it, before a
// second one is made.
func TestTimelineThatHasOnlyBegun(t *testing.T) {
	s := startOf(t, t.TempDir(), "stream tv { input "+udpInput+"; dvr one 1h; }")
	at, utc := 2*timeline.Wrap+12345, time.Now().Add(-time.Minute)
	peer := make([]byte, 16)
	peer[0] = 7
	var made *dvrv1.BindTimelineResponse
	for by := time.Now().Add(time.Minute); made == nil; time.Sleep(10 * time.Millisecond) { // the config is on its way
		var err error
		if made, err = dvrv1.NewRecordingServiceClient(s.conn).BindTimeline(t.Context(), &dvrv1.BindTimelineRequest{
			Stream: "tv", PeerStoreId: peer, PeerTimeline: peer, Make: true, AtTicks: int64(at), AtUtcNanos: utc.UnixNano(),
		}); err != nil && time.Now().After(by) {
			t.Fatal(err)
		}
	}
	m, err := dvrv1.NewIndexServiceClient(s.conn).ListTimelines(t.Context(), &dvrv1.ListTimelinesRequest{Stream: "tv"})
	if err != nil || len(m.GetTimelines()) != 1 {
		t.Fatal(m, err)
	}
	if r := m.GetTimelines()[0]; string(r.GetId()) != string(made.GetTimeline()) || r.GetAtTicks() != int64(at) || r.GetAtUtcNanos() != utc.UnixNano() {
		t.Errorf("timeline %v, want %d at %d", r, at, utc.UnixNano())
	}
}
