package mpegts

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// hostile makes packets of every kind that there is no need for: all PIDs, tables that change each time with a right CRC,
// units without end, sections of any length on the PIDs of SI, impossible fields.
type hostile struct {
	r       *rand.Rand
	b       *tsBuilder
	version uint8
	maps    []uint16 // PIDs that a map announced
}

// types are stream types with a framer, each with what a unit of it may begin with.
var hostileTypes = []uint8{0x01, 0x02, 0x03, 0x04, 0x0F, 0x11, 0x1B, 0x24, 0x81, 0x87, 0x06}

func (h *hostile) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(h.r.Uint32())
	}
	return b
}

func (h *hostile) step() {
	r, b := h.r, h.b
	switch r.IntN(10) {
	case 0: // another PAT, maybe of many sections
		h.version++
		last := uint8(r.IntN(256))
		b.section(patPID, patSection(h.version&0x1F, uint8(r.IntN(int(last)+1)), last, programAt{uint16(r.IntN(1<<16)) | 1, uint16(r.IntN(0x1FFF)) | 0x20}))
	case 1: // one that is whole, and its map
		h.version++
		pmt := uint16(0x20 + r.IntN(0x1F00))
		b.section(patPID, patSection(h.version&0x1F, 0, 0, programAt{1, pmt}))
		var streams []streamAt
		h.maps = h.maps[:0]
		for range r.IntN(150) {
			pid := uint16(r.IntN(0x2000))
			h.maps = append(h.maps, pid)
			streams = append(streams, streamAt{streamType: hostileTypes[r.IntN(len(hostileTypes))], pid: pid})
		}
		b.section(pmt, pmtSection(1, h.version&0x1F, uint16(r.IntN(0x2000)), streams...))
	case 2: // a section without end
		pid := []uint16{patPID, catPID, nitPID, sdtPID, eitPID, tdtPID}[r.IntN(6)]
		s := h.random(200 + r.IntN(3000))
		binary.BigEndian.PutUint16(s[1:], 0xBFFF)
		b.section(pid, s)
	case 3: // any packet
		p := h.random(PacketSize)
		p[0] = syncByte
		b.data = append(b.data, p...)
	case 4: // no packet
		b.data = append(b.data, h.random(r.IntN(500))...)
	default: // a unit of a stream
		if len(h.maps) == 0 {
			return
		}
		pid := h.maps[r.IntN(len(h.maps))]
		if pid == nullPID || pid == patPID {
			return
		}
		head := [][]byte{delimiter(), {0xFF, 0xF1, 0x4C, 0x80, 0xFF, 0xFF, 0xFC}, {0xFF, 0xFD, 0x84, 0}, {0x0B, 0x77, 0, 0, 0x1E},
			{0x56, 0xFF, 0xFF}, {0x7F, 0xE0, 0xFF, 0xFF}, {0, 0, 1, 0xB3}, paramSets(false), sliceOf{nal: 0x65, size: 20}.bytes()}[r.IntN(9)]
		b.payload(pid, pesUnit(0xE0, r.Int64N(1<<33), noTime, r.IntN(2) == 0, cat(head, h.random(r.IntN(20_000)))))
	}
}

// I4: whatever comes, for however long, what is held stays the same.
func TestMemoryIsFlat(t *testing.T) {
	h := &hostile{r: rand.New(rand.NewPCG(1, 7)), b: newBuilder()}
	d := NewDemuxer(discard{}, Options{MaxUnitBytes: 64 << 10})
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc) - int64(cap(h.b.data))
	}
	feed := func(bytes int) {
		for n := 0; n < bytes; {
			h.b.data = h.b.data[:0]
			for range 20 {
				h.step()
			}
			d.SetNow(d.now + time.Millisecond)
			d.Write(h.b.data)
			n += len(h.b.data)
		}
	}
	before := heap()
	feed(16 << 20)
	first := heap()
	feed(48 << 20)
	last := heap()
	t.Logf("%d KiB held at first, then %d, then %d", before>>10, first>>10, last>>10)
	// 8191 PIDs of half a KiB, 32 streams of a unit, 256 sections of the PAT.
	if most := int64(8191*512 + 32*4*(64<<10) + 256<<10); last-before > most || last-first > 2<<20 {
		t.Errorf("%d KiB held at first, then %d, then %d", before>>10, first>>10, last>>10)
	}
	if n := len(d.tracked); n > 8191 {
		t.Errorf("%d PIDs are followed", n)
	}
	framed := 0
	for _, q := range d.tracked {
		if q.stream != nil {
			framed++
		}
		if q.si != nil && cap(q.si.buf) > 2*(maxSISection+PacketSize) || q.section != nil && cap(q.section.buf) > 2*(maxSection+PacketSize) {
			t.Errorf("PID %d holds sections without end", q.num)
		}
	}
	if framed > d.opts.MaxStreams || len(d.psi.sections) > 256 || len(d.carry) > lockBytes {
		t.Errorf("%d streams, %d sections, %d bytes carried", framed, len(d.psi.sections), len(d.carry))
	}
}

// Each framer holds at most a unit, whatever its PES bring.
func TestUnitsAreBounded(t *testing.T) {
	const limit = 64 << 10
	for _, kind := range hostileTypes {
		for seed := range uint64(3) {
			h := &hostile{r: rand.New(rand.NewPCG(seed, uint64(kind))), b: newBuilder()}
			h.b.program(kind)
			largest := 0
			d := NewDemuxer(measure{&largest}, Options{MaxUnitBytes: limit})
			d.Write(h.b.data)
			for range 40 {
				h.b.data = h.b.data[:0]
				// A front that any framer takes for a beginning, and then nothing that ends it.
				front := cat(delimiter(), paramSets(false), sliceOf{nal: 0x65, size: 20}.bytes())
				switch kind {
				case 0x01, 0x02:
					front = []byte{0, 0, 1, 0xB3, 0x16, 0x01, 0x20, 0x13, 0xFF, 0xFF, 0xE0, 0, 0, 0, 1, 0, 0, 0x0F, 0xFF, 0xF8, 0, 0, 1, 1}
				case 0x0F:
					front = adts(100, 1)
				case 0x03, 0x04:
					front = mp2(1)
				}
				body := make([]byte, 100_000)
				for i := range body {
					body[i] = byte(h.r.Uint32()) | 1
				}
				h.b.payload(0x100, pesUnit(0xE0, noTime, noTime, false, cat(front, body)))
				d.Write(h.b.data)
			}
			if largest > limit+PacketSize {
				t.Errorf("type 0x%02X: a unit of %d bytes", kind, largest)
			}
		}
	}
}

// measure keeps the size of the largest unit.
type measure struct{ largest *int }

func (measure) Program(Program)            {}
func (m measure) AccessUnit(u *AccessUnit) { *m.largest = max(*m.largest, len(u.Data)) }
