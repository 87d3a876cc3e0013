package grpcx

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"google.golang.org/grpc/encoding"
	encproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Received wraps a message for RecvMsg of a stream: the bytes of the field at path, as with [Shared], are copied once, from
// the buffers of the connection into memory of their own size, which is not cleared first. gRPC alone would copy all of
// the message twice, by way of a buffer that it clears. The message is the same, whoever sent it and in whatever order
// of fields. The bytes belong to the message. The field itself must be no member of a oneof; the messages around it may.
func Received(m proto.Message, path ...protowire.Number) any { return &received{m: m, path: path} }

type received struct {
	m    proto.Message
	path []protowire.Number
}

// unmarshal reads a message whose media is copied once.
func (r *received) unmarshal(in mem.BufferSlice) error {
	media, ok := locate(in, r.path)
	if !ok {
		return encoding.GetCodecV2(encproto.Name).Unmarshal(in, r.m)
	}
	head, data := media.part(in)
	if err := proto.Unmarshal(head, r.m); err != nil {
		return fmt.Errorf("unmarshal %s: %w", r.m.ProtoReflect().Descriptor().FullName(), err)
	}
	m := r.m.ProtoReflect()
	for _, n := range r.path[:len(r.path)-1] {
		fd := m.Descriptor().Fields().ByNumber(n)
		if !m.Has(fd) {
			return nil // another member of its oneof came behind it
		}
		m = m.Mutable(fd).Message()
	}
	m.Set(m.Descriptor().Fields().ByNumber(r.path[len(r.path)-1]), protoreflect.ValueOfBytes(data))
	return nil
}

// place is where a bytes field lies in a message.
type place struct {
	from, to int // its bytes
	tag      int // where its tag begins
	// lengths are those of the messages around it, outermost first: where each is written, and up to where, and its value.
	lengths []length
}

type length struct{ from, to, value int }

// part gives the message without the field, and the field's bytes.
func (p *place) part(in mem.BufferSlice) (head, data []byte) {
	cut := p.to - p.tag
	head = make([]byte, 0, in.Len()-cut)
	at := 0
	// The messages around it become shorter, from the innermost out: so may the lengths that are written in them.
	values := make([]int, len(p.lengths))
	for i, l := range slices.Backward(p.lengths) {
		values[i] = l.value - cut
		cut += (l.to - l.from) - protowire.SizeVarint(uint64(values[i]))
	}
	for i, l := range p.lengths {
		head = appendRange(head, in, at, l.from)
		head = protowire.AppendVarint(head, uint64(values[i]))
		at = l.to
	}
	head = appendRange(head, in, at, p.tag)
	head = appendRange(head, in, p.to, in.Len())

	var b strings.Builder // the one way to memory that is not cleared before it is written
	b.Grow(p.to - p.from)
	for piece := range ranges(in, p.from, p.to) {
		b.Write(piece)
	}
	s := b.String() // nobody else has it: it may be bytes that are changed
	return head, unsafe.Slice(unsafe.StringData(s), len(s))
}

func appendRange(dst []byte, in mem.BufferSlice, from, to int) []byte {
	for piece := range ranges(in, from, to) {
		dst = append(dst, piece...)
	}
	return dst
}

// ranges gives the bytes [from, to) as they lie in the buffers.
func ranges(in mem.BufferSlice, from, to int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for _, buf := range in {
			b := buf.ReadOnlyData()
			if n := len(b); from < n && !yield(b[from:min(to, n)]) {
				return
			}
			if from, to = max(from-len(b), 0), to-len(b); to <= from {
				return
			}
		}
	}
}

// locate finds the field at path. It finds none that is small, or where the message says something twice or is not well
// formed: then it has to be read as protobuf reads it.
func locate(in mem.BufferSlice, path []protowire.Number) (p place, ok bool) {
	if len(path) == 0 || in.Len() < minShared {
		return p, false
	}
	c := cursor{in: in}
	end := in.Len()
	for level, want := range path {
		found := false
		var inner length
		for c.at < end {
			tag := c.at
			num, typ := protowire.DecodeTag(c.varint(end))
			switch {
			case c.bad || num < protowire.MinValidNumber:
				return p, false
			case num != want:
				c.skip(typ, end)
			case found || typ != protowire.BytesType:
				return p, false
			default:
				found = true
				from := c.at
				n := c.length(end)
				inner = length{from: from, to: c.at, value: n}
				if level == len(path)-1 {
					p.tag, p.from, p.to = tag, c.at, c.at+n
				}
				c.at += n
			}
			if c.bad {
				return p, false
			}
		}
		if !found || c.at != end {
			return p, false
		}
		if level < len(path)-1 {
			p.lengths = append(p.lengths, inner)
			c.at, end = inner.to, inner.to+inner.value
		}
	}
	return p, p.to-p.from >= minShared
}

// cursor reads a message that lies in several buffers. After bad it reads nothing that means anything.
type cursor struct {
	in  mem.BufferSlice
	at  int
	bad bool

	buf  int // the buffer that was read last
	base int // where it begins
}

func (c *cursor) byte() byte {
	if c.at < c.base {
		c.buf, c.base = 0, 0
	}
	for c.buf < len(c.in) {
		b := c.in[c.buf].ReadOnlyData()
		if i := c.at - c.base; i < len(b) {
			c.at++
			return b[i]
		}
		c.base += len(b)
		c.buf++
	}
	c.bad = true
	return 0
}

func (c *cursor) varint(end int) uint64 {
	var v uint64
	for shift := 0; shift < 64 && c.at < end; shift += 7 {
		b := c.byte()
		if shift == 63 && b > 1 {
			break
		}
		if v |= uint64(b&0x7F) << shift; b < 0x80 {
			return v
		}
	}
	c.bad = true
	return 0
}

// length reads that of a field, which ends at end or before it.
func (c *cursor) length(end int) int {
	n := c.varint(end)
	if c.bad || n > uint64(end-c.at) {
		c.bad = true
		return 0
	}
	return int(n)
}

func (c *cursor) skip(typ protowire.Type, end int) {
	n := 0
	switch typ {
	case protowire.VarintType:
		c.varint(end)
	case protowire.Fixed32Type:
		n = 4
	case protowire.Fixed64Type:
		n = 8
	case protowire.BytesType:
		n = c.length(end)
	default: // groups: nobody has them
		c.bad = true
	}
	if c.at += n; c.at > end {
		c.bad = true
	}
}
