package playback

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/clock"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

const (
	// What is missing is waited for so long before a playlist is made without it, and before a file is.
	playlistWait, fileWait = 2 * time.Second, 30 * time.Second
	// askRange is how much of a window is asked for at once: what is played first.
	askRange = time.Hour
	// askEvery is how often the same window is asked for: players load a playlist for each track.
	askEvery = 10 * time.Second
)

// missing has replsvc bring first what a viewer waits for and this site lacks.
type missing struct {
	repl  replv1.ReplicationServiceClient // nil: nobody is asked
	clock clock.Clock

	mu    sync.Mutex               // protects the field below
	asked map[string]time.Duration // windows, when
}

// whole reports whether a window has no gap and nothing in it is damaged. What is behind now is not missing yet.
func whole(list *playlist, r archive.Range, now time.Time) bool {
	to := r.To
	if to.IsZero() || to.After(now.Add(-liveMargin)) {
		to = now.Add(-liveMargin)
	}
	if !r.From.Before(to) {
		return true
	}
	if list == nil || len(list.segments) == 0 {
		return false
	}
	for i := range list.segments {
		s := &list.segments[i]
		if !s.Info.Evidence.Whole() || i > 0 && gapBetween(&list.segments[i-1], s) > gapTicks.Duration() {
			return false
		}
	}
	first, last := &list.segments[0], &list.segments[len(list.segments)-1]
	return !first.Start.After(r.From) && !last.End.Before(to)
}

// fetch asks for a window and waits, and reports whether it asked.
func (m *missing) fetch(ctx context.Context, stream, window string, r archive.Range, wait time.Duration) bool {
	if m.repl == nil || !m.due(stream+"/"+window) {
		return false
	}
	now := m.clock.Now()
	if r.To.IsZero() || r.To.After(now) {
		r.To = now
	}
	if r.To.Sub(r.From) > askRange {
		r.To = r.From.Add(askRange)
	}
	ctx, cancel := context.WithTimeout(ctx, wait+time.Second) // a replsvc that does not answer holds nobody up for longer
	defer cancel()
	_, err := m.repl.Fetch(ctx, &replv1.FetchRequest{
		Stream: stream, From: timestamppb.New(r.From), To: timestamppb.New(r.To), Wait: durationpb.New(wait),
	})
	return err == nil // else what is here is played
}

func (m *missing) due(key string) bool {
	now := m.clock.Mono()
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, at := range m.asked {
		if now-at >= askEvery {
			delete(m.asked, k)
		}
	}
	if _, recent := m.asked[key]; recent {
		return false
	}
	if m.asked == nil {
		m.asked = map[string]time.Duration{}
	}
	m.asked[key] = now
	return true
}
