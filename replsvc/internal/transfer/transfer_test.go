package transfer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

func TestSlots(t *testing.T) {
	for bits, want := range map[uint64]int{
		0: maxFlights, 1_000_000: 2, 50_000_000: 2, 200_000_000: 4, 400_000_000: 9, 100_000_000_000: maxFlights,
	} {
		if got := New(nil, bits, clock.System{}, nil).slots(); got != want {
			t.Errorf("%d bit/s: %d at once, want %d", bits, got, want)
		}
	}
}

// TestLimit holds I3: no more bytes a second than the smaller of both limits.
func TestLimit(t *testing.T) {
	for _, c := range []struct{ own, granted, want uint64 }{
		{80_000_000, 0, 10_000_000},
		{80_000_000, 16_000_000, 2_000_000},
		{16_000_000, 80_000_000, 2_000_000},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := New(nil, c.own, clock.System{}, nil)
			granted := x.grantedBy("p", c.granted)
			var bytes uint64
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for {
				if err := x.throttle(ctx, plan.Item{Stream: "tv", Peer: "p"}, granted, pieceBytes); err != nil {
					break
				}
				bytes += pieceBytes
			}
			if most := 10*c.want + c.want/5 + 2*pieceBytes; bytes > most || bytes < 8*c.want {
				t.Errorf("own %d, granted %d: %d bytes in 10 s, want %d a second", c.own, c.granted, bytes, c.want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		err  error
		all  bool
		wait time.Duration
		bad  bool
	}{
		{&RefusedError{"EXPIRED"}, true, refusedLong, true},
		{&RefusedError{"DELETED"}, true, refusedLong, true},
		{&RefusedError{"CORRUPT"}, false, refusedBad, true},
		{&RefusedError{"INVALID"}, true, refusedAWhile, true},
		{fmt.Errorf("x: %w", &m4fclient.BusyError{After: time.Second / 4}), false, time.Second / 4, false},
		{&m4fclient.SupersededError{}, false, refusedAWhile, false},
		{fmt.Errorf("x: %w", errs.ErrUnknown), false, refusedAWhile, false},
		{errs.ErrExpired, false, refusedLong, false},
		{errs.ErrCorrupt, false, refusedBad, true},
		{errs.ErrQuarantined, false, refusedBad, true},
		{errors.New("cut"), false, refusedShort, false},
	} {
		who, wait, bad := judge(c.err)
		if who.all != c.all || wait != c.wait || bad != c.bad {
			t.Errorf("%v: got %v, %s, %v", c.err, who.all, wait, bad)
		}
	}
}
