package playback

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/twinreel/twinreel/gateway/internal/httpapi"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/teletext"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	textGroup = "subtitles"
	// maxBefore is from how many segments before it the text of one may still stand on the picture: more than 11 s.
	maxBefore = 2
)

// textPage is a page of subtitles in a track of teletext.
type textPage struct {
	pid uint16
	teletext.Page
}

// pages gives the pages of subtitles that the newest segment of each track of teletext announces, those for the hard of
// hearing last. A playlist without them is better than none, so what fails is logged.
func (h *handler) pages(ctx context.Context, stream string, src *archive.Stream, l *playlist) (out []textPage) {
	seen := make(map[uint16]bool)
	var hearing []textPage
	for i := len(l.segments) - 1; i >= 0; i-- {
		for _, t := range l.segments[i].Info.Tracks {
			if t.Codec != segment.DataCodec+segment.Teletext || seen[t.PID] {
				continue
			}
			seen[t.PID] = true
			b, err := src.ReadInit(ctx, t.Init)
			var descriptors []byte
			if err == nil {
				_, descriptors, err = fmp4.ParseDataInit(b)
			}
			if err != nil {
				h.log.Warn("playlist without subtitles", "stream", stream, "pid", t.PID, "error", err)
				continue
			}
			for _, p := range teletext.Pages(descriptors) {
				if p.Hearing {
					hearing = append(hearing, textPage{t.PID, p})
				} else {
					out = append(out, textPage{t.PID, p})
				}
			}
		}
	}
	return append(out, hearing...)
}

// rendition lists the page in a master playlist. What it is called differs from page to page.
func (p *textPage) rendition(name string) string {
	label := fmt.Sprintf("%s%d/%d", p.Language+strings.Repeat(" ", min(len(p.Language), 1)), p.Number, p.pid)
	var b strings.Builder
	if p.Hearing {
		label += ", for the hard of hearing"
	}
	fmt.Fprintf(&b, "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=%q,NAME=%q,", textGroup, label)
	if p.Language != "" {
		fmt.Fprintf(&b, "LANGUAGE=%q,", p.Language)
	}
	if p.Hearing {
		b.WriteString(`CHARACTERISTICS="public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound",`)
	}
	fmt.Fprintf(&b, "DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI=\"%s/%d-%d.m3u8\"\n", name, p.pid, p.Number)
	return b.String()
}

// parsePage reads PID-PAGE. !ok: it is no such path.
func parsePage(track, ext string) (pid uint16, page int, ok bool) {
	s, ok := strings.CutSuffix(track, ext)
	left, right, both := strings.Cut(s, "-")
	n, err := strconv.ParseUint(left, 10, 13)
	page, errPage := strconv.Atoi(right)
	return uint16(n), page, ok && both && err == nil && errPage == nil && page >= 100 && page <= 899
}

// before finds the segments from which text may still stand on the picture when the list begins.
func (h *handler) before(ctx context.Context, src *archive.Stream, l *playlist) {
	first := l.segments[0].Start
	for s, err := range src.Locate(ctx, archive.Range{From: first.Add(-maxBefore * longTarget), To: first}) {
		if err != nil {
			return // a window with less text is better than none
		}
		if !s.Open && s.Start.Before(first) {
			l.before = append(l.before, s)
		}
	}
}

// addText lists a segment of text. Its path names the segments from which text may still stand: it has the same bytes for
// ever (I1).
func (w *mediaWriter) addText(before []archive.Segment, s *archive.Segment) {
	if s.Info.Track(w.pid) == nil {
		w.gap(s.Start, (s.Info.End - s.Info.Start).Duration(), 1)
		return
	}
	fmt.Fprintf(w.b, "#EXT-X-PROGRAM-DATE-TIME:%s\n#EXTINF:%.5f,\n../segment/%s/%d/%d-%d.vtt",
		s.Start.Format("2006-01-02T15:04:05.000Z"), (s.Info.End - s.Info.Start).Duration().Seconds(), s.Info.Digest, s.Slot.Turn, w.pid, w.page)
	next, mark := s, "?after="
	for i := len(before) - 1; i >= 0 && len(before)-i <= maxBefore; i-- {
		b := &before[i]
		if b.Slot.Timeline != s.Slot.Timeline || gapBetween(b, next) > gapTicks.Duration() || b.Info.Track(w.pid) == nil {
			break
		}
		fmt.Fprintf(w.b, "%s%s", mark, b.Info.Digest)
		next, mark = b, "."
	}
	w.b.WriteByte('\n')
}

// text serves what a page showed while a segment lasted, as WebVTT on the timeline of the row.
func (h *handler) text(w http.ResponseWriter, r *http.Request, pid uint16, page int) {
	stream, digest, err := httpapi.Names(r, "digest")
	var digests []segment.Digest
	var turn int64
	if err == nil {
		turn, err = parseTurn(r)
	}
	if err == nil {
		digests, err = parseAfter(r.URL.Query().Get("after"))
	}
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	src := archive.New(h.dvr, stream)
	s, b, err := src.ReadDigest(r.Context(), digest)
	if superseded(w, r, err) {
		return
	}
	if err == nil && s.Info.Track(pid) == nil {
		err = fmt.Errorf("%w: the segment has no track of PID %d", errs.ErrUnknown, pid)
	}
	if err != nil {
		httpapi.WriteError(w, err)
		return
	}
	d := teletext.NewDecoder(page)
	whole := true
	for i := len(digests) - 1; i >= 0; i-- { // the nearest is the first of them
		before, data, err := src.ReadDigest(r.Context(), digests[i])
		if err == nil {
			err = takeText(d, &before, data, pid, s.Info.Start)
		}
		whole = whole && err == nil
	}
	if err := takeText(d, &s, b, pid, s.Info.Start); err != nil {
		httpapi.WriteError(w, err)
		return
	}
	out := fmt.Appendf(nil, "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:%d,LOCAL:00:00:00.000\n", s.Info.Start+timeline.Ticks(turn+turnBias)*timeline.Wrap)
	out = teletext.AppendCues(out, teletext.Cues(d.Shown(), int64(s.Info.Start), int64(s.Info.End)), int64(s.Info.Start))
	if !whole { // another copy has taken the place of one that was listed: there is a new path, too
		w.Header().Set("Content-Type", "text/vtt; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		w.Write(out) //nolint:errcheck // the client is gone
		return
	}
	httpapi.WriteImmutable(w, "text/vtt; charset=utf-8", segment.Sum(out), out)
}

func parseTurn(r *http.Request) (int64, error) {
	turn, err := strconv.ParseInt(r.PathValue("turn"), 10, 32)
	if err != nil || turn < -turnBias || turn > math.MaxInt32-turnBias {
		return 0, fmt.Errorf("%w: %q is no turn", errs.ErrInvalid, r.PathValue("turn"))
	}
	return turn, nil
}

func parseAfter(s string) (out []segment.Digest, err error) {
	if s == "" {
		return nil, nil
	}
	list := strings.SplitN(s, ".", maxBefore+1)
	if len(list) > maxBefore {
		return nil, fmt.Errorf("%w: more than %d segments before this one", errs.ErrInvalid, maxBefore)
	}
	for _, x := range list {
		d, err := segment.ParseDigest(x)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errs.ErrInvalid, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// takeText takes what of a track lies in a segment, at times around T near.
func takeText(d *teletext.Decoder, s *archive.Segment, b []byte, pid uint16, near timeline.Ticks) error {
	t := s.Info.Track(pid)
	if t == nil || t.Codec != segment.DataCodec+segment.Teletext {
		return fmt.Errorf("%w: the segment has no teletext of PID %d", errs.ErrUnknown, pid)
	}
	for _, c := range s.Info.Chunks {
		if c.PID != pid {
			continue
		}
		chunk, err := parseChunk(c, b)
		if err != nil {
			return err
		}
		for sample := range chunk.All() {
			d.Take(mpegts.PESPayload(sample.Data), int64(timeline.Unwrap(sample.PTS(), near)))
		}
	}
	return nil
}
