package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/tsplay"
)

// Errors of sources that are not sockets.
var (
	// errEnded says that there is no more, and that asking again would begin anew.
	errEnded   = errors.New("the source has ended")
	errNoFile  = errors.New("this is not a regular file")
	errSilent  = errors.New("the server has sent nothing for too long")
	errTooFar  = errors.New("the server leads from one address to the next")
	errNotTS   = errors.New("the server sends something else than a transport stream")
	errEnd     = errors.New("the server ended the stream")
	errAnswers = errors.New("the server refuses")
)

// file plays a transport stream at its own pace.
type file struct {
	in     *Input
	player *tsplay.Player
	write  func(b []byte)
}

// openFile reads the file once for its pace, which may take long: whoever wants the input to end does not wait.
func (in *Input) openFile(ctx context.Context, f streamconf.File) (source, error) {
	info, err := os.Stat(f.Path)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	if !info.Mode().IsRegular() { // a pipe would be waited for
		return nil, fmt.Errorf("open file %s: %w", f.Path, errNoFile)
	}
	s := &file{in: in}
	type opened struct {
		player *tsplay.Player
		err    error
	}
	done := make(chan opened, 1)
	go func() {
		p, err := tsplay.Open(f.Path, tsplay.Options{Loop: f.Loop, Clock: in.deps.Clock, To: []io.Writer{s}})
		done <- opened{p, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case o := <-done:
		s.player = o.player
		return s, o.err
	}
}

// Write implements io.Writer for the player.
func (s *file) Write(b []byte) (int, error) {
	s.write(b)
	return len(b), nil
}

func (s *file) run(ctx context.Context, p *pipeline) error {
	s.write = func(b []byte) { p.write(s.in.deps.Clock.Mono(), b) }
	if err := s.player.Run(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	return errEnded
}

func (s *file) buffer() (int, string) { return 0, "" }
func (s *file) Close() error          { return nil }

const (
	// dialTimeout bounds how long a server may take to be reached, and answerTimeout how long to answer.
	dialTimeout, answerTimeout = 5 * time.Second, 10 * time.Second
	// readTimeout bounds how long a server that has answered may be silent.
	readTimeout = 10 * time.Second
	// maxRedirects is how often a server may lead on.
	maxRedirects = 5
	maxHeader    = 64 << 10
	readBytes    = 64 << 10
)

// pull is an answer of a server that goes on.
type pull struct {
	in     *Input
	client *http.Client
	body   io.ReadCloser
	cancel context.CancelFunc
}

// openHTTP asks the server.
func (in *Input) openHTTP(ctx context.Context, h streamconf.HTTP) (source, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &pull{in: in, cancel: cancel, client: &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout:    dialTimeout,
			ResponseHeaderTimeout:  answerTimeout,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true,
			DisableKeepAlives:      true,
			ReadBufferSize:         readBytes,
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			next.Header.Del("Referer") // it would have the token of the URL before
			if len(via) > maxRedirects {
				return errTooFar
			}
			return nil
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL, nil)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("ask for the stream: %w", withoutURL(err))
	}
	request.Header.Set("User-Agent", "twinreel")
	answer, err := s.client.Do(request) //nolint:bodyclose // it is the source's, until its Close
	if err != nil {
		cancel()
		return nil, fmt.Errorf("ask for the stream: %w", withoutURL(err))
	}
	s.body = answer.Body
	kind := strings.ToLower(answer.Header.Get("Content-Type"))
	switch {
	case answer.StatusCode != http.StatusOK:
		err = fmt.Errorf("%w: %d %s", errAnswers, answer.StatusCode, http.StatusText(answer.StatusCode))
	case strings.Contains(kind, "mpegurl"), strings.Contains(kind, "dash+xml"), strings.HasPrefix(kind, "text/"):
		err = fmt.Errorf("%w: %.80q", errNotTS, kind)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// longestError is how much of what the library says is kept: it quotes the server.
const longestError = 200

// withoutURL is an error of net/http without the URL, and without what it quotes of the answer: a token may be in both.
func withoutURL(err error) error {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	text, _, quotes := strings.Cut(err.Error(), `"`)
	if !quotes && len(text) <= longestError {
		return err
	}
	return errors.New(strings.TrimRight(strings.ToValidUTF8(text[:min(len(text), longestError)], ""), " :"))
}

func (s *pull) run(ctx context.Context, p *pipeline) error {
	clk := s.in.deps.Clock
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var last atomic.Int64
	var silent atomic.Bool
	last.Store(int64(clk.Mono()))
	watched := make(chan struct{})
	go func() { // what ends a Read that waits
		defer close(watched)
		t := clk.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				s.cancel()
				return
			case <-t.C():
				if clk.Mono()-time.Duration(last.Load()) > readTimeout {
					silent.Store(true)
					s.cancel()
					return
				}
			}
		}
	}()
	defer func() { stop(); <-watched }()
	buf := make([]byte, readBytes)
	for {
		n, err := s.body.Read(buf)
		now := clk.Mono()
		if n > 0 {
			last.Store(int64(now))
			p.write(now, buf[:n])
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case silent.Load():
			return errSilent
		case err == io.EOF:
			return errEnd
		case err != nil:
			return fmt.Errorf("read the stream: %w", withoutURL(err))
		}
	}
}

func (s *pull) buffer() (int, string) { return 0, "" }

func (s *pull) Close() error {
	s.cancel()
	err := s.body.Close()
	s.client.CloseIdleConnections()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
