package input

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// pidMetric is one of the PIDs that are shown one by one, and of all others together.
type pidMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*PIDQuality) float64
}

// describeQuality adds what was found in the packets. Labels are bounded: 13 errors, and at most maxPIDs PIDs and "other".
func (c *Collector) describeQuality(add func(prometheus.ValueType, string, string, func(*Status) float64)) {
	count, gauge := prometheus.CounterValue, prometheus.GaugeValue
	add(count, "lost_packets_total", "Packets that continuity counters miss.",
		func(s *Status) float64 { return float64(s.Quality.LostPackets) })
	add(count, "packets_total", "Transport packets, null packets among them.",
		func(s *Status) float64 { return float64(s.Quality.Packets) })
	add(count, "null_packets_total", "Null packets: padding.",
		func(s *Status) float64 { return float64(s.Quality.NullPackets) })
	add(count, "hidden_losses_total", "Bursts of loss found by the constant rate of the multiplex alone.",
		func(s *Status) float64 { return float64(s.Quality.HiddenLosses) })
	add(count, "clock_jumps_total", "Jumps of the source's clock.",
		func(s *Status) float64 { return float64(s.Quality.ClockJumps) })
	add(count, "seconds_without_data_total", "Whole seconds in which nothing came while the source was open.",
		func(s *Status) float64 { return float64(s.SilentSeconds) })
	add(count, "reopenings_total", "Times that the source was opened again.",
		func(s *Status) float64 { return float64(s.Reopenings) })
	add(count, "activations_total", "Times that the input became active.",
		func(s *Status) float64 { return float64(s.Activations) })
	add(gauge, "bits_per_second", "Bits a second over the last seconds.",
		func(s *Status) float64 { return float64(s.BitsPerSecond) })
	add(gauge, "pcr_accuracy_seconds", "Greatest deviation of a PCR, where the rate of the multiplex is constant.",
		func(s *Status) float64 { return s.Clock.Accuracy.Seconds() })
	add(gauge, "pcr_jitter_seconds", "How far PCRs arrived from their own time.",
		func(s *Status) float64 { return s.Clock.Jitter.Seconds() })
	add(gauge, "input_faulty", "1 while the input should be left although its media moves.", func(s *Status) float64 {
		if s.Fault != "" {
			return 1
		}
		return 0
	})
	c.tr101290 = prometheus.NewDesc("twinreel_ingestsvc_tr101290_errors_total",
		"Errors of ETSI TR 101 290, priorities 1 and 2.", []string{"stream", "input", "error"}, nil)
	pid := func(kind prometheus.ValueType, name, help string, value func(*PIDQuality) float64) {
		c.pids = append(c.pids, pidMetric{
			desc: prometheus.NewDesc("twinreel_ingestsvc_pid_"+name, help, []string{"stream", "input", "pid"}, nil),
			kind: kind, value: value,
		})
	}
	pid(count, "packets_total", "Packets of the PID since the source was opened.",
		func(p *PIDQuality) float64 { return float64(p.Packets) })
	pid(gauge, "bits_per_second", "Bits a second of the PID.",
		func(p *PIDQuality) float64 { return float64(p.BitsPerSecond) })
	pid(count, "errors_total", "Continuity, transport, CRC, PID and PTS errors of the PID since the source was opened.",
		func(p *PIDQuality) float64 {
			return float64(p.ContinuityErrors + p.TransportErrors + p.CRCErrors + p.PIDErrors + p.PTSErrors)
		})
	pid(count, "access_units_total", "Access units of the PID since the source was opened.",
		func(p *PIDQuality) float64 { return float64(p.Units.Found) })
	pid(count, "damaged_access_units_total", "Access units of the PID that were damaged, since the source was opened.",
		func(p *PIDQuality) float64 { return float64(p.Units.Damaged) })
	pid(count, "scrambled_packets_total", "Scrambled packets of the PID since the source was opened.",
		func(p *PIDQuality) float64 { return float64(p.Scrambled) })
}

func (c *Collector) collectQuality(ch chan<- prometheus.Metric, s *Status) {
	errors := s.Quality.TR101290
	errors.Each(func(name string, n *uint64) {
		ch <- prometheus.MustNewConstMetric(c.tr101290, prometheus.CounterValue, float64(*n), s.Stream, s.URL, name)
	})
	one := func(p *PIDQuality, pid string) {
		for i := range c.pids {
			m := &c.pids[i]
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(p), s.Stream, s.URL, pid)
		}
	}
	for i := range s.PIDs {
		one(&s.PIDs[i], strconv.Itoa(int(s.PIDs[i].PID)))
	}
	one(&s.OtherPIDs, "other")
}
