package grpcx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

func chunk(n int) *dvrv1.Chunk {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * 7)
	}
	return &dvrv1.Chunk{Seq: 7, Pid: 256, ChunkCell: 1 << 20, Crc32C: 0xdeadbeef, Size: uint32(n), Path: []string{"a", "bb"}, Data: data}
}

func record(n int) *dvrv1.RecordRequest {
	return &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Chunk{Chunk: chunk(n)}}
}

// I4: byte for byte what proto.Marshal gives, and the media is not copied where it is worth it.
func TestCodecIsProtobuf(t *testing.T) {
	unknown := record(minShared)
	unknown.GetChunk().ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 5))
	for name, c := range map[string]struct {
		m    proto.Message
		path []protowire.Number
		want bool // shared
	}{
		"own field":       {chunk(minShared), []protowire.Number{15}, true},
		"inner field":     {record(1 << 20), []protowire.Number{4, 15}, true},
		"tail":            {&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Chunk{Chunk: chunk(300 << 10)}}, []protowire.Number{2, 15}, true},
		"fetch":           {&m4fv1.FetchResponse{Offset: 1 << 40, Data: make([]byte, 1<<20)}, []protowire.Number{15}, true},
		"nothing else":    {&m4fv1.FetchResponse{Data: make([]byte, 5000)}, []protowire.Number{15}, true},
		"small":           {record(minShared - 1), []protowire.Number{4, 15}, false},
		"empty":           {record(0), []protowire.Number{4, 15}, false},
		"another of them": {&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Progress{Progress: &dvrv1.Progress{HeadTicks: 5}}}, []protowire.Number{4, 15}, false},
		"not last":        {&dvrv1.Hello{Stream: "s", PackagingHash: make([]byte, 8<<10), Ring: []*dvrv1.Offer{{}}}, []protowire.Number{7}, false},
		"unknown fields":  {unknown, []protowire.Number{4, 15}, false},
		"no path":         {chunk(minShared), nil, false},
		"wrong path":      {chunk(minShared), []protowire.Number{8}, false},
		"no such field":   {chunk(minShared), []protowire.Number{4, 99}, false},
		"not a message":   {chunk(minShared), []protowire.Number{2, 15}, false},
		"too short":       {record(minShared), []protowire.Number{4}, false},
	} {
		want, err := proto.Marshal(c.m)
		if err != nil {
			t.Fatal(err)
		}
		before := proto.Clone(c.m)
		got, err := codec{}.Marshal(Shared(c.m, c.path...))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(got.Materialize(), want) {
			t.Errorf("%s: other bytes than protobuf", name)
		}
		if (len(got) == 2) != c.want {
			t.Errorf("%s: %d buffers", name, len(got))
		}
		if !proto.Equal(c.m, before) {
			t.Errorf("%s: the message changed", name)
		}
		got.Free()
		if plain, err := (codec{}).Marshal(c.m); err != nil || !bytes.Equal(plain.Materialize(), want) {
			t.Errorf("%s, not shared: %v", name, err)
		}
	}
	r := record(1 << 20)
	got, err := codec{}.Marshal(Shared(r, 4, 15))
	if err != nil {
		t.Fatal(err)
	}
	if data := r.GetChunk().GetData(); &got[1].ReadOnlyData()[0] != &data[0] {
		t.Error("the media was copied")
	}
}

// I4 on messages of any content.
func TestCodecOnRandomMessages(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		m := record(r.IntN(3 * minShared))
		fill(r, m.GetChunk().ProtoReflect())
		want, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec{}.Marshal(Shared(m, 4, 15))
		if err != nil || !bytes.Equal(got.Materialize(), want) {
			t.Fatalf("seed %d: %v for %v", seed, err, m)
		}
	}
}

// fill sets a random half of the scalar fields but the media.
func fill(r *rand.Rand, m protoreflect.Message) {
	for i := range m.Descriptor().Fields().Len() {
		fd := m.Descriptor().Fields().Get(i)
		if fd.Number() == 15 || r.IntN(2) == 0 || fd.IsList() {
			continue
		}
		switch fd.Kind() {
		case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
			m.Set(fd, protoreflect.ValueOfUint32(r.Uint32()>>r.IntN(32)))
		case protoreflect.Uint64Kind:
			m.Set(fd, protoreflect.ValueOfUint64(r.Uint64()>>r.IntN(64)))
		case protoreflect.MessageKind:
			fill(r, m.Mutable(fd).Message())
		}
	}
}

// lends gives pieces out of few buffers, each of which it uses again as soon as it is free.
type lends struct {
	m4fv1.UnimplementedM4FServiceServer
	pieces int
	free   chan []byte
}

func (s *lends) Fetch(_ *m4fv1.FetchRequest, stream grpc.ServerStreamingServer[m4fv1.FetchResponse]) error {
	for i := range s.pieces {
		b := <-s.free
		n := 1 + (i*977)%cap(b) // some are too small to be sent without a copy
		for k := range b[:n] {
			b[k] = byte(i + k)
		}
		if err := stream.SendMsg(Lent(&m4fv1.FetchResponse{Offset: uint64(i), Data: b[:n]}, func() { s.free <- b }, 15)); err != nil {
			return err
		}
	}
	return nil
}

// Bytes that are lent arrive as they were when they were sent, and their buffer comes back once for each time that it was lent.
func TestLent(t *testing.T) {
	const buffers = 3
	s := &lends{pieces: 400, free: make(chan []byte, buffers)}
	for range buffers {
		s.free <- make([]byte, 100<<10)
	}
	n := 0
	fetchAll(t, fetcher(t, s), func(m *m4fv1.FetchResponse) {
		for k, got := range m.GetData() {
			if got != byte(n+k) {
				t.Fatalf("piece %d: byte %d of %d is %d", n, k, len(m.GetData()), got)
			}
		}
		n++
	})
	if n != s.pieces || len(s.free) != buffers {
		t.Errorf("%d of %d pieces came, %d of %d buffers are back", n, s.pieces, len(s.free), buffers)
	}
}

// sink is a server that takes fetched data, or gives it.
type sink struct {
	m4fv1.UnimplementedM4FServiceServer
	count  int
	shared bool
	data   []byte
}

func (s *sink) Fetch(_ *m4fv1.FetchRequest, stream grpc.ServerStreamingServer[m4fv1.FetchResponse]) error {
	for i := range s.count {
		m := &m4fv1.FetchResponse{Offset: uint64(i), Data: s.data}
		var err error
		if s.shared {
			err = stream.SendMsg(Shared(m, 15))
		} else {
			err = stream.Send(m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func fetcher(tb testing.TB, s m4fv1.M4FServiceServer) m4fv1.M4FServiceClient {
	tb.Helper()
	srv, err := NewServer(ServerOptions{Media: true})
	if err != nil {
		tb.Fatal(err)
	}
	m4fv1.RegisterM4FServiceServer(srv, s)
	lis := listen(tb)
	conn, err := Dial(lis.Addr().String(), DialOptions{Media: true})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, lis) }()
	tb.Cleanup(func() { conn.Close(); cancel(); <-done })
	return m4fv1.NewM4FServiceClient(conn)
}

func fetchAll(tb testing.TB, c m4fv1.M4FServiceClient, check func(*m4fv1.FetchResponse)) {
	tb.Helper()
	stream, err := c.Fetch(tb.Context(), &m4fv1.FetchRequest{}, grpc.WaitForReady(true))
	if err != nil {
		tb.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			tb.Fatal(err)
		}
		check(m)
	}
}

func TestSharedOverTheWire(t *testing.T) {
	s := &sink{count: 20, shared: true, data: chunk(700 << 10).GetData()}
	n := 0
	fetchAll(t, fetcher(t, s), func(m *m4fv1.FetchResponse) {
		if m.GetOffset() != uint64(n) || !bytes.Equal(m.GetData(), s.data) {
			t.Fatalf("message %d arrived as another", n)
		}
		n++
	})
	if n != s.count {
		t.Errorf("%d of %d messages", n, s.count)
	}
}

// BenchmarkMarshal is the sender's part alone; BenchmarkWire is both ends over loopback.
func BenchmarkMarshal(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		m := record(size)
		for name, v := range map[string]any{"protobuf": m, "shared": Shared(m, 4, 15)} {
			b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					out, err := codec{}.Marshal(v)
					if err != nil {
						b.Fatal(err)
					}
					out.Free()
				}
			})
		}
	}
}

func BenchmarkWire(b *testing.B) {
	for _, size := range []int{256 << 10, 1 << 20} {
		for _, shared := range []bool{false, true} {
			b.Run(fmt.Sprintf("shared=%t/%dKiB", shared, size>>10), func(b *testing.B) {
				s := &sink{count: b.N, shared: shared, data: make([]byte, size)}
				c := fetcher(b, s)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				fetchAll(b, c, func(*m4fv1.FetchResponse) {})
			})
		}
	}
}
