package app

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/errs"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// setClock is a clock that somebody sets.
type setClock struct {
	fastClock
	ahead atomic.Int64
}

func (c *setClock) Now() time.Time { return c.fastClock.Now().Add(time.Duration(c.ahead.Load())) }

// TestConfirmClock: after a leap of the clock nothing expires, which can be seen, until somebody says what time it is; who says
// another time changes nothing.
func TestConfirmClock(t *testing.T) {
	clock := &setClock{}
	s := startWith(t, t.TempDir(), "stream tv { input "+udpInput+"; dvr one 10m; }", Deps{Clock: clock, ClockAgrees: func() bool { return false }})
	src := newSource()
	p := record(t, s.conn, udpInput, "here")
	m := makeSegment(t, 1, 0, "here")
	src.play(m.info.Start+9000, p)
	p.active()
	src.play(m.info.End, p)
	p.stream(m, len(m.chunks))
	p.released(m)
	ctx, index, operate := t.Context(), dvrv1.NewIndexServiceClient(s.conn), dvrv1.NewMaintenanceServiceClient(s.conn)
	there := func() error {
		r, err := index.GetRanges(ctx, &dvrv1.GetRangesRequest{Stream: "tv"})
		if err == nil && len(r.GetRanges()) == 0 {
			err = errors.New("nothing is left")
		}
		return err
	}
	clock.ahead.Store(int64(time.Hour))
	until(t, "the clock is in doubt", func() error {
		r, err := index.ListTimelines(ctx, &dvrv1.ListTimelinesRequest{Stream: "tv"})
		if err == nil && !r.GetClockInDoubt() {
			err = errors.New("it is not")
		}
		return err
	})
	src.play(m.info.End + 60*90_000)
	if err := there(); err != nil {
		t.Fatalf("retention did not wait: %v", err)
	}
	if u, err := operate.GetUse(ctx, &dvrv1.GetUseRequest{}); err != nil || !u.GetStorages()[0].GetStreams()[0].GetClockInDoubt() {
		t.Errorf("use: %v, %v", u, err)
	}
	say := func(stream string, ahead time.Duration) (*dvrv1.ConfirmClockResponse, error) {
		return operate.ConfirmClock(ctx, &dvrv1.ConfirmClockRequest{Stream: stream, Now: timestamppb.New(clock.Now().Add(ahead))})
	}
	for _, wrong := range []time.Duration{-10 * time.Minute, 10 * time.Minute, -1 << 62} {
		if _, err := say("tv", wrong); !errors.Is(err, errs.ErrClockDiffers) {
			t.Errorf("a clock that is %s ahead: %v", wrong, err)
		}
	}
	if _, err := operate.ConfirmClock(ctx, &dvrv1.ConfirmClockRequest{}); !errors.Is(err, errs.ErrInvalid) {
		t.Errorf("no time: %v", err)
	}
	if _, err := say("other", 0); !errors.Is(err, errs.ErrStreamUnknown) {
		t.Errorf("an unknown stream: %v", err)
	}
	if r, err := say("", -4*time.Minute); err != nil || !slices.Equal(r.GetWaited(), []string{"tv"}) || time.Duration(r.GetAheadNanos()) < 4*time.Minute {
		t.Errorf("confirmed: %v, %v", r, err)
	}
	until(t, "it expires", func() error {
		if there() == nil {
			return errors.New("it is still there")
		}
		return nil
	})
	if r, err := say("tv", 0); err != nil || len(r.GetWaited()) > 0 {
		t.Errorf("confirmed again: %v, %v", r, err)
	}
}

// TestConfirmClockWithoutStorage: a clock that differs is not called right because there is no archive that could wait.
func TestConfirmClockWithoutStorage(t *testing.T) {
	s := startWith(t, t.TempDir(), "", Deps{})
	for ahead, right := range map[time.Duration]bool{0: true, 10 * time.Hour: false, -10 * time.Hour: false} {
		m, err := dvrv1.NewMaintenanceServiceClient(s.conn).ConfirmClock(t.Context(), &dvrv1.ConfirmClockRequest{Now: timestamppb.New(fastClock{}.Now().Add(-ahead))})
		if (err == nil) != right || err != nil && !errors.Is(err, errs.ErrClockDiffers) {
			t.Errorf("%s ahead: %v, %v", ahead, m, err)
		}
	}
}

// until waits for what comes by itself.
func until(t *testing.T, what string, check func() error) {
	t.Helper()
	err := fmt.Errorf("not asked")
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		err = check()
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
