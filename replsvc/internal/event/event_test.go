package event

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
)

func all(*Event) bool { return true }

// drain is what waits to be taken.
func drain(s *Subscription) (out []Event, missed uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		e, m, err := s.Next(ctx)
		if err != nil {
			return out, missed
		}
		out, missed = append(out, e), missed+m
	}
}

// TestHubIsBounded holds I1 and I2.
func TestHubIsBounded(t *testing.T) {
	h := NewHub(clock.System{})
	slow := h.Subscribe(0, 3, all)
	gone := h.Subscribe(0, 3, all)
	gone.Close()
	for i := range kept + 5 {
		h.Emit(Event{Count: uint64(i)})
	}
	got, missed := drain(slow)
	if len(got) != 3 || got[2].Count != kept+4 || missed != kept+2 {
		t.Errorf("%d events with %d missed, the last %+v", len(got), missed, got)
	}
	if got, _ := drain(gone); len(got) > 0 {
		t.Errorf("one who has gone was told %d", len(got))
	}
	later, _ := drain(h.Subscribe(got[0].Number, 10, all))
	if len(later) != 2 || later[0].Number != got[1].Number || later[0].Number <= got[0].Number {
		t.Errorf("behind %d: %+v", got[0].Number, later)
	}
	if later, _ := drain(h.Subscribe(1, 2*kept, all)); len(later) != kept {
		t.Errorf("%d are kept, want %d", len(later), kept)
	}
}

// source is what a test says.
type source struct {
	mu    sync.Mutex // protects the fields below
	peers []Peer
	gaps  map[string][]Gap
	err   error
}

func (s *source) Peers() []Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers
}

func (s *source) Gaps(ctx context.Context, n string) ([]Gap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(n, "slow") { // its dvrsvc takes calls and does not answer them
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return nil, ctx.Err()
	}
	return s.gaps[n], s.err
}

// told runs a watcher over what a script does second by second, and gives what was told.
func told(t *testing.T, seconds int, script func(n int, s *source)) (out []string, w *Watcher) {
	s := &source{gaps: map[string][]Gap{}}
	h := NewHub(clock.System{})
	w = NewWatcher(s, h, clock.System{})
	sub := h.Subscribe(0, 1000, all)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	script(0, s)
	go w.Run(ctx)
	time.Sleep(lookEvery / 2)
	for n := 1; n <= seconds; n++ {
		s.mu.Lock()
		script(n, s)
		s.mu.Unlock()
		time.Sleep(lookEvery)
		synctest.Wait()
		got, _ := drain(sub)
		for _, e := range got {
			text := fmt.Sprintf("%d %s", n, e.Kind)
			switch e.Kind {
			case Started, Progress, Finished:
				text += fmt.Sprintf(" %d/%d", e.Segments, e.Backlog.Segments)
			case Failed, Conflict, Behind, CaughtUp:
				text += fmt.Sprintf(" %d %s", e.Count, e.Problem)
			case Lost:
				text += fmt.Sprintf(" %s %s", e.Stream, e.Problem)
			}
			out = append(out, strings.TrimSpace(text))
		}
	}
	cancel()
	synctest.Wait()
	return out, w
}

func TestWatcher(t *testing.T) {
	for _, c := range []struct {
		name    string
		seconds int
		script  func(n int, p *Peer)
		want    []string
	}{
		{"a backlog", 30, func(n int, p *Peer) {
			p.Segments = 100 // of before
			if n >= 2 && n < 25 {
				p.InFlight, p.Backlog.Segments = 1, uint64(25-n)
			}
			if n >= 2 {
				p.Segments += uint64(min(n, 25) - 2)
			}
		}, []string{"2 started 0/23", "12 progress 10/13", "22 progress 20/3", "25 finished 23/0"}},
		{"one that is over at once", 3, func(n int, p *Peer) { p.Segments = uint64(n / 2) }, []string{"2 started 1/0", "2 finished 1/0"}},
		{"what waits and is not fetched", 20, func(_ int, p *Peer) { p.Backlog.Segments = 5 }, nil},
		{"failing all the time", 25, func(n int, p *Peer) { p.Failed, p.LastError = uint64(3*n), "no" }, []string{"1 failed 3 no", "11 failed 30 no", "21 failed 30 no"}},
		{"conflicts", 6, func(n int, p *Peer) { p.Conflicts = []int{0, 0, 2, 2, 1, 3, 3}[n] }, []string{"2 conflict 2", "5 conflict 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, _ := told(t, c.seconds, func(n int, s *source) {
					p := Peer{Stream: "tv", URL: "m4f://p"}
					c.script(n, &p)
					s.peers = []Peer{p}
				})
				if c.name == "a backlog" && len(got) > 0 && strings.HasPrefix(got[0], "1 ") {
					got = got[2:] // what was fetched before it was watched
				}
				if !reflect.DeepEqual(got, c.want) {
					t.Errorf("got  %q\nwant %q", got, c.want)
				}
			})
		})
	}
}

// TestLost holds I3.
func TestLost(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *source, now time.Time)
		want   int
	}{
		{"all peers have been compared since", func(*source, time.Time) {}, 1},
		{"one has something", func(s *source, _ time.Time) { s.peers[1].Agreed = false }, 0},
		{"one was compared before", func(s *source, now time.Time) { s.peers[0].Compared = now.Add(-30 * time.Minute) }, 0},
		{"it has just ended", func(s *source, now time.Time) { s.gaps["tv"][0].To = now.Add(-settled / 2) }, 0},
		{"it was told long ago", func(s *source, now time.Time) { s.gaps["tv"][0].To = now.Add(-toldBefore - time.Minute) }, 0},
		{"dvrsvc does not know", func(s *source, _ time.Time) { s.err = errors.New("away") }, 0},
		{"of another stream", func(s *source, _ time.Time) { s.peers[0].Stream, s.peers[1].Stream = "radio", "radio" }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				got, _ := told(t, 200, func(n int, s *source) {
					if n > 0 {
						return
					}
					to := began.Add(-settled - 5*time.Minute)
					s.gaps["tv"] = []Gap{{to.Add(-time.Minute), to, "unknown"}}
					s.peers = []Peer{{Stream: "tv", URL: "a", Agreed: true, Compared: began}, {Stream: "tv", URL: "b", Agreed: true, Compared: began}}
					c.change(s, began)
				})
				if len(got) != c.want || c.want > 0 && !strings.HasSuffix(got[0], "lost tv unknown") {
					t.Errorf("got %q, want %d", got, c.want)
				}
			})
		})
	}
}

// TestGapsOfADVRThatHangs: streams of which nobody tells the gaps hold up no word of another.
func TestGapsOfADVRThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		got, w := told(t, 90, func(n int, s *source) {
			s.peers = []Peer{{Stream: "tv", URL: "p", Connected: n < 62, Compared: began}}
			for i := range 3 {
				s.peers = append(s.peers, Peer{Stream: fmt.Sprint("slow", i), URL: "p", Agreed: true, Connected: true, Compared: began})
			}
			if n >= 62 {
				s.peers[0].Failed, s.peers[0].LastError = 1, "no"
			}
		})
		if want := []string{"62 failed 1 no"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := w.Behind("tv", "p"); got < 27*time.Second || got > 30*time.Second {
			t.Errorf("it is behind for %s", got)
		}
	})
}

// TestBehind: what is missing, away or not compared for long counts from when all was well last.
func TestBehind(t *testing.T) {
	good := Peer{Stream: "tv", URL: "p", Connected: true}
	for _, c := range []struct {
		name   string
		change func(*Peer)
		want   bool
	}{
		{"well", func(*Peer) {}, false},
		{"missing", func(p *Peer) { p.Backlog.Segments = 1 }, true},
		{"away", func(p *Peer) { p.Connected = false }, true},
		{"not compared", func(p *Peer) { p.Compared = time.Time{} }, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, w := told(t, 60, func(n int, s *source) {
				p := good
				p.Compared = time.Now()
				if n >= 20 {
					c.change(&p)
				}
				s.peers = []Peer{p}
			})
			if got := w.Behind("tv", "p"); (got > 0) != c.want || c.want && (got < 38*time.Second || got > 43*time.Second) {
				t.Errorf("%s: %s", c.name, got)
			}
		})
	}
}

// TestBehindIsTold: after a quarter of an hour, again each hour, and once when it is over.
func TestBehindIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, _ := told(t, 2*3600, func(n int, s *source) {
			p := Peer{Stream: "tv", URL: "p", Connected: n < 10 || n >= 5400, Compared: time.Now()}
			s.peers = []Peer{p}
		})
		want := []string{"909 behind 900 the peer is not connected", "4509 behind 4500 the peer is not connected", "5400 caught_up 0"}
		near := func(a, b string) bool { // the second may differ by how a tick falls
			_, a, _ = strings.Cut(a, " ")
			_, b, _ = strings.Cut(b, " ")
			return a == b
		}
		if !slices.EqualFunc(got, want, near) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// hook answers as it is told.
type hook struct {
	answers []int // one for each try, then 200; 0: no answer
	bodies  []string
	hang    bool
}

func (h *hook) RoundTrip(r *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	h.bodies = append(h.bodies, string(b))
	code := 200
	if len(h.answers) > 0 {
		code, h.answers = h.answers[0], h.answers[1:]
	}
	if h.hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if code == 0 {
		return nil, errors.New("refused")
	}
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader("")), Header: http.Header{"Location": {"http://other/"}}, Request: r}, nil
}

// TestWebhook: it is tried again where that may help, in order; one that hangs loses the oldest, holds up nobody, and tells no
// log what its URL is.
func TestWebhook(t *testing.T) {
	many := func(n, code int) (out []int) {
		for range n {
			out = append(out, code)
		}
		return out
	}
	for _, c := range []struct {
		name                  string
		hook                  hook
		events                int
		sent, failed, dropped uint64
		posts                 int
	}{
		{"well", hook{}, 3, 3, 0, 0, 3},
		{"again and again", hook{answers: []int{500, 0, 429}}, 2, 2, 0, 0, 5},
		{"given up", hook{answers: many(hookTries, 503)}, 2, 1, 1, 0, hookTries + 1},
		{"refused", hook{answers: []int{404, 302}}, 3, 1, 2, 0, 3},
		{"hangs", hook{hang: true}, hookQueue + 11, 0, 1, 10, hookTries + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				h := NewHub(clock.System{})
				w := NewWebhook(h, Hook{
					URL: "http://hook/secret", Kinds: []Kind{Failed}, Client: &http.Client{Transport: &c.hook},
					Encode: func(e Event) ([]byte, error) { return fmt.Appendf(nil, "%d", e.Count), nil },
					Clock:  clock.System{}, Log: slog.New(slog.NewTextHandler(&log, nil)),
				})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { w.Run(ctx); close(done) }()
				synctest.Wait()
				began := time.Now()
				h.Emit(Event{Kind: Progress})
				h.Emit(Event{Kind: Failed})
				synctest.Wait() // it is under way
				for n := 1; n < c.events; n++ {
					h.Emit(Event{Kind: Failed, Count: uint64(n)})
				}
				if time.Since(began) > 0 {
					t.Error("an event waited for the webhook")
				}
				time.Sleep(400 * time.Second)
				cancel()
				<-done
				sent, failed, dropped := w.Counts()
				if sent != c.sent || failed != c.failed || dropped != c.dropped || len(c.hook.bodies) < c.posts {
					t.Errorf("%d sent, %d failed, %d dropped, %d posts; want %d, %d, %d, %d", sent, failed, dropped, len(c.hook.bodies), c.sent, c.failed, c.dropped, c.posts)
				}
				if strings.Contains(log.String(), "secret") {
					t.Errorf("the log shows the URL: %s", log.String())
				}
				if n := len(c.hook.bodies); !c.hook.hang && c.hook.bodies[n-1] != fmt.Sprint(c.events-1) {
					t.Errorf("posted %q", c.hook.bodies)
				}
			})
		})
	}
}
