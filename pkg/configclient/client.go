package configclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/streamconfpb"
	"github.com/twinreel/twinreel/pkg/vfs"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// The wait between two attempts to reach the gateway grows from firstWait to maxWait.
const (
	firstWait = 200 * time.Millisecond
	maxWait   = 2 * time.Second
)

// ErrNoConfig is why a service that waits for its first stream config is not ready.
var ErrNoConfig = errors.New("No stream config yet: neither the gateway nor a copy of the last one is there.")

// keyWithheld is what a service says that needs the key of the config and does not get it.
const keyWithheld = "The stream config has a cluster_key, which the gateway sends within a process or over mTLS alone: give the key in CLUSTER_KEY_FILE to each service, and take it out of the stream config."

// Options is what a client needs.
type Options struct {
	Conn    grpc.ClientConnInterface // to the gateway
	Watcher string                   // the service, as "ingestsvc": for the gateway's log and the name of the copy
	Dir     string                   // where the copy is kept, DATA/run; empty: nowhere
	FS      vfs.FS                   // nil: that of the machine
	Clock   clock.Clock              // nil: that of the machine
	Logger  *slog.Logger             // nil: none
	State   *State                   // nil: nobody asks
}

// Apply takes a config into use. Before the first call nothing was in force. It must not change what it is given.
type Apply func(conf *streamconf.Config, changes streamconf.Changes)

// Watch calls apply with the config and again at each change, from this goroutine, until ctx ends, whose error it
// returns. While the gateway cannot be reached at the start, the copy on disk is used.
func Watch(ctx context.Context, o Options, apply Apply) error {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.State == nil {
		o.State = &State{}
	}
	w := &watcher{Options: o, apply: apply}
	wait := &backoff.ExponentialBackOff{InitialInterval: firstWait, MaxInterval: maxWait, Multiplier: 1.6, RandomizationFactor: 0.3}
	wait.Reset()
	for {
		err := w.follow(ctx, wait.Reset)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		w.gone(err)
		t := o.Clock.NewTimer(wait.NextBackOff())
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C():
		}
	}
}

type watcher struct {
	Options
	apply   Apply
	current *streamconf.Config // nil: none yet
	saved   string             // what is known to be on disk
	away    bool               // and it was said
}

// follow takes configs into use for as long as the gateway sends them.
func (w *watcher) follow(ctx context.Context, connected func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := gatewayv1.NewConfigServiceClient(w.Conn).Watch(ctx, &gatewayv1.WatchRequest{Watcher: w.Watcher})
	if err != nil {
		return rpcerr.FromStatus(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return rpcerr.FromStatus(err)
		}
		connected()
		conf, err := streamconfpb.FromProto(m.GetConfig())
		if err != nil { // I4
			w.Logger.Error("config from the gateway refused, the one before stays", "err", err)
			if w.current == nil {
				w.fallBack(err)
			}
			w.State.say("A config of the gateway was refused, the one before stays: " + err.Error() + ".")
			continue
		}
		if w.away {
			w.away = false
			w.Logger.Info("gateway is back")
		}
		withheld := m.GetConfig().GetClusterKeyWithheld()
		w.State.withhold(withheld)
		w.take(conf)
		problem := w.save(conf, withheld)
		if withheld && problem == "" {
			problem = keyWithheld
		}
		w.State.say(problem)
	}
}

// take hands a config on if it differs.
func (w *watcher) take(conf *streamconf.Config) {
	changes := streamconf.Diff(w.current, conf)
	if w.current != nil && changes.Empty() {
		w.State.took(conf.Revision()) // in another order
		return
	}
	w.current = conf
	w.Logger.Info("config in force", "revision", conf.Revision(), "streams", len(conf.Streams),
		"added", len(changes.Added), "changed", len(changes.Changed), "removed", len(changes.Removed))
	w.apply(conf, changes)
	w.State.took(conf.Revision())
}

// gone tells once that the gateway is away, and falls back on the copy where nothing is known yet.
func (w *watcher) gone(err error) {
	if !w.away {
		w.State.say("The gateway is away since " + w.Clock.Now().UTC().Format(time.RFC3339) + ": the last known config stays in force.")
	}
	if w.current == nil && w.fallBack(err) {
		w.away = true
		return
	}
	if !w.away {
		w.away = true
		w.Logger.Warn("gateway is away, going on with what is known", "err", err)
	}
}

// fallBack takes the copy on disk into use, because of err, and reports whether there is one.
func (w *watcher) fallBack(err error) bool {
	if w.Dir == "" {
		return false
	}
	text, readErr := w.load()
	if readErr == nil {
		var conf *streamconf.Config
		if conf, readErr = streamconf.ParseCopy(w.path(), text); readErr == nil {
			w.Logger.Warn("no config of the gateway, starting with the last known one", "file", w.path(), "err", err)
			w.saved = string(text)
			w.State.withhold(bytes.HasPrefix(text, []byte(withheldMark)))
			w.take(conf)
			return true
		}
	}
	if !w.away {
		w.Logger.Warn("no last known config", "err", readErr)
	}
	return false
}

// withheldMark begins a copy that lacks a cluster key. To the language it is a comment.
const withheldMark = "# without its cluster_key\n"

// save keeps a copy of what is in force, and returns why it could not.
func (w *watcher) save(conf *streamconf.Config, withheld bool) (problem string) {
	text := conf.Canonical()
	if withheld {
		text = withheldMark + text
	}
	if w.Dir == "" || text == w.saved {
		return ""
	}
	if err := w.store([]byte(text)); err != nil {
		err = fmt.Errorf("write %s: %w", w.path(), err)
		w.Logger.Warn("config not kept for a restart without the gateway", "err", err)
		return "The config is not kept for a restart without the gateway: " + err.Error() + "."
	}
	w.saved = text
	return ""
}
