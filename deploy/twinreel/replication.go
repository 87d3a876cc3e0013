package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
)

// replicationCommand is how fast a site fetches what it lacks, and whether.
type replicationCommand struct {
	Limits limitsCommand `cmd:"" help:"Show how fast backfill may go, and what is paused."`
	Limit  limitCommand  `cmd:"" help:"Set how fast backfill may go, over what the config says; it holds at once and over a restart."`
	Pause  pauseCommand  `cmd:"" help:"Fetch nothing until resume, over a restart too; live goes on."`
	Resume resumeCommand `cmd:"" help:"Take a pause back; without --stream and --peer all of them."`
	Fetch  fetchCommand  `cmd:"" help:"Have a range fetched before all else, and wait for it; exit status 1 when some of it is still not here or not intact."`
	Events eventsCommand `cmd:"" help:"Show what becomes of replication, as it happens, until interrupted."`
}

// scope is what a command is about.
type scope struct {
	Stream string `placeholder:"STREAM" help:"Only this stream."`
	Peer   string `placeholder:"HOST[:PORT]" help:"Only what comes from this peer."`
}

func (s scope) of() (operator.Scope, error) {
	if s.Stream != "" && s.Peer != "" {
		return operator.Scope{}, errors.New("give --stream or --peer, not both")
	}
	return operator.Scope(s), nil
}

type fetchCommand struct {
	site
	window
	Stream string        `arg:"" help:"The stream."`
	Wait   time.Duration `default:"1m" help:"How long to wait, 5 minutes at most."`
}

func (c *fetchCommand) Run(ctx context.Context) error {
	r, err := c.parse()
	if err != nil {
		return err
	}
	if r.From.IsZero() || r.To.IsZero() {
		return errors.New("give --from and --to, at most a day apart")
	}
	return c.ask(ctx, c.Wait+quick, func(ctx context.Context, o *operator.Site) error { return o.Fetch(ctx, c.Stream, r, c.Wait) })
}

type limitsCommand struct{ site }

func (c *limitsCommand) Run(ctx context.Context) error {
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.Limits(ctx) })
}

type limitCommand struct {
	site
	scope
	Speed []string `arg:"" optional:"" help:"Bits a second, as 50M, or 0 for no limit; behind it other limits for times of the day (UTC), as 22:00-06:00:500M."`
	Reset bool     `help:"What the config says holds again."`
}

func (c *limitCommand) Run(ctx context.Context) error {
	of, err := c.of()
	if err != nil {
		return err
	}
	if c.Reset == (len(c.Speed) > 0) {
		return errors.New("give a speed, as 50M, or --reset")
	}
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error {
		return o.SetLimit(ctx, of, strings.Join(c.Speed, " "))
	})
}

type pauseCommand struct {
	site
	scope
}

func (c *pauseCommand) Run(ctx context.Context) error {
	of, err := c.of()
	if err != nil {
		return err
	}
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.Pause(ctx, of) })
}

type resumeCommand struct {
	site
	scope
}

func (c *resumeCommand) Run(ctx context.Context) error {
	of, err := c.of()
	if err != nil {
		return err
	}
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.Resume(ctx, of) })
}

type eventsCommand struct {
	site
	Stream string   `placeholder:"STREAM" help:"Only this stream."`
	Kind   []string `placeholder:"KIND,KIND" help:"Only these: started, progress, finished, failed, conflict, lost, behind, caught_up."`
	After  uint64   `placeholder:"NUMBER" help:"Begin behind the event of this number, where it is still kept; 1: with all that is."`
}

func (c *eventsCommand) Run(ctx context.Context) error {
	return c.ask(ctx, 0, func(ctx context.Context, o *operator.Site) error { return o.Events(ctx, c.Stream, c.Kind, c.After) })
}
