package reconcile

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// registry binds nothing but what is made.
type registry struct{ made map[segment.TimelineID]bool }

var _ Registry = (*registry)(nil)

func (*registry) Bound(context.Context, string, string, segment.TimelineID) (Binding, bool, error) {
	return Binding{}, false, nil
}

func (*registry) Bind(context.Context, string, string, segment.TimelineID, Binding) error { return nil }

func (g *registry) Make(_ context.Context, _, _ string, peer segment.TimelineID, _ timeline.Ticks, _ time.Time) (Binding, error) {
	g.made[peer] = true
	return Binding{Row: peer}, nil
}

// rowAt is an hour of media that begins at a moment.
func rowAt(n int, at time.Time) inventory.Row {
	return inventory.Row{
		ID: segment.TimelineID{byte(n), byte(n >> 8)}, AtTicks: timeline.Wrap, AtUTC: at,
		First: timeline.Wrap, Last: timeline.Wrap + timeline.FromDuration(time.Hour),
	}
}

func newReconciler() (*Reconciler, *registry) {
	g := &registry{made: map[segment.TimelineID]bool{}}
	return New(Config{
		Replicate: func() bool { return true }, Retention: func() time.Duration { return 30 * 24 * time.Hour }, Local: &memory{}, Registry: g, Clock: clock.System{},
		Log: slog.New(slog.DiscardHandler),
	}), g
}

// TestRowsAreBounded: a peer that claims any number of rows gets a few in each round, and no more than a stream may have;
// what is remembered of rows goes with them.
func TestRowsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := newReconciler()
		var theirs inventory.Rows
		for n := range 3 * maxNewRows {
			theirs.Rows = append(theirs.Rows, rowAt(n, time.Now().Add(-time.Duration(n+2)*time.Hour)))
		}
		for round, want := range []struct{ made, left int }{
			{maxNewRows, 2 * maxNewRows},
			{2 * maxNewRows, maxNewRows},
			{3 * maxNewRows, 0},
		} {
			left, err := r.unite(t.Context(), &memory{}, 0, nil, theirs)
			if err != nil || left != want.left || len(g.made) != want.made {
				t.Errorf("round %d: %d made, %d left, %v; want %v", round, len(g.made), left, err, want)
			}
		}
		if _, err := r.unite(t.Context(), &memory{}, 0, nil, inventory.Rows{Rows: theirs.Rows[:5]}); err != nil || len(r.bindings) > 5 || len(r.firstSeen) != 5 {
			t.Errorf("%d bindings and %d rows are remembered of 5, %v", len(r.bindings), len(r.firstSeen), err)
		}
		r, g = newReconciler()
		left, err := r.unite(t.Context(), &memory{}, 0, make([]inventory.Row, maxRows), inventory.Rows{Rows: theirs.Rows[1:]})
		if err != nil || len(g.made) != 0 || left == 0 {
			t.Errorf("a full stream: %d made, %d left, %v", len(g.made), left, err)
		}
	})
}

// TestGrowingRow: a row that the peer records now is left to dvrsvc for a while, and looked at again soon; one that has
// ended is made at once.
func TestGrowingRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			ended time.Duration // before now
			made  []int         // how many, round by round, five seconds apart
		}{
			"grows":                {0, []int{0, 0, 0, 1}},
			"ended a minute ago":   {time.Minute, []int{1, 1, 1, 1}},
			"begins and ends soon": {-20 * time.Second, []int{0, 0, 0, 1}},
		} {
			r, g := newReconciler()
			rows := inventory.Rows{Rows: []inventory.Row{rowAt(1, time.Now().Add(-time.Hour-c.ended))}}
			for round, want := range c.made {
				left, err := r.unite(t.Context(), &memory{}, 0, nil, rows)
				if err != nil || len(g.made) != want || left != 1-want {
					t.Errorf("%s, round %d: %d made, %d left, %v", name, round, len(g.made), left, err)
				}
				time.Sleep(5 * time.Second)
			}
		}
	})
}

// TestRowsThatNobodyKeeps: a row is made for what can be stored here alone.
func TestRowsThatNobodyKeeps(t *testing.T) {
	const ahead = 3 * time.Hour // the peer's clock
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			began time.Duration // from now, by a right clock
			want  bool
		}{
			"of yesterday":       {-24 * time.Hour, true},
			"of now":             {0, true},
			"of the future":      {2 * time.Hour, false},
			"expires now":        {-30*24*time.Hour - 59*time.Minute, true},
			"expired":            {-30*24*time.Hour - time.Hour, false},
			"of another century": {200 * 365 * 24 * time.Hour, false},
		} {
			r, g := newReconciler()
			rows := inventory.Rows{Rows: []inventory.Row{rowAt(1, time.Now().Add(c.began+ahead)), rowAt(2, time.Now().Add(1<<62))}}
			if _, err := r.unite(t.Context(), &memory{}, ahead, nil, rows); err != nil || g.made[rows.Rows[0].ID] != c.want {
				t.Errorf("%s: made is %v, %v", name, g.made, err)
			}
		}
	})
}
