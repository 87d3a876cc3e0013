// Command ingestsvc receives live MPEG-TS and brings it to dvrsvc as chunks and segments.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/twinreel/twinreel/ingestsvc/app"
	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/lifecycle"
	"github.com/twinreel/twinreel/pkg/obs"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ingestsvc:", err)
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
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	return app.Serve(ctx, cfg, log.With("service", "ingestsvc", "node", cfg.Node))
}
