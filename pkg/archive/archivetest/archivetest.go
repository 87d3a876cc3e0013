// Package archivetest is a dvrsvc in memory for tests of those who read an archive: it speaks the gRPC services and
// holds segments that a test made up.
package archivetest

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// PIDs of the tracks that Add makes, and the ticks between their samples.
const (
	Video, VideoTicks = 0x100, 3600
	AAC, AACTicks     = 0x101, 1920
	MP2, MP2Ticks     = 0x102, 2160
)

// Server is the archive of one stream. Fill it before Dial.
type Server struct {
	dvrv1.UnimplementedSegmentServiceServer
	dvrv1.UnimplementedIndexServiceServer
	Name   string
	Left   bool // it is not recorded here any more
	Copies []*Copy
	// Superseded has the digests, of which the keys are raw bytes, of what took the place of others.
	Superseded map[string]string
	inits      map[segment.Digest][]byte
}

// Copy is one presented segment.
type Copy struct {
	Slot  segment.Slot
	Info  segment.Info
	Bytes []byte
	Start time.Time
	Open  bool
}

// Place says where a segment lies.
type Place struct {
	Row      byte // of the timeline
	Turn     int32
	Start    timeline.Ticks // T
	Length   timeline.Ticks
	UTC      time.Time
	Open     bool
	Language string // of the AAC track: another one is another configuration
	NoMP2    bool
	Damaged  bool // a picture is known to be
	Data     []Data
}

// Data is a track of data.
type Data struct {
	PID         uint16
	Name        string // segment.Teletext and the like
	Language    string
	StreamType  uint8
	Descriptors []byte
	Units       []Unit // in the order of their times
}

// Unit is a sample of a track of data.
type Unit struct {
	At    timeline.Ticks // from the start of the segment
	Shown timeline.Ticks // PTS - DTS
	Data  []byte
}

// Add makes a segment of a video, an AAC and an MP2 track, whose samples carry their own PID and T.
func (s *Server) Add(p Place) *Copy {
	c := &Copy{Start: p.UTC, Open: p.Open, Info: segment.Info{Start: p.Start, Independent: true, Format: segment.Format}}
	for _, pid := range []uint16{Video, AAC, MP2} {
		if pid != MP2 || !p.NoMP2 {
			s.track(c, pid, p)
		}
	}
	for _, d := range p.Data {
		s.data(c, d)
	}
	c.Info.End, c.Info.Bytes = c.Info.Track(Video).End, uint64(len(c.Bytes))
	if !p.Open {
		c.Info.Digest = segment.Sum(c.Bytes)
	}
	if p.Damaged {
		c.Info.Evidence.Faulty = []segment.FaultySample{{PID: Video, DTS: p.Start, Reason: segment.ReasonContinuity}}
	}
	c.Slot = segment.Slot{
		Timeline: segment.TimelineID{p.Row}, Turn: p.Turn, Cell: uint16(p.Start.Cell()),
		InitSet: segment.MakeInitSet(c.Info.Tracks),
	}
	s.Copies = append(s.Copies, c)
	return c
}

func (s *Server) track(c *Copy, pid uint16, p Place) {
	kind, step, language := fmp4.Audio, timeline.Ticks(AACTicks), p.Language
	switch pid {
	case Video:
		kind, step, language = fmp4.Video, VideoTicks, ""
	case MP2:
		step, language = MP2Ticks, "fra"
	}
	init, codec := initOf(pid, language)
	hash := segment.Sum(init)
	if s.inits == nil {
		s.inits = make(map[segment.Digest][]byte)
	}
	s.inits[hash] = init
	first := (p.Start + step - 1) / step * step // the track's own grid
	if pid == Video {
		first = p.Start
	}
	t := segment.Track{PID: pid, Codec: codec, Language: language, Init: hash, Start: first}
	at := first
	for at < p.Start+p.Length {
		var samples []fmp4.Sample
		var payload []byte
		from := at
		for cell := at / timeline.ChunkTicks; at < p.Start+p.Length && at/timeline.ChunkTicks == cell; at += step {
			sample := Sample(pid, at)
			samples = append(samples, fmp4.Sample{Duration: uint32(step), Size: uint32(len(sample)), Flags: fmp4.FlagsSync})
			payload = append(payload, sample...)
		}
		s.chunk(c, &t, kind, from, samples, payload)
	}
	t.End = at
	c.Info.Tracks = append(c.Info.Tracks, t)
}

func (s *Server) data(c *Copy, d Data) {
	init, err := fmp4.DataInit(d.PID, d.Language, d.StreamType, d.Descriptors)
	if err != nil {
		panic(err) // the test's own arguments
	}
	hash := segment.Sum(init)
	s.inits[hash] = init
	start := c.Info.Start
	t := segment.Track{PID: d.PID, Codec: segment.DataCodec + d.Name, Language: d.Language, Init: hash, Start: start, End: start}
	for i := 0; i < len(d.Units); {
		from := start + d.Units[i].At
		var samples []fmp4.Sample
		var payload []byte
		for at := from; i < len(d.Units) && at/timeline.ChunkTicks == from/timeline.ChunkTicks; i++ {
			next := (at/timeline.ChunkTicks + 1) * timeline.ChunkTicks
			if i+1 < len(d.Units) {
				next = min(next, start+d.Units[i+1].At)
			}
			u := d.Units[i]
			samples = append(samples, fmp4.Sample{
				Duration: uint32(next - at), Size: uint32(len(u.Data)), Flags: fmp4.FlagsSync, Offset: uint32(u.Shown),
			})
			payload = append(payload, u.Data...)
			if i+1 < len(d.Units) {
				at = start + d.Units[i+1].At
			}
			t.End = next
		}
		s.chunk(c, &t, fmp4.Video, from, samples, payload)
	}
	c.Info.Tracks = append(c.Info.Tracks, t)
}

// chunk appends a chunk of a track.
func (s *Server) chunk(c *Copy, t *segment.Track, kind fmp4.Kind, from timeline.Ticks, samples []fmp4.Sample, payload []byte) {
	chunk := fmp4.AppendChunk(nil, kind, t.PID, from, samples, payload)
	c.Info.Chunks = append(c.Info.Chunks, segment.Chunk{
		PID: t.PID, Cell: uint32(from / timeline.ChunkTicks), Offset: uint64(len(c.Bytes)), Size: uint32(len(chunk)),
		CRC: crc32.Checksum(chunk, crc32.MakeTable(crc32.Castagnoli)), TfdtOffset: fmp4.TfdtOffset,
	})
	c.Bytes = append(c.Bytes, chunk...)
	t.Samples, t.Bytes = t.Samples+uint32(len(samples)), t.Bytes+uint64(len(chunk))
}

// Sample is the content of the sample of a track at T.
func Sample(pid uint16, at timeline.Ticks) []byte {
	b := binary.BigEndian.AppendUint16(nil, pid)
	return binary.BigEndian.AppendUint64(b, uint64(at))
}

func initOf(pid uint16, language string) (init []byte, codec string) {
	var err error
	switch pid {
	case Video:
		sps, _ := hex.DecodeString("6742c00cda05067e7c0440000003004000000c83c50aa8")
		pps, _ := hex.DecodeString("68ce0fc8")
		init, codec, err = fmp4.H264Init(pid, language, [][]byte{sps}, [][]byte{pps})
	case AAC:
		init, codec, err = fmp4.AACInit(pid, language, fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 2})
	default:
		init, codec, err = fmp4.MPEGAudioInit(pid, language, fmp4.MPEGAudioConfig{Rate: 48000, Channels: 2})
	}
	if err != nil {
		panic(err) // the arguments are constants of this package
	}
	return init, codec
}

// Dial serves the archive in memory until the test ends, and whatever else is registered.
func (s *Server) Dial(t testing.TB, also ...func(grpc.ServiceRegistrar)) grpc.ClientConnInterface {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	dvrv1.RegisterSegmentServiceServer(srv, s)
	dvrv1.RegisterIndexServiceServer(srv, s)
	for _, register := range also {
		register(srv)
	}
	go srv.Serve(lis) //nolint:errcheck // ends with Stop
	t.Cleanup(srv.Stop)
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // the test is over
	return conn
}

func (c *Copy) end() time.Time { return c.Start.Add((c.Info.End - c.Info.Start).Duration()) }

func (c *Copy) ref() []byte {
	if c.Open {
		return []byte("open")
	}
	return c.Info.Digest[:]
}

func (c *Copy) head() *dvrv1.Head {
	h := &dvrv1.Head{Slot: segmentpb.Slot(c.Slot), Info: segmentpb.Info(c.Info), StartUtcNanos: c.Start.UnixNano()}
	if c.Open {
		h.Info.Digest = nil
	}
	return h
}

// Locate implements SegmentServiceServer.
func (s *Server) Locate(r *dvrv1.LocateRequest, out grpc.ServerStreamingServer[dvrv1.LocateResponse]) error {
	if r.GetStream() != s.Name {
		return rpcerr.ToStatus(errs.ErrStreamUnknown)
	}
	for _, c := range s.Copies {
		if c.end().UnixNano() <= r.GetFromUtcNanos() || (r.GetToUtcNanos() != 0 && c.Start.UnixNano() >= r.GetToUtcNanos()) {
			continue
		}
		m := &dvrv1.LocateResponse{Head: c.head(), EndUtcNanos: c.end().UnixNano(), Open: c.Open}
		if c.Open {
			m.OpenRef = c.ref()
		}
		if err := out.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// ReadSegment implements SegmentServiceServer, in pieces of 10000 bytes.
func (s *Server) ReadSegment(r *dvrv1.ReadSegmentRequest, out grpc.ServerStreamingServer[dvrv1.ReadSegmentResponse]) error {
	for _, c := range s.Copies {
		if string(c.ref()) != string(r.GetDigest()) {
			continue
		}
		if err := out.Send(&dvrv1.ReadSegmentResponse{Head: c.head()}); err != nil {
			return err
		}
		for at := 0; at < len(c.Bytes); at += 10000 {
			piece := c.Bytes[at:min(at+10000, len(c.Bytes))]
			if err := out.Send(&dvrv1.ReadSegmentResponse{Offset: uint64(at), Data: piece}); err != nil {
				return err
			}
		}
		return nil
	}
	if by, ok := s.Superseded[string(r.GetDigest())]; ok {
		return rpcerr.ToStatus(&errs.SupersededError{By: by})
	}
	return rpcerr.ToStatus(errs.ErrUnknown)
}

// ReadInit implements SegmentServiceServer.
func (s *Server) ReadInit(_ context.Context, r *dvrv1.ReadInitRequest) (*dvrv1.ReadInitResponse, error) {
	d, err := segmentpb.ToDigest(r.GetHash())
	if err != nil || s.inits[d] == nil {
		return nil, rpcerr.ToStatus(errs.ErrUnknown)
	}
	return &dvrv1.ReadInitResponse{Data: s.inits[d]}, nil
}

// ListStreams implements IndexServiceServer.
func (s *Server) ListStreams(context.Context, *dvrv1.ListStreamsRequest) (*dvrv1.ListStreamsResponse, error) {
	m := &dvrv1.StreamSummary{
		Stream: s.Name, Segments: uint64(len(s.Copies)), Configured: !s.Left, ActiveInput: "udp://239.0.0.1:1234",
		Inputs: []*dvrv1.InputSummary{{Input: "udp://239.0.0.1:1234", Priority: 1, Alive: true, Active: true}},
	}
	if s.Left {
		m.ActiveInput, m.Inputs = "", nil
	}
	for _, c := range s.Copies {
		m.Bytes += uint64(len(c.Bytes))
		if m.First == nil {
			m.First = timestamppb.New(c.Start)
		}
		m.Last = timestamppb.New(c.end())
	}
	return &dvrv1.ListStreamsResponse{Streams: []*dvrv1.StreamSummary{m}}, nil
}

// ListSegments implements IndexServiceServer, with the fields that say which and where.
func (s *Server) ListSegments(r *dvrv1.ListSegmentsRequest, out grpc.ServerStreamingServer[dvrv1.ListSegmentsResponse]) error {
	if r.GetStream() != s.Name {
		return rpcerr.ToStatus(errs.ErrStreamUnknown)
	}
	for _, c := range s.Copies {
		if err := out.Send(&dvrv1.ListSegmentsResponse{Segment: &dvrv1.Segment{
			Digest: c.Info.Digest.String(), Start: timestamppb.New(c.Start), End: timestamppb.New(c.end()), Presented: true,
		}}); err != nil {
			return err
		}
	}
	return nil
}

// ListEvents implements IndexServiceServer: an event for each segment.
func (s *Server) ListEvents(r *dvrv1.ListEventsRequest, out grpc.ServerStreamingServer[dvrv1.ListEventsResponse]) error {
	if r.GetStream() != s.Name {
		return rpcerr.ToStatus(errs.ErrStreamUnknown)
	}
	for _, c := range s.Copies {
		if err := out.Send(&dvrv1.ListEventsResponse{
			Start: timestamppb.New(c.Start), End: timestamppb.New(c.end()), Events: []*dvrv1.Event{{Received: timestamppb.New(c.Start)}},
		}); err != nil {
			return err
		}
	}
	return nil
}

// GetRanges implements IndexServiceServer: a range for each segment.
func (s *Server) GetRanges(_ context.Context, r *dvrv1.GetRangesRequest) (*dvrv1.GetRangesResponse, error) {
	if r.GetStream() != s.Name {
		return nil, rpcerr.ToStatus(fmt.Errorf("get ranges of %q: %w", r.GetStream(), errs.ErrStreamUnknown))
	}
	m := &dvrv1.GetRangesResponse{}
	for _, c := range s.Copies {
		if r.GetTo() != nil && !c.Start.Before(r.GetTo().AsTime()) {
			continue
		}
		m.Ranges = append(m.Ranges, &dvrv1.Range{
			From: timestamppb.New(c.Start), To: timestamppb.New(c.end()), State: dvrv1.Range_INTACT,
		})
	}
	return m, nil
}

// FindGaps implements IndexServiceServer.
func (s *Server) FindGaps(context.Context, *dvrv1.FindGapsRequest) (*dvrv1.FindGapsResponse, error) {
	m := &dvrv1.FindGapsResponse{}
	for i, c := range s.Copies {
		if i > 0 && s.Copies[i-1].end().Before(c.Start) {
			m.Gaps = append(m.Gaps, &dvrv1.Gap{
				From: timestamppb.New(s.Copies[i-1].end()), To: timestamppb.New(c.Start), Reason: "no_source",
			})
		}
	}
	return m, nil
}
