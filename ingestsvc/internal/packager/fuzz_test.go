package packager

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// tsWriter makes a small transport stream of our own: H.264 and AAC under one program map.
type tsWriter struct {
	data     []byte
	counters map[uint16]byte
}

func (w *tsWriter) packets(pid uint16, payload []byte) {
	pusi := byte(0x40)
	for len(payload) > 0 {
		n := min(len(payload), mpegts.PacketSize-6)
		p := []byte{0x47, pusi | byte(pid>>8), byte(pid), 0x30 | w.counters[pid]&0x0F, byte(mpegts.PacketSize - 5 - n), 0}
		w.counters[pid]++
		for len(p) < mpegts.PacketSize-n {
			p = append(p, 0xFF)
		}
		w.data = append(append(w.data, p...), payload[:n]...)
		payload, pusi = payload[n:], 0
	}
}

func (w *tsWriter) section(pid uint16, table byte, id uint16, version byte, body []byte) {
	s := []byte{table, 0xB0, byte(5 + len(body) + 4), byte(id >> 8), byte(id), 0xC1 | version<<1, 0, 0}
	w.packets(pid, append([]byte{0}, withCRC(append(s, body...))...))
}

// withCRC appends the CRC_32 of a section (ISO/IEC 13818-1, annex A).
func withCRC(section []byte) []byte {
	crc := ^uint32(0)
	for _, b := range section {
		crc ^= uint32(b) << 24
		for range 8 {
			if crc&(1<<31) != 0 {
				crc = crc<<1 ^ 0x04C11DB7
			} else {
				crc <<= 1
			}
		}
	}
	return binary.BigEndian.AppendUint32(section, crc)
}

// tables writes a program map of streams, each a stream_type and a PID.
func (w *tsWriter) tables(version byte, streams ...[2]uint16) {
	w.section(0, 0, 1, 0, []byte{0, 1, 0xF0, 0x00})
	body := []byte{0xE1, 0x00, 0xF0, 0}
	for _, s := range streams {
		body = append(body, byte(s[0]), 0xE0|byte(s[1]>>8), byte(s[1]), 0xF0, 0)
	}
	w.section(0x1000, 2, 1, version, body)
}

func (w *tsWriter) pes(pid uint16, id byte, pts, dts int64, data []byte) {
	h := []byte{0, 0, 1, id, 0, 0, 0x80, 0xC0, 10, 0x31, 0, 1, 0, 1, 0x11, 0, 1, 0, 1}
	shiftStamp(h[9:14], pts)
	shiftStamp(h[14:19], dts)
	w.packets(pid, append(h, data...))
}

// smallStream has a picture each tenth of a second and four frames of AAC with each, from a time on, and a new map in the middle.
func smallStream(from int64, pictures int) []byte {
	w := &tsWriter{counters: map[uint16]byte{}}
	both := [][2]uint16{{0x1B, videoPID}, {0x0F, audioPID}}
	w.tables(0, both...)
	for i := range pictures {
		if i == pictures/2 {
			w.tables(1, append(both, [2]uint16{0x0F, audioPID + 1})...)
		}
		data := picture
		if i%10 == 0 {
			data = idr
		}
		at := from + int64(i)*9_000
		w.pes(videoPID, 0xE0, at+3600, at, data)
		w.pes(audioPID, 0xC0, at+3600, at+3600, bytes.Repeat(adts, 4))
		if i > pictures/2 {
			w.pes(audioPID+1, 0xC0, at+3600, at+3600, bytes.Repeat(adts, 4))
		}
	}
	return w.data
}

// mutate changes a stream by what is in ops: each four bytes are a place and what happens there.
func mutate(ts []byte, ops []byte) []byte {
	packets := slices.Collect(slices.Chunk(slices.Clone(ts), mpegts.PacketSize))
	for op := range slices.Chunk(ops, 4) {
		if len(op) < 4 || len(packets) < 2 {
			break
		}
		at := int(op[1]) * len(packets) / 256
		p := packets[at]
		if len(p) == 0 {
			continue
		}
		switch op[0] % 10 {
		case 0: // lost
			packets = slices.Delete(packets, at, min(at+1+int(op[2]%20), len(packets)))
		case 1: // doubled
			packets = slices.Insert(packets, at, slices.Clone(p))
		case 2: // moved
			to := int(op[2]) * len(packets) / 256
			packets[at], packets[to] = packets[to], p
		case 3, 4, 5:
			p[int(op[2])%len(p)] ^= op[3]
		case 6: // another PID
			p[len(p)-1] ^= op[2]
			if len(p) > 2 {
				p[2] ^= op[3] & 3
			}
		case 7: // cut short
			packets[at] = p[:int(op[2])%len(p)]
		case 8: // from here on another clock
			for i, q := range packets[at:] {
				if len(q) == mpegts.PacketSize && q[3]&0x20 != 0 && int(q[4]) < mpegts.PacketSize-24 {
					packets[at+i] = shift(q, int64(op[2])<<26-int64(op[3])<<14)
				}
			}
		case 9: // discontinuity_indicator
			if len(p) > 5 && p[3]&0x20 != 0 {
				p[5] |= 0x80
			}
		}
	}
	return slices.Concat(packets...)
}

// FuzzPackager: a real stream with anything done to it, through demuxer and packager. The recorder holds what comes out to
// order and sums (I3); here are evidence and memory (I4).
func FuzzPackager(f *testing.F) {
	f.Add(uint32(0), []byte{})
	f.Add(uint32(1<<31), []byte{0, 100, 3, 0})
	f.Add(^uint32(0), []byte{8, 128, 1, 0, 9, 128, 0, 0})
	f.Add(uint32(7), []byte{7, 50, 100, 0, 1, 60, 0, 0, 2, 70, 90, 0})
	f.Add(uint32(9), []byte{3, 40, 5, 0x80, 4, 90, 3, 0x40, 6, 20, 0, 1})
	const limit = 1 << 14
	f.Fuzz(func(t *testing.T, from uint32, ops []byte) {
		ts := mutate(smallStream(int64(from)<<1, 240), ops[:min(len(ops), 256)])
		r := &recorder{t: t}
		p := New(Options{MaxPending: limit}, r)
		d := mpegts.NewDemuxer(p, mpegts.Options{MaxUnitBytes: limit})
		for b := range slices.Chunk(ts, 1316) {
			d.Write(b)
			if p.pending > limit {
				t.Fatalf("%d bytes wait", p.pending)
			}
		}
		d.Flush()
		p.Flush()
		if p.pending != 0 || r.open != nil || p.head != nil {
			t.Fatalf("%d bytes wait after Flush, open %v", p.pending, r.open)
		}
		for i, s := range r.segs {
			saneEvidence(t, s)
			if i == 0 && s.whole() || i == len(r.segs)-1 && s.whole() {
				t.Errorf("segment %d of %d is whole", i+1, len(r.segs))
			}
		}
	})
}

// saneEvidence holds what is known against a segment to the order, and to lie near what it is about.
func saneEvidence(t *testing.T, s *recorded) {
	t.Helper()
	e := s.info.Evidence
	const near = 60 * timeline.TicksPerSecond
	for i, f := range e.Faulty {
		if s.info.Track(f.PID) == nil || f.Reason == 0 {
			t.Errorf("segment %d: %+v is faulty", s.key.Seq, f)
		}
		if i > 0 && (f.PID < e.Faulty[i-1].PID || f.PID == e.Faulty[i-1].PID && f.DTS <= e.Faulty[i-1].DTS) {
			t.Errorf("segment %d: %+v behind %+v", s.key.Seq, f, e.Faulty[i-1])
		}
	}
	for _, m := range e.Missing {
		if m.From >= m.To || m.Reason == 0 || m.From < s.info.Start-near-(s.info.End-s.info.Start) || m.To > s.info.End+near {
			t.Errorf("segment %d from %d to %d: %+v is missing", s.key.Seq, s.info.Start, s.info.End, m)
		}
	}
}

// TestSmallStream: what FuzzPackager begins with is recorded as it should be.
func TestSmallStream(t *testing.T) {
	r := record(t, smallStream(1<<32, 240), 1316)
	tracks := 0
	for _, s := range r.segs {
		tracks = max(tracks, len(s.info.Tracks))
		saneEvidence(t, s)
	}
	if whole := compare(t, r, r); len(r.segs) < 4 || whole < 1 || tracks != 3 {
		t.Errorf("%d segments, %d whole, %d tracks", len(r.segs), whole, tracks)
	}
}
