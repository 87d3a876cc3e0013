package m4fclient

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	// maxSegmentBytes bounds what a download takes into memory: 16 s at 120 Mbit/s.
	maxSegmentBytes = 256 << 20
	// maxPieceBytes bounds one message of it.
	maxPieceBytes = 1 << 20
	// Where the media lies in what comes.
	fetchDataField = 15 // FetchResponse.data
	readDataField  = 15 // ReadSegmentResponse.data
	// In SubscribeResponse, and in it.
	subscribeChunkField, chunkDataField = 2, 15
	// stalled is how long the peer may take for the next piece.
	stalled = 30 * time.Second
)

// Urgency orders fetches on the peer.
type Urgency = m4fv1.Urgency

// The urgencies that are used.
const (
	Repair = m4fv1.Urgency_URGENCY_REPAIR
	Fill   = m4fv1.Urgency_URGENCY_FILL
)

// ErrStalled says that a peer took a fetch and then sent nothing for long.
var ErrStalled = errors.New("the peer sends nothing")

// BusyError says that the peer wants to be asked again later.
type BusyError struct{ After time.Duration }

func (e *BusyError) Error() string { return fmt.Sprintf("the peer is busy for %s", e.After) }

// Download is one copy on its way. It survives the session over which it began: Run goes on where it stopped.
type Download struct {
	Stream  string
	Digest  segment.Digest
	Urgency Urgency
	Bytes   uint64 // its length, as the peer listed it; 0: not known
	Live    bool   // over the live connection: for a takeover, not for backfill
	Packets bool   // with what is kept of the packets of damaged access units: Info.Runs
	// Throttle is asked before each piece is awaited, with how much of it was not asked for yet; nil: no limit.
	Throttle func(ctx context.Context, bytes int) error

	Slot  segment.Slot // in the peer's numbering; set with the fields below once the head has come
	Info  segment.Info
	Inits []segment.Init
	Data  []byte

	headed, verified bool
}

// Complete reports whether all is here and was found right: then there is nothing to run.
func (d *Download) Complete() bool { return d.verified }

// Run fetches the rest over s. After nil the copy is complete and its digest and checksums hold.
// Errors: errs.ErrUnknown, errs.ErrExpired, errs.ErrDeleted, errs.ErrQuarantined: the peer does not hold it;
// *errs.SupersededError; *BusyError; errs.ErrCorrupt: it came damaged, and what had come is dropped; ErrStalled; else the connection.
func (d *Download) Run(ctx context.Context, s *Session) error {
	if err := d.run(ctx, s); err != nil {
		if errors.Is(err, errs.ErrCorrupt) || errors.Is(err, errs.ErrInvalid) {
			d.headed, d.Data = false, nil
		}
		err = fmt.Errorf("fetch segment %s of %s from peer %s: %w", d.Digest, d.Stream, s.Node, err)
		if !d.Live && s.cfg.Archive != "" && s.cfg.Archive != s.cfg.Addr && gone(err) { // a port of its own says nothing of live
			return err
		}
		return s.check(err)
	}
	return nil
}

func (d *Download) run(ctx context.Context, s *Session) (err error) {
	ctx, end := context.WithCancelCause(ctx)
	cancel := func() { end(nil) }
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	conn := s.conns.backfill
	if d.Live {
		conn = s.conns.live
	}
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), ErrStalled) {
			err = fmt.Errorf("%w for %s", ErrStalled, stalled)
		}
	}()
	rpc, err := s.over(conn).Fetch(ctx, &m4fv1.FetchRequest{
		Stream: d.Stream, Digest: d.Digest[:], Offset: uint64(len(d.Data)), Urgency: d.Urgency, Packets: d.Packets,
	})
	if err != nil {
		return err
	}
	watch := s.cfg.Clock.NewTimer(stalled)
	defer watch.Stop()
	go func() {
		select {
		case <-watch.C():
			end(ErrStalled)
		case <-ctx.Done():
		}
	}()
	ahead := 0 // asked for and not come: pieces may be smaller than they might be
	for {
		if d.Throttle != nil {
			watch.Stop() // it is we who hold it up
			more := max(0, d.nextPiece()-ahead)
			if err := d.Throttle(ctx, more); err != nil {
				return err
			}
			ahead += more
		}
		watch.Reset(stalled)
		m := &m4fv1.FetchResponse{}
		err := rpc.RecvMsg(grpcx.Received(m, fetchDataField))
		if errors.Is(err, io.EOF) {
			return d.verify()
		}
		if err != nil {
			return err
		}
		ahead -= len(m.GetData())
		s.told(m)
		if err := d.take(m); err != nil {
			return err
		}
	}
}

// Read gets the rest from a dvrsvc of our own site, which has the stream under a name. After nil the copy is complete,
// as after Run; after an error what had come before is still there.
func (d *Download) Read(ctx context.Context, dvr grpc.ClientConnInterface, stream string) error {
	before := *d
	if err := d.read(ctx, dvr, stream); err != nil {
		*d = before
		return fmt.Errorf("read segment %s of %s from dvrsvc: %w", d.Digest, stream, err)
	}
	return nil
}

func (d *Download) read(ctx context.Context, dvr grpc.ClientConnInterface, stream string) error {
	ctx, cancel := context.WithTimeout(ctx, stalled)
	defer cancel()
	rpc, err := dvrv1.NewSegmentServiceClient(dvr).ReadSegment(ctx, &dvrv1.ReadSegmentRequest{
		Stream: stream, Digest: d.Digest[:], Offset: uint64(len(d.Data)),
		Purpose: dvrv1.ReadPurpose_READ_PURPOSE_REPLICATION, Packets: d.Packets,
	})
	if err != nil {
		return err
	}
	for {
		m := &dvrv1.ReadSegmentResponse{}
		err := rpc.RecvMsg(grpcx.Received(m, readDataField))
		if errors.Is(err, io.EOF) {
			return d.verify()
		}
		if err != nil {
			return rpcerr.FromStatus(err)
		}
		if err := d.take(&m4fv1.FetchResponse{Head: m.GetHead(), Offset: m.GetOffset(), Data: m.GetData(), Packets: m.GetPackets()}); err != nil {
			return err
		}
	}
}

// nextPiece is how much the next message may bring.
func (d *Download) nextPiece() int {
	if !d.headed {
		return 0
	}
	return int(min(maxPieceBytes, d.Info.Bytes-uint64(len(d.Data))))
}

func (d *Download) take(m *m4fv1.FetchResponse) error {
	switch {
	case m.GetNotHeld() != "":
		if e := rpcerr.Sentinel(m.GetNotHeld()); e != nil {
			return e
		}
		return fmt.Errorf("%s: %w", m.GetNotHeld(), errs.ErrUnknown)
	case len(m.GetSupersededBy()) > 0:
		by, err := segmentpb.ToDigest(m.GetSupersededBy())
		if err != nil {
			return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
		}
		return &errs.SupersededError{By: by.String()}
	case m.GetBusyMillis() > 0:
		return &BusyError{After: time.Duration(min(m.GetBusyMillis(), 60_000)) * time.Millisecond}
	}
	if h := m.GetHead(); h != nil {
		if err := d.head(m); err != nil {
			return err
		}
	}
	if p := m.GetPackets(); d.headed && len(p) > 0 {
		d.Info.Runs, _ = segment.ParseRuns(p) // without them the copy is as good
	}
	b := m.GetData()
	if len(b) == 0 {
		return nil
	}
	if !d.headed || m.GetOffset() != uint64(len(d.Data)) || uint64(len(d.Data)+len(b)) > d.Info.Bytes {
		return fmt.Errorf("%d bytes came for offset %d at %d of %d: %w", len(b), m.GetOffset(), len(d.Data), d.Info.Bytes, errs.ErrCorrupt)
	}
	if d.Data == nil && uint64(len(b)) == d.Info.Bytes { // it is whole, and nobody else's
		d.Data = b
		return nil
	}
	if d.Data == nil {
		d.Data = make([]byte, 0, d.Info.Bytes)
	}
	d.Data = append(d.Data, b...)
	return nil
}

// head takes the first message. After a resumption it must be of the same bytes.
func (d *Download) head(m *m4fv1.FetchResponse) error {
	h := m.GetHead()
	info, err := segmentpb.ToInfo(h.GetInfo())
	if err != nil {
		return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
	}
	slot, err := segmentpb.ToSlot(h.GetSlot())
	if err != nil {
		return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
	}
	inits, err := segmentpb.ToInits(h.GetInits())
	if err != nil {
		return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
	}
	switch {
	case info.Digest != d.Digest:
		return fmt.Errorf("another segment came, %s: %w", info.Digest, errs.ErrCorrupt)
	case info.Bytes == 0 || info.Bytes > maxSegmentBytes || len(info.Chunks) == 0:
		return fmt.Errorf("it says it has %d bytes in %d chunks: %w", info.Bytes, len(info.Chunks), errs.ErrInvalid)
	case d.Bytes != 0 && info.Bytes != d.Bytes: // before room for it is made
		return fmt.Errorf("it says it has %d bytes, and was listed with %d: %w", info.Bytes, d.Bytes, errs.ErrCorrupt)
	case d.headed && info.Bytes != d.Info.Bytes:
		return fmt.Errorf("it had %d bytes, now %d: %w", d.Info.Bytes, info.Bytes, errs.ErrCorrupt)
	}
	for _, in := range inits {
		if len(in.Data) == 0 {
			return fmt.Errorf("init segment of PID %d is missing: %w", in.PID, errs.ErrInvalid)
		}
	}
	d.Slot, d.Info, d.Inits = slot, info, inits
	if !d.headed {
		d.headed, d.Data = true, nil
	}
	return nil
}

// verify holds the whole against its digest and each chunk against its checksum.
func (d *Download) verify() error {
	if !d.headed || uint64(len(d.Data)) != d.Info.Bytes {
		return fmt.Errorf("it ended after %d of %d bytes: %w", len(d.Data), d.Info.Bytes, io.ErrUnexpectedEOF)
	}
	if got := segment.Sum(d.Data); got != d.Digest {
		return fmt.Errorf("its bytes have digest %s: %w", got, errs.ErrCorrupt)
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	for i, c := range d.Info.Chunks {
		if got := crc32.Checksum(d.Data[c.Offset:c.Offset+uint64(c.Size)], table); got != c.CRC {
			return fmt.Errorf("chunk %d has checksum %08x, want %08x: %w", i, got, c.CRC, errs.ErrCorrupt)
		}
	}
	d.verified = true
	return nil
}
