package udp

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchSize datagrams are taken by one system call.
	batchSize = 64
	// maxDatagram is the longest datagram that is taken: jumbo frames, with room. Pages that are never written cost
	// nothing.
	maxDatagram = 16 << 10
	// controlSize holds the one control message we ask for, SO_RXQ_OVFL.
	controlSize = 32
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// batch is the memory of one recvmmsg call. x/net's ReadBatch would allocate a sender's address for each datagram.
type batch struct {
	headers   [batchSize]mmsghdr
	vectors   [batchSize]unix.Iovec
	control   [batchSize][controlSize]byte
	data      []byte
	datagrams [][]byte // what is handed on, reused
	runs      []run
	out       []queued
}

// Batches is memory that receivers share: each needs a batch only while it drains its socket. Safe for concurrent use.
type Batches struct {
	free chan *batch
}

// keptBatches are kept to be used again for each processor. All sockets are drained in the same moments, and whoever is
// held up there by the kernel or a lock keeps its batch meanwhile: with one for each processor a third of all that a
// process of ten streams allocated was batches.
const keptBatches = 4

// NewBatches returns memory for any number of receivers.
func NewBatches() *Batches {
	return &Batches{free: make(chan *batch, keptBatches*runtime.GOMAXPROCS(0))}
}

func (s *Batches) get() *batch {
	select {
	case b := <-s.free:
		return b
	default:
		return newBatch()
	}
}

func (s *Batches) put(b *batch) {
	select {
	case s.free <- b:
	default:
	}
}

func newBatch() *batch {
	b := &batch{data: make([]byte, batchSize*maxDatagram), datagrams: make([][]byte, 0, batchSize),
		runs: make([]run, 0, batchSize+1), out: make([]queued, 0, batchSize+1)}
	for i := range b.headers {
		b.vectors[i].Base = &b.data[i*maxDatagram]
		b.vectors[i].SetLen(maxDatagram)
		h := &b.headers[i].hdr
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = &b.control[i][0]
	}
	return b
}

// receive takes what is queued, without waiting.
func (b *batch) receive(fd int) (int, error) {
	for i := range b.headers {
		h := &b.headers[i].hdr
		h.SetControllen(controlSize) // the kernel writes what it used
		h.Flags = 0
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])), batchSize,
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// message returns datagram i, the socket's count of drops when it was queued (0 if none yet), and whether it was cut.
func (b *batch) message(i int) (data []byte, drops uint32, truncated bool) {
	h := &b.headers[i]
	data = b.data[i*maxDatagram:][:h.len:h.len]
	control := b.control[i][:h.hdr.Controllen]
	if len(control) >= unix.CmsgLen(4) {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		if c.Level == unix.SOL_SOCKET && c.Type == unix.SO_RXQ_OVFL {
			drops = binary.NativeEndian.Uint32(control[unix.CmsgLen(0):])
		}
	}
	return data, drops, h.hdr.Flags&unix.MSG_TRUNC != 0
}
