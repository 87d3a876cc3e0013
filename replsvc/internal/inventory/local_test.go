package inventory

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
)

// TestLargeAnswers: blocks whose answer no message carries together are asked for one by one.
func TestLargeAnswers(t *testing.T) {
	large := fmt.Errorf("list slots: %w", status.Error(codes.ResourceExhausted, "trying to send message larger than max"))
	full := rpcerr.ToStatus(errs.ErrFull)
	for _, c := range []struct {
		name string
		fail func(from, to int64) error
		want error
	}{
		{"all fit", func(int64, int64) error { return nil }, nil},
		{"two do not", func(from, to int64) error {
			if to-from > 1 {
				return large
			}
			return nil
		}, nil},
		{"one does not", func(from, to int64) error {
			if from <= 3 && to > 3 {
				return large
			}
			return nil
		}, ErrTooLarge},
		{"something else", func(int64, int64) error { return full }, errs.ErrFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := InParts(0, 5, func(from, to int64) (slots []Slot, err error) {
				for n := from; n < to; n++ {
					slots = append(slots, Slot{Slot: segment.Slot{Cell: uint16(n)}})
				}
				return slots, rpcerr.FromStatus(c.fail(from, to))
			})
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			cells := make([]uint16, len(got))
			for i := range got {
				cells[i] = got[i].Slot.Cell
			}
			if err == nil && !slices.Equal(cells, []uint16{0, 1, 2, 3, 4}) {
				t.Errorf("got blocks %v", cells)
			}
		})
	}
}
