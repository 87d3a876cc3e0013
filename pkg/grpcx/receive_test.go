package grpcx

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// inPieces cuts bytes into buffers of random sizes, with empty ones among them.
func inPieces(r *rand.Rand, b []byte) mem.BufferSlice {
	var out mem.BufferSlice
	for len(b) > 0 {
		n := min(len(b), r.IntN(1<<r.IntN(15)))
		out = append(out, mem.SliceBuffer(bytes.Clone(b[:n])))
		b = b[n:]
	}
	return out
}

// check compares a message that is Received with what protobuf makes of the same bytes, and reports whether it is valid.
// The buffers are overwritten before: nothing of the message may lie in them.
func check(t *testing.T, r *rand.Rand, b []byte, m proto.Message, path ...protowire.Number) bool {
	t.Helper()
	want := m.ProtoReflect().New().Interface()
	werr := proto.Unmarshal(b, want)
	in := inPieces(r, b)
	err := codec{}.Unmarshal(in, Received(m, path...))
	if (err == nil) != (werr == nil) {
		t.Fatalf("error %v, of protobuf %v, for %d bytes", err, werr, len(b))
	}
	if err != nil {
		return false
	}
	for _, buf := range in {
		clear(buf.ReadOnlyData())
	}
	if !proto.Equal(m, want) {
		t.Fatalf("another message than protobuf's from %d bytes", len(b))
	}
	return true
}

func wire(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// chunkOf wraps the fields of a chunk, as bytes, in a RecordRequest, with more bytes around it.
func chunkOf(before, fields, after []byte) []byte {
	b := protowire.AppendTag(before, 4, protowire.BytesType)
	return append(protowire.AppendBytes(b, fields), after...)
}

func field(n protowire.Number, data []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), data)
}

// I5, and where it is worth it the media is copied once.
func TestReceivedIsProtobuf(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	big, other := make([]byte, 300<<10), bytes.Repeat([]byte{7}, minShared)
	for i := range big {
		big[i] = byte(i * 7)
	}
	pid := protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 256)
	unknown := protowire.AppendFixed64(protowire.AppendTag(nil, 99, protowire.Fixed64Type), 5)
	group := protowire.AppendTag(protowire.AppendTag(nil, 99, protowire.StartGroupType), 99, protowire.EndGroupType)
	progress := wire(t, &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Progress{Progress: &dvrv1.Progress{HeadTicks: 5}}})
	long := protowire.AppendTag(nil, 15, protowire.BytesType) // a length with more bytes than it needs
	long = append(long, byte(len(big))|0x80, byte(len(big)>>7)|0x80, byte(len(big)>>14)|0x80, 0x80, 0x00)
	long = append(long, big...)
	for name, c := range map[string]struct {
		b    []byte
		once bool // copied once
	}{
		"as we send it":       {wire(t, record(1<<20)), true},
		"media first":         {chunkOf(nil, append(field(15, big), pid...), nil), true},
		"media between":       {chunkOf(nil, append(append(bytes.Clone(pid), field(15, big)...), unknown...), unknown), true},
		"a long length":       {chunkOf(nil, append(bytes.Clone(pid), long...), nil), true},
		"small":               {wire(t, record(minShared-1)), false},
		"something else":      {progress, false},
		"twice":               {chunkOf(nil, append(field(15, other), field(15, big)...), nil), false},
		"two chunks":          {chunkOf(chunkOf(nil, field(15, big), nil), field(15, other), nil), false},
		"another member last": {chunkOf(nil, field(15, big), progress), true},
		"another first":       {chunkOf(bytes.Clone(progress), field(15, big), nil), true},
		"of another type":     {chunkOf(nil, append(append(protowire.AppendTag(nil, 15, protowire.VarintType), 1), field(9, big)...), nil), false},
		"with a group":        {chunkOf(nil, append(bytes.Clone(group), field(15, big)...), nil), false},
		"cut":                 {wire(t, record(1<<20))[:1<<19], false},
		"a byte too many":     {append(wire(t, record(1<<20)), 0), false},
		"longer than it is":   {append(protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.BytesType), 1<<62), big...), false},
		"a length of no end":  {append([]byte{4<<3 | 2}, bytes.Repeat([]byte{0xFF}, minShared)...), false},
		"a length beyond it":  {chunkOf(nil, append([]byte{15<<3 | 2, 0xFF, 0xFF, 0xFF, 0x7F}, big...), nil), false},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				check(t, r, c.b, &dvrv1.RecordRequest{}, 4, 15)
			}
			if _, ok := locate(inPieces(r, c.b), []protowire.Number{4, 15}); ok != c.once {
				t.Errorf("copied once: %t, want %t", ok, c.once)
			}
		})
	}
	deep := &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Begin{Begin: &dvrv1.Begin{
		Key: &dvrv1.SegmentKey{Seq: 5, InitSet: big}, Path: []string{"a"},
	}}}
	check(t, r, wire(t, deep), &dvrv1.RecordRequest{}, 3, 1, 4)
	if _, ok := locate(inPieces(r, wire(t, deep)), []protowire.Number{3, 1, 4}); !ok {
		t.Error("media three messages deep is not copied once")
	}
	check(t, r, wire(t, &m4fv1.FetchResponse{Offset: 1 << 40, Data: big}), &m4fv1.FetchResponse{}, 15)
}

// I5 on messages of any content.
func TestReceivedOfRandomMessages(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	valid := 0
	for range 500 {
		m := record(r.IntN(6 * minShared))
		fill(r, m.GetChunk().ProtoReflect())
		b := wire(t, m)
		for range r.IntN(3) { // what comes may be anything
			b[r.IntN(min(len(b), 64))] ^= 1 << r.IntN(8)
		}
		if check(t, r, b, &dvrv1.RecordRequest{}, 4, 15) {
			valid++
		}
	}
	if valid < 100 {
		t.Errorf("%d of 500 messages were valid", valid)
	}
}

func FuzzReceived(f *testing.F) {
	for _, n := range []int{0, minShared, 20 << 10} {
		b, err := proto.Marshal(record(n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint64(n))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		check(t, rand.New(rand.NewPCG(seed, 0)), b, &dvrv1.RecordRequest{}, 4, 15)
	})
}

func BenchmarkReceived(b *testing.B) {
	bytes, err := proto.Marshal(record(430 << 10))
	if err != nil {
		b.Fatal(err)
	}
	var in mem.BufferSlice
	for rest := bytes; len(rest) > 0; rest = rest[min(len(rest), 16<<10):] {
		in = append(in, mem.SliceBuffer(rest[:min(len(rest), 16<<10)]))
	}
	for name, wrap := range map[string]func(*dvrv1.RecordRequest) any{
		"once": func(m *dvrv1.RecordRequest) any { return Received(m, 4, 15) },
		"grpc": func(m *dvrv1.RecordRequest) any { return m },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(bytes)))
			for b.Loop() {
				if err := (codec{}).Unmarshal(in, wrap(&dvrv1.RecordRequest{})); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
