package playback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/gateway/internal/httpapi"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/export"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/timeline"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// turnBias keeps tfdt above zero for the turns before a row's first segment: a peer may have sent three years of them.
const turnBias = 1024

// Live is the window of the last liveWindow, under the name liveName: more than three target durations of a stream with
// usual GOPs, as RFC 8216 (6.2.2) asks of a playlist whose head is taken away.
const (
	liveName   = "index"
	liveWindow = time.Minute
)

// liveMargin is how long after its end a window may still grow: what was recorded last is being sealed.
const liveMargin = time.Minute

type handler struct {
	dvr   grpc.ClientConnInterface
	clock clock.Clock
	log   *slog.Logger

	windows windows
	missing missing
}

// New serves the archive of the dvrsvc behind conn. repl, if it is not nil, is the replsvc that is asked for what is missing of
// what somebody plays.
func New(conn, repl grpc.ClientConnInterface, clk clock.Clock, log *slog.Logger) http.Handler {
	h := &handler{dvr: conn, clock: clk, log: log, missing: missing{clock: clk}}
	if repl != nil {
		h.missing.repl = replv1.NewReplicationServiceClient(repl)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{stream}/{window}", h.window)
	mux.HandleFunc("GET /{stream}/{window}/{track}", h.media)
	mux.HandleFunc("GET /{stream}/init/{hash}", h.init)
	mux.HandleFunc("GET /{stream}/segment/{digest}/{turn}/{track}", h.segment)
	return httpapi.AnyOrigin(mux)
}

// window is what of the archive is asked for.
type window struct {
	archive.Range
	live    bool // it may still grow
	sliding bool // it begins a while ago, and at no moment
}

// parseWindow reads archive-FROM-DURATION, or the name of live.
func (h *handler) parseWindow(s string) (window, error) {
	bad := func(err error) (window, error) {
		return window{}, fmt.Errorf("%w: %q is not archive-FROM-DURATION: %w", errs.ErrInvalid, s, err)
	}
	if s == liveName {
		return window{archive.Range{From: h.clock.Now().Add(-liveWindow)}, true, true}, nil
	}
	s, ok := strings.CutPrefix(s, "archive-")
	at := strings.LastIndexByte(s, '-')
	if !ok || at < 0 {
		return window{}, fmt.Errorf("%w: there is no such path", errs.ErrUnknown)
	}
	from, err := archive.ParseTime(s[:at])
	if err != nil {
		return bad(err)
	}
	if s[at+1:] == "now" {
		return window{archive.Range{From: from}, true, false}, nil
	}
	sec, err := strconv.ParseFloat(s[at+1:], 64)
	if err != nil {
		return bad(err)
	}
	if !(sec > 0 && sec < 1e9) {
		return bad(fmt.Errorf("%v s is no duration", sec))
	}
	to := from.Add(time.Duration(sec * float64(time.Second)))
	return window{archive.Range{From: from, To: to}, h.clock.Now().Before(to.Add(liveMargin)), false}, nil
}

func (h *handler) stream(r *http.Request) (*archive.Stream, error) {
	name := r.PathValue("stream")
	if err := streamconf.CheckName(name); err != nil {
		return nil, fmt.Errorf("%w: %w", errs.ErrInvalid, err)
	}
	return archive.New(h.dvr, name), nil
}

// window serves the master playlist and the file.
func (h *handler) window(w http.ResponseWriter, r *http.Request) {
	name, kind, _ := cutExtension(r.PathValue("window"))
	src, err := h.stream(r)
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	win, err := h.parseWindow(name)
	switch {
	case err != nil:
	case kind == ".m3u8":
		var list *playlist
		if list, err = h.readWhole(r.Context(), r.PathValue("stream"), name, src, win); err == nil {
			list.pages = h.pages(r.Context(), r.PathValue("stream"), src, list)
			writePlaylist(w, win, list.master(name))
		}
	case kind == ".mp4":
		var list *playlist
		if list, err = h.read(r.Context(), src, win); (err == nil || nothing(err)) && !whole(list, win.Range, h.clock.Now()) {
			h.missing.fetch(r.Context(), r.PathValue("stream"), r.PathValue("window"), win.Range, fileWait)
		}
		err = h.file(w, r, src, win)
	default:
		err = fmt.Errorf("%w: %q is not served, .m3u8 and .mp4 are", errs.ErrInvalid, kind)
	}
	if err != nil {
		httpapi.WriteError(w, err)
	}
}

func cutExtension(s string) (name, ext string, ok bool) {
	for _, e := range []string{".m3u8", ".mp4", ".m4s", ".mpd", ".ts"} {
		if name, ok := strings.CutSuffix(s, e); ok {
			return name, e, true
		}
	}
	return s, "", false
}

// bounded is an archive of which nobody lists more for one viewer than a playlist may have.
type bounded struct{ export.Source }

// Locate implements export.Source.
func (b bounded) Locate(ctx context.Context, r archive.Range) iter.Seq2[archive.Segment, error] {
	return func(yield func(archive.Segment, error) bool) {
		n := 0
		for s, err := range b.Source.Locate(ctx, r) {
			if n++; err == nil && n > maxEntries {
				s, err = archive.Segment{}, errTooLong
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

// file writes an MP4. An error after the first byte breaks the connection off: the client must not take it for whole.
func (h *handler) file(w http.ResponseWriter, r *http.Request, src export.Source, win window) error {
	e, err := export.Plan(r.Context(), bounded{src}, win.Range)
	if err != nil {
		return err
	}
	used := e.Range()
	w.Header().Set("Content-Type", "video/mp4")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q",
		fmt.Sprintf("%s-%s.mp4", r.PathValue("stream"), used.From.Format("20060102T150405Z"))))
	w.Header().Set("X-Range-From", used.From.Format(time.RFC3339Nano))
	w.Header().Set("X-Range-To", used.To.Format(time.RFC3339Nano))
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := e.Write(r.Context(), w); err != nil {
		if r.Context().Err() == nil {
			h.log.Error("export broken off", "stream", r.PathValue("stream"), "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	return nil
}

// media serves the playlist of one track.
func (h *handler) media(w http.ResponseWriter, r *http.Request) {
	src, err := h.stream(r)
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	pid, page, text := parsePage(r.PathValue("track"), ".m3u8")
	if !text {
		if pid, err = parsePID(r, ".m3u8"); err != nil {
			httpapi.WriteError(w, err)
			return
		}
		page = 0
	}
	win, err := h.parseWindow(r.PathValue("window"))
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	list, err := h.readWhole(r.Context(), r.PathValue("stream"), r.PathValue("window"), src, win)
	if err == nil && list.track(pid) == nil {
		err = fmt.Errorf("%w: there is no track of PID %d in the window", errs.ErrUnknown, pid)
	}
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	list.ranges = h.ranges(r.Context(), r.PathValue("stream"), list)
	if text {
		h.before(r.Context(), src, list)
	}
	n := h.windows.count(r.PathValue("stream")+"/"+r.PathValue("window"), win, h.clock.Mono(), list)
	writePlaylist(w, win, list.media(pid, page, win, n))
}

func parsePID(r *http.Request, ext string) (uint16, error) {
	s, ok := strings.CutSuffix(r.PathValue("track"), ext)
	n, err := strconv.ParseUint(s, 10, 13)
	if !ok || err != nil {
		return 0, fmt.Errorf("%w: %q is not PID%s", errs.ErrInvalid, r.PathValue("track"), ext)
	}
	return uint16(n), nil
}

// readWhole is read, and waits a little for what is missing here and is on other sites.
func (h *handler) readWhole(ctx context.Context, stream, name string, src *archive.Stream, win window) (*playlist, error) {
	list, err := h.read(ctx, src, win)
	if win.sliding || err != nil && !nothing(err) || whole(list, win.Range, h.clock.Now()) {
		return list, err
	}
	if h.missing.fetch(ctx, stream, name, win.Range, playlistWait) {
		return h.read(ctx, src, win)
	}
	return list, err
}

// nothing reports whether a window has nothing here, or what of it is here is on a dvrsvc that does not answer.
func nothing(err error) bool {
	return errors.Is(err, export.ErrNothing) || errors.Is(err, errs.ErrNotReady)
}

func (h *handler) read(ctx context.Context, src *archive.Stream, win window) (*playlist, error) {
	list := &playlist{}
	for s, err := range src.Locate(ctx, win.Range) {
		if err != nil {
			return nil, err
		}
		if s.Open {
			continue
		}
		s.Info.Chunks = nil
		if err := list.add(s); err != nil {
			return nil, err
		}
	}
	if len(list.segments) == 0 {
		return nil, export.ErrNothing
	}
	return list, nil
}

func writePlaylist(w http.ResponseWriter, win window, b *bytes.Buffer) {
	w.Header().Set("Content-Type", "application/vnd.apple.mpegurl")
	w.Header().Set("Cache-Control", "max-age=60")
	if win.live {
		w.Header().Set("Cache-Control", "no-cache")
	}
	w.Write(b.Bytes()) //nolint:errcheck // the client is gone
}

func (h *handler) init(w http.ResponseWriter, r *http.Request) {
	r.SetPathValue("hash", strings.TrimSuffix(r.PathValue("hash"), ".mp4"))
	stream, hash, err := httpapi.Names(r, "hash")
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	b, err := archive.New(h.dvr, stream).ReadInit(r.Context(), hash)
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	httpapi.WriteImmutable(w, "video/mp4", hash, b)
}

// segment gathers the chunks of one track of a segment, on the timeline of its row, or makes text of them.
func (h *handler) segment(w http.ResponseWriter, r *http.Request) {
	if pid, page, ok := parsePage(r.PathValue("track"), ".vtt"); ok {
		h.text(w, r, pid, page)
		return
	}
	stream, digest, err := httpapi.Names(r, "digest")
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	pid, err := parsePID(r, ".m4s")
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	turn, err := parseTurn(r)
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	s, b, err := archive.New(h.dvr, stream).ReadDigest(r.Context(), digest)
	if superseded(w, r, err) {
		return
	}
	if err == nil {
		b, err = gather(s, b, pid, timeline.Ticks(turn+turnBias)*timeline.Wrap)
	}
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	httpapi.WriteImmutable(w, "video/iso.segment", digest, b)
}

// superseded leads to the copy that has taken the place of the one asked for since a playlist listed it, and reports whether there is one.
func superseded(w http.ResponseWriter, r *http.Request, err error) bool {
	var gone *errs.SupersededError
	if !errors.As(err, &gone) {
		return false
	}
	by, err := segment.ParseDigest(gone.By)
	if err != nil {
		return false
	}
	to := url.URL{Path: "../../" + by.String() + "/" + r.PathValue("turn") + "/" + r.PathValue("track"), RawQuery: r.URL.RawQuery}
	w.Header().Set("Location", to.String()) // relative, whatever stands before the gateway
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusFound)
	return true
}

// gather takes the chunks of a track out of a segment and moves each tfdt by add. Event messages stand before the chunk in
// whose cell they came, or the next.
func gather(s archive.Segment, b []byte, pid uint16, add timeline.Ticks) ([]byte, error) {
	t := s.Info.Track(pid)
	if t == nil {
		return nil, fmt.Errorf("%w: the segment has no track of PID %d", errs.ErrUnknown, pid)
	}
	var events []message
	if carriesMessages(&s.Info, t) {
		var err error
		if events, err = messages(&s, b, add); err != nil {
			return nil, err
		}
	}
	var out []byte
	last := 0 // where the last chunk begins
	for _, c := range s.Info.Chunks {
		if c.PID != pid {
			continue
		}
		if c.Offset+uint64(c.Size) > uint64(len(b)) {
			return nil, fmt.Errorf("%w: a chunk of PID %d lies outside of the segment", errs.ErrCorrupt, pid)
		}
		events = slices.DeleteFunc(events, func(m message) bool {
			if m.cell > c.Cell {
				return false
			}
			out = fmp4.AppendEvent(out, &m.event)
			return true
		})
		at := len(out)
		last = at
		out = append(out, b[c.Offset:c.Offset+uint64(c.Size)]...)
		if err := fmp4.PatchTfdt(out[at:], c.TfdtOffset, add); err != nil {
			return nil, fmt.Errorf("%w: %w", errs.ErrCorrupt, err)
		}
	}
	if out == nil {
		return nil, fmt.Errorf("%w: the segment has no samples of PID %d", errs.ErrUnknown, pid)
	}
	if len(events) > 0 { // they came behind the last chunk
		var late []byte
		for i := range events {
			late = fmp4.AppendEvent(late, &events[i].event)
		}
		out = slices.Insert(out, last, late...)
	}
	return out, nil
}
