package operator

import (
	"context"
	"errors"
	"time"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// DF prints what each storage of a site takes, and how long its room will do.
func (s *Site) DF(ctx context.Context) error {
	parts, err := s.all(ctx, maintenance)
	if err != nil {
		return err
	}
	var all []*dvrv1.StorageUse
	for _, p := range parts {
		m, err := dvrv1.NewMaintenanceServiceClient(p.conn).GetUse(ctx, &dvrv1.GetUseRequest{})
		if err := p.asked("get use of storages", err); err != nil {
			return err
		}
		all = append(all, m.GetStorages()...)
	}
	if s.json {
		return errors.Join(s.printJSON(map[string]any{"storages": raws(all)}), s.unanswered())
	}
	for _, u := range all {
		s.printf("%s  %s of %s free, of which %s reserve; data %s, dead %s, index %s\n", plain(u.GetPath()), size(u.GetFreeBytes()),
			size(u.GetCapacityBytes()), size(u.GetReserveBytes()), size(u.GetDataBytes()), size(u.GetDeadBytes()), size(u.GetIndexBytes()))
		s.printf("  %s\n", forecast(u))
		for _, x := range u.GetStreams() {
			s.printf("  %-24s data %10s  dead %10s  a day %10s", plain(x.GetStream()), size(x.GetDataBytes()), size(x.GetDeadBytes()), size(x.GetDayBytes()))
			if x.GetOldestNanos() > 0 {
				s.printf("  %s to %s", utc(x.GetOldestNanos()), utc(x.GetNewestNanos()))
			}
			if x.GetClockInDoubt() {
				s.printf("  nothing expires: the clock leapt (see confirm-clock)")
			}
			s.printf("\n")
		}
	}
	return s.unanswered()
}

func utc(nanos int64) string { return time.Unix(0, nanos).UTC().Format(time.DateTime) }

// forecast says what becomes of a storage.
func forecast(u *dvrv1.StorageUse) string {
	in := "now"
	if n := time.Duration(u.GetUntilSeconds()) * time.Second; n > 0 {
		in = "in " + n.Round(time.Minute).String()
	}
	day := size(u.GetDayBytes()) + " a day"
	switch u.GetForecast() {
	case "steady":
		return day + ": steady, retention holds it"
	case "limit":
		return day + ": its limit is met " + in + ", and holds it from then on"
	case "full":
		return day + ": full " + in + ", then nothing more is recorded"
	}
	return "what comes in a day is not known before ten minutes have been measured"
}
