package tsplay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"
)

// errChanged says that the file is not what it was when it was opened.
var errChanged = errors.New("the file changed while it was played")

// datagram is what is sent next. Its memory is reused.
type datagram struct {
	data  []byte
	due   time.Duration // since the first packet of the first loop had its turn
	units []uint16      // PIDs of the PES that begin in it
	loops uint64        // seams before its last packet
}

// reader reads a file loop by loop and puts each packet on clocks that go on.
type reader struct {
	file   *file
	in     io.ReadSeeker
	buf    *bufio.Reader
	loop   bool
	offset int64 // ticks that this loop adds to the clocks
	next   int64 // packet of the file
	loops  uint64
}

func newReader(f *file, in io.ReadSeeker, opts Options) *reader {
	return &reader{file: f, in: in, buf: bufio.NewReaderSize(in, 1<<18), loop: opts.Loop, offset: opts.PTSOffset}
}

// skip passes over the packets that are due before the time, which may be some loops away.
func (r *reader) skip(to time.Duration) error {
	for r.due() < to {
		if r.next == r.file.packets {
			return io.ErrUnexpectedEOF
		}
		if _, err := r.buf.Discard(packetSize); err != nil {
			return err
		}
		if r.next++; r.next == r.file.packets && r.loop {
			if err := r.rewind(); err != nil {
				return err
			}
		}
	}
	return nil
}

// due is when the next packet is to be sent.
func (r *reader) due() time.Duration {
	length := time.Duration(r.file.length) * time.Second / ticksPerSecond
	return time.Duration(r.loops)*length + r.file.due(r.next)
}

// fill reads the next datagram; false if there is none.
func (r *reader) fill(d *datagram) (bool, error) {
	d.data, d.units = d.data[:0], d.units[:0]
	for len(d.data) < perDatagram*packetSize {
		if r.next == r.file.packets {
			if !r.loop {
				break
			}
			if err := r.rewind(); err != nil {
				return false, err
			}
		}
		d.due, d.loops = r.due(), r.loops
		at := len(d.data)
		d.data = append(d.data, make([]byte, packetSize)...)
		p := packet(d.data[at:])
		if _, err := io.ReadFull(r.buf, p); err != nil {
			return false, fmt.Errorf("packet %d: %w", r.next, err)
		}
		if err := r.restamp(p, d); err != nil {
			return false, fmt.Errorf("packet %d: %w", r.next, err)
		}
		r.next++
	}
	return len(d.data) > 0, nil
}

func (r *reader) rewind() error {
	if _, err := r.in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r.buf.Reset(r.in)
	r.next = 0
	r.loops++
	r.offset += r.file.length
	return nil
}

// restamp moves a packet's clocks and its counter to where this loop has them.
func (r *reader) restamp(p packet, d *datagram) error {
	pid := p.pid()
	if pid == nullPID {
		return nil
	}
	i := r.file.pids[pid]
	if p[0] != syncByte || i == nil {
		return errChanged
	}
	p.advanceCounter(uint8(r.loops&0x0F) * i.loopShift())
	if b := p.pcrField(); b != nil {
		advancePCR(b, r.offset)
	}
	if b := p.opcrField(); b != nil {
		advancePCR(b, r.offset)
	}
	pts, dts, _ := p.timeFields()
	if pts == nil {
		return nil
	}
	d.units = append(d.units, pid)
	advanceTime(pts, r.offset)
	if dts != nil {
		advanceTime(dts, r.offset)
	}
	return nil
}
