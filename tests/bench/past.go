package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// pastRing is how many segments of a stream may wait for their release.
const pastRing = 20

// recordPast brings n segments of a stream as backfill, as fast as they are taken: media that began at a moment of the past, on a
// timeline of its own.
func recordPast(ctx context.Context, conn grpc.ClientConnInterface, source *synthSource, stream string, began time.Time, n int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := dvrv1.NewRecordingServiceClient(conn)
	of := segment.Sum([]byte(stream))
	row, err := client.BindTimeline(ctx, &dvrv1.BindTimelineRequest{
		Stream: stream, PeerStoreId: of[:16], PeerTimeline: of[16:], Make: true, AtTicks: int64(synthStart(0)), AtUtcNanos: began.UnixNano(),
	})
	if err != nil {
		return fmt.Errorf("make a timeline of %s: %w", stream, err)
	}
	rpc, err := client.Record(ctx)
	if err != nil {
		return err
	}
	if err := rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: &dvrv1.Hello{
		Stream: stream, Input: "m4f://127.0.0.1:1/" + stream, Priority: 2, Incarnation: uint64(time.Now().UnixNano()),
		Kind: dvrv1.Kind_KIND_BACKFILL, Format: segment.Format,
	}}}); err != nil {
		return err
	}
	free, told := make(chan struct{}, pastRing), make(chan error, 1)
	go func() {
		for left := n; left > 0; {
			m, err := rpc.Recv()
			if r := m.GetRelease(); err == nil && r != nil {
				if !r.GetDurable() {
					err = fmt.Errorf("segment %d of %s: %s", r.GetSeq(), stream, r.GetReason())
				}
				left--
				<-free
			}
			if err != nil {
				told <- err
				return
			}
		}
		told <- nil
	}()
	for k := range n {
		select {
		case free <- struct{}{}:
		case err := <-told:
			return err
		}
		if err := sendPast(rpc, source.take(k), row); err != nil && !errors.Is(err, io.EOF) { // of that the other side tells why
			return err
		}
	}
	return <-told
}

func sendPast(rpc dvrv1.RecordingService_RecordClient, m *synthetic, row *dvrv1.BindTimelineResponse) error {
	key := segmentpb.Key(segment.Key{Seq: m.seq, Start: m.start, InitSet: m.set, Slot: &segment.Slot{
		Timeline: segment.TimelineID(row.GetTimeline()), Turn: row.GetTurnDifference(), Cell: uint16(m.start.Cell()), InitSet: m.set,
	}})
	begin := proto.CloneOf(m.begin)
	begin.GetBegin().Key = key
	if err := rpc.Send(begin); err != nil {
		return err
	}
	for _, c := range m.chunks {
		if err := rpc.SendMsg(c); err != nil {
			return err
		}
	}
	return rpc.Send(m.seal)
}

// segmentsOf is how many segments make so much media.
func segmentsOf(d time.Duration) int { return int(timeline.FromDuration(d) / synthTicks) }
