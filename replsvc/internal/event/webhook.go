package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

const (
	// hookQueue is how many events wait for a webhook.
	hookQueue = 1000
	// hookTimeout bounds one request. It is tried hookTries times; the wait doubles from hookFirst to hookMax.
	hookTimeout = 5 * time.Second
	hookTries   = 10
	hookFirst   = time.Second
	hookMax     = time.Minute
	// maxAnswer is how much of an answer is read.
	maxAnswer = 64 << 10
)

// Hook says where events go.
type Hook struct {
	URL   streamconf.Secret // it may have a token
	Kinds []Kind
	// Encode makes the body, JSON.
	Encode func(Event) ([]byte, error)
	Client *http.Client // nil: one of its own
	Clock  clock.Clock
	Log    *slog.Logger
}

// Webhook posts events.
type Webhook struct {
	cfg                   Hook
	hub                   *Hub
	sent, failed, dropped atomic.Uint64
}

// CheckHook says what is wrong with a URL for a webhook, or nil. It does not show it.
func CheckHook(raw streamconf.Secret) error {
	u, err := url.Parse(string(raw))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("is not http://HOST/PATH or https://HOST/PATH")
	}
	return nil
}

// NewWebhook makes a webhook; Run starts it.
func NewWebhook(hub *Hub, cfg Hook) *Webhook {
	if cfg.Client == nil {
		cfg.Client = &http.Client{}
	}
	c := *cfg.Client
	c.Timeout = hookTimeout
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the URL may have a token
	cfg.Client = &c
	return &Webhook{cfg: cfg, hub: hub}
}

// Counts are the events that were taken, given up, and dropped since too many waited.
func (w *Webhook) Counts() (sent, failed, dropped uint64) {
	return w.sent.Load(), w.failed.Load(), w.dropped.Load()
}

// Run posts until ctx ends.
func (w *Webhook) Run(ctx context.Context) {
	s := w.hub.Subscribe(0, hookQueue, func(e *Event) bool { return slices.Contains(w.cfg.Kinds, e.Kind) })
	defer s.Close()
	for {
		e, missed, err := s.Next(ctx)
		if err != nil {
			return
		}
		if missed > 0 {
			w.dropped.Add(missed)
			w.cfg.Log.Warn("events dropped, the webhook does not keep up", "events", missed)
		}
		err = w.deliver(ctx, e)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.failed.Add(1)
			w.cfg.Log.Warn("event not delivered to the webhook", "event", e.Number, "kind", e.Kind, "err", err)
			continue
		}
		w.sent.Add(1)
	}
}

// deliver posts one event, again and again where that may help.
func (w *Webhook) deliver(ctx context.Context, e Event) error {
	body, err := w.cfg.Encode(e)
	if err != nil {
		return fmt.Errorf("encode the event: %w", err)
	}
	wait := hookFirst
	for try := 1; ; try++ {
		again, err := w.post(ctx, body)
		if err == nil || !again || try == hookTries {
			return err
		}
		t := w.cfg.Clock.NewTimer(wait)
		select {
		case <-t.C():
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		wait = min(2*wait, hookMax)
	}
}

// post posts once; again: another time may go better.
func (w *Webhook) post(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(w.cfg.URL), bytes.NewReader(body))
	if err != nil {
		return false, errors.New("the URL of the webhook cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "twinreel")
	resp, err := w.cfg.Client.Do(req)
	if err != nil {
		var shown *url.Error
		if errors.As(err, &shown) { // it says the URL, too
			err = shown.Err
		}
		return true, fmt.Errorf("post the event: %w", err)
	}
	defer resp.Body.Close()                                          //nolint:errcheck // what it says is of no use
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // so that the connection serves again
	if resp.StatusCode/100 == 2 {
		return false, nil
	}
	again = resp.StatusCode/100 == 5 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout
	return again, fmt.Errorf("post the event: the webhook answers %d", resp.StatusCode)
}
