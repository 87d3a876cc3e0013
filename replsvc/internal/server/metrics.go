package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/event"
	"github.com/twinreel/twinreel/replsvc/internal/ledger"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/peer"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
	"github.com/twinreel/twinreel/replsvc/internal/transfer"
)

// Collector shows replication as metrics, with the labels stream and peer: both come from the config alone.
type Collector struct {
	set                                                  *peer.Set
	transfer                                             *transfer.Transfer
	connected, agreed, conflicts, offset                 *prometheus.Desc
	backlogSeconds, backlogBytes, fetched, bytes, refuse *prometheus.Desc
	joined, contradicted, mended, unlike                 *prometheus.Desc
	rate, limit, paused, behind, liveBehind, failed      *prometheus.Desc
	sourceConnected, sourceStreams                       *prometheus.Desc
	watcher                                              *event.Watcher
	eta                                                  *prometheus.Desc
	books                                                func() map[string]ledger.Hour
	expected, clean, repaired, pending, lost             *prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector makes a collector.
func NewCollector(set *peer.Set, t *transfer.Transfer, w *event.Watcher, books func() map[string]ledger.Hour) *Collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("twinreel_replsvc_"+name, help, []string{"stream", "peer"}, nil)
	}
	ofStream := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("twinreel_replsvc_"+name, help, append([]string{"stream"}, more...), nil)
	}
	return &Collector{
		set: set, transfer: t, watcher: w, books: books,
		connected:      desc("peer_connected", "1 while the peer is connected."),
		agreed:         desc("archives_agree", "1 when the last comparison found no difference."),
		conflicts:      desc("conflict_slots", "Slots with different whole copies."),
		offset:         desc("clock_offset_seconds", "The peer's clock less ours."),
		liveBehind:     desc("live_behind_seconds", "By how much the newest media that was heard of over the live connection is behind the peer's clock; absent while nothing is."),
		backlogSeconds: desc("backlog_seconds", "Media that the peer has and this node lacks."),
		backlogBytes:   desc("backlog_bytes", "Bytes of it."),
		fetched:        desc("fetched_segments_total", "Segments fetched and durable."),
		bytes:          desc("fetched_bytes_total", "Bytes of them."),
		refuse:         desc("refused_segments_total", "Copies that were bad or not taken."),
		mended:         desc("mended_units_total", "Access units made of the packets that several copies had of them."),
		unlike:         desc("unlike_packets_total", "Places in which packets of copies to be joined differ, and joins that the slots beside contradict."),
		joined:         desc("joined_segments_total", "Copies made of several that lacked or damaged different access units."),
		contradicted:   desc("join_conflicts_total", "Attempts to join copies that contradict each other."),
		rate:           desc("backfill_bytes_per_second", "Bytes fetched a second, over the last seconds."),
		limit:          desc("backfill_limit_bits_per_second", "Bits a second that backfill may use now; 0: no limit."),
		paused:         desc("backfill_paused", "1 while an operator has paused it."),
		behind:         desc("not_replicated_seconds", "For how long it is not known that nothing can be fetched: something is missing, or the peer is away or was not compared; 0: it is known."),
		failed:         desc("failed_fetches_total", "Fetches that failed."),
		expected:       ofStream("expected_seconds", "Media that should be here, over the whole archive (GetLedger)."),
		clean:          ofStream("clean_seconds", "Of it, what is here and intact."),
		repaired:       ofStream("repaired_seconds", "Media here that came from a peer later than live."),
		pending:        ofStream("pending_seconds", "Media damaged or missing here that a peer has."),
		lost:           ofStream("lost_seconds", "Media damaged or missing here that no peer has: upstream (all lost it), local (no room here), unknown.", "cause"),
		eta:            desc("backfill_eta_seconds", "Seconds until the backlog is fetched at the present rate; absent while nothing comes."),
		sourceConnected: prometheus.NewDesc("twinreel_replsvc_source_connected",
			"1 when a peer of which every stream is taken is connected.", []string{"source"}, nil),
		sourceStreams: prometheus.NewDesc("twinreel_replsvc_source_streams",
			"Streams of such a peer: taken, named_alike (another stream here has the name), left_out.", []string{"source", "what"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.connected, c.agreed, c.conflicts, c.offset, c.backlogSeconds, c.backlogBytes, c.fetched, c.bytes, c.refuse, c.joined, c.contradicted, c.mended, c.unlike,
		c.rate, c.limit, c.paused, c.behind, c.liveBehind, c.failed, c.sourceConnected, c.sourceStreams, c.eta,
		c.expected, c.clean, c.repaired, c.pending, c.lost,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.collectSources(ch)
	c.collectLedger(ch)
	ticks, bytes := map[[2]string]timeline.Ticks{}, map[[2]string]uint64{}
	for _, it := range plan.Backlog(c.transfer.Plan("")) {
		k := [2]string{it.Stream, it.Peer}
		ticks[k] += it.Copy.Info.End - it.Copy.Info.Start
		bytes[k] += it.Copy.Info.Bytes
	}
	for _, l := range c.set.Links() {
		k := [2]string{l.Stream, l.URL()}
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, l.Stream, l.URL())
		}
		count := func(d *prometheus.Desc, v uint64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), l.Stream, l.URL())
		}
		conn, stats := l.Peer.Status(), c.transfer.Stats(l.Stream, l.URL())
		gauge(c.connected, oneIf(conn.State == m4fclient.Connected))
		gauge(c.offset, conn.Offset.Seconds())
		gauge(c.backlogSeconds, ticks[k].Duration().Seconds())
		gauge(c.backlogBytes, float64(bytes[k]))
		count(c.fetched, stats.Segments)
		count(c.bytes, stats.Bytes)
		count(c.refuse, stats.Refused)
		count(c.joined, stats.Joined)
		count(c.mended, stats.Mended)
		count(c.unlike, stats.Unlike)
		count(c.contradicted, stats.Conflicts)
		count(c.failed, stats.Failed)
		bits, paused := c.transfer.Limit(l.Stream, l.URL())
		gauge(c.rate, float64(stats.BytesPerSecond()))
		gauge(c.limit, float64(bits))
		if s := eta(bytes[k], stats.BytesPerSecond()); s >= 0 {
			gauge(c.eta, float64(s))
		}
		if behind, ok := l.LiveBehind(); ok {
			gauge(c.liveBehind, behind.Seconds())
		}
		gauge(c.paused, oneIf(paused))
		gauge(c.behind, c.watcher.Behind(l.Stream, l.URL()).Seconds())
		if known, ok := l.Recon.Known(); ok {
			gauge(c.agreed, oneIf(known.Agreed && bytes[k] == 0))
			gauge(c.conflicts, float64(known.Conflicts))
		}
	}
}

// collectLedger shows the sums of the ledgers, with the label stream.
func (c *Collector) collectLedger(ch chan<- prometheus.Metric) {
	for stream, h := range c.books() {
		gauge := func(d *prometheus.Desc, t timeline.Ticks, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, t.Duration().Seconds(), append([]string{stream}, labels...)...)
		}
		gauge(c.expected, h.Expected)
		gauge(c.clean, h.Clean)
		gauge(c.repaired, h.Repaired)
		gauge(c.pending, h.Pending)
		gauge(c.lost, h.LostUpstream, "upstream")
		gauge(c.lost, h.LostLocal, "local")
		gauge(c.lost, h.LostUnknown, "unknown")
	}
}

// collectSources shows the peers of which every stream is taken, with the label source.
func (c *Collector) collectSources(ch chan<- prometheus.Metric) {
	for _, x := range c.set.Sources() {
		ch <- prometheus.MustNewConstMetric(c.sourceConnected, prometheus.GaugeValue, oneIf(x.Peer.Status().State == m4fclient.Connected), x.Addr)
		st := x.Status()
		for what, n := range map[string]int{"taken": len(st.Streams), "named_alike": len(st.NamedAlike), "left_out": len(st.LeftOut)} {
			ch <- prometheus.MustNewConstMetric(c.sourceStreams, prometheus.GaugeValue, float64(n), x.Addr, what)
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
