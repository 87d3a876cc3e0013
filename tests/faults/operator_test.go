package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// span is a half-open range of UTC.
type span struct{ from, to time.Time }

func (s span) contains(o span) bool { return !o.from.Before(s.from) && !o.to.After(s.to) }
func (s span) overlaps(o span) bool { return s.from.Before(o.to) && o.from.Before(s.to) }

// operator locks, unlocks and deletes ranges of streams that are filled, whatever becomes of dvrsvc, and knows what was
// acknowledged.
type operator struct {
	conn   grpc.ClientConnInterface
	ledger *ledger
	began  time.Time // of segment 0

	mu      sync.Mutex                 // protects the fields below
	locks   map[string]map[string]span // by stream and id, that were acknowledged
	unknown map[string]map[string]bool // of which nobody knows whether it is there, and how
	deleted map[string][]span          // that were acknowledged
	asked   map[string][]span          // the same, and those of which no answer came
	wrong   error
	answers int
}

func newOperator(conn grpc.ClientConnInterface, l *ledger, began time.Time) *operator {
	return &operator{
		conn: conn, ledger: l, began: began, locks: map[string]map[string]span{}, unknown: map[string]map[string]bool{},
		deleted: map[string][]span{}, asked: map[string][]span{},
	}
}

// at is when segment k begins.
func (o *operator) at(k int) time.Time {
	return o.began.Add((segmentStart(k) - segmentStart(0)).Duration())
}

// on is when segment k is on air.
func (o *operator) on(k int) span { return span{o.at(k), o.at(k + 1)} }

// act does one thing.
func (o *operator) act(ctx context.Context, rnd *rand.Rand, stream string) error {
	newest := o.ledger.newest(stream)
	if newest < 8 {
		return nil
	}
	k := rnd.IntN(newest)
	r := span{o.at(k).Add(time.Second), o.at(k + 1 + rnd.IntN(4)).Add(time.Second)}
	id := fmt.Sprint("lock-", rnd.IntN(6))
	call := dvrv1.NewMaintenanceServiceClient(o.conn)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.locks[stream] == nil {
		o.locks[stream], o.unknown[stream] = map[string]span{}, map[string]bool{}
	}
	was, locked := o.locks[stream][id]
	switch rnd.IntN(3) {
	case 0:
		delete(o.locks[stream], id)
		_, err := call.LockRange(ctx, &dvrv1.LockRangeRequest{Stream: stream, Lock: &dvrv1.Lock{Id: id, From: timestamppb.New(r.from), To: timestamppb.New(r.to)}})
		if o.unknown[stream][id] = err != nil; err != nil {
			return err
		}
		o.locks[stream][id] = r
	case 1:
		delete(o.locks[stream], id)
		_, err := call.UnlockRange(ctx, &dvrv1.UnlockRangeRequest{Stream: stream, Id: id})
		switch known := !o.unknown[stream][id]; {
		case err != nil && rpcerr.Reason(err) != "UNKNOWN":
			o.unknown[stream][id] = true
			return err
		case known && (err == nil) != locked:
			o.wrong = fmt.Errorf("unlock %s of %s, which is locked: %v (%v): %w", id, stream, locked, was, err)
		}
		o.unknown[stream][id] = false
	default:
		d, err := call.DeleteRange(ctx, &dvrv1.DeleteRangeRequest{Stream: stream, From: timestamppb.New(r.from), To: timestamppb.New(r.to)})
		if err != nil && rpcerr.Reason(err) == "LOCKED" {
			break
		}
		o.asked[stream] = append(o.asked[stream], r)
		if err != nil {
			return err
		}
		o.deleted[stream] = append(o.deleted[stream], span{d.GetFrom().AsTime(), d.GetTo().AsTime()})
		for id, l := range o.locks[stream] {
			if l.overlaps(r) {
				o.wrong = fmt.Errorf("%s was deleted from %s to %s, though %s is locked", stream, r.from, r.to, id)
			}
		}
	}
	o.answers++
	return nil
}

// judge compares what is locked and deleted with what was acknowledged. list gives the segments that are there.
func (o *operator) judge(ctx context.Context, stream string, list func() (map[segment.Digest]bool, error)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	here, err := list()
	if err = errors.Join(err, o.wrong); err != nil {
		return err
	}
	m, err := dvrv1.NewIndexServiceClient(o.conn).ListLocks(ctx, &dvrv1.ListLocksRequest{Stream: stream})
	if err != nil {
		return err
	}
	there := map[string]span{}
	for _, l := range m.GetLocks() {
		there[l.GetId()] = span{l.GetFrom().AsTime(), l.GetTo().AsTime()}
		if _, ok := o.locks[stream][l.GetId()]; !ok && !o.unknown[stream][l.GetId()] {
			return fmt.Errorf("%s is locked by %s, which was unlocked", stream, l.GetId())
		}
	}
	for id, l := range o.locks[stream] {
		if got, ok := there[id]; !ok || !got.from.Equal(l.from) || !got.to.Equal(l.to) {
			return fmt.Errorf("lock %s of %s is %v, want %v", id, stream, got, l)
		}
	}
	for d, k := range o.ledger.of(stream) {
		if here[d] && slices.ContainsFunc(o.deleted[stream], func(s span) bool { return s.contains(o.on(k)) }) {
			return fmt.Errorf("segment %d of %s was deleted and is there", k, stream)
		}
	}
	return nil
}

// mayBeGone reports whether somebody asked to delete a segment.
func (o *operator) mayBeGone(stream string, k int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.asked[stream], func(s span) bool { return s.contains(o.on(k)) })
}
