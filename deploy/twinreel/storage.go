package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	dvr "github.com/twinreel/twinreel/dvrsvc/app"
)

type storageCommand struct {
	Path    string `arg:"" type:"path" help:"The dvr PATH of the stream config. No dvrsvc may use it meanwhile."`
	Node    string `default:"${hostname}" help:"id of the site, as DVR_NODE (default ${default})."`
	Rebuild bool   `name:"rebuild" help:"Make the index anew from the data files before."`
}

// Run looks at a storage that no dvrsvc uses.
func (c *storageCommand) Run(ctx context.Context) error {
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return err
	}
	good, err := dvr.CheckStorage(ctx, path, c.Node, c.Rebuild, os.Stdout,
		slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err == nil && !good {
		err = fmt.Errorf("the storage is damaged: %w", operator.ErrDifference)
	}
	return err
}
