package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// script is a subscription that says message after message, one each interval.
type script struct {
	every time.Duration
	msg   *m4fv1.SubscribeResponse
	left  int // then it is silent
	ctx   context.Context
	stop  context.CancelFunc
}

func (s *script) Recv() (*m4fv1.SubscribeResponse, error) {
	if s.left--; s.left < 0 {
		<-s.ctx.Done()
		return nil, s.ctx.Err()
	}
	select {
	case <-time.After(s.every):
		return s.msg, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s *script) Close() { s.stop() }

func beatOf() *m4fv1.SubscribeResponse {
	return &m4fv1.SubscribeResponse{Event: &m4fv1.SubscribeResponse_Beat{Beat: &dvrv1.Beat{}}}
}

func chunkOf(bytes int) *m4fv1.SubscribeResponse {
	return &m4fv1.SubscribeResponse{Event: &m4fv1.SubscribeResponse_Chunk{Chunk: &dvrv1.Chunk{Data: make([]byte, bytes)}}}
}

// TestSlowRelayIsNoDeadPeer: what the connection hears counts, not what the relay comes to take.
func TestSlowRelayIsNoDeadPeer(t *testing.T) {
	const busy = 5 * beatsLost
	for _, c := range []struct {
		name   string
		script script
		dead   bool
		ends   error // of the subscription, by the time the relay comes
		taken  int
	}{
		{"beats", script{every: time.Second, msg: beatOf(), left: 1000}, false, nil, 1},
		{"media", script{every: time.Second, msg: chunkOf(1 << 20), left: 1000}, false, nil, 1},
		{"silence", script{every: time.Second, msg: beatOf(), left: 2}, true, nil, 1},
		{"more media than is kept", script{every: time.Second / 10, msg: chunkOf(1 << 20), left: 1000}, false, errBehind, maxQueuedBytes >> 20},
		{"more messages than are kept", script{every: time.Second / 100, msg: beatOf(), left: 10_000}, false, errBehind, maxQueued + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s := &subscription{cfg: &Config{Clock: clock.System{}}, in: make(chan event)}
				c.script.ctx, c.script.stop = ctx, cancel
				failed := make(chan error, 1)
				var ended error
				done := make(chan struct{})
				go func() {
					ended = s.carry(t.Context(), &c.script, func() error { return nil }, func(err error) { failed <- err; cancel() })
					close(done)
				}()
				time.Sleep(busy)
				if got := len(failed) > 0; got != c.dead {
					t.Errorf("the session failed: %v, want %v", got, c.dead)
				}
				if c.dead {
					return
				}
				if age := s.cfg.Clock.Mono() - s.lastHeard(); age.Abs() > time.Second && c.ends == nil {
					t.Errorf("it was heard %s ago", age)
				}
				for range c.taken {
					<-s.in
				}
				synctest.Wait()
				select {
				case <-done:
					if !errors.Is(ended, c.ends) || c.ends == nil {
						t.Errorf("the subscription ended: %v", ended)
					}
				default:
					if c.ends != nil {
						t.Errorf("the subscription goes on, want %v", c.ends)
					}
				}
			})
		})
	}
}

// TestNothingIsToldOfAnotherStore: the peer's store was replaced while it was subscribed to, and the feed is of the new one. Of that
// nothing reaches the relay before this knows so: the beginning of a segment would be taken for a jump of the source's clock.
func TestNothingIsToldOfAnotherStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := &subscription{cfg: &Config{Clock: clock.System{}}, in: make(chan event)}
		began := time.Now()
		another := errors.New("another store")
		ended := make(chan error, 1)
		go func() {
			ended <- s.carry(ctx, &script{every: time.Second, msg: beatOf(), left: 10, ctx: ctx, stop: cancel}, func() error {
				if time.Since(began) < time.Second {
					t.Error("it is asked before the feed has begun: the store may yet be replaced")
				}
				time.Sleep(2 * time.Second) // more comes meanwhile
				return another
			}, func(err error) { t.Errorf("the session failed: %v", err) })
		}()
		select {
		case e := <-s.in:
			t.Errorf("the relay is told %v", e.msg)
		case err := <-ended:
			if !errors.Is(err, another) {
				t.Errorf("the subscription ended: %v", err)
			}
		}
	})
}

// binder unites nothing.
type binder struct{}

var _ Binder = binder{}

func (binder) Translate(segment.Slot) (segment.Slot, bool) { return segment.Slot{}, false }
func (binder) Named(segment.Slot, segment.Slot)            {}
func (binder) Changed()                                    {}

// TestLags: what says that live does not come through as fast as it should holds backfill up for a while.
func TestLags(t *testing.T) {
	slow := &dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Slow{Slow: &dvrv1.Slow{}}}
	skip := &m4fv1.SubscribeResponse{Event: &m4fv1.SubscribeResponse_Skip{Skip: &dvrv1.Skip{}}}
	for name, c := range map[string]struct {
		do   func(*Relay)
		want bool
	}{
		"dvrsvc asks for less":   {func(r *Relay) { r.dvrSays(recorded{msg: slow}) }, true},
		"the peer skipped":       {func(r *Relay) { r.peerSays(event{msg: skip}) }, true},
		"more came than is kept": {func(r *Relay) { r.peerSays(event{err: fmt.Errorf("follow: %w", errBehind)}) }, true},
		"the peer is away":       {func(r *Relay) { r.peerSays(event{err: errs.ErrPeerUnreachable}) }, false},
		"media comes":            {func(r *Relay) { r.peerSays(event{msg: chunkOf(1)}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := New(Config{Clock: clock.System{}, Binder: binder{}, Log: slog.New(slog.DiscardHandler)})
				r.sub.wantFull = make(chan bool, 1)
				if c.do(r); r.Lags() != c.want {
					t.Errorf("it lags: %v", r.Lags())
				}
				if time.Sleep(lagsFor); r.Lags() {
					t.Error("it lags for ever")
				}
			})
		})
	}
}

// TestSlow: dvrsvc that asks for less is brought less until it says something else, or for slowFor.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Clock: clock.System{}})
		r.sub.in = make(chan event)
		say := func(m *dvrv1.RecordResponse) { r.dvrSays(recorded{msg: m}) }
		slow := &dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Slow{Slow: &dvrv1.Slow{}}}
		say(slow)
		if r.events() != nil {
			t.Error("media is taken although dvrsvc asked for less")
		}
		say(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Release{Release: &dvrv1.Release{Durable: true}}})
		if r.events() == nil {
			t.Error("no media is taken although dvrsvc goes on")
		}
		say(slow)
		time.Sleep(slowFor)
		if r.events() == nil {
			t.Error("no media is taken for longer than slowFor")
		}
	})
}

// counting is a binder that counts how often it was told that an archive has changed.
type counting struct {
	binder
	changes *int
}

func (c counting) Changed() { *c.changes++ }

// TestSubscribedAnew: while no subscription was open nothing was told of the peer's archive, which may be another by now; so it is
// compared, whether or not any media was ever heard of.
func TestSubscribedAnew(t *testing.T) {
	row := segment.TimelineID{1}
	for name, c := range map[string]struct {
		known bool
		then  string // the peer's store
		want  int
	}{
		"the first":                    {},
		"of the same store":            {known: true, then: "s", want: 1},
		"of another store":             {known: true, then: "other", want: 1},
		"of one that records nothing":  {then: "s", want: 1},
		"of another that records none": {then: "other", want: 1},
	} {
		changes := 0
		r := New(Config{Clock: clock.System{}, Incarnation: func() uint64 { return 1 }, Binder: counting{changes: &changes}, Log: slog.New(slog.DiscardHandler)})
		r.sub.wantFull = make(chan bool, 1)
		r.peerSays(event{store: "s"})
		if c.known {
			r.feed.at(0, row, 1)
		}
		if c.then != "" {
			r.peerSays(event{err: errs.ErrNotReady})
			r.peerSays(event{store: c.then})
		}
		if changes != c.want {
			t.Errorf("%s: %d comparisons are asked for, want %d", name, changes, c.want)
		}
	}
}
