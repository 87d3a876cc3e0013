package export

import (
	"context"
	"fmt"
	"slices"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/teletext"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Text is a page of subtitles of the range, on the timeline of the file.
type Text struct {
	PID    uint16
	Page   teletext.Page
	WebVTT []byte // the whole file
	Cues   int
}

// text gathers a page while the file is written.
type text struct {
	pid     uint16
	page    teletext.Page
	decoder *teletext.Decoder
	cues    []teletext.Cue
}

// WithText makes Write also gather the pages of subtitles that teletext tracks of the range announce.
func (e *Export) WithText(ctx context.Context) error {
	seen := make(map[uint16]bool)
	for i := range e.segs {
		for _, t := range e.segs[i].Info.Tracks {
			if t.Codec != segment.DataCodec+segment.Teletext || seen[t.PID] {
				continue
			}
			seen[t.PID] = true // one configuration in all of the range
			b, err := e.src.ReadInit(ctx, t.Init)
			if err != nil {
				return err
			}
			_, descriptors, err := fmp4.ParseDataInit(b)
			if err != nil {
				return fmt.Errorf("read teletext of PID %d: %w", t.PID, err)
			}
			for _, p := range teletext.Pages(descriptors) {
				e.texts = append(e.texts, &text{pid: t.PID, page: p, decoder: teletext.NewDecoder(p.Number)})
			}
		}
	}
	return nil
}

// Texts gives what Write gathered.
func (e *Export) Texts() []Text {
	out := make([]Text, len(e.texts))
	for i, t := range e.texts {
		out[i] = Text{PID: t.pid, Page: t.page, WebVTT: teletext.AppendCues([]byte("WEBVTT\n"), t.cues, 0), Cues: len(t.cues)}
	}
	return out
}

// take reads the chunk where it is one of the page's.
func (t *text) take(s *archive.Segment, c segment.Chunk, chunk []byte, zero timeline.Ticks) error {
	if c.PID != t.pid {
		return nil
	}
	p, err := fmp4.ParseChunk(chunk)
	if err != nil {
		return err
	}
	for sample := range p.All() {
		t.decoder.Take(mpegts.PESPayload(sample.Data), int64(s.U(sample.PTS())-zero))
	}
	return nil
}

// end makes cues of a stretch without a gap; nothing is known of what the page shows behind it.
func (t *text) end(from, to timeline.Ticks) {
	t.cues = slices.Concat(t.cues, teletext.Cues(t.decoder.Shown(), int64(from), int64(to)))
	t.decoder = teletext.NewDecoder(t.page.Number)
}
