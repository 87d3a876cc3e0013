package testdvr

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// Record implements RecordingServiceServer.
func (d *DVR) Record(rpc grpc.BidiStreamingServer[dvrv1.RecordRequest, dvrv1.RecordResponse]) error {
	m, err := rpc.Recv()
	if err != nil {
		return err
	}
	h := m.GetHello()
	d.mu.Lock()
	d.records++
	away := d.away
	d.mu.Unlock()
	if away {
		return errs.ErrNotReady
	}
	var sending sync.Mutex
	in := &Input{Kind: h.GetKind(), Incarnation: h.GetIncarnation(), Offers: map[uint64]*dvrv1.Offer{}, tail: map[uint64]uint64{}}
	in.send = func(m *dvrv1.RecordResponse) {
		sending.Lock()
		defer sending.Unlock()
		rpc.Send(m) //nolint:errcheck // the call has ended
	}
	d.mu.Lock()
	for _, o := range h.GetRing() {
		in.Offers[o.GetKey().GetSeq()] = o
	}
	d.inputs[h.GetKind().String()+h.GetInput()] = in
	d.roles++
	role, ended, store := &dvrv1.Role{Epoch: d.roles}, d.ended, d.store
	d.mu.Unlock()
	in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Welcome{Welcome: &dvrv1.Welcome{Node: d.Node, StoreId: store[:]}}})
	in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Role{Role: role}})
	done := make(chan error, 1)
	go func() { done <- d.takeAll(rpc, in) }()
	select {
	case err := <-done:
		return err
	case <-ended:
		return errs.ErrNotReady
	}
}

// takeAll takes what a producer says until its call ends.
func (d *DVR) takeAll(rpc grpc.BidiStreamingServer[dvrv1.RecordRequest, dvrv1.RecordResponse], in *Input) error {
	open := map[uint64]*Copy{}
	for {
		m, err := rpc.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.take(in, open, m); err != nil {
			return err
		}
	}
}

// take handles one message of a producer.
func (d *DVR) take(in *Input, open map[uint64]*Copy, m *dvrv1.RecordRequest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch m := m.GetMessage().(type) {
	case *dvrv1.RecordRequest_Progress:
		in.Progress = m.Progress
	case *dvrv1.RecordRequest_Offer:
		if in.Kind == dvrv1.Kind_KIND_BACKFILL {
			return d.hear(in, m.Offer)
		}
		in.Offers[m.Offer.GetKey().GetSeq()] = m.Offer
	case *dvrv1.RecordRequest_Withdraw:
		delete(in.Offers, m.Withdraw.GetSeq())
	case *dvrv1.RecordRequest_Begin:
		key, err := segmentpb.ToKey(m.Begin.GetKey())
		if err != nil {
			return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
		}
		inits, err := segmentpb.ToInits(m.Begin.GetInits())
		if err != nil {
			return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
		}
		in.PeerRow = key.Peer
		c := &Copy{Slot: segment.Slot{Timeline: d.row, Cell: uint16(key.Start.Cell()), InitSet: key.InitSet}, Inits: inits}
		if key.Slot != nil {
			c.Slot = *key.Slot
		}
		if !slices.Contains(d.rows, c.Slot.Timeline) {
			if in.Kind == dvrv1.Kind_KIND_BACKFILL {
				go in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Release{Release: &dvrv1.Release{Seq: key.Seq, Reason: "UNKNOWN"}}})
			}
			return nil
		}
		open[key.Seq] = c
		if in.Active {
			d.tailSeq++
			in.tail[key.Seq] = d.tailSeq
			b := m.Begin
			d.publish(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Begin{Begin: &dvrv1.TailBegin{Slot: segmentpb.Slot(c.Slot), Begin: &dvrv1.Begin{
				Key:   segmentpb.Key(segment.Key{Seq: d.tailSeq, Start: key.Start, InitSet: key.InitSet}),
				Inits: b.Inits, Path: b.Path, Tracks: b.Tracks, Independent: b.Independent,
			}}}})
		}
		go in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Named{Named: &dvrv1.Named{Seq: key.Seq, Slot: segmentpb.Slot(c.Slot)}}})
	case *dvrv1.RecordRequest_Chunk:
		c := open[m.Chunk.GetSeq()]
		if c == nil {
			return nil // it was refused
		}
		if m.Chunk.GetSize() == uint32(len(m.Chunk.GetData())) && crc(m.Chunk.GetData()) != m.Chunk.GetCrc32C() {
			return fmt.Errorf("chunk of segment %d: %w", m.Chunk.GetSeq(), errs.ErrCorrupt)
		}
		c.Data = append(c.Data, m.Chunk.GetData()...)
		if seq := in.tail[m.Chunk.GetSeq()]; in.Active && seq > 0 {
			out := &dvrv1.Chunk{
				Seq: seq, Pid: m.Chunk.GetPid(), ChunkCell: m.Chunk.GetChunkCell(), Crc32C: m.Chunk.GetCrc32C(), Size: m.Chunk.GetSize(),
				Offset: m.Chunk.GetOffset(), Path: m.Chunk.GetPath(), Data: m.Chunk.GetData(),
			}
			d.publish(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Chunk{Chunk: out}})
		}
	case *dvrv1.RecordRequest_Seal:
		d.seal(in, open, m.Seal)
	}
	return nil
}

// hear takes what is known against bytes that are here. d.mu is held.
func (d *DVR) hear(in *Input, m *dvrv1.Offer) error {
	key, err := segmentpb.ToKey(m.GetKey())
	if err != nil {
		return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
	}
	info, err := segmentpb.ToInfo(m.GetInfo())
	if err != nil {
		return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
	}
	d.told = append(d.told, info.Digest)
	release := &dvrv1.Release{Seq: key.Seq, Reason: "UNKNOWN"}
	if reason := d.lost[info.Digest]; reason != "" {
		delete(d.copies, info.Digest)
		release.Reason = reason
	} else if c := d.copies[info.Digest]; c != nil {
		release.Durable, release.Reason, release.Slot = true, "", segmentpb.Slot(c.Slot)
		if info.Evidence.Less(&c.Info.Evidence) {
			c.Info.Evidence = info.Evidence
		}
	}
	go in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Release{Release: release}})
	return nil
}

// seal stores what a producer sent, if it is what it says. d.mu is held.
func (d *DVR) seal(in *Input, open map[uint64]*Copy, m *dvrv1.Seal) {
	seq := m.GetSeq()
	info, err := segmentpb.ToInfo(m.GetInfo())
	c := open[seq]
	delete(open, seq)
	delete(in.Offers, seq)
	if c == nil {
		return
	}
	release := &dvrv1.Release{Seq: seq, Reason: "CORRUPT"}
	if d.refuse != "" {
		release.Reason = d.refuse
	} else if d.full[c.Slot.AbsCell()] {
		release.Reason = "CONFLICT_LIMIT"
	} else if err == nil && segment.Sum(c.Data) == info.Digest {
		c.Info = info
		c.Info.Runs, _ = segment.ParseRuns(m.GetPackets())
		d.copies[info.Digest] = c
		d.giveWay(c.Slot)
		delete(d.rotten, info.Digest)
		d.puts[info.Digest]++
		release.Durable, release.Reason, release.Slot = true, "", segmentpb.Slot(c.Slot)
		if t := in.tail[seq]; in.Active && t > 0 {
			d.publish(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Seal{Seal: &dvrv1.TailSeal{
				Slot: segmentpb.Slot(c.Slot), Seal: &dvrv1.Seal{Seq: t, Info: m.GetInfo()},
			}}})
		}
	}
	if d.late && in.Kind == dvrv1.Kind_KIND_BACKFILL {
		return
	}
	go in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Release{Release: release}})
}

// giveWay drops what a whole copy of the slot contains. d.mu is held.
func (d *DVR) giveWay(slot segment.Slot) {
	for _, whole := range d.copies {
		if whole.Slot != slot || !whole.Info.Evidence.Whole() {
			continue
		}
		maps.DeleteFunc(d.copies, func(_ segment.Digest, c *Copy) bool {
			return c.Slot == slot && !c.Info.Evidence.Whole() && segment.Covers([]*segment.Info{&whole.Info}, &c.Info)
		})
	}
}
