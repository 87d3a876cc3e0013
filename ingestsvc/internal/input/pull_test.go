package input

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/testkit"
)

func quietDeps(t *testing.T) Deps {
	t.Helper()
	conn, err := grpcx.Dial("127.0.0.1:1", grpcx.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return Deps{Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), DVR: conn, RingBytes: 64 << 20}
}

func clipFile(t *testing.T, datagrams [][]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a clip.ts")
	if err := os.WriteFile(path, slices.Concat(datagrams...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file is played at its own pace, once or over and over; that is chosen while the input stays.
func TestFile(t *testing.T) {
	path := clipFile(t, clip(t))
	inBubble(t, func(n *node) {
		input := `"file://` + path + `"`
		n.apply(input)
		url := n.List()[0].URL
		n.role(url, true)
		time.Sleep(10 * time.Second)
		n.wantStates("active")
		if s := n.List()[0]; s.BitsPerSecond == 0 || len(s.Streams) == 0 || s.ContinuityErrors != 0 {
			t.Errorf("status %+v", s)
		}
		time.Sleep(6 * time.Second)
		n.wantStates("ended")
		once := len(n.dvr.sealed(url))
		if once < 3 {
			t.Errorf("%d segments of 15 s", once)
		}
		time.Sleep(time.Minute)
		n.wantStates("ended")
		if got := len(n.dvr.sealed(url)); got != once {
			t.Errorf("it was played again: %d segments after %d", got, once)
		}
		incarnation := n.dvr.helloed()[0].GetIncarnation()
		n.apply(input + " loop=yes")
		time.Sleep(40 * time.Second)
		n.wantStates("active")
		s := n.List()[0]
		if got := len(n.dvr.sealed(url)); got < once+5 || s.ContinuityErrors != 0 {
			t.Errorf("%d segments after %d, %d continuity errors", got, once, s.ContinuityErrors)
		}
		n.apply(input + " loop=yes source_timeout=9s") // how it is used alone
		if s := n.List()[0]; s.Bytes == 0 || n.dvr.helloed()[0].GetIncarnation() != incarnation {
			t.Errorf("another option began it anew: %+v", s)
		}
		n.apply(input) // while it plays: once more, and then no more
		time.Sleep(5 * time.Second)
		n.wantStates("active")
		time.Sleep(15 * time.Second)
		n.wantStates("ended")
	})
}

func TestFileThatCannotBePlayed(t *testing.T) {
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk.ts")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.ts"): "no such file", dir: "not a regular file", "/dev/zero": "not a regular file",
		junk: "not a transport stream",
	} {
		inBubble(t, func(n *node) {
			n.apply(`"file://` + path + `"`)
			time.Sleep(time.Second)
			n.wantStates("failed")
			if p := n.List()[0].Problem; !strings.Contains(p, want) {
				t.Errorf("%s: problem %q, want %q", path, p, want)
			}
		})
	}
}

// What a server sends is recorded as what a socket brings; when it ends the stream, it is asked again.
func TestHTTP(t *testing.T) {
	datagrams := clip(t)
	var asked atomic.Int32
	start := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/live", func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 { // once is enough
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "video/mp2t")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-start
		for i, d := range datagrams {
			w.Write(d)
			if i%64 == 0 {
				w.(http.Flusher).Flush()
			}
		}
	})
	mux.HandleFunc("/led", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/live", http.StatusFound) })
	server := httptest.NewServer(mux)
	defer server.Close()
	port := testkit.FreePort(t)
	s := newSite(t)
	urls := s.apply(fmt.Sprintf("udp://127.0.0.1:%d", port))
	to := out(t, port)
	pace(datagrams, func(_ int, d []byte) { to.Write(d) })
	want := s.end(urls)[0]

	s = newSite(t)
	c, err := streamconf.Parse("t", fmt.Appendf(nil, "stream s { input %s/led; dvr d 1d; }", server.URL))
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(c)
	url := server.URL + "/led"
	s.activate(url)
	time.Sleep(100 * time.Millisecond) // the role is taken
	close(start)
	testkit.Eventually(t, 10*time.Second, "the server is asked again", func() error {
		if asked.Load() < 2 {
			return fmt.Errorf("asked %d times", asked.Load())
		}
		return nil
	})
	testkit.Eventually(t, 10*time.Second, "all is recorded", func() error {
		if n := len(s.dvr.sealed(url)); n < len(want) {
			return fmt.Errorf("%d segments of %d", n, len(want))
		}
		return nil
	})
	if got := s.end([]string{url})[0]; !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestHTTPFailures(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == strings.Repeat("x", maxRedirects+1) {
			t.Error("a redirect too many was followed")
		}
		http.Redirect(w, r, "/loop?"+r.URL.RawQuery+"x", http.StatusFound)
	})
	mux.HandleFunc("/other", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	})
	mux.HandleFunc("/hls", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.apple.mpegurl")
	})
	mux.HandleFunc("/empty", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "video/mp2t") })
	mux.HandleFunc("/head", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 2*maxHeader))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, want := range map[string]string{
		"/none": "404 Not Found", "/loop": errTooFar.Error(), "/other": "unsupported protocol scheme", "/hls": errNotTS.Error(),
		"/empty": errEnd.Error(), "/head": "exceeded",
	} {
		s := newSite(t)
		c, err := streamconf.Parse("t", fmt.Appendf(nil, "stream s { input %s%s; dvr d 1d; }", server.URL, path))
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(c)
		testkit.Eventually(t, 10*time.Second, path+" fails", func() error {
			if x := s.List()[0]; !strings.Contains(x.Problem, want) {
				return fmt.Errorf("%s, problem %q, want %q", x.State, x.Problem, want)
			}
			return nil
		})
		s.Close()
	}
}

// A token in a URL shows in no error, log, status or metric, and no server hears the URL of another.
func TestHTTPTokenIsHidden(t *testing.T) {
	const token = "hunter2hunter2"
	var referers atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/leads", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/none?token="+token, http.StatusFound)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) {
		if r.Referer() != "" {
			referers.Add(1)
		}
		http.Redirect(w, r, "/loop?token="+token, http.StatusFound)
	})
	mux.HandleFunc("/place", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://a b/?token="+token)
		w.WriteHeader(http.StatusFound)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	talker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer talker.Close()
	go func() {
		for {
			c, err := talker.Accept()
			if err != nil {
				return
			}
			http.ReadRequest(bufio.NewReader(c)) // what comes before there is a request is no answer to it
			fmt.Fprintf(c, "%s %s\r\n", token, strings.Repeat("x", 4000))
			c.Close()
		}
	}()
	for url, want := range map[string]string{
		server.URL + "/none": "404", server.URL + "/leads": "404", server.URL + "/loop": errTooFar.Error(),
		server.URL + "/place": "Location", "http://127.0.0.1:1/x": "connection refused",
		"http://" + talker.Addr().String() + "/": "malformed HTTP",
	} {
		var log bytes.Buffer
		deps := quietDeps(t)
		deps.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c, err := streamconf.Parse("t", fmt.Appendf(nil, "stream s { input %s?token=%s; dvr d 1d; }", url, token))
		if err != nil {
			t.Fatal(err)
		}
		in := New("s", c.Streams[0].Inputs[0], 1, deps)
		_, err = in.openSource(t.Context(), in.source)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", url, err, want)
		}
		if in.setProblem(fmt.Sprint(err)) {
			in.log.Error("input failed, retrying", "error", err)
		}
		for _, text := range []string{fmt.Sprint(err), log.String(), fmt.Sprintf("%+v", in.Status())} {
			if strings.Contains(text, "hunter2") || len(text) > 4000 {
				t.Errorf("%s: the token shows in %.300s", url, text)
			}
		}
	}
	if n := referers.Load(); n > 0 {
		t.Errorf("%d servers were told where they were named", n)
	}
}

// A server that falls silent is left after a while, by the clock of the input.
func TestHTTPSilence(t *testing.T) {
	in := New("s", streamconf.Input{Kind: streamconf.KindHTTP}, 1, quietDeps(t))
	synctest.Test(t, func(t *testing.T) {
		r, w := net.Pipe()
		defer w.Close()
		ctx, cancel := context.WithCancel(t.Context())
		s := &pull{in: in, client: &http.Client{}, body: r, cancel: func() { r.Close() }}
		defer cancel()
		begun := time.Now()
		go w.Write(make([]byte, 188))
		if err := s.run(ctx, newPipeline(in)); err != errSilent {
			t.Errorf("got %v", err)
		}
		if d := time.Since(begun); d < readTimeout || d > readTimeout+2*time.Second {
			t.Errorf("it was left after %v", d)
		}
	})
}
