package reconcile

import (
	"context"
	"log/slog"
	"slices"
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
		Replicate: func() bool { return true }, Retention: func() time.Duration { return 30 * 24 * time.Hour }, Local: &memory{}, Registry: g, Making: make(chan struct{}, 1), Clock: clock.System{},
		Log: slog.New(slog.DiscardHandler),
	}), g
}

// growing is an archive, and the registry of it.
type growing struct {
	memory
	registry
	rows []inventory.Row
}

func (g *growing) Rows(context.Context, string) (inventory.Rows, error) {
	return inventory.Rows{Rows: slices.Clone(g.rows)}, nil
}

func (g *growing) Sampled(ctx context.Context, stream string) (inventory.Rows, error) {
	return g.Rows(ctx, stream)
}

func (g *growing) Make(_ context.Context, _, _ string, _ segment.TimelineID, at timeline.Ticks, utc time.Time) (Binding, error) {
	made := inventory.Row{ID: segment.TimelineID{200, byte(len(g.rows))}, AtTicks: at, AtUTC: utc, First: at, Last: at}
	g.rows = append(g.rows, made)
	return Binding{Row: made.ID}, nil
}

// TestRowsOfSeveralPeers: a site that has lost all gets one row for what several peers have of one stretch, though each of them was
// compared before anything was made.
func TestRowsOfSeveralPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &growing{}
		making := make(chan struct{}, 1)
		began := time.Now().Add(-48 * time.Hour)
		for n := range 3 {
			r, _ := newReconciler()
			r.cfg.Local, r.cfg.Registry, r.cfg.Making = all, all, making
			ahead := time.Duration(n) * time.Hour
			theirs := inventory.Rows{Rows: []inventory.Row{rowAt(10*n+1, began.Add(ahead)), rowAt(10*n+2, began.Add(ahead+5*time.Hour))}}
			if left, err := r.unite(t.Context(), &memory{}, ahead, nil, theirs); err != nil || left != 0 || len(r.bindings) != 2 {
				t.Fatalf("peer %d: %d left, %d bound, %v", n, left, len(r.bindings), err)
			}
		}
		if len(all.rows) != 2 {
			t.Errorf("%d rows were made for two", len(all.rows))
		}
	})
}

// TestRowsOfOnePeer: stretches of one peer that UTC does not tell apart, as of an encoder that begins anew each second, stay apart.
func TestRowsOfOnePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &growing{}
		r, _ := newReconciler()
		r.cfg.Local, r.cfg.Registry = all, all
		began := time.Now().Add(-5 * time.Hour)
		theirs := inventory.Rows{Rows: []inventory.Row{rowAt(1, began), rowAt(2, began.Add(time.Second))}}
		if _, err := r.unite(t.Context(), &memory{}, 0, nil, theirs); err != nil || len(all.rows) != 2 {
			t.Errorf("%d rows were made for two, %v", len(all.rows), err)
		}
	})
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
