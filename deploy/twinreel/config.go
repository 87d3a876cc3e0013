package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
)

// maxText bounds the text of one stream.
const maxText = 1 << 20

type configCommand struct {
	Show    configShow    `cmd:"" help:"Print the config in force, or one stream of it, as put takes it back."`
	Put     configPut     `cmd:"" help:"Add or change one stream; all others go on untouched."`
	Delete  configDelete  `cmd:"" help:"Take a stream out of the config; its archive stays until its retention has passed."`
	History configHistory `cmd:"" help:"Show the newest changes, by file and by API."`
}

type configShow struct {
	site
	Stream string `arg:"" optional:"" help:"The stream; without, all."`
}

func (c *configShow) Run(ctx context.Context) error {
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.ShowConfig(ctx, c.Stream) })
}

// change is what goes into the history, and what the author has seen.
type change struct {
	Revision string `placeholder:"REVISION" help:"The config that you have seen; what show printed has it."`
	Author   string `placeholder:"NAME" help:"Who changes it, for the history (default: the user)."`
	Comment  string `short:"m" placeholder:"TEXT" help:"Why, for the history."`
}

func (c *change) change() operator.Change {
	out := operator.Change{Revision: c.Revision, Author: c.Author, Comment: c.Comment}
	if u, err := user.Current(); err == nil && out.Author == "" {
		out.Author = u.Username
	}
	return out
}

type configPut struct {
	site
	change
	Check bool   `help:"Only say whether it could be done."`
	File  string `arg:"" help:"File with the stream's block; - is standard input."`
}

func (c *configPut) Run(ctx context.Context) error {
	in := io.Reader(os.Stdin)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("read config: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxText+1))
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	if len(text) > maxText {
		return fmt.Errorf("read config: %s has more than %d bytes; a stream's block has less", c.File, maxText)
	}
	how := c.change.change()
	how.Check = c.Check
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.PutConfig(ctx, string(text), how) })
}

type configDelete struct {
	site
	change
	Stream string `arg:"" help:"The stream."`
}

func (c *configDelete) Run(ctx context.Context) error {
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error {
		return o.DeleteConfig(ctx, c.Stream, c.change.change())
	})
}

type configHistory struct {
	site
	Limit uint32 `short:"n" default:"20" help:"How many (default ${default})."`
}

func (c *configHistory) Run(ctx context.Context) error {
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.ConfigHistory(ctx, c.Limit) })
}
