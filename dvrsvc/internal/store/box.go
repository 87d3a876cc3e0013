package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/segment"
)

// The boxes that the store puts between the chunks of a data file are of type uuid (ISO/IEC 14496-12, 11.1), which
// every MP4 tool skips:
//
//	size(4) "uuid"(4) "twinreel.dvr"(12) kind(4) payload crc32c(4)
//
// The checksum covers everything before it and begins with the file's nonce, so that a box which strayed in from
// another file is none.
const (
	boxUser   = "twinreel.dvr"
	boxHead   = "head" // nonce, version, state of the stream, init segments: once, after the moov
	boxCopy   = "copy" // a copy begins
	boxFaults = "evid" // what is known against the next chunk, where anything is
	boxChunk  = "chnk" // the next chunk
	boxSeal   = "seal" // the record of the copy that ends here
	boxGone   = "gone" // digests that are not here any more, each with the one that contains it
	boxDone   = "done" // the file was closed in order: everything before is synced

	boxPrefix   = 4 + 4 + len(boxUser) + 4
	boxOverhead = boxPrefix + 4
	nonceSize   = 8
	fileVersion = 1

	// maxBox bounds what a damaged length can ask for.
	maxBox = 64 << 20
)

// chunkBoxSize is the length of a chunk's box: pid, cell, size, crc, offset of tfdt.
const chunkBoxSize = boxOverhead + 2 + 4 + 4 + 4 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errBox = errors.New("no box of this file")
	// errUnreadable: the disk does not give what it holds; it may do so later.
	errUnreadable = errors.New("the disk cannot be read")
	// errNewer: the bytes are as they were written, by a program that is newer.
	errNewer = errors.New("the data file was written by a newer program")
)

// readFull reads all of b. Errors: io.ErrUnexpectedEOF where there is less, errUnreadable.
func readFull(f io.ReaderAt, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", errUnreadable, err)
}

type nonce [nonceSize]byte

func appendBox(dst []byte, n nonce, kind string, payload []byte) []byte {
	at := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(boxOverhead+len(payload)))
	dst = append(dst, "uuid"...)
	dst = append(dst, boxUser...)
	dst = append(dst, kind...)
	dst = append(dst, payload...)
	return binary.BigEndian.AppendUint32(dst, checksum(n, dst[at:]))
}

func checksum(n nonce, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(n[:], castagnoli), castagnoli, b)
}

// boxSize reads the length of a box of ours from its first boxPrefix bytes.
func boxSize(b []byte) (size int, kind string, ok bool) {
	if len(b) < boxPrefix || string(b[4:8]) != "uuid" || string(b[8:8+len(boxUser)]) != boxUser {
		return 0, "", false
	}
	n := binary.BigEndian.Uint32(b)
	if n < uint32(boxOverhead) || n > maxBox {
		return 0, "", false
	}
	return int(n), string(b[8+len(boxUser) : boxPrefix]), true
}

// openBox checks a whole box and returns its payload.
func openBox(n nonce, b []byte) ([]byte, error) {
	if len(b) < boxOverhead {
		return nil, errBox
	}
	body := b[:len(b)-4]
	if binary.BigEndian.Uint32(b[len(body):]) != checksum(n, body) {
		return nil, errBox
	}
	return body[boxPrefix:], nil
}

func appendChunkBox(dst []byte, n nonce, c segment.Chunk) []byte {
	var p [18]byte
	be := binary.BigEndian
	be.PutUint16(p[0:], c.PID)
	be.PutUint32(p[2:], c.Cell)
	be.PutUint32(p[6:], c.Size)
	be.PutUint32(p[10:], c.CRC)
	be.PutUint32(p[14:], c.TfdtOffset)
	return appendBox(dst, n, boxChunk, p[:])
}

func parseChunkBox(p []byte) (c segment.Chunk, err error) {
	if len(p) != 18 {
		return c, errBox
	}
	be := binary.BigEndian
	return segment.Chunk{
		PID: be.Uint16(p), Cell: be.Uint32(p[2:]), Size: be.Uint32(p[6:]), CRC: be.Uint32(p[10:]), TfdtOffset: be.Uint32(p[14:]),
	}, nil
}

// copyHead is what is known of a copy when it begins.
type copyHead struct {
	slot    segment.Slot
	tracks  []segment.Track
	options BeginOptions
}

func (h *copyHead) append(dst []byte, n nonce) []byte {
	var flags byte
	for i, b := range []bool{h.options.Live, h.options.Independent, h.options.StartUncertain, index.HasRoles(h.tracks)} {
		if b {
			flags |= 1 << i
		}
	}
	p := index.AppendSlot([]byte{flags}, h.slot)
	p = binary.BigEndian.AppendUint32(p, h.options.Format)
	p = index.AppendStrings(p, h.options.Path)
	p = index.AppendTracks(p, h.tracks)
	return appendBox(dst, n, boxCopy, p)
}

func parseCopyHead(p []byte) (h copyHead, err error) {
	if len(p) < 1 {
		return h, errBox
	}
	roles := p[0]&8 != 0
	h.options.Live, h.options.Independent, h.options.StartUncertain = p[0]&1 != 0, p[0]&2 != 0, p[0]&4 != 0
	if h.slot, p, err = index.ParseSlot(p[1:]); err != nil {
		return h, err
	}
	if len(p) < 4 {
		return h, errBox
	}
	h.options.Format = binary.BigEndian.Uint32(p)
	if h.options.Path, p, err = index.ParseStrings(p[4:]); err != nil {
		return h, err
	}
	h.tracks, _, err = index.ParseTracks(p, roles)
	return h, err
}

// fileHead is the payload of the head box.
type fileHead struct {
	nonce nonce
	state []byte // as in the state file
	inits []segment.Init
}

func (h *fileHead) append(dst []byte) []byte {
	p := append([]byte{fileVersion}, h.nonce[:]...)
	p = binary.BigEndian.AppendUint32(p, uint32(len(h.state)))
	p = append(p, h.state...)
	p = binary.BigEndian.AppendUint16(p, uint16(len(h.inits)))
	for _, i := range h.inits {
		p = binary.BigEndian.AppendUint16(p, i.PID)
		p = append(p, i.Hash[:]...)
		p = binary.BigEndian.AppendUint32(p, uint32(len(i.Data)))
		p = append(p, i.Data...)
	}
	return appendBox(dst, h.nonce, boxHead, p)
}

// parseFileHead reads a whole head box; its nonce comes out of it, at the same place in every version.
func parseFileHead(box []byte) (h fileHead, err error) {
	p := box[boxPrefix:]
	if len(p) < 1+nonceSize+4 {
		return h, errBox
	}
	copy(h.nonce[:], p[1:])
	if p, err = openBox(h.nonce, box); err != nil {
		return h, err
	}
	if p[0] != fileVersion {
		return h, fmt.Errorf("%w: version %d", errNewer, p[0])
	}
	p = p[1+nonceSize:]
	take := func(n int) []byte {
		if n < 0 || n > len(p) {
			err, p = errBox, nil
			return make([]byte, min(max(n, 0), 64))
		}
		v := p[:n]
		p = p[n:]
		return v
	}
	be := binary.BigEndian
	h.state = take(int(be.Uint32(take(4))))
	for n := be.Uint16(take(2)); n > 0 && err == nil; n-- {
		i := segment.Init{PID: be.Uint16(take(2))}
		copy(i.Hash[:], take(32))
		i.Data = take(int(be.Uint32(take(4))))
		h.inits = append(h.inits, i)
	}
	return h, err
}
