package grpcx

import (
	"fmt"
	"slices"

	"google.golang.org/grpc/encoding"
	encproto "google.golang.org/grpc/encoding/proto" // registers the codec that this one extends
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// minShared is where a copy costs less than a second buffer.
const minShared = 4 << 10

// Shared wraps a message for SendMsg of a stream, so that the bytes of one field are sent without being copied. The
// path to the field is its number, after those of the messages it lies in; it must be the last set field of each.
// Nothing differs on the wire. The bytes may be in any number of sends, and must never change again: gRPC may still
// write them when SendMsg has returned.
func Shared(m proto.Message, path ...protowire.Number) any { return &shared{m: m, path: path} }

// Lent is [Shared] of bytes that are used again: free is called when they have been written, or will not be, unless the stream
// has ended before.
func Lent(m proto.Message, free func(), path ...protowire.Number) any {
	return &shared{m: m, path: path, free: free}
}

type shared struct {
	m    proto.Message
	path []protowire.Number
	free func() // nil: nobody waits for it
}

// whole encodes the message with a copy of the bytes.
func (s *shared) whole() (mem.BufferSlice, error) {
	if s.free != nil {
		defer s.free()
	}
	return encoding.GetCodecV2(encproto.Name).Marshal(s.m)
}

// lender is the pool of one buffer.
type lender func()

// Get implements mem.BufferPool; nobody calls it.
func (lender) Get(int) *[]byte { return nil }

// Put implements mem.BufferPool.
func (free lender) Put(*[]byte) { free() }

// codec is the protobuf codec of gRPC, but for what is Shared or Received.
type codec struct{}

var _ encoding.CodecV2 = codec{}

// Name is that of protobuf: on the wire there is no difference.
func (codec) Name() string { return encproto.Name }

// Marshal gives a shared message as its head and its bytes; any other as gRPC does.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	s, ok := v.(*shared)
	if !ok {
		return encoding.GetCodecV2(encproto.Name).Marshal(v)
	}
	head, data, err := split(s.m.ProtoReflect(), s.path)
	if err != nil {
		return nil, fmt.Errorf("marshal %s: %w", s.m.ProtoReflect().Descriptor().FullName(), err)
	}
	switch {
	case data == nil:
		return s.whole()
	case s.free != nil:
		return mem.BufferSlice{mem.SliceBuffer(head), mem.NewBuffer(&data, lender(s.free))}, nil
	}
	return mem.BufferSlice{mem.SliceBuffer(head), mem.SliceBuffer(data)}, nil
}

// Unmarshal is that of gRPC, but for what is Received.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	if r, ok := v.(*received); ok {
		return r.unmarshal(data)
	}
	return encoding.GetCodecV2(encproto.Name).Unmarshal(data, v)
}

// split gives the bytes of a message up to those of the field at path, and these. Without data the message has to be
// marshalled whole: the field is small or absent, or something stands behind it.
func split(m protoreflect.Message, path []protowire.Number) (head, data []byte, err error) {
	if len(path) == 0 || len(m.GetUnknown()) > 0 {
		return nil, nil, nil
	}
	field := m.Descriptor().Fields().ByNumber(path[0])
	if field == nil || !m.Has(field) || field.IsList() || field.IsMap() {
		return nil, nil, nil
	}
	var inner []byte
	switch {
	case len(path) > 1 && field.Kind() == protoreflect.MessageKind:
		inner, data, err = split(m.Get(field).Message(), path[1:])
	case len(path) == 1 && field.Kind() == protoreflect.BytesKind:
		data = m.Get(field).Bytes()
	}
	if err != nil || len(data) < minShared {
		return nil, nil, err
	}
	rest, last := m.New(), true
	for fd, v := range m.Range {
		if fd.Number() != path[0] {
			rest.Set(fd, v)
			last = last && fd.Number() < path[0]
		}
	}
	if !last {
		return nil, nil, nil
	}
	if head, err = proto.Marshal(rest.Interface()); err != nil {
		return nil, nil, err
	}
	head = slices.Grow(head, 2*protowire.SizeVarint(1<<35)+len(inner))
	head = protowire.AppendTag(head, path[0], protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(inner)+len(data)))
	return append(head, inner...), data, nil
}
