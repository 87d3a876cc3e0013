package testkit

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// PIDs of the streams that WithData adds. One is lower than that of the video, and one shows nothing.
const (
	CuePID      = 0x90
	SubtitlePID = 0x180
	TeletextPID = 0x181
	KLVPID      = 0x182
	ID3PID      = 0x183
	EmptyPID    = 0x184
)

// DataPIDs are all of them.
func DataPIDs() []uint16 { return []uint16{CuePID, SubtitlePID, TeletextPID, KLVPID, ID3PID, EmptyPID} }

var dataStreams = map[uint16][]byte{ // stream_type, descriptors
	CuePID:      {0x86, 0x8A, 1, 1},
	SubtitlePID: {0x06, 0x59, 8, 'd', 'e', 'u', 0x10, 0, 1, 0, 1},
	TeletextPID: {0x06, 0x52, 1, 9, 0x56, 5, 'n', 'l', 'd', 0x11, 0x50},
	KLVPID:      {0x06, 0x05, 4, 'K', 'L', 'V', 'A'},
	ID3PID:      {0x15, 0x26, 13, 0xFF, 0xFF, 'I', 'D', '3', ' ', 0xFF, 'I', 'D', '3', ' ', 0, 0x0F},
	EmptyPID:    {0x06, 0x59, 8, 'f', 'r', 'a', 0x10, 0, 1, 0, 1},
}

// dataMuxer writes packets of a PID.
type dataMuxer struct {
	pid     uint16
	counter byte
	queue   [][]byte
}

func (m *dataMuxer) unit(payload []byte) {
	for first := true; first || len(payload) > 0; first = false {
		n := min(len(payload), 184)
		p := []byte{0x47, byte(m.pid >> 8), byte(m.pid), 0x10 | m.counter}
		m.counter = (m.counter + 1) & 15
		if first {
			p[1] |= 0x40
		}
		if stuff := 184 - n; stuff > 0 {
			p[3] |= 0x20
			p = append(p, byte(stuff-1))
			if stuff > 1 {
				p = append(append(p, 0), bytes.Repeat([]byte{0xFF}, stuff-2)...)
			}
		}
		m.queue = append(m.queue, append(p, payload[:n]...))
		payload = payload[n:]
	}
}

func dataPES(id byte, pts int64, payload []byte) []byte {
	p := []byte{0, 0, 1, id, 0, 0, 0x84, 0, 0}
	if pts >= 0 {
		p[7], p[8] = 0x80, 5
		p = append(p, 0x21|byte(pts>>29)&0x0E, byte(pts>>22), byte(pts>>14)|1, byte(pts>>7), byte(pts<<1)|1)
	}
	p = append(p, payload...)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-6))
	return p
}

func crcMPEG(b []byte) uint32 {
	crc := ^uint32(0)
	for _, c := range b {
		crc ^= uint32(c) << 24
		for range 8 {
			if crc&(1<<31) != 0 {
				crc = crc<<1 ^ 0x04C11DB7
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// cueSection is a splice_insert 2 s after pts, out of the programme and back into it in turns, with a descriptor.
func cueSection(pts int64, n uint32, rnd *rand.Rand) []byte {
	pts = (pts + 180000) & (1<<33 - 1)
	s := []byte{0xFC, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xF0, 15, 5}
	s = binary.BigEndian.AppendUint32(s, n/2)
	out := byte(0xCF)
	if n%2 == 1 {
		out = 0x4F
	}
	s = append(s, 0x7F, out, 0xFE|byte(pts>>32), byte(pts>>24), byte(pts>>16), byte(pts>>8), byte(pts), 0, 1, 0, 0)
	d := []byte{0x7F, byte(4 + rnd.IntN(250))}
	for range d[1] {
		d = append(d, byte(rnd.Uint32()))
	}
	s = binary.BigEndian.AppendUint16(s, uint16(len(d)))
	s = append(s, d...)
	binary.BigEndian.PutUint16(s[1:], 0x3000|uint16(len(s)-3+4))
	return binary.BigEndian.AppendUint32(s, crcMPEG(s))
}

// WithData adds streams of data to a transport stream of ffmpeg's: DVB subtitles that take long, ahead of the picture and
// behind it, teletext, KLV without times, ID3, and sections of SCTE-35, several in a packet or one in several. It gives
// their units, by PID.
func WithData(ts []byte, seed uint64) ([]byte, map[uint16][][]byte) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	muxers := map[uint16]*dataMuxer{}
	for _, pid := range DataPIDs() {
		muxers[pid] = &dataMuxer{pid: pid}
	}
	sent := map[uint16][][]byte{}
	fill := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	send := func(pid uint16, unit []byte) {
		sent[pid] = append(sent[pid], unit)
		muxers[pid].unit(unit)
	}
	var out []byte
	clock, cues := int64(-1), uint32(0)
	for p := range slices.Chunk(ts, packetSize) {
		if pid := pidOf(p); pid == 0x1000 {
			out = append(out, mapWithData(p)...)
			continue
		} else if pid == 256 && p[1]&0x40 != 0 {
			if dts, ok := decodeTime(p); ok {
				clock = dts
			}
		}
		out = append(out, p...)
		if clock < 0 {
			continue
		}
		if rnd.IntN(100) == 0 { // ahead of the picture, and behind it
			send(SubtitlePID, dataPES(0xBD, (clock+rnd.Int64N(300000)-20000)&(1<<33-1), fill(rnd.IntN(9000)+1)))
		}
		if rnd.IntN(20) == 0 {
			send(TeletextPID, dataPES(0xBD, clock, fill(184-14)))
		}
		if rnd.IntN(30) == 0 {
			send(KLVPID, dataPES(0xBD, -1, fill(rnd.IntN(400)+1)))
		}
		if rnd.IntN(60) == 0 {
			send(ID3PID, dataPES(0xBD, (clock-rnd.Int64N(90000))&(1<<33-1), fill(rnd.IntN(100)+1)))
		}
		if rnd.IntN(150) == 0 {
			var b []byte
			for range 1 + rnd.IntN(3) {
				s := cueSection(clock, cues, rnd)
				cues++
				sent[CuePID] = append(sent[CuePID], s)
				b = append(b, s...)
			}
			muxers[CuePID].unit(append([]byte{0}, append(b, bytes.Repeat([]byte{0xFF}, (184-(1+len(b))%184)%184)...)...))
		}
		for _, pid := range DataPIDs() {
			if m := muxers[pid]; len(m.queue) > 0 && rnd.IntN(3) == 0 {
				out, m.queue = append(out, m.queue[0]...), m.queue[1:]
			}
		}
	}
	for _, m := range muxers {
		out = append(out, bytes.Join(m.queue, nil)...)
	}
	return out, sent
}

// mapWithData adds dataStreams to a packet with a program map.
func mapWithData(p []byte) []byte {
	at := 4
	if p[3]&0x20 != 0 {
		at = 5 + int(p[4])
	}
	at += 1 + int(p[at])
	n := 3 + int(binary.BigEndian.Uint16(p[at+1:])&0xFFF)
	s := slices.Clone(p[at : at+n-4])
	for _, pid := range DataPIDs() {
		d := dataStreams[pid]
		s = append(s, d[0], 0xE0|byte(pid>>8), byte(pid), 0xF0, byte(len(d)-1))
		s = append(s, d[1:]...)
	}
	binary.BigEndian.PutUint16(s[1:], 0xB000|uint16(len(s)-3+4))
	s = binary.BigEndian.AppendUint32(s, crcMPEG(s))
	q := append([]byte{0x47, p[1], p[2], 0x10 | p[3]&15, 0}, s...)
	return append(q, bytes.Repeat([]byte{0xFF}, packetSize-len(q))...)
}

const packetSize = 188

func pidOf(p []byte) uint16 { return uint16(p[1]&0x1F)<<8 | uint16(p[2]) }

// decodeTime is the DTS, or the PTS where there is no other, of the PES that begins in a packet.
func decodeTime(p []byte) (int64, bool) {
	at := 4
	if p[3]&0x20 != 0 {
		at = 5 + int(p[4])
	}
	if at+19 > len(p) || p[at+7]&0x80 == 0 {
		return 0, false
	}
	b := p[at+9:]
	if p[at+7]&0x40 != 0 {
		b = b[5:]
	}
	return int64(b[0]>>1&7)<<30 | int64(b[1])<<22 | int64(b[2]>>1)<<15 | int64(b[3])<<7 | int64(b[4]>>1), true
}
