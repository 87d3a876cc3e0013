package pack_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/dvrsvc/app"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/streamconfpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// gateway serves one config for ever.
type gateway struct {
	gatewayv1.UnimplementedConfigServiceServer
	text string
}

func (g gateway) Watch(_ *gatewayv1.WatchRequest, rpc grpc.ServerStreamingServer[gatewayv1.WatchResponse]) error {
	c, err := streamconf.Parse("test", []byte(g.text))
	if err != nil {
		return err
	}
	if err := rpc.Send(&gatewayv1.WatchResponse{Config: streamconfpb.ToProto(c, "1")}); err != nil {
		return err
	}
	<-rpc.Context().Done()
	return nil
}

func serve(t *testing.T, register func(*grpcx.Server)) *grpc.ClientConn {
	t.Helper()
	srv, err := grpcx.NewServer(grpcx.ServerOptions{Media: true})
	if err != nil {
		t.Fatal(err)
	}
	register(srv)
	pipe := grpcx.NewPipe()
	conn, err := pipe.Dial(grpcx.DialOptions{Media: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, pipe.Listener()) }()
	t.Cleanup(func() { conn.Close(); cancel(); <-done })
	return conn
}

// box runs a dvrsvc with a stream of each name, which is kept for its time.
func box(t *testing.T, node string, streams map[string]string) *grpc.ClientConn {
	t.Helper()
	return boxIn(t, node, t.TempDir(), streams)
}

// boxIn is box with its storage in a directory.
func boxIn(t *testing.T, node, dir string, streams map[string]string) *grpc.ClientConn {
	t.Helper()
	text := ""
	for name, keep := range streams {
		text += fmt.Sprintf("stream %s { input udp://239.0.0.1:1234; dvr archive %s; }\n", name, keep)
	}
	gw := serve(t, func(s *grpcx.Server) { gatewayv1.RegisterConfigServiceServer(s, gateway{text: text}) })
	cfg := app.Default()
	cfg.Data, cfg.Node = dir, node
	a, err := app.New(cfg, app.Deps{Gateway: gw, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	conn := serve(t, func(s *grpcx.Server) { a.Register(s) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	for name := range streams {
		for {
			_, err := dvrv1.NewRecordingServiceClient(conn).BindTimeline(t.Context(), &dvrv1.BindTimelineRequest{
				Stream: name, PeerStoreId: make([]byte, 16), PeerTimeline: make([]byte, 16),
			})
			if err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return conn
}

const (
	frameTicks = 1920 // of AAC at 48 kHz
	pid        = 256
)

// line is a timeline row that a test fills.
type line struct {
	id     segment.TimelineID // of the peer that has it
	begins timeline.Ticks     // U of frame 0
	utc    timeline.Mapping
	seed   string
}

// made is a segment as a producer has it.
type made struct {
	slot  segment.Slot
	inits []segment.Init
	info  segment.Info
	data  []byte
}

// fault says what is wrong with a segment.
type fault struct {
	lost, bad []int // frames from its start
	uncertain bool
}

// frames gives the frames of a cell, counted from that of the line's beginning.
func (l *line) frames(cell int) (from, to int) {
	first := func(k int) int {
		c := (l.begins - timeline.Wrap) / timeline.CellTicks
		at := timeline.Wrap + (c+timeline.Ticks(k))*timeline.CellTicks
		return max(0, int((at-l.begins+frameTicks-1)/frameTicks))
	}
	return first(cell), first(cell + 1)
}

func (l *line) make(t *testing.T, cell, channels int, f fault, path ...string) *made {
	t.Helper()
	data, codec, err := fmp4.AACInit(pid, "eng", fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: uint8(channels)})
	if err != nil {
		t.Fatal(err)
	}
	from, to := l.frames(cell)
	u := l.begins + timeline.Ticks(from)*frameTicks
	start := timeline.Unwrap(u, 3*timeline.Wrap/2)
	m := &made{inits: []segment.Init{{PID: pid, Hash: segment.Sum(data), Data: data}}}
	m.info = segment.Info{
		Start: start, End: start + timeline.Ticks(to-from)*frameTicks, Independent: true, Path: path, Format: segment.Format,
		Evidence: segment.Evidence{EndUncertain: f.uncertain},
	}
	for k := from; k < to; {
		at := start + timeline.Ticks(k-from)*frameTicks
		var samples []fmp4.Sample
		var payload []byte
		var begins timeline.Ticks
		for ; k < to && (start+timeline.Ticks(k-from)*frameTicks)>>15 == at>>15; k++ {
			dts := start + timeline.Ticks(k-from)*frameTicks
			switch {
			case slices.Contains(f.lost, k-from):
				m.info.Evidence.Missing = append(m.info.Evidence.Missing, segment.MissingSpan{PID: pid, From: dts, To: dts + frameTicks, Reason: segment.ReasonContinuity})
				if n := len(samples); n > 0 {
					samples[n-1].Duration += frameTicks
				}
				continue
			case slices.Contains(f.bad, k-from):
				m.info.Evidence.Faulty = append(m.info.Evidence.Faulty, segment.FaultySample{PID: pid, DTS: dts, Reason: segment.ReasonTransport})
			}
			if len(samples) == 0 {
				begins = dts
			}
			frame := fmt.Appendf(nil, "%s %d %t", l.seed, k, slices.Contains(f.bad, k-from))
			samples = append(samples, fmp4.Sample{Duration: frameTicks, Size: uint32(len(frame)), Flags: fmp4.FlagsSync})
			payload = append(payload, frame...)
		}
		if len(samples) == 0 {
			continue
		}
		b := fmp4.AppendChunk(nil, fmp4.Audio, pid, begins, samples, payload)
		m.info.Chunks = append(m.info.Chunks, segment.Chunk{
			PID: pid, Cell: uint32(at >> 15), Offset: uint64(len(m.data)), Size: uint32(len(b)),
			CRC: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), TfdtOffset: fmp4.TfdtOffset,
		})
		m.data = append(m.data, b...)
	}
	m.info.Digest, m.info.Bytes = segment.Sum(m.data), uint64(len(m.data))
	m.info.Tracks = []segment.Track{{
		PID: pid, Codec: codec, Language: "eng", Init: m.inits[0].Hash, Start: start, End: m.info.End,
		Samples: uint32(to - from - len(f.lost)), Bytes: m.info.Bytes,
	}}
	m.slot = segment.Slot{Timeline: l.id, Turn: int32((u - start) / timeline.Wrap), Cell: uint16(start.Cell()), InitSet: segment.MakeInitSet(m.info.Tracks)}
	return m
}

// producer is a backfill producer that the tests write for themselves.
type producer struct {
	t   *testing.T
	rpc grpc.BidiStreamingClient[dvrv1.RecordRequest, dvrv1.RecordResponse]
	seq uint64
}

func produce(t *testing.T, conn *grpc.ClientConn, stream string) *producer {
	t.Helper()
	rpc, err := dvrv1.NewRecordingServiceClient(conn).Record(t.Context())
	if err == nil {
		err = rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: &dvrv1.Hello{
			Stream: stream, Input: "m4f://peer", Incarnation: 1, Kind: dvrv1.Kind_KIND_BACKFILL, Format: segment.Format,
		}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return &producer{t: t, rpc: rpc}
}

// bind has the rows of some lines made, and names them.
func bind(t *testing.T, conn *grpc.ClientConn, stream string, lines []*line) {
	t.Helper()
	for i, l := range lines {
		m := &dvrv1.BindTimelineRequest{Stream: stream, PeerStoreId: make([]byte, 16), PeerTimeline: append(make([]byte, 15), byte(i)), Make: true}
		for _, p := range l.utc {
			m.Mapping = append(m.Mapping, &dvrv1.TimelinePoint{Ticks: int64(p.U), UtcNanos: p.UTC})
		}
		a, err := dvrv1.NewRecordingServiceClient(conn).BindTimeline(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		copy(l.id[:], a.GetTimeline())
	}
}

// put records segments and waits until each is durable.
func (p *producer) put(ms ...*made) {
	p.t.Helper()
	for _, m := range ms {
		p.seq++
		key := segment.Key{Seq: p.seq, Start: m.info.Start, InitSet: m.slot.InitSet, Slot: &m.slot}
		out := []*dvrv1.RecordRequest{{Message: &dvrv1.RecordRequest_Begin{Begin: &dvrv1.Begin{
			Key: segmentpb.Key(key), Inits: segmentpb.Inits(m.inits), Path: m.info.Path, Tracks: segmentpb.Tracks(m.info.Tracks), Independent: true,
		}}}}
		for _, c := range m.info.Chunks {
			out = append(out, &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Chunk{Chunk: &dvrv1.Chunk{
				Seq: p.seq, Pid: uint32(c.PID), ChunkCell: c.Cell, TfdtOffset: c.TfdtOffset, Crc32C: c.CRC, Size: c.Size,
				Data: m.data[c.Offset : c.Offset+uint64(c.Size)],
			}}})
		}
		out = append(out, &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Seal{Seal: &dvrv1.Seal{Seq: p.seq, Info: segmentpb.Info(m.info)}}})
		for _, r := range out {
			if err := p.rpc.Send(r); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	for left := len(ms); left > 0; {
		m, err := p.rpc.Recv()
		if err != nil {
			p.t.Fatal(rpcerr.FromStatus(err))
		}
		if r := m.GetRelease(); r != nil {
			if left--; !r.GetDurable() {
				p.t.Fatalf("segment %d is refused: %s", r.GetSeq(), r.GetReason())
			}
		}
	}
}

// lines makes rows of several hours ago: one over the wrap of the source's clock, one with a slewed clock, one that shows
// again what the first showed.
func lines(r *rand.Rand) []*line {
	now := time.Now().Add(-3 * time.Hour)
	at := func(begins timeline.Ticks, d time.Duration, seed string) *line {
		return &line{begins: begins, seed: seed, utc: timeline.Mapping{{U: begins, UTC: now.Add(d).UnixNano()}}}
	}
	first := timeline.Wrap + timeline.Ticks(r.Int64N(int64(timeline.Wrap/2)))
	again := at(first, 2*time.Hour, "a")
	slewed := at(timeline.Wrap+timeline.Ticks(r.Int64N(int64(timeline.Wrap/2))), time.Hour, "c")
	for range 3 {
		last := slewed.utc[len(slewed.utc)-1]
		u := last.U + timeline.Ticks(90000*(5+r.Int64N(20)))
		slewed.utc, _ = slewed.utc.With(timeline.Point{U: u, UTC: last.UTC + int64((u - last.U).Duration()) + r.Int64N(5e6)})
	}
	return []*line{at(first, 0, "a"), at(2*timeline.Wrap-3*timeline.CellTicks+1234, 30*time.Minute, "b"), slewed, again}
}

// fill records a random archive: whole and damaged copies, several in a slot, replaced ones, gaps, another configuration.
func fill(t *testing.T, r *rand.Rand, conn *grpc.ClientConn, stream string) []*line {
	t.Helper()
	ls := lines(r)
	bind(t, conn, stream, ls)
	p := produce(t, conn, stream)
	var early, late []*made
	for i, l := range ls {
		change := 2 + r.IntN(5)
		for cell := range 8 {
			channels := 2
			if cell >= change && i != 0 && i != 3 {
				channels = 1
			}
			add := func(to *[]*made, f fault, path ...string) { *to = append(*to, l.make(t, cell, channels, f, path...)) }
			k := 1 + r.IntN(50)
			kind := r.IntN(7)
			if i == 3 && cell < 3 {
				kind = 0 // the same bytes as in the first row
			}
			switch kind {
			case 0, 1:
				add(&early, fault{}, "here")
			case 2:
				add(&early, fault{lost: []int{k, k + 1}}, "x", "y")
			case 3: // neither contains the other
				add(&early, fault{lost: []int{k}}, "x")
				add(&late, fault{lost: []int{k + 60}, bad: []int{k + 70}}, "y")
			case 4: // replaced
				add(&early, fault{bad: []int{k}}, "x")
				add(&late, fault{}, "y", "z")
			case 5:
				add(&early, fault{uncertain: true, lost: []int{k}}, "here")
			case 6: // a gap
			}
		}
	}
	p.put(early...)
	p.put(late...)
	return ls
}
