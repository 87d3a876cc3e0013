package app

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinreel/twinreel/pkg/service"
)

var _ service.App = (*App)(nil)

// Spec is gateway as a process of its own.
func Spec() service.Spec[Config] {
	return service.Spec[Config]{
		Name: "gateway", Does: "serves the stream config to the other services, and the archive by HTTP",
		Prefix: "GATEWAY_", Default: Default(), Media: false,
		New: func(cfg Config, log *slog.Logger, metrics prometheus.Registerer) (service.App, error) {
			return New(cfg, Deps{Logger: log, Metrics: metrics})
		},
	}
}
