// Command twinreel is all of Twinreel on one box, and what an operator needs to look at it: see README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/lifecycle"
	"github.com/twinreel/twinreel/pkg/obs"
)

// Exit codes of every command.
const (
	exitGood       = 0
	exitDifference = 1 // a difference, damage, or nothing in the range
	exitTrouble    = 2 // wrong usage, or something cannot be reached
)

type cli struct {
	Run     runCommand          `cmd:"" help:"Run the four services in this process."`
	Play    playCommand         `cmd:"" help:"Play a transport stream file to UDP at its own pace."`
	Demo    demoCommand         `cmd:"" help:"Run the three modes of replication on this machine, and judge them."`
	Status  statusCommand       `cmd:"" help:"Show what sites receive, record and replicate; exit status 1 when something has a problem."`
	Ranges  rangesCommand       `cmd:"" help:"Show what is recorded of a stream; exit status 1 when something is damaged or missing."`
	Verify  verifyCommand       `cmd:"" help:"Hash every stored byte of a stream again; with --peer, compare with another site."`
	Retire  retireCommand       `cmd:"" help:"Say whether all that is stored here exists on another site, too, before this one is taken away; it changes nothing."`
	Ledger  ledgerCommand       `cmd:"" help:"Show hour by hour what of a stream is clean, repaired and lost, and where it was lost; exit status 1 when anything is lost or still to come."`
	Export  exportCommand       `cmd:"" help:"Write a range of a stream to an MP4 file."`
	Pack    packCommand         `cmd:"" help:"Write a range of a stream to a file, byte for byte as it is stored, for unpack at another site."`
	Unpack  unpackCommand       `cmd:"" help:"Bring what pack wrote, or a data file, to a site; what is there already is not written again."`
	Lock    lockCommand         `cmd:"" help:"Keep a range of a stream beyond all retention."`
	Unlock  unlockCommand       `cmd:"" help:"Let retention have a range again."`
	Locks   locksCommand        `cmd:"" help:"Show what is locked of a stream, and what was deleted."`
	Delete  deleteCommand       `cmd:"" help:"Delete a range of a stream, on this site alone; it does not come back."`
	Check   checkCommand        `cmd:"" help:"Check a stream config without using it."`
	DF      dfCommand           `cmd:"" name:"df" help:"Show what each storage takes, what comes in, and how long its room will do."`
	Clock   confirmClockCommand `cmd:"" name:"confirm-clock" help:"Say what time it is: where the clock of the site is within five minutes of it, retention by age goes on that waits since the clock leapt."`
	Stats   statsCommand        `cmd:"" help:"Show how long segments and syncs took, what was written and read, and how old what was played is, since dvrsvc began."`
	Storage storageCommand      `cmd:"" help:"Check a storage that no dvrsvc uses, byte by byte; with --rebuild make its index anew. Exit status 1 when it is damaged."`
	Config  configCommand       `cmd:"" help:"Show and change the stream config through the gateway."`

	Replication replicationCommand `cmd:"" help:"Show and change how fast what is missing is fetched from peers, and pause it."`

	Version kong.VersionFlag `help:"Print the version."`
}

func main() {
	os.Exit(run())
}

func run() int {
	var c cli
	host, err := os.Hostname()
	if err != nil {
		host = "twinreel"
	}
	parser, err := kong.New(&c, kong.Name("twinreel"), kong.Description("A cross-replicating recorder for live TV."),
		kong.UsageOnError(), kong.Vars{"version": obs.Version(), "hostname": host}, kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(os.Stderr, "twinreel:", err)
		return exitTrouble
	}
	command, err := parser.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "twinreel: %v; see twinreel --help\n", err)
		return exitTrouble
	}
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	command.BindTo(ctx, (*context.Context)(nil))
	switch err := command.Run(); {
	case err == nil:
		return exitGood
	case errors.Is(err, operator.ErrDifference):
		fmt.Fprintln(os.Stderr, "twinreel:", err)
		return exitDifference
	default:
		fmt.Fprintln(os.Stderr, "twinreel:", err)
		return exitTrouble
	}
}

// TLS is what a command proves itself with, and whom it believes.
type TLS struct {
	Cert string `name:"tls-cert" type:"path" placeholder:"FILE" help:"PEM file of a certificate."`
	Key  string `name:"tls-key" type:"path" placeholder:"FILE" help:"PEM file of its key."`
	CA   string `name:"tls-ca" type:"path" placeholder:"FILE" help:"PEM file of the authorities that sign the services."`
}

// access is what an operator's command shows to a site.
type access struct {
	ClusterKey string `name:"cluster-key-file" type:"path" placeholder:"FILE" help:"File with the cluster key of the site, where it has one."`
	TLS
}

func (a *access) dial(addrs string, out io.Writer, asJSON bool) (*operator.Site, error) {
	key, err := auth.ReadKey(a.ClusterKey)
	if err != nil {
		return nil, err
	}
	return operator.Dial(addrs, operator.Access{TLS: grpcx.TLS(a.TLS), Key: key}, out, asJSON)
}

// site is where an operator's command asks.
type site struct {
	GRPC string `name:"grpc" default:"127.0.0.1:7000" placeholder:"HOST:PORT[,HOST:PORT]" help:"gRPC address of the site; with its services apart all of theirs, and commas between (default ${default})."`
	JSON bool   `name:"json" help:"Print JSON."`
	access
}

// quick bounds a command that only asks.
const quick = 15 * time.Second

func (s *site) ask(ctx context.Context, limit time.Duration, f func(context.Context, *operator.Site) error) error {
	return s.report(ctx, limit, os.Stdout, f)
}

// report is ask with the answer printed to out.
func (s *site) report(ctx context.Context, limit time.Duration, out io.Writer, f func(context.Context, *operator.Site) error) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	o, err := s.dial(s.GRPC, out, s.JSON)
	if err != nil {
		return err
	}
	defer o.Close() //nolint:errcheck // the answer is there
	return f(ctx, o)
}

type statusCommand struct {
	GRPC []string `name:"grpc" sep:"none" default:"127.0.0.1:7000" placeholder:"HOST:PORT[,HOST:PORT]" help:"gRPC address of a site, as for the other commands; once for each site (default ${default})."`
	JSON bool     `name:"json" help:"Print JSON."`
	access
}

func (c *statusCommand) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	var sites []*operator.Site
	for _, addrs := range c.GRPC {
		s, err := c.dial(addrs, os.Stdout, c.JSON)
		if err != nil {
			return err
		}
		defer s.Close() //nolint:errcheck // the answer is there
		sites = append(sites, s)
	}
	return operator.Status(ctx, sites...)
}

type dfCommand struct{ site }

func (c *dfCommand) Run(ctx context.Context) error {
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.DF(ctx) })
}

type confirmClockCommand struct {
	site
	Now string `placeholder:"TIME" help:"What a clock that is right shows: Unix seconds or RFC 3339; absent: what this machine's does."`
}

func (c *confirmClockCommand) Run(ctx context.Context) error {
	now := time.Now()
	if c.Now != "" {
		var err error
		if now, err = archive.ParseTime(c.Now); err != nil {
			return fmt.Errorf("--now: %w", err)
		}
	}
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.ConfirmClock(ctx, now) })
}

type statsCommand struct {
	site
	Stream string `arg:"" optional:"" help:"Only this stream."`
}

func (c *statsCommand) Run(ctx context.Context) error {
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.Stats(ctx, c.Stream) })
}

type rangesCommand struct {
	site
	window
	Stream string `arg:"" help:"The stream."`
}

func (c *rangesCommand) Run(ctx context.Context) error {
	r, err := c.parse()
	if err != nil {
		return err
	}
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.Ranges(ctx, c.Stream, r) })
}

type retireCommand struct {
	site
	Stream string `arg:"" optional:"" help:"Only this stream."`
}

func (c *retireCommand) Run(ctx context.Context) error {
	return c.ask(ctx, 0, func(ctx context.Context, o *operator.Site) error { return o.Retire(ctx, c.Stream) })
}

type ledgerCommand struct {
	site
	window
	Stream string `arg:"" help:"The stream."`
}

func (c *ledgerCommand) Run(ctx context.Context) error {
	r, err := c.parse()
	if err != nil {
		return err
	}
	return c.ask(ctx, quick, func(ctx context.Context, o *operator.Site) error { return o.Ledger(ctx, c.Stream, r) })
}

type verifyCommand struct {
	site
	Stream string `arg:"" help:"The stream."`
	Peer   string `placeholder:"m4f://HOST:PORT/STREAM" help:"Also compare slot by slot with this site; HOST:PORT alone means the same stream there; m4fs:// with TLS."`
}

func (c *verifyCommand) Run(ctx context.Context) error {
	peer := c.Peer
	if peer != "" {
		var err error
		if peer, err = operator.PeerURL(peer); err != nil {
			return fmt.Errorf("--peer: %w", err)
		}
	}
	return c.ask(ctx, 0, func(ctx context.Context, o *operator.Site) error { return o.Verify(ctx, c.Stream, peer) })
}

type exportCommand struct {
	site
	window
	Stream string `arg:"" help:"The stream."`
	Output string `short:"o" required:"" placeholder:"FILE.mp4" help:"Where to write; an existing file is replaced when all is written."`

	Subtitles bool `help:"Also write the subtitles of teletext, as WebVTT: FILE.PAGE.LANGUAGE.vtt for each page."`
}

func (c *exportCommand) Run(ctx context.Context) error {
	r, err := c.parse()
	if err != nil {
		return err
	}
	return c.ask(ctx, 0, func(ctx context.Context, o *operator.Site) error {
		return o.Export(ctx, c.Stream, r, c.Output, c.Subtitles)
	})
}
