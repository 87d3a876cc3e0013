package recorder

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// Collector shows the archives when it is asked.
type Collector struct {
	r                          *Recorder
	newest, gaps, damage, size *prometheus.Desc
}

// NewCollector returns a collector over the streams of r.
func NewCollector(r *Recorder) *Collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("twinreel_dvrsvc_"+name, help, []string{"stream"}, nil)
	}
	return &Collector{
		r:      r,
		newest: desc("newest_segment_age_seconds", "Age of the end of the newest durable segment."),
		gaps:   desc("gap_seconds", "Media that is not there between the first and the last segment."),
		damage: desc("archive_damaged_seconds", "Media that is there, or nearly, and known to be faulty or missing."),
		size:   desc("archive_bytes", "Bytes of all copies."),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.newest, c.gaps, c.damage, c.size} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
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
			gaps += g.To.Sub(g.From)
		}
		var damage timeline.Ticks
		for _, r := range a.Ranges(time.Time{}, time.Time{}) {
			damage += r.DamagedTicks
		}
		gauge(c.newest, now.Sub(s.Summary.Last).Seconds())
		gauge(c.gaps, gaps.Seconds())
		gauge(c.damage, damage.Duration().Seconds())
		gauge(c.size, float64(s.Summary.Bytes))
	}
}
