package playback

import (
	"context"
	"errors"
	"iter"
	"net/http/httptest"
	"testing"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/export"
	"github.com/twinreel/twinreel/pkg/segment"
)

// years is an archive without end.
type years struct {
	export.Source
	listed int
}

func (y *years) Locate(context.Context, archive.Range) iter.Seq2[archive.Segment, error] {
	return func(yield func(archive.Segment, error) bool) {
		s := archive.Segment{Info: segment.Info{Tracks: make([]segment.Track, 1)}}
		for y.listed = 1; y.listed < 2*maxEntries && yield(s, nil); y.listed++ {
		}
	}
}

// TestFileOfALongWindow lists for a viewer of one file no more than for one of a playlist.
func TestFileOfALongWindow(t *testing.T) {
	y := &years{}
	err := (&handler{}).file(httptest.NewRecorder(), httptest.NewRequest("GET", "/tv/archive-0-now.mp4", nil), y, window{})
	if !errors.Is(err, errs.ErrInvalid) || y.listed > maxEntries+1 {
		t.Errorf("%d segments were listed: %v", y.listed, err)
	}
}
