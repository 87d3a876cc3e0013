package operator

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// waiting is a dvrsvc whose clock leapt.
type waiting struct {
	dvrv1.UnimplementedMaintenanceServiceServer
	now time.Time
}

func (w *waiting) ConfirmClock(_ context.Context, m *dvrv1.ConfirmClockRequest) (*dvrv1.ConfirmClockResponse, error) {
	ahead := w.now.Sub(m.GetNow().AsTime())
	if ahead.Abs() > time.Minute {
		return nil, rpcerr.ToStatus(errs.ErrClockDiffers)
	}
	return &dvrv1.ConfirmClockResponse{AheadNanos: int64(ahead), Waited: []string{"news", "tv"}}, nil
}

func (w *waiting) GetUse(context.Context, *dvrv1.GetUseRequest) (*dvrv1.GetUseResponse, error) {
	return &dvrv1.GetUseResponse{Storages: []*dvrv1.StorageUse{{Path: "/storage"}}}, nil
}

func (w *waiting) GetStatistics(context.Context, *dvrv1.GetStatisticsRequest) (*dvrv1.GetStatisticsResponse, error) {
	return &dvrv1.GetStatisticsResponse{Storages: []*dvrv1.StorageStatistics{{Path: "/storage"}}}, nil
}

// listen gives the address at which it serves.
func (w *waiting) listen(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	dvrv1.RegisterMaintenanceServiceServer(srv, w)
	reflection.Register(srv)
	go srv.Serve(lis) //nolint:errcheck // ends with Stop
	t.Cleanup(srv.Stop)
	return lis.Addr().String()
}

func TestConfirmClock(t *testing.T) {
	w := &waiting{now: time.Unix(1_800_000_000, 0)}
	var out bytes.Buffer
	s, err := Dial(w.listen(t), Access{}, &out, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.ConfirmClock(t.Context(), w.now.Add(-1500*time.Millisecond)); err != nil {
		t.Error(err)
	}
	if want := "its clock is right, 1.5s ahead; retention goes on that waited: news, tv\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("it says %q, want %q", out.String(), want)
	}
	out.Reset()
	if err := s.ConfirmClock(t.Context(), w.now.Add(time.Hour)); !errors.Is(err, errs.ErrClockDiffers) || out.Len() > 0 {
		t.Errorf("another time: %v, %q", err, out.String())
	}
}

// TestConfirmClocks: of several dvrsvc each has a clock of its own. One that differs keeps the others from nothing.
func TestConfirmClocks(t *testing.T) {
	right, wrong := &waiting{now: time.Unix(1_800_000_000, 0)}, &waiting{now: time.Unix(1_900_000_000, 0)}
	for _, order := range [][]*waiting{{right, wrong}, {wrong, right}} {
		var out bytes.Buffer
		s, err := Dial(order[0].listen(t)+","+order[1].listen(t), Access{}, &out, false)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.ConfirmClock(t.Context(), right.now); !errors.Is(err, errs.ErrClockDiffers) || strings.Count(out.String(), "its clock is right") != 1 {
			t.Errorf("it says %q, %v", out.String(), err)
		}
	}
}

// What is asked of every dvrsvc is answered by those that are there, and the others do not pass for asked.
func TestAskedOfAllWithOneAway(t *testing.T) {
	w := &waiting{now: time.Unix(1_800_000_000, 0)}
	addrs := w.listen(t) + ",127.0.0.1:1"
	for name, ask := range map[string]func(*Site) error{
		"confirm-clock": func(s *Site) error { return s.ConfirmClock(t.Context(), w.now) },
		"df":            func(s *Site) error { return s.DF(t.Context()) },
		"stats":         func(s *Site) error { return s.Stats(t.Context(), "") },
	} {
		for _, asJSON := range []bool{false, true} {
			var out bytes.Buffer
			s, err := Dial(addrs, Access{}, &out, asJSON)
			if err != nil {
				t.Fatal(err)
			}
			err = ask(s)
			if err == nil || errors.Is(err, ErrDifference) || !strings.Contains(err.Error(), "127.0.0.1:1 does not answer") || out.Len() == 0 {
				t.Errorf("%s: %v\n%s", name, err, out.String())
			}
			s.Close()
		}
	}
}
