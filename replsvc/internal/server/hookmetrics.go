package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinreel/twinreel/replsvc/internal/event"
)

// HookCollector shows what became of the events of a webhook.
type HookCollector struct {
	hook *event.Webhook
	desc *prometheus.Desc
}

var _ prometheus.Collector = (*HookCollector)(nil)

// NewHookCollector makes a collector.
func NewHookCollector(hook *event.Webhook) *HookCollector {
	return &HookCollector{hook, prometheus.NewDesc("twinreel_replsvc_webhook_events_total",
		"Events for the webhook: sent, failed (given up), dropped (too many waited).", []string{"result"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *HookCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *HookCollector) Collect(ch chan<- prometheus.Metric) {
	sent, failed, dropped := c.hook.Counts()
	for result, n := range map[string]uint64{"sent": sent, "failed": failed, "dropped": dropped} {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(n), result)
	}
}
