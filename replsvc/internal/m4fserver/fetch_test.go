package m4fserver

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
)

// TestNotHeld: each way in which dvrsvc does not have a copy has its own answer, so that the peer knows what to do.
func TestNotHeld(t *testing.T) {
	by := segment.Digest{7}
	for _, c := range []struct {
		err  error
		want *m4fv1.FetchResponse
	}{
		{errs.ErrUnknown, &m4fv1.FetchResponse{NotHeld: "UNKNOWN"}},
		{errs.ErrExpired, &m4fv1.FetchResponse{NotHeld: "EXPIRED"}},
		{errs.ErrDeleted, &m4fv1.FetchResponse{NotHeld: "DELETED"}},
		{errs.ErrQuarantined, &m4fv1.FetchResponse{NotHeld: "QUARANTINED"}},
		{errs.ErrCorrupt, &m4fv1.FetchResponse{NotHeld: "QUARANTINED"}},
		{&errs.SupersededError{By: by.String()}, &m4fv1.FetchResponse{SupersededBy: by[:]}},
		{errs.ErrNotReady, nil},
	} {
		if got := notHeld(rpcerr.FromStatus(rpcerr.ToStatus(fmt.Errorf("read segment: %w", c.err)))); !proto.Equal(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}
