package operator_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// locksmith is a dvrsvc with locks.
type locksmith struct {
	dvrv1.UnimplementedIndexServiceServer
	dvrv1.UnimplementedMaintenanceServiceServer
	configured bool
	locks      map[string]*dvrv1.Lock
	deleted    []*dvrv1.DeleteRangeRequest
	copies     uint64
}

func (k *locksmith) ListStreams(context.Context, *dvrv1.ListStreamsRequest) (*dvrv1.ListStreamsResponse, error) {
	return &dvrv1.ListStreamsResponse{Streams: []*dvrv1.StreamSummary{{Stream: "s", Segments: 3, Configured: k.configured}}}, nil
}

func (k *locksmith) ListLocks(context.Context, *dvrv1.ListLocksRequest) (*dvrv1.ListLocksResponse, error) {
	m := &dvrv1.ListLocksResponse{}
	for _, l := range k.locks {
		m.Locks = append(m.Locks, l)
	}
	for _, d := range k.deleted {
		m.Deleted = append(m.Deleted, &dvrv1.Span{From: d.GetFrom(), To: d.GetTo()})
	}
	return m, nil
}

func (k *locksmith) LockRange(_ context.Context, m *dvrv1.LockRangeRequest) (*dvrv1.LockRangeResponse, error) {
	k.locks[m.GetLock().GetId()] = m.GetLock()
	return &dvrv1.LockRangeResponse{Lock: m.GetLock()}, nil
}

func (k *locksmith) UnlockRange(_ context.Context, m *dvrv1.UnlockRangeRequest) (*dvrv1.UnlockRangeResponse, error) {
	l := k.locks[m.GetId()]
	if l == nil {
		return nil, rpcerr.ToStatus(errs.ErrUnknown)
	}
	delete(k.locks, m.GetId())
	return &dvrv1.UnlockRangeResponse{Lock: l}, nil
}

func (k *locksmith) DeleteRange(_ context.Context, m *dvrv1.DeleteRangeRequest) (*dvrv1.DeleteRangeResponse, error) {
	if len(k.locks) > 0 {
		return nil, rpcerr.ToStatus(errs.ErrLocked)
	}
	k.deleted = append(k.deleted, m)
	return &dvrv1.DeleteRangeResponse{From: m.GetFrom(), To: m.GetTo(), Copies: k.copies, Bytes: 1000 * k.copies}, nil
}

// Every dvrsvc that has something of the stream has the lock, under one id, and deletes its part.
func TestLocksOfSeveralBoxes(t *testing.T) {
	boxes := []*locksmith{{configured: true, copies: 2, locks: map[string]*dvrv1.Lock{}}, {copies: 1, locks: map[string]*dvrv1.Lock{}}}
	var addrs []string
	for _, k := range boxes {
		addrs = append(addrs, serve(t, func(r grpc.ServiceRegistrar) {
			dvrv1.RegisterIndexServiceServer(r, k)
			dvrv1.RegisterMaintenanceServiceServer(r, k)
		}))
	}
	var out bytes.Buffer
	site := func() *operator.Site { out.Reset(); return dial(t, strings.Join(addrs, ","), &out, false) }
	says := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if strings.Count(out.String(), w) != 1 {
				t.Errorf("it says\n%s\nwant %q in it, once", out.String(), w)
			}
		}
	}
	r := archive.Range{From: utc, To: utc.Add(time.Minute)}
	if err := site().Lock(t.Context(), "s", r, operator.LockTerms{Owner: "news", Comment: "case 7", Until: utc.AddDate(1, 0, 0)}); err != nil {
		t.Fatal(err)
	}
	says("locked: ", ", of news", "until 2027-11-23", ": case 7\n")
	var id string
	for id = range boxes[0].locks {
	}
	if len(boxes[0].locks) != 1 || boxes[1].locks[id] == nil {
		t.Errorf("locks %v and %v", boxes[0].locks, boxes[1].locks)
	}
	if err := site().Locks(t.Context(), "s"); err != nil {
		t.Error(err)
	}
	says(id)
	if err := site().Delete(t.Context(), "s", r); !errors.Is(err, errs.ErrLocked) {
		t.Errorf("delete what is locked: %v", err)
	}
	delete(boxes[0].locks, id)
	if err := site().Delete(t.Context(), "s", r); !errors.Is(err, errs.ErrLocked) || len(boxes[0].deleted) != 1 {
		t.Errorf("delete what is locked on the second: %v", err)
	}
	says("2 copies, 2.0 kB deleted")
	boxes[0].deleted = nil
	if err := site().Unlock(t.Context(), "s", id); err != nil || len(boxes[1].locks) != 0 {
		t.Errorf("unlock where one has it: %v", err)
	}
	says("unlocked ", id)
	if err := site().Unlock(t.Context(), "s", id); !errors.Is(err, errs.ErrUnknown) {
		t.Errorf("unlock twice: %v", err)
	}
	if err := site().Delete(t.Context(), "s", r); err != nil || len(boxes[0].deleted) != 1 || len(boxes[1].deleted) != 1 {
		t.Errorf("delete: %v", err)
	}
	says("2 copies, ", "1 copies, ")
	boxes[0].copies, boxes[1].copies = 0, 0
	if err := site().Delete(t.Context(), "s", r); !errors.Is(err, operator.ErrDifference) {
		t.Errorf("delete nothing: %v", err)
	}
	if got := boxes[0].deleted[0]; !got.GetFrom().AsTime().Equal(utc) || got.GetTo() == (*timestamppb.Timestamp)(nil) {
		t.Errorf("deleted %v", got)
	}
}
