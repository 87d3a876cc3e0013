package store

import (
	"errors"
	"testing"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
)

// TestSupersededTravels: a caller on the other side of a wire learns what to ask for instead.
func TestSupersededTravels(t *testing.T) {
	by := segment.Digest{7}
	var got *errs.SupersededError
	if err := error(&SupersededError{By: by}); !errors.Is(err, errs.ErrSuperseded) || !errors.As(err, &got) || got.By != by.String() {
		t.Errorf("got %v", got)
	}
}
