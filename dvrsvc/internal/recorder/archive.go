package recorder

import (
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/segment"
)

// newestWithin is how far back from the end of the archive the last segment of the live tail is looked for.
const newestWithin = 5 * time.Minute

// archive makes an Archive of a store's stream.
type archive struct{ *store.Stream }

var (
	_ Archive = archive{}
	_ Copy    = (*store.Copy)(nil)
)

// Begin implements Archive.
func (a archive) Begin(slot segment.Slot, inits []segment.Init, tracks []segment.Track, o store.BeginOptions) (Copy, error) {
	c, err := a.Stream.Begin(slot, inits, tracks, o)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Newest implements Archive. A copy that was broken off does not count: the segment is still to be had as a whole.
func (a archive) Newest() (newest store.CopyInfo, ok bool) {
	last := a.Summary().Last
	if last.IsZero() {
		return newest, false
	}
	for c, err := range a.Segments(last.Add(-newestWithin), time.Time{}, false) {
		if err != nil {
			break
		}
		if c.Live && !c.Info.Evidence.EndUncertain {
			newest, ok = c, true
		}
	}
	return newest, ok
}
