package app

import "github.com/twinreel/twinreel/pkg/service"

var _ service.App = (*App)(nil)

// Spec is gateway as a process of its own.
func Spec() service.Spec[Config] {
	return service.Spec[Config]{
		Name: "gateway", Does: "serves the stream config to the other services, and the archive by HTTP",
		Prefix: "GATEWAY_", Default: Default(), Media: false,
		New: func(cfg Config, e service.Env) (service.App, error) {
			return New(cfg, Deps{Logger: e.Logger, Metrics: e.Metrics, Conns: e.Conns})
		},
	}
}
