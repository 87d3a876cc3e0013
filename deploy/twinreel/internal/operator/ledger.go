package operator

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/timeline"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// Ledger prints hour by hour what should be here of a stream, what is, and what is lost and where. Anything that is lost or not
// here yet is ErrDifference.
func (s *Site) Ledger(ctx context.Context, stream string, r archive.Range) error {
	p, err := s.find(ctx, replication)
	if err != nil {
		return err
	}
	req := &replv1.GetLedgerRequest{Stream: stream}
	if !r.From.IsZero() {
		req.From = timestamppb.New(r.From)
	}
	if !r.To.IsZero() {
		req.To = timestamppb.New(r.To)
	}
	m, err := replv1.NewReplicationServiceClient(p.conn).GetLedger(ctx, req)
	if err != nil {
		return p.asked("ledger", err)
	}
	if s.json {
		if err := s.printJSON(raw(m)); err != nil {
			return err
		}
	} else {
		s.printLedger(m)
	}
	t := m.GetTotal()
	lost := t.GetLostUpstreamTicks() + t.GetLostLocalTicks() + t.GetLostUnknownTicks()
	switch {
	case t.GetExpectedTicks() == 0:
		return fmt.Errorf("%w: nothing should be here", ErrDifference)
	case lost+t.GetPendingTicks() > 0:
		return fmt.Errorf("%w: %s are lost, %s are to come from peers", ErrDifference, seconds(lost), seconds(t.GetPendingTicks()))
	}
	return nil
}

func (s *Site) printLedger(m *replv1.GetLedgerResponse) {
	const row = "%-20s %10s %10s %10s %10s %10s %10s %10s %10s %10s\n"
	s.printf(row, "seconds", "expected", "clean", "damaged", "missing", "repaired", "to come", "upstream", "local", "unknown")
	line := func(name string, h *replv1.LedgerHour) {
		s.printf(row, name, column(h.GetExpectedTicks()), column(h.GetCleanTicks()), column(h.GetDamagedTicks()), column(h.GetMissingTicks()),
			column(h.GetRepairedTicks()), column(h.GetPendingTicks()), column(h.GetLostUpstreamTicks()), column(h.GetLostLocalTicks()), column(h.GetLostUnknownTicks()))
	}
	for _, h := range m.GetHours() {
		line(h.GetStart().AsTime().UTC().Format("2006-01-02T15:04Z"), h)
	}
	line("total", m.GetTotal())
	for _, p := range m.GetProblems() {
		s.printf("%s\n", plain(p))
	}
}

// column is ticks as seconds in a column.
func column(ticks int64) string {
	if ticks == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", timeline.Ticks(ticks).Duration().Seconds())
}
