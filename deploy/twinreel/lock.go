package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	"github.com/twinreel/twinreel/pkg/archive"
)

// bounded is a range of which both ends have to be said.
type bounded struct{ window }

func (b bounded) parse() (archive.Range, error) {
	if b.From == "" || b.To == "" {
		return archive.Range{}, errors.New("give --from and --to")
	}
	return b.window.parse()
}

type lockCommand struct {
	site
	bounded
	Stream  string `arg:"" help:"The stream."`
	ID      string `name:"id" placeholder:"ID" help:"What it is called; a lock that exists is changed. Absent: one is made up."`
	Owner   string `placeholder:"WHO" help:"Whose it is."`
	Comment string `placeholder:"TEXT" help:"Why."`
	Until   string `placeholder:"TIME" help:"When it ends by itself: Unix seconds or RFC 3339; absent: never."`
}

func (c *lockCommand) Run(ctx context.Context) error {
	r, err := c.parse()
	if err != nil {
		return err
	}
	var until time.Time
	if c.Until != "" {
		if until, err = archive.ParseTime(c.Until); err != nil {
			return fmt.Errorf("--until: %w", err)
		}
	}
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error {
		return o.Lock(ctx, c.Stream, r, operator.LockTerms{ID: c.ID, Owner: c.Owner, Comment: c.Comment, Until: until})
	})
}

type unlockCommand struct {
	site
	Stream string `arg:"" help:"The stream."`
	ID     string `arg:"" help:"The id of the lock."`
}

func (c *unlockCommand) Run(ctx context.Context) error {
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.Unlock(ctx, c.Stream, c.ID) })
}

type locksCommand struct {
	site
	Stream string `arg:"" help:"The stream."`
}

func (c *locksCommand) Run(ctx context.Context) error {
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.Locks(ctx, c.Stream) })
}

type deleteCommand struct {
	site
	bounded
	Stream string `arg:"" help:"The stream."`
}

func (c *deleteCommand) Run(ctx context.Context) error {
	r, err := c.parse()
	if err != nil {
		return err
	}
	return c.ask(ctx, 0, func(ctx context.Context, o *operator.Site) error { return o.Delete(ctx, c.Stream, r) })
}
