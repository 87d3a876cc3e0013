package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

type maintenance struct {
	*Server
	dvrv1.UnimplementedMaintenanceServiceServer
}

// Verify implements MaintenanceServiceServer.
func (x maintenance) Verify(m *dvrv1.VerifyRequest, rpc grpc.ServerStreamingServer[dvrv1.VerifyResponse]) error {
	a, err := x.archive(m.GetStream())
	if err != nil {
		return err
	}
	var bad uint64
	var sent error
	total, err := a.Verify(rpc.Context(), func(b store.BadCopy) {
		bad++
		if e := rpc.Send(&dvrv1.VerifyResponse{Digest: b.Digest.String(), Problem: b.Problem.Error(), Bad: bad}); e != nil && sent == nil {
			sent = e
		}
	})
	if err != nil {
		return fmt.Errorf("verify %s: %w", m.GetStream(), err)
	}
	if sent != nil {
		return sent
	}
	return rpc.Send(&dvrv1.VerifyResponse{Copies: total.Copies, Bytes: total.Bytes, Bad: total.Bad})
}

// LockRange implements MaintenanceServiceServer.
func (x maintenance) LockRange(_ context.Context, m *dvrv1.LockRangeRequest) (*dvrv1.LockRangeResponse, error) {
	a, err := x.archive(m.GetStream())
	if err != nil {
		return nil, err
	}
	l := m.GetLock()
	from, to, err := window(l.GetFrom(), l.GetTo())
	if err != nil {
		return nil, err
	}
	if u := l.GetUntil(); u != nil && u.CheckValid() != nil {
		return nil, invalid(u.CheckValid())
	}
	kept, err := a.Lock(store.Lock{
		ID: l.GetId(), From: from, To: to, Owner: l.GetOwner(), Comment: l.GetComment(), Until: toTime(l.GetUntil()),
	})
	if err != nil {
		return nil, err
	}
	return &dvrv1.LockRangeResponse{Lock: fromLock(kept)}, nil
}

// UnlockRange implements MaintenanceServiceServer.
func (x maintenance) UnlockRange(_ context.Context, m *dvrv1.UnlockRangeRequest) (*dvrv1.UnlockRangeResponse, error) {
	a, err := x.archive(m.GetStream())
	if err != nil {
		return nil, err
	}
	l, err := a.Unlock(m.GetId())
	if err != nil {
		return nil, err
	}
	return &dvrv1.UnlockRangeResponse{Lock: fromLock(l)}, nil
}

// DeleteRange implements MaintenanceServiceServer.
func (x maintenance) DeleteRange(ctx context.Context, m *dvrv1.DeleteRangeRequest) (*dvrv1.DeleteRangeResponse, error) {
	a, err := x.archive(m.GetStream())
	if err != nil {
		return nil, err
	}
	from, to, err := window(m.GetFrom(), m.GetTo())
	if err != nil {
		return nil, err
	}
	d, err := a.DeleteRange(ctx, from, to)
	if err != nil {
		return nil, err
	}
	return &dvrv1.DeleteRangeResponse{From: timestamp(d.From), To: timestamp(d.To), Copies: d.Copies, Bytes: d.Bytes}, nil
}

// ConfirmClock implements MaintenanceServiceServer.
func (x maintenance) ConfirmClock(_ context.Context, m *dvrv1.ConfirmClockRequest) (*dvrv1.ConfirmClockResponse, error) {
	if err := m.GetNow().CheckValid(); err != nil {
		return nil, invalid(fmt.Errorf("now: %w", err))
	}
	ahead, waited, err := x.rec.ConfirmClock(m.GetStream(), m.GetNow().AsTime())
	if err != nil {
		return nil, err
	}
	return &dvrv1.ConfirmClockResponse{AheadNanos: int64(ahead), Waited: waited}, nil
}

// GetUse implements MaintenanceServiceServer.
func (x maintenance) GetUse(context.Context, *dvrv1.GetUseRequest) (*dvrv1.GetUseResponse, error) {
	all, err := x.rec.Use()
	if err != nil {
		return nil, err
	}
	out := &dvrv1.GetUseResponse{}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		u := all[path]
		m := &dvrv1.StorageUse{
			Path: path, CapacityBytes: u.Capacity, FreeBytes: u.Free, ReserveBytes: u.Reserve, DataBytes: u.Data, DeadBytes: u.Dead,
			IndexBytes: u.Index, DayBytes: u.DayBytes, MeasuredSeconds: uint64(u.Measured / time.Second), Forecast: u.Forecast,
			UntilSeconds: uint64(u.Until / time.Second),
		}
		for _, st := range u.Streams {
			s := &dvrv1.StreamUse{Stream: st.Name, DataBytes: st.Data, DeadBytes: st.Dead, DayBytes: st.DayBytes, ClockInDoubt: st.ClockInDoubt}
			if !st.Oldest.IsZero() {
				s.OldestNanos, s.NewestNanos = st.Oldest.UnixNano(), st.Newest.UnixNano()
			}
			m.Streams = append(m.Streams, s)
		}
		out.Storages = append(out.Storages, m)
	}
	return out, nil
}
