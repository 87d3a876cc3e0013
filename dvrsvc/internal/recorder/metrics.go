package recorder

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Metrics are what the recorder counts. The label stream has as many values as the config has streams.
type Metrics struct {
	Failovers      *prometheus.CounterVec
	Diverged       *prometheus.CounterVec
	Corrupt        *prometheus.CounterVec
	Unstored       *prometheus.CounterVec
	Refused        *prometheus.CounterVec
	Withdrawn      *prometheus.CounterVec
	Wants          *prometheus.CounterVec
	Segments       *prometheus.CounterVec
	Bytes          *prometheus.CounterVec
	DamagedSeconds *prometheus.CounterVec
	LiveLag        *prometheus.GaugeVec
	OpenOffers     *prometheus.GaugeVec
	DurableLatency prometheus.Histogram
}

// NewMetrics makes the metrics and registers them; reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "twinreel_dvrsvc_" + name, Help: help},
			append([]string{"stream"}, labels...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "twinreel_dvrsvc_" + name, Help: help}, []string{"stream"})
	}
	m := &Metrics{
		Failovers:      counter("failovers_total", "Changes of the active input."),
		Diverged:       counter("takeovers_diverged_total", "Takeovers in the middle of a segment with other bytes."),
		Corrupt:        counter("corrupt_total", "Chunks and segments that did not match their checksum or seal."),
		Unstored:       counter("unstored_segments_total", "Live segments that could not be stored as they came."),
		Refused:        counter("refused_segments_total", "Segments, wanted or backfilled, that could not be stored.", "reason"),
		Withdrawn:      counter("offers_withdrawn_total", "Offers that a producer took back.", "reason"),
		Wants:          counter("offers_wanted_total", "Offers that were asked for."),
		Segments:       counter("segments_total", "Segments made durable.", "kind"),
		Bytes:          counter("segment_bytes_total", "Bytes of segments made durable.", "kind"),
		DamagedSeconds: counter("damaged_seconds_total", "Media missing from segments that were made durable."),
		LiveLag:        gauge("live_lag_seconds", "Age of the newest media of the active input; -1: no active input."),
		OpenOffers:     gauge("unreleased_offers", "Offers that are not released."),
		DurableLatency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "twinreel_dvrsvc_durable_seconds", Help: "From the seal of a segment until it is durable.",
			Buckets: []float64{.05, .1, .25, .5, .75, 1, 2, 5, 10, 30},
		}),
	}
	if reg != nil {
		reg.MustRegister(m.Failovers, m.Diverged, m.Corrupt, m.Unstored, m.Refused, m.Withdrawn, m.Wants, m.Segments, m.Bytes,
			m.DamagedSeconds, m.LiveLag, m.OpenOffers, m.DurableLatency)
	}
	return m
}

func (k Kind) String() string {
	if k == Backfill {
		return "backfill"
	}
	return "live"
}

func (m *Metrics) sealed(stream string, kind Kind, info *segment.Info) {
	m.Segments.WithLabelValues(stream, kind.String()).Inc()
	m.Bytes.WithLabelValues(stream, kind.String()).Add(float64(info.Bytes))
	var missing timeline.Ticks
	for _, g := range info.Evidence.Missing {
		missing += g.To - g.From
	}
	if missing > 0 {
		m.DamagedSeconds.WithLabelValues(stream).Add(missing.Duration().Seconds())
	}
}

// measure sets the gauges of the stream.
func (s *Stream) measure(now time.Duration) {
	lag := -1.0
	if p := s.active(); p != nil && p.moved {
		lag = (now - p.lastMove).Seconds()
	}
	offers := 0
	for _, p := range s.producers {
		offers += len(p.offers)
	}
	s.metrics.LiveLag.WithLabelValues(s.name).Set(lag)
	s.metrics.OpenOffers.WithLabelValues(s.name).Set(float64(offers))
}

// drop forgets a stream.
func (m *Metrics) drop(stream string) {
	l := prometheus.Labels{"stream": stream}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		m.Failovers, m.Diverged, m.Corrupt, m.Unstored, m.Refused, m.Withdrawn, m.Wants, m.Segments, m.Bytes, m.DamagedSeconds,
		m.LiveLag, m.OpenOffers,
	} {
		v.DeletePartialMatch(l)
	}
}
