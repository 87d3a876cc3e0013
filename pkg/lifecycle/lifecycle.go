// Package lifecycle runs the parts of a process together and stops them in order.
//
// Invariants:
//   - I1: actors are stopped one at a time, the last first, each only after the one behind it has returned: a server
//     that is added after the store it serves is gone before the store closes.
//   - I2: one actor that returns, for whatever reason, stops all.
//   - I3: a second signal kills the process at once.
//
// It holds no state beside the call of [Run], starts a goroutine for each actor, and returns after the last has ended.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"
)

// StopTimeout is how long one actor may take to stop before the rest is stopped without it.
const StopTimeout = 15 * time.Second

// Actor is one part of a process.
type Actor struct {
	Name string
	// Run blocks until the part has ended. Its context is its own: it ends when this actor is to stop, not before.
	Run func(ctx context.Context) error
	// Stop begins an orderly end, and Run returns when it is done. Nil: the end of the context of Run is enough.
	// With a Stop, that context ends only after StopTimeout.
	Stop func()
}

// Run starts the actors in order and blocks until ctx ends or one of them returns; then it stops them, the last first.
// It returns the error of the actor that ended all, or nil after an end of ctx in which all stopped well.
func Run(ctx context.Context, log *slog.Logger, actors ...Actor) error {
	running := make([]*actor, len(actors))
	ended := make(chan int, len(actors))
	base := context.WithoutCancel(ctx)
	for i, a := range actors {
		r := &actor{Actor: a, done: make(chan struct{})}
		r.ctx, r.cancel = context.WithCancel(base)
		running[i] = r
		go func() {
			defer func() { close(r.done); ended <- i }()
			r.err = r.Run(r.ctx)
		}()
	}
	var all []error
	select {
	case <-ctx.Done():
		log.Info("stopping", "cause", context.Cause(ctx))
	case i := <-ended:
		r := running[i]
		if r.err == nil {
			r.err = errors.New("ended by itself")
		}
		log.Error("stopping", "cause", "an actor ended", "actor", r.Name, "err", r.err)
		all = append(all, fmt.Errorf("%s: %w", r.Name, r.err))
		r.err = nil
	}
	for i := len(running) - 1; i >= 0; i-- {
		if err := running[i].stop(); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

type actor struct {
	Actor
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done is closed
}

// stop ends the actor and waits for it.
func (a *actor) stop() error {
	defer a.cancel()
	if a.Stop == nil {
		a.cancel()
	} else {
		go a.Stop()
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), StopTimeout)
	defer cancel()
	select {
	case <-a.done:
	case <-late.Done():
		return fmt.Errorf("%s: did not stop within %s", a.Name, StopTimeout)
	}
	if a.err != nil && !errors.Is(a.err, context.Canceled) {
		return fmt.Errorf("%s: %w", a.Name, a.err)
	}
	return nil
}

// Signals gives a context that ends at the first SIGINT or SIGTERM. The second one meets the default of the runtime,
// which is the end of the process.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// HTTP is an actor that serves h on lis. At the stop it gives open requests a few seconds.
func HTTP(name string, lis net.Listener, h http.Handler) Actor {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	return Actor{
		Name: name,
		Run: func(ctx context.Context) error {
			failed := make(chan error, 1)
			go func() { failed <- srv.Serve(lis) }()
			select {
			case err := <-failed:
				return fmt.Errorf("serve http on %s: %w", lis.Addr(), err)
			case <-ctx.Done():
			}
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			defer cancel()
			if err := srv.Shutdown(grace); err != nil {
				return srv.Close() // long responses are cut: the clients ask again
			}
			return nil
		},
	}
}
