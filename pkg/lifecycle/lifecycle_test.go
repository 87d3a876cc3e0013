package lifecycle

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

type trace struct {
	mu   sync.Mutex
	said []string
}

func (t *trace) say(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.said = append(t.said, s)
}

// slow takes its time to stop, so that a stop that does not wait is seen.
func (t *trace) slow(name string) Actor {
	return Actor{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		t.say("stopping " + name)
		time.Sleep(time.Second)
		t.say("stopped " + name)
		return ctx.Err()
	}}
}

// I1.
func TestStopsInReverseOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trace
		quit := make(chan struct{})
		withStop := Actor{Name: "server", Stop: func() { tr.say("stop server"); close(quit) }, Run: func(context.Context) error { <-quit; return nil }}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := Run(ctx, quiet, tr.slow("index"), tr.slow("intake"), withStop); err != nil {
			t.Fatal(err)
		}
		want := []string{"stop server", "stopping intake", "stopped intake", "stopping index", "stopped index"}
		if !reflect.DeepEqual(tr.said, want) {
			t.Errorf("got %v, want %v", tr.said, want)
		}
	})
}

// I2.
func TestOneEndStopsAll(t *testing.T) {
	bad := errors.New("disk on fire")
	for _, c := range []struct {
		err  error
		want string
	}{{bad, "store: disk on fire"}, {nil, "store: ended by itself"}} {
		synctest.Test(t, func(t *testing.T) {
			var tr trace
			err := Run(t.Context(), quiet, tr.slow("a"), Actor{Name: "store", Run: func(context.Context) error { return c.err }}, tr.slow("b"))
			if err == nil || err.Error() != c.want || len(tr.said) != 4 {
				t.Errorf("got %v after %v, want %s", err, tr.said, c.want)
			}
		})
	}
}

func TestStuckActorDoesNotHoldTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trace
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		stuck := Actor{Name: "stuck", Stop: func() {}, Run: func(ctx context.Context) error { <-ctx.Done(); return nil }}
		err := Run(ctx, quiet, tr.slow("index"), stuck)
		if err == nil || !strings.Contains(err.Error(), "stuck: did not stop") || len(tr.said) != 2 {
			t.Errorf("got %v after %v", err, tr.said)
		}
		synctest.Wait()
	})
}

func TestHTTP(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Run(ctx, quiet, HTTP("http", lis, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })))
	}()
	resp, err := http.Get("http://" + lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	cancel()
	if err := <-done; err != nil || string(body) != "hello" {
		t.Errorf("got %q, %v", body, err)
	}
	if _, err := net.Dial("tcp", lis.Addr().String()); err == nil {
		t.Error("still listening")
	}
}
