package grpcx

import (
	"sync"

	"google.golang.org/grpc/mem"
)

// framePool keeps the buffers into which the frames of a connection are read. Unlike gRPC's own it does not clear them:
// each is filled by what it is taken for. Other sizes are gRPC's.
type framePool struct{ frames *sync.Pool }

// frameBytes is the most that gRPC puts into a frame of HTTP/2, smallFrame what is not worth a buffer of that size.
const frameBytes, smallFrame = 16 << 10, 4 << 10

var frames = framePool{&sync.Pool{New: func() any { b := make([]byte, frameBytes); return &b }}}

var _ mem.BufferPool = framePool{}

// Get implements mem.BufferPool.
func (p framePool) Get(length int) *[]byte {
	if length <= smallFrame || length > frameBytes {
		return mem.DefaultBufferPool().Get(length)
	}
	b := p.frames.Get().(*[]byte)
	*b = (*b)[:length]
	return b
}

// Put implements mem.BufferPool.
func (p framePool) Put(b *[]byte) {
	if cap(*b) == frameBytes {
		p.frames.Put(b)
		return
	}
	mem.DefaultBufferPool().Put(b)
}
