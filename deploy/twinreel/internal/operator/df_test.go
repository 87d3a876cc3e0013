package operator

import (
	"testing"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

func TestForecast(t *testing.T) {
	for _, c := range []struct {
		u    *dvrv1.StorageUse
		want string
	}{
		{&dvrv1.StorageUse{Forecast: "unknown"}, "what comes in a day is not known before ten minutes have been measured"},
		{&dvrv1.StorageUse{Forecast: "steady"}, size(0) + " a day: steady, retention holds it"},
		{&dvrv1.StorageUse{Forecast: "full", UntilSeconds: 7200, DayBytes: 1 << 30}, size(1<<30) + " a day: full in 2h0m0s, then nothing more is recorded"},
		{&dvrv1.StorageUse{Forecast: "limit"}, size(0) + " a day: its limit is met now, and holds it from then on"},
	} {
		if got := forecast(c.u); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
