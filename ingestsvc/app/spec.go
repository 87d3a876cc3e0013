package app

import "github.com/twinreel/twinreel/pkg/service"

var _ service.App = (*App)(nil)

// Spec is ingestsvc as a process of its own.
func Spec() service.Spec[Config] {
	return service.Spec[Config]{
		Name: "ingestsvc", Does: "receives live MPEG-TS and brings it to dvrsvc as chunks and segments",
		Prefix: "INGEST_", Default: Default(), Media: false,
		New: func(cfg Config, e service.Env) (service.App, error) {
			return New(cfg, Deps{Logger: e.Logger, Metrics: e.Metrics, Conns: e.Conns})
		},
	}
}
