package app

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/errs"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// A range is locked, which nobody can delete then; unlocked, it is deleted, and neither comes back nor is unknown.
func TestLockUnlockDelete(t *testing.T) {
	s := startOf(t, t.TempDir(), "stream tv { input "+udpInput+"; dvr one 1h; }")
	src := newSource()
	p := record(t, s.conn, udpInput, "here")
	first, second := makeSegment(t, 1, 0, "here"), makeSegment(t, 2, 1, "here")
	src.play(first.info.Start+9000, p)
	p.active()
	for _, m := range []*made{first, second} {
		src.play(m.info.End, p)
		p.stream(m, len(m.chunks))
		p.released(m)
	}
	ctx, index, operate := t.Context(), dvrv1.NewIndexServiceClient(s.conn), dvrv1.NewMaintenanceServiceClient(s.conn)
	ranges := func() []*dvrv1.Range {
		r, err := index.GetRanges(ctx, &dvrv1.GetRangesRequest{Stream: "tv"})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetRanges()
	}
	from := ranges()[0].GetFrom()
	to := timestamppb.New(from.AsTime().Add(first.info.End.Duration() - first.info.Start.Duration() + time.Second))
	l, err := operate.LockRange(ctx, &dvrv1.LockRangeRequest{Stream: "tv", Lock: &dvrv1.Lock{From: from, To: to, Owner: "news", Comment: "case 7"}})
	if err != nil || l.GetLock().GetId() == "" {
		t.Fatalf("lock: %v, %v", l, err)
	}
	list, err := index.ListLocks(ctx, &dvrv1.ListLocksRequest{Stream: "tv"})
	if err != nil || len(list.GetLocks()) != 1 || list.GetLocks()[0].GetComment() != "case 7" || len(list.GetDeleted()) != 0 {
		t.Errorf("locks: %v, %v", list, err)
	}
	if m, err := index.ListStreams(ctx, &dvrv1.ListStreamsRequest{}); err != nil || m.GetStreams()[0].GetLocks() != 1 {
		t.Errorf("streams: %v, %v", m, err)
	}
	if m, err := index.ListTimelines(ctx, &dvrv1.ListTimelinesRequest{Stream: "tv"}); err != nil || len(m.GetLocked()) != 1 {
		t.Errorf("timelines: %v, %v", m, err)
	}
	// The UTC of a place may yet move by how much later than others its packets came.
	del := &dvrv1.DeleteRangeRequest{Stream: "tv", From: timestamppb.New(from.AsTime().Add(-time.Second)), To: to}
	if _, err := operate.DeleteRange(ctx, del); !errors.Is(err, errs.ErrLocked) {
		t.Errorf("delete what is locked: %v", err)
	}
	if _, err := operate.UnlockRange(ctx, &dvrv1.UnlockRangeRequest{Stream: "tv", Id: "none"}); !errors.Is(err, errs.ErrUnknown) {
		t.Errorf("unlock none: %v", err)
	}
	if _, err := operate.UnlockRange(ctx, &dvrv1.UnlockRangeRequest{Stream: "tv", Id: l.GetLock().GetId()}); err != nil {
		t.Errorf("unlock: %v", err)
	}
	for (fastClock{}).Now().Before(to.AsTime()) { // what is of the future, as where the first packets came late, is not deleted
		time.Sleep(time.Millisecond)
	}
	if d, err := operate.DeleteRange(ctx, del); err != nil || d.GetCopies() != 1 || d.GetBytes() != first.info.Bytes {
		t.Errorf("delete: %v, %v", d, err)
	}
	if r := ranges(); len(r) != 1 || !r[0].GetFrom().AsTime().After(from.AsTime()) {
		t.Errorf("ranges: %v", r)
	}
	if _, _, err := archive.New(s.conn, "tv").ReadDigest(ctx, first.info.Digest); !errors.Is(err, errs.ErrDeleted) {
		t.Errorf("read what was deleted: %v", err)
	}
	for _, err := range []error{
		call(operate.LockRange(ctx, &dvrv1.LockRangeRequest{Stream: "tv"})),
		call(operate.LockRange(ctx, &dvrv1.LockRangeRequest{Stream: "tv", Lock: &dvrv1.Lock{From: to, To: from}})),
		call(operate.DeleteRange(ctx, &dvrv1.DeleteRangeRequest{Stream: "tv", From: from})),
	} {
		if !errors.Is(err, errs.ErrInvalid) {
			t.Errorf("without a range: %v", err)
		}
	}
}

func call[T any](_ T, err error) error { return err }
