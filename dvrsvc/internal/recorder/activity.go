package recorder

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
)

// activity shows what the storages have done. By stream it shows the writes of those alone that the config names.
type activity struct {
	live, written, reads, read, played, playedOf, syncs, longest, running *prometheus.Desc
}

func newActivity() activity {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("twinreel_dvrsvc_"+name, help, append([]string{"path"}, labels...), nil)
	}
	return activity{
		live: desc("live_segments_total", "Live segments that were sealed, by the time until they were durable against their own duration: "+
			"fast, slow, delayed; failed and skipped were not written as they came.", "stream", "class"),
		written:  desc("written_bytes_total", "Media that was written.", "kind"),
		reads:    desc("read_segments_total", "Segments that were read for viewers and other sites, by the time that took.", "source", "class"),
		read:     desc("read_bytes_total", "Media that was read.", "purpose", "source"),
		played:   desc("played_segments_total", "Segments of the archive that were played, by their age.", "age"),
		playedOf: desc("played_bytes_total", "Bytes of the archive that were played, by their age.", "age"),
		syncs:    desc("sync_seconds", "How long it takes to make something durable: a data file, the index, a whole commit.", "what"),
		longest:  desc("sync_longest_seconds", "The longest of those that ended in the last minute.", "what"),
		running:  desc("commit_running_seconds", "How long the commit has been running that runs now; 0: none does."),
	}
}

func (a *activity) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{a.live, a.written, a.reads, a.read, a.played, a.playedOf, a.syncs, a.longest, a.running} {
		ch <- d
	}
}

func (a *activity) collect(ch chan<- prometheus.Metric, r *Recorder) {
	r.mu.Lock()
	cfg := r.cfg
	r.mu.Unlock()
	now := r.o.Clock.Mono()
	for path, s := range r.Stats() {
		count := func(d *prometheus.Desc, v uint64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{path}, labels...)...)
		}
		var total stats.Counts
		for name, c := range s.Streams() {
			total.Add(&c)
			if of, ok := cfg[name]; ok && of.Path == path {
				for i, n := range c.Written {
					count(a.live, n, name, stats.ClassNames[i])
				}
			}
		}
		for i, n := range total.Bytes {
			count(a.written, n, stats.KindNames[i])
		}
		for from, source := range stats.SourceNames {
			for i, n := range total.Reads[from] {
				count(a.reads, n, source, stats.ClassNames[i])
			}
			for why, purpose := range stats.PurposeNames {
				count(a.read, total.ReadBytes[why][from], purpose, source)
			}
		}
		for i, age := range stats.AgeNames {
			count(a.played, total.Played[i], age)
			count(a.playedOf, total.PlayedBytes[i], age)
		}
		for i, what := range stats.SyncNames {
			l := s.Latency(stats.Sync(i), now)
			ch <- prometheus.MustNewConstHistogram(a.syncs, l.Count, l.Sum.Seconds(), cumulative(&l), path, what)
			ch <- prometheus.MustNewConstMetric(a.longest, prometheus.GaugeValue, l.Longest.Seconds(), path, what)
		}
		ch <- prometheus.MustNewConstMetric(a.running, prometheus.GaugeValue, s.Running(now).Seconds(), path)
	}
}

// cumulative gives the buckets as Prometheus has them.
func cumulative(l *stats.Latency) map[float64]uint64 {
	out, n := map[float64]uint64{}, uint64(0)
	for i, bound := range stats.Bounds {
		n += l.Buckets[i]
		out[bound.Seconds()] = n
	}
	return out
}
