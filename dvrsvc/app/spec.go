package app

import "github.com/twinreel/twinreel/pkg/service"

var _ service.App = (*App)(nil)

// Spec is dvrsvc as a process of its own.
func Spec() service.Spec[Config] {
	return service.Spec[Config]{
		Name: "dvrsvc", Does: "records streams and keeps their archive",
		Prefix: "DVR_", Default: Default(), Media: true,
		New: func(cfg Config, e service.Env) (service.App, error) {
			return New(cfg, Deps{Logger: e.Logger, Metrics: e.Metrics, Conns: e.Conns})
		},
	}
}
