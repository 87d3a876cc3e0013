package operator

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// ConfirmClock tells every dvrsvc of a site what time it is. The error is of those that do not agree, or do not answer.
func (s *Site) ConfirmClock(ctx context.Context, now time.Time) error {
	parts, err := s.all(ctx, maintenance)
	if err != nil {
		return err
	}
	answers := map[string]*dvrv1.ConfirmClockResponse{}
	differ := s.unanswered()
	for _, p := range parts {
		m, err := dvrv1.NewMaintenanceServiceClient(p.conn).ConfirmClock(ctx, &dvrv1.ConfirmClockRequest{Now: timestamppb.New(now)})
		if err := p.asked("confirm the clock", err); err != nil {
			differ = errors.Join(differ, err)
			continue
		}
		answers[p.addr] = m
	}
	if s.json {
		out := map[string]any{}
		for addr, m := range answers {
			out[addr] = raw(m)
		}
		return errors.Join(s.printJSON(out), differ)
	}
	for _, addr := range slices.Sorted(maps.Keys(answers)) {
		m := answers[addr]
		s.printf("%s  its clock is right, %s ahead", addr, time.Duration(m.GetAheadNanos()).Round(time.Millisecond))
		if w := m.GetWaited(); len(w) > 0 {
			s.printf("; retention goes on that waited: %s", plain(strings.Join(w, ", ")))
		}
		s.printf("\n")
	}
	return differ
}
