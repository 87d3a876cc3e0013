package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
)

// pipe is the FILE that means standard input or output.
const pipe = "-"

type packCommand struct {
	site
	window
	Stream string `arg:"" help:"The stream."`
	Output string `short:"o" required:"" placeholder:"FILE" help:"Where to write, - is standard output; a file is replaced when all is written."`
}

func (c *packCommand) Run(ctx context.Context) error {
	r, err := c.parse()
	if err != nil {
		return err
	}
	out, report := io.Writer(nil), os.Stdout
	if c.Output == pipe {
		out, report = os.Stdout, os.Stderr
	}
	return c.report(ctx, 0, report, func(ctx context.Context, o *operator.Site) error {
		return o.Pack(ctx, c.Stream, r, c.Output, out)
	})
}

type unpackCommand struct {
	site
	Stream string `arg:"" optional:"" help:"The stream to which it is brought; absent: the one that the pack names."`
	Input  string `short:"i" required:"" placeholder:"FILE" help:"What pack wrote, or data files one behind the other; - is standard input."`
}

func (c *unpackCommand) Run(ctx context.Context) error {
	in := io.Reader(os.Stdin)
	if c.Input != pipe {
		f, err := os.Open(c.Input)
		if err != nil {
			return fmt.Errorf("read pack: %w", err)
		}
		defer f.Close()
		in = f
	}
	return c.ask(ctx, 0, func(ctx context.Context, o *operator.Site) error { return o.Unpack(ctx, c.Stream, c.Input, in) })
}
