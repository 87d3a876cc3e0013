package app_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twinreel/twinreel/pkg/streamconf"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/app"
)

// TestEvents: a backfill is told from its beginning to its end, to who watches and to the webhook, which answers badly first.
func TestEvents(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var posted []string
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e struct{ Kind, Node, Stream, Peer string }
		b, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(b, &e); err != nil || e.Node != "a" || e.Stream != "tv" || !strings.HasPrefix(e.Peer, "m4f://b:7000") {
			t.Errorf("posted %s: %v", b, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if posted = append(posted, e.Kind); len(posted) == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(hook.Close)
	n := newNetwork()
	all := make10("b")
	b := newSite(t, n, "b", config())
	b.dvr.Put(all...)
	a := newSiteWith(t, n, "a", "replication_speed 60M;\n"+config("b"), func(c *app.Config) { c.WebhookURL = streamconf.Secret(hook.URL) })
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	rpc, err := a.repl.WatchEvents(ctx, &replv1.WatchEventsRequest{Stream: "tv"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.Header(); err != nil {
		t.Fatal(err)
	}
	a.dvr.Put(all[0], all[9])
	var kinds []string
	for !slices.Contains(kinds, "finished") {
		m, err := rpc.Recv()
		if err != nil {
			t.Fatalf("after %q: %v", kinds, err)
		}
		e := m.GetEvent()
		kinds = append(kinds, e.GetKind())
		if e.GetKind() == "finished" && (e.GetFetchedSegments() != 8 || e.GetFetchedBytes() == 0 || e.GetBacklogSegments() != 0 || e.GetPeerNode() != "b") {
			t.Errorf("it ended as %v", e)
		}
	}
	if kinds[0] != "started" {
		t.Errorf("events %q", kinds)
	}
	eventually(t, soon, "the webhook has them", func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(posted) < 3 || posted[0] != "started" || posted[1] != "started" || posted[len(posted)-1] != "finished" {
			return errWait(strings.Join(posted, " "))
		}
		return nil
	})
	eventually(t, soon, "it is known that nothing is missing", func() error {
		if s := a.status(); s.GetNotReplicatedSeconds() != 0 || s.GetBacklogSlots() != 0 {
			return errWait(s.String())
		}
		return nil
	})
	b.stop()
	b.stop = func() {}
	eventually(t, soon, "the peer is away", func() error {
		if s := a.status(); s.GetNotReplicatedSeconds() < 2 {
			return errWait(s.String())
		}
		return nil
	})
	bad, err := a.repl.WatchEvents(ctx, &replv1.WatchEventsRequest{Kinds: []string{"x"}})
	if err == nil {
		_, err = bad.Recv()
	}
	if err == nil {
		t.Error("a kind that is none is watched")
	}
}

type errWait string

func (e errWait) Error() string { return string(e) }
