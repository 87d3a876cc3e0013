package app

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinreel/twinreel/pkg/service"
)

var _ service.App = (*App)(nil)

// Spec is dvrsvc as a process of its own.
func Spec() service.Spec[Config] {
	return service.Spec[Config]{
		Name: "dvrsvc", Does: "records streams and keeps their archive",
		Prefix: "DVR_", Default: Default(), Media: true,
		New: func(cfg Config, log *slog.Logger, metrics prometheus.Registerer) (service.App, error) {
			return New(cfg, Deps{Logger: log, Metrics: metrics})
		},
	}
}
