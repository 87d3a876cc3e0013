package recorder

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Collector shows the archives when it is asked.
type Collector struct {
	r                                                *Recorder
	newest, gaps, damage, size, locks, rotten, doubt *prometheus.Desc

	scrubbed, rounds, quarantined, renewed, damaged *prometheus.Desc // of each storage

	full, refused, freed, rewritten *prometheus.Desc

	capacity, free, reserve, data, dead, index, rows, inflow, until *prometheus.Desc

	done activity

	mu   sync.Mutex // protects the fields below
	uses map[string]store.Use
	at   time.Duration // monotonic time of uses
}

// NewCollector returns a collector over the streams of r.
func NewCollector(r *Recorder) *Collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("twinreel_dvrsvc_"+name, help, []string{"stream"}, nil)
	}
	ofStorage := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("twinreel_dvrsvc_"+name, help, []string{"path"}, nil)
	}
	return &Collector{
		r:           r,
		done:        newActivity(),
		scrubbed:    ofStorage("scrubbed_bytes_total", "Bytes that the scrub has read."),
		rounds:      ofStorage("scrub_rounds_total", "Times that the scrub has read everything."),
		quarantined: ofStorage("quarantined_copies_total", "Copies that were found rotten, by a reader or by the scrub."),
		renewed:     ofStorage("renewed_copies_total", "Good copies that the scrub wrote anew, since their data file is damaged."),
		damaged:     ofStorage("damaged_files_total", "Files in which the scrub found a bad byte."),
		full:        ofStorage("storage_full", "1 while no new segment is taken for want of room, on the volume of the data files or of the index."),
		freed:       ofStorage("reclaimed_bytes_total", "Dead bytes that were freed by writing data files anew."),
		rewritten:   ofStorage("reclaimed_files_total", "Data files that were written anew."),
		capacity:    ofStorage("storage_capacity_bytes", "Size of the volume of the data files."),
		free:        ofStorage("storage_free_bytes", "What is free of it."),
		reserve:     ofStorage("storage_reserve_bytes", "What data never takes of it."),
		data:        ofStorage("storage_data_bytes", "Bytes of the data files."),
		dead:        ofStorage("storage_dead_bytes", "Bytes of the data files that nothing leads to, about."),
		index:       ofStorage("storage_index_bytes", "Bytes of the index."),
		rows:        ofStorage("index_rows_read_total", "Rows of the index that were read."),
		inflow:      ofStorage("storage_inflow_bytes_per_day", "What comes in, measured over up to a day."),
		until: prometheus.NewDesc("twinreel_dvrsvc_storage_forecast_seconds",
			"Until the forecast comes true: full, or a limit that holds it. None while it is steady, or not known.", []string{"path", "forecast"}, nil),
		refused: prometheus.NewDesc("twinreel_dvrsvc_storage_refused_segments_total",
			"Segments that were not taken for want of room; one that is brought again counts again.", []string{"path", "kind"}, nil),

		newest: desc("newest_segment_age_seconds", "Age of the end of the newest durable segment."),
		gaps:   desc("gap_seconds", "Media that is not there between the first and the last segment, but for what was deleted."),
		damage: desc("archive_damaged_seconds", "Media that is there, or nearly, and known to be faulty or missing."),
		size:   desc("archive_bytes", "Bytes of all copies."),
		locks:  desc("locks", "Ranges that are kept beyond retention."),
		doubt:  desc("clock_in_doubt", "1 while age takes nothing of it, since the clock of this host leapt and nobody has said that it is right."),
		rotten: desc("quarantined_copies", "Copies that are rotten, with nothing whole in their slot yet."),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.newest, c.gaps, c.damage, c.size, c.locks, c.rotten, c.doubt, c.scrubbed, c.rounds, c.quarantined, c.renewed, c.damaged,
		c.full, c.refused, c.freed, c.rewritten,
		c.capacity, c.free, c.reserve, c.data, c.dead, c.index, c.rows, c.inflow, c.until,
	} {
		ch <- d
	}
	c.done.describe(ch)
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for path, st := range c.r.open() {
		count := func(d *prometheus.Desc, v uint64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), path)
		}
		done := st.Scrubbed()
		count(c.scrubbed, done.Bytes)
		count(c.rounds, done.Rounds)
		count(c.rows, st.IndexRowsRead())
		count(c.quarantined, st.Quarantined())
		count(c.renewed, done.Renewed)
		count(c.damaged, done.Damaged)
		count(c.freed, st.Reclaimed().Freed)
		count(c.rewritten, st.Reclaimed().Files)
		full := 0.0
		if st.Full() != nil {
			full = 1
		}
		ch <- prometheus.MustNewConstMetric(c.full, prometheus.GaugeValue, full, path)
		live, other := st.Refused()
		ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(live), path, "live")
		ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(other), path, "backfill")
	}
	for path, u := range c.use() {
		for d, v := range map[*prometheus.Desc]uint64{
			c.capacity: u.Capacity, c.free: u.Free, c.reserve: u.Reserve, c.data: u.Data, c.dead: u.Dead, c.index: u.Index, c.inflow: u.DayBytes,
		} {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), path)
		}
		if u.Forecast == store.ForecastFull || u.Forecast == store.ForecastLimit {
			ch <- prometheus.MustNewConstMetric(c.until, prometheus.GaugeValue, u.Until.Seconds(), path, u.Forecast)
		}
	}
	c.done.collect(ch, c.r)
	now := c.r.o.Clock.Now()
	for _, s := range c.r.List() {
		a, _, err := c.r.Archive(s.Stream)
		if err != nil || s.Summary.Last.IsZero() {
			continue
		}
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.Stream)
		}
		var gaps time.Duration
		for _, g := range a.Gaps(time.Time{}, time.Time{}) {
			if g.Reason != "deleted" {
				gaps += g.To.Sub(g.From)
			}
		}
		var damage timeline.Ticks
		for _, r := range a.Ranges(time.Time{}, time.Time{}) {
			damage += r.DamagedTicks
		}
		gauge(c.newest, now.Sub(s.Summary.Last).Seconds())
		gauge(c.gaps, gaps.Seconds())
		gauge(c.damage, damage.Duration().Seconds())
		gauge(c.size, float64(s.Summary.Bytes))
		doubt := 0.0
		if a.ClockInDoubt() {
			doubt = 1
		}
		gauge(c.doubt, doubt)
		gauge(c.locks, float64(s.Locks))
		gauge(c.rotten, float64(s.Summary.Quarantined))
	}
}

// use gives what the storages take, a minute old at most: it reads a row for each data file.
func (c *Collector) use() map[string]store.Use {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.r.o.Clock.Mono(); c.uses == nil || now-c.at >= time.Minute {
		if fresh, err := c.r.Use(); err == nil {
			c.uses, c.at = fresh, now
		}
	}
	return c.uses
}
