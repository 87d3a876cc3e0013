package store

import (
	"slices"
	"time"
)

const (
	// sampleEvery is how often it is noted how much has come, and sampleOver over how long at most a rate is taken.
	sampleEvery, sampleOver = time.Hour, 24 * time.Hour
	// leastMeasured is how long it takes to say a rate.
	leastMeasured = 10 * time.Minute
)

// Forecasts of a storage.
const (
	ForecastUnknown = "unknown" // what comes in was not measured long enough
	ForecastSteady  = "steady"  // retention by age holds what there is below every limit
	ForecastLimit   = "limit"   // a limit by size or share is met then, and holds it from then on
	ForecastFull    = "full"    // the reserve is met then, and nothing more is recorded
)

// Use is what a storage takes, and will take.
type Use struct {
	Capacity, Free, Reserve uint64 // of the volume of the data files
	Data, Dead, Index       uint64 // bytes of data files, those of them that are dead, and of the index
	DayBytes                uint64 // that come in a day, as measured
	Measured                time.Duration
	Forecast                string
	Until                   time.Duration // until the forecast comes true; 0: it has, or steady
	Streams                 []StreamUse   // by name
}

// StreamUse is the part of a stream.
type StreamUse struct {
	Name           string
	Data, Dead     uint64
	DayBytes       uint64
	Oldest, Newest time.Time
	ClockInDoubt   bool // as Stream.ClockInDoubt

	from  time.Time     // where what age takes begins
	age   time.Duration // how long it is kept; 0: for ever
	limit Limit
}

// sample is how much had come of a stream.
type sample struct {
	at    time.Duration // monotonic
	bytes uint64
}

// sampled notes how much has come of each stream by now.
func (s *Store) sampled() {
	now := s.clock.Mono()
	for _, st := range s.streams() {
		st.mu.Lock()
		if n := len(st.samples); n == 0 || now-st.samples[n-1].at >= sampleEvery {
			st.samples = append(st.samples, sample{now, st.written})
			st.samples = slices.DeleteFunc(st.samples, func(x sample) bool { return now-x.at > sampleOver })
		}
		st.mu.Unlock()
	}
}

// Use gives what the storage takes. It reads the row of each data file.
func (s *Store) Use() (Use, error) {
	v, err := s.dataVolume()
	if err != nil {
		return Use{}, err
	}
	u := Use{Capacity: v.total, Free: v.free, Reserve: v.reserve, Index: s.db.Size(), Measured: sampleOver}
	for _, st := range s.streams() {
		x, measured, err := st.takes()
		if err != nil {
			return u, err
		}
		u.Data, u.Dead, u.DayBytes = u.Data+x.Data, u.Dead+x.Dead, u.DayBytes+x.DayBytes
		u.Measured = min(u.Measured, measured)
		u.Streams = append(u.Streams, x)
	}
	s.mu.Lock()
	limit := s.limit
	s.mu.Unlock()
	u.foresee(limit, s.clock.Now())
	return u, nil
}

func (st *Stream) takes() (x StreamUse, measured time.Duration, err error) {
	files, err := st.s.db.Files(st.name)
	if err != nil {
		return x, 0, err
	}
	sum := st.Summary()
	x = StreamUse{Name: st.name, Oldest: sum.First, Newest: sum.Last, from: st.unlockedFrom(sum.First)}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, f := range files {
		if size := uint64(st.sizes[f.No]); size > 0 { // one that is written to is below
			x.Data, x.Dead = x.Data+size, x.Dead+size-min(size, f.Live)
		}
	}
	for _, w := range st.files {
		x.Data += uint64(w.size)
	}
	if len(st.samples) > 0 {
		first := st.samples[0]
		if measured = st.s.clock.Mono() - first.at; measured >= leastMeasured {
			x.DayBytes = uint64(float64(st.written-first.bytes) * float64(24*time.Hour) / float64(measured))
		}
	}
	x.ClockInDoubt = st.waits
	x.age, x.limit = st.rule(), st.state.Limit
	return x, measured, nil
}

// unlockedFrom gives where the oldest media begins that no lock keeps, from its oldest on.
func (st *Stream) unlockedFrom(oldest time.Time) time.Time {
	locks := spans(st.view().locks())
	if len(locks) == 0 {
		return oldest
	}
	var first time.Time
	for _, r := range st.Ranges(time.Time{}, time.Time{}) {
		for _, l := range locks {
			if !l.From.After(r.From) && l.To.After(r.From) {
				r.From = l.To
			}
		}
		if r.From.Before(r.To) && (first.IsZero() || r.From.Before(first)) {
			first = r.From
		}
	}
	if first.IsZero() {
		return st.s.clock.Now()
	}
	return first
}

// foresee says what becomes of a storage into which as much comes as before: a stream grows until it is as old as its rule,
// or as large as its limit.
func (u *Use) foresee(limit Limit, now time.Time) {
	if u.Measured < leastMeasured || len(u.Streams) == 0 {
		u.Forecast = ForecastUnknown
		return
	}
	room, kind := int64(u.Free)-int64(u.Reserve), ForecastFull
	tighter := func(left int64) {
		if left < room {
			room, kind = left, ForecastLimit
		}
	}
	if limit.Bytes > 0 {
		tighter(int64(limit.Bytes) - int64(u.Data))
	}
	share := func(l Limit) {
		if l.Percent > 0 {
			most := min(u.Capacity/100*uint64(l.Percent), u.Capacity-min(u.Capacity, u.Reserve+u.Reserve/4))
			tighter(int64(most) - int64(u.Capacity-u.Free))
		}
	}
	share(limit)
	for i := range u.Streams {
		share(u.Streams[i].limit)
	}
	type growth struct {
		rate  float64 // bytes a second
		until float64 // seconds from now
	}
	var all []growth
	for i := range u.Streams {
		x := &u.Streams[i]
		g := growth{float64(x.DayBytes) / 86400, 1e18}
		if g.rate == 0 {
			continue
		}
		if x.age > 0 {
			g.until = max(0, (x.age - now.Sub(x.from)).Seconds())
		}
		if x.limit.Bytes > 0 {
			g.until = min(g.until, max(0, (float64(x.limit.Bytes)-float64(x.Data))/g.rate))
		}
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b growth) int { return int(max(-1, min(1, a.until-b.until))) })
	left, at := float64(room), 0.0
	u.Forecast, u.Until = kind, 0
	for i := range all {
		if left <= 0 {
			return
		}
		rate := 0.0
		for _, g := range all[i:] {
			rate += g.rate
		}
		if t := left / rate; at+t <= all[i].until {
			u.Until = time.Duration(min(at+t, 1e9) * float64(time.Second))
			return
		}
		left -= rate * (all[i].until - at)
		at = all[i].until
	}
	if left > 0 {
		u.Forecast = ForecastSteady
	}
}
