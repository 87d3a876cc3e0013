// Command replsvc replicates: it serves this site's streams to its peers over M4F, follows theirs, compares archives and
// fetches what is missing here. It keeps no media.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/lifecycle"
	"github.com/twinreel/twinreel/pkg/obs"
	"github.com/twinreel/twinreel/replsvc/app"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "replsvc:", err)
		os.Exit(1)
	}
}

func run() error {
	cfg := app.Defaults()
	if err := envconf.Parse(&cfg, app.EnvPrefix, os.Environ()); err != nil {
		return err
	}
	log, err := obs.NewLogger(os.Stderr, cfg.LogFormat, cfg.LogLevel)
	if err != nil {
		return err
	}
	log = log.With("service", "replsvc", "node", cfg.Node)
	log.Info("starting", envconf.Attrs(&cfg, app.EnvPrefix)...)
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	a, err := app.New(cfg, app.Deps{Logger: log})
	if err != nil {
		return err
	}
	return a.Serve(ctx)
}
