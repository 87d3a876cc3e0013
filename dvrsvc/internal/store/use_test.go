package store

import (
	"testing"
	"time"
)

// TestUse: what is told is what is on disk, what is dead in it, and what has come.
func TestUse(t *testing.T) {
	x := newSite(t)
	x.s.sampled()
	wasted(x)
	x.clock.move(time.Hour)
	u, err := x.s.Use()
	if err != nil {
		t.Fatal(err)
	}
	n, _ := x.bytes(x.st)
	if u.Data != uint64(n) || len(u.Streams) != 1 || u.Streams[0].Data != u.Data || u.Index == 0 || u.Capacity == 0 || u.Reserve == 0 {
		t.Errorf("%d bytes are on disk: %+v", n, u)
	}
	if u.Dead < u.Data/4 || u.Dead > u.Data/2 || !u.Streams[0].Oldest.Equal(testEpoch) {
		t.Errorf("dead: %+v", u)
	}
	if day := u.DayBytes; day < u.Data*18 || day > u.Data*25 { // all of it came within 63 minutes
		t.Errorf("%d bytes a day of %d an hour", day, u.Data)
	}
	came := u.Streams[0].DayBytes
	x.reclaims()
	if u, err = x.s.Use(); err != nil || u.Dead > u.Data/8 || u.Streams[0].DayBytes > came {
		t.Errorf("when it is reclaimed: %+v, %v", u, err)
	}
}

func TestForecast(t *testing.T) {
	now := testEpoch
	day := 24 * time.Hour
	stream := func(rate uint64, age, old time.Duration) StreamUse {
		return StreamUse{DayBytes: rate, age: age, from: now.Add(-old)}
	}
	for name, c := range map[string]struct {
		streams  []StreamUse
		limit    Limit
		measured time.Duration
		forecast string
		until    time.Duration
	}{
		"not measured":                    {[]StreamUse{stream(10, 0, 0)}, Limit{}, time.Minute, ForecastUnknown, 0},
		"for ever":                        {[]StreamUse{stream(10, 0, 0)}, Limit{}, day, ForecastFull, 80 * day},
		"old enough":                      {[]StreamUse{stream(1000, 7*day, 7*day)}, Limit{}, day, ForecastSteady, 0},
		"it fits":                         {[]StreamUse{stream(100, 7*day, 0)}, Limit{}, day, ForecastSteady, 0},
		"it does not":                     {[]StreamUse{stream(200, 7*day, 0)}, Limit{}, day, ForecastFull, 4 * day},
		"one stops growing, one does not": {[]StreamUse{stream(200, 2*day, 0), stream(100, 0, 0)}, Limit{}, day, ForecastFull, 4 * day},
		"a limit":                         {[]StreamUse{stream(100, 0, 0)}, Limit{Bytes: 500}, day, ForecastLimit, 3 * day},
		"a share":                         {[]StreamUse{stream(100, 0, 0)}, Limit{Percent: 50}, day, ForecastLimit, 4 * day},
		"a share of its own":              {[]StreamUse{{DayBytes: 100, limit: Limit{Percent: 50}}}, Limit{}, day, ForecastLimit, 4 * day},
		"a limit that is met":             {[]StreamUse{stream(100, 0, 0)}, Limit{Bytes: 200}, day, ForecastLimit, 0},
	} {
		u := Use{Capacity: 1000, Free: 900, Reserve: 100, Data: 200, Measured: c.measured, Streams: c.streams}
		if u.foresee(c.limit, now); u.Forecast != c.forecast || (u.Until-c.until).Abs() > time.Second {
			t.Errorf("%s: %s in %s, want %s in %s", name, u.Forecast, u.Until, c.forecast, c.until)
		}
	}
}

// TestForecastBesideALock: a stream is not as old as its rule because something older of it is locked.
func TestForecastBesideALock(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{Age: 100 * time.Hour})
	x.lock("a", x.at(0), x.at(1).Add(time.Second))
	x.store(x.whole(0), true)
	for _, c := range []struct {
		cell int
		want time.Time
	}{{0, x.at(0).Add(200 * time.Hour)}, {200 * 619, x.st.At(x.row, x.whole(200*619).info.Start)}} {
		if c.cell > 0 {
			x.store(x.whole(c.cell), true)
		} else {
			x.clock.move(200 * time.Hour)
		}
		u := must(x.s.Use())
		if got := u.Streams[0]; !got.from.Equal(c.want) || !got.Oldest.Equal(testEpoch) {
			t.Errorf("from %s, want %s", got.from, c.want)
		}
	}
}
