package input

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Collector shows the inputs of a manager as metrics.
type Collector struct {
	m        *Manager
	metrics  []metric
	legs     []legMetric
	tr101290 *prometheus.Desc
	pids     []pidMetric
}

type legMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*LegStatus) float64
}

type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*Status) float64
}

// NewCollector returns a collector over m.
func NewCollector(m *Manager) *Collector {
	c := &Collector{m: m}
	add := func(kind prometheus.ValueType, name, help string, value func(*Status) float64) {
		c.metrics = append(c.metrics, metric{
			desc: prometheus.NewDesc("twinreel_ingestsvc_"+name, help, []string{"stream", "input"}, nil),
			kind: kind, value: value,
		})
	}
	c.describeQuality(add)
	count, gauge := prometheus.CounterValue, prometheus.GaugeValue
	add(count, "datagrams_total", "Datagrams received.", func(s *Status) float64 { return float64(s.Datagrams) })
	add(count, "received_bytes_total", "Bytes received.", func(s *Status) float64 { return float64(s.Bytes) })
	add(count, "continuity_errors_total", "Continuity errors over all PIDs.",
		func(s *Status) float64 { return float64(s.ContinuityErrors) })
	add(count, "transport_errors_total", "Packets with transport_error_indicator.",
		func(s *Status) float64 { return float64(s.TransportErrors) })
	add(count, "kernel_drops_total", "Datagrams that the kernel dropped, or that the input did not take in time.",
		func(s *Status) float64 { return float64(s.KernelDrops) })
	add(count, "sequence_losses_total", "Datagrams missing by the sequence of RTP or SRT.",
		func(s *Status) float64 { return float64(s.SequenceLosses) })
	add(count, "late_packets_total", "RTP packets that came after they had been given up.",
		func(s *Status) float64 { return float64(s.LatePackets) })
	add(count, "reordered_packets_total", "RTP packets that were overtaken and put back in order.",
		func(s *Status) float64 { return float64(s.ReorderedPackets) })
	add(count, "sender_restarts_total", "Times that the sender of RTP began anew.",
		func(s *Status) float64 { return float64(s.SenderRestarts) })
	add(count, "foreign_datagrams_total", "Datagrams of other senders, or that are no transport stream.",
		func(s *Status) float64 { return float64(s.ForeignDatagrams) })
	add(count, "garbage_bytes_total", "Bytes outside of transport packets.",
		func(s *Status) float64 { return float64(s.GarbageBytes) })
	add(count, "resyncs_total", "Times that packet framing was lost.", func(s *Status) float64 { return float64(s.Resyncs) })
	add(count, "damaged_access_units_total", "Access units that arrived damaged.",
		func(s *Status) float64 { return float64(s.FaultyUnits) })
	add(count, "panics_total", "Times that the input had to start again after a panic.",
		func(s *Status) float64 { return float64(s.Panics) })
	add(count, "segments_total", "Segments sealed.", func(s *Status) float64 { return float64(s.Ring.Segments) })
	add(count, "whole_segments_total", "Segments sealed against which nothing is known.",
		func(s *Status) float64 { return float64(s.Ring.WholeSegments) })
	add(count, "ring_overruns_total", "Segments that left the ring before dvrsvc had released them.",
		func(s *Status) float64 { return float64(s.Ring.Overruns) })
	add(gauge, "ring_bytes", "Bytes in the ring.", func(s *Status) float64 { return float64(s.Ring.Bytes) })
	add(gauge, "ring_need_bytes", "Bytes that a takeover and a restart of dvrsvc may need.",
		func(s *Status) float64 { return float64(s.RingNeed) })
	add(gauge, "ring_limit_bytes", "Bytes that the ring may take.", func(s *Status) float64 { return float64(s.Ring.Limit) })
	add(gauge, "receive_buffer_bytes", "Socket receive buffer that the kernel granted.",
		func(s *Status) float64 { return float64(s.ReceiveBuffer) })
	add(gauge, "input_active", "1 while the input feeds the live tail.", func(s *Status) float64 {
		if s.State == Active {
			return 1
		}
		return 0
	})
	leg := func(kind prometheus.ValueType, name, help string, value func(*LegStatus) float64) {
		c.legs = append(c.legs, legMetric{
			desc: prometheus.NewDesc("twinreel_ingestsvc_leg_"+name, help, []string{"stream", "input", "leg"}, nil),
			kind: kind, value: value,
		})
	}
	leg(count, "packets_total", "RTP packets of a leg.", func(l *LegStatus) float64 { return float64(l.Packets) })
	leg(count, "lost_packets_total", "RTP packets that a leg did not bring.", func(l *LegStatus) float64 { return float64(l.Lost) })
	leg(gauge, "behind_seconds", "How long after the other leg a leg brings a packet.",
		func(l *LegStatus) float64 { return l.Behind.Seconds() })
	leg(gauge, "alive", "1 while a leg brings RTP packets.", func(l *LegStatus) float64 {
		if l.Alive {
			return 1
		}
		return 0
	})
	return c
}

var _ prometheus.Collector = (*Collector)(nil)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for i := range c.metrics {
		ch <- c.metrics[i].desc
	}
	for i := range c.legs {
		ch <- c.legs[i].desc
	}
	ch <- c.tr101290
	for i := range c.pids {
		ch <- c.pids[i].desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.m.List() {
		for i := range c.metrics {
			m := &c.metrics[i]
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&s), s.Stream, s.URL)
		}
		for n := range s.Legs {
			for i := range c.legs {
				m := &c.legs[i]
				ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&s.Legs[n]), s.Stream, s.URL, strconv.Itoa(n+1))
			}
		}
		c.collectQuality(ch, &s)
	}
}
