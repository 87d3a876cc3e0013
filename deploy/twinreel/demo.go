package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/demo"
	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
)

type demoCommand struct {
	File    string `type:"existingfile" xor:"source" help:"Play this transport stream instead of a clip of ours."`
	Source  string `placeholder:"udp://…" xor:"source" help:"Record this multicast source instead of playing one."`
	Standby string `enum:"hot,cold" default:"hot" help:"How the replica holds its UDP input: hot or cold (default hot)."`
	JSON    bool   `name:"json" help:"Print the report as JSON; what happens goes to stderr."`
	Keep    bool   `help:"Keep the working directory, with both archives and logs."`
	Dir     string `placeholder:"DIR" help:"Work in this directory, and keep it."`
}

func (c *demoCommand) Run(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	err = demo.Run(ctx, demo.Options{
		File: c.File, Source: c.Source, Cold: c.Standby == "cold", JSON: c.JSON, Keep: c.Keep, Dir: c.Dir, Self: self, Out: os.Stdout,
	})
	if errors.Is(err, demo.ErrBroken) {
		return fmt.Errorf("%w: %w", operator.ErrDifference, err)
	}
	return err
}
