package inventory

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// blocksPerCall keeps an answer about slots below the message limit: 1024 slots of six tracks, with much damage, have
// 2 MB.
const blocksPerCall = 2

// Local is the archive of our own dvrsvc.
type Local struct{ index dvrv1.IndexServiceClient }

var _ Archive = (*Local)(nil)

// NewLocal reads the archive behind conn.
func NewLocal(conn grpc.ClientConnInterface) *Local {
	return &Local{index: dvrv1.NewIndexServiceClient(conn)}
}

// Rows implements Archive.
func (l *Local) Rows(ctx context.Context, stream string) (Rows, error) {
	m, err := l.index.ListTimelines(ctx, &dvrv1.ListTimelinesRequest{Stream: stream})
	if err != nil {
		return Rows{}, fmt.Errorf("list timelines of %s: %w", stream, rpcerr.FromStatus(err))
	}
	rows, err := FromTimelines(m.GetTimelines())
	return Rows{StoreID: string(m.GetStoreId()), Rows: rows}, err
}

// Digests implements Archive.
func (l *Local) Digests(ctx context.Context, stream string, row segment.TimelineID, from, to int64) ([]Block, error) {
	m, err := l.index.GetDigests(ctx, &dvrv1.GetDigestsRequest{Stream: stream, Timeline: row[:], FromBlock: from, ToBlock: to})
	if err != nil {
		return nil, fmt.Errorf("get digests of %s: %w", stream, rpcerr.FromStatus(err))
	}
	return FromBlocks(m.GetBlocks(), from, to)
}

// Slots implements Archive.
func (l *Local) Slots(ctx context.Context, stream string, row segment.TimelineID, from, to int64) ([]Slot, error) {
	return InParts(from, to, func(from, to int64) ([]Slot, error) {
		m, err := l.index.ListSlots(ctx, &dvrv1.ListSlotsRequest{Stream: stream, Timeline: row[:], FromBlock: from, ToBlock: to})
		if err != nil {
			return nil, fmt.Errorf("list slots of %s: %w", stream, rpcerr.FromStatus(err))
		}
		return FromSlots(m.GetSlots(), row, from, to)
	})
}

// InParts asks for the slots of many blocks a few at a time.
func InParts(from, to int64, ask func(from, to int64) ([]Slot, error)) ([]Slot, error) {
	var all []Slot
	for ; from < to; from += blocksPerCall {
		slots, err := ask(from, min(from+blocksPerCall, to))
		if err != nil {
			return nil, err
		}
		all = append(all, slots...)
	}
	return all, nil
}
