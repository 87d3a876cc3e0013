package timeline

import (
	"math"
	"sort"
	"time"
)

// Point ties a place on a timeline to UTC.
type Point struct {
	U   Ticks // T + turn*2^33
	UTC int64 // nanoseconds since 1970
}

// Mapping gives UTC along one timeline: straight lines between its points, the rate of the source's clock before the
// first and after the last. Points ascend in U and in UTC. The zero value maps U 0 to 1970.
type Mapping []Point

// UTC returns the time at which u was on air.
func (m Mapping) UTC(u Ticks) time.Time {
	if len(m) == 0 {
		return time.Unix(0, int64(u.Duration())).UTC()
	}
	i := sort.Search(len(m), func(i int) bool { return m[i].U > u })
	switch {
	case i == 0:
		return time.Unix(0, m[0].UTC+int64((u-m[0].U).Duration())).UTC()
	case i == len(m):
		return time.Unix(0, m[i-1].UTC+int64((u-m[i-1].U).Duration())).UTC()
	}
	a, b := m[i-1], m[i]
	share := float64(u-a.U) / float64(b.U-a.U)
	return time.Unix(0, a.UTC+int64(math.Round(share*float64(b.UTC-a.UTC)))).UTC()
}

// At returns the place that was on air at t, rounded down.
func (m Mapping) At(t time.Time) Ticks {
	ns := t.UnixNano()
	if len(m) == 0 {
		return FromDuration(time.Duration(ns))
	}
	i := sort.Search(len(m), func(i int) bool { return m[i].UTC > ns })
	switch {
	case i == 0:
		return m[0].U + FromDuration(time.Duration(ns-m[0].UTC))
	case i == len(m):
		return m[i-1].U + FromDuration(time.Duration(ns-m[i-1].UTC))
	}
	a, b := m[i-1], m[i]
	share := float64(ns-a.UTC) / float64(b.UTC-a.UTC)
	return a.U + Ticks(math.Floor(share*float64(b.U-a.U)))
}

// From returns the first place that was on air at t or later: that of u, for t = UTC(u).
func (m Mapping) From(t time.Time) Ticks {
	u := m.At(t)
	for !m.UTC(u - 1).Before(t) {
		u--
	}
	for m.UTC(u).Before(t) {
		u++
	}
	return u
}

// With returns the mapping with p added as its newest point. It reports false, and leaves m as it is, when p does not
// lie after the last point in both: a mapping never turns back.
func (m Mapping) With(p Point) (Mapping, bool) {
	if n := len(m); n > 0 && (p.U <= m[n-1].U || p.UTC <= m[n-1].UTC) {
		return m, false
	}
	return append(m[:len(m):len(m)], p), true
}
