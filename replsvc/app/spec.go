package app

import "github.com/twinreel/twinreel/pkg/service"

var _ service.App = (*App)(nil)

// Spec is replsvc as a process of its own.
func Spec() service.Spec[Config] {
	return service.Spec[Config]{
		Name: "replsvc", Does: "replicates streams and archives between sites",
		Prefix: "REPL_", Default: Default(), Media: true,
		New: func(cfg Config, e service.Env) (service.App, error) {
			return New(cfg, Deps{Logger: e.Logger, Metrics: e.Metrics, Conns: e.Conns})
		},
	}
}
