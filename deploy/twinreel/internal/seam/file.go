package seam

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/twinreel/twinreel/pkg/mpegts"
)

const (
	packetSize = mpegts.PacketSize
	syncByte   = 0x47
)

// file is a transport stream in memory, and where its frames end.
type file struct {
	data   []byte
	videos []*video
	sounds []*sound
}

// video is a track of pictures, one to a PES.
type video struct {
	pid      uint16
	starts   []int // packets in which the PES begin
	pts, dts []int64
}

// sound is a track of audio frames.
type sound struct {
	pid    uint16
	ticks  float64 // of a frame
	ends   []int   // of each frame, in es
	es     []byte
	pieces []piece
}

// piece is what one packet brings of the elementary stream.
type piece struct {
	packet int
	es     int // offset of its first byte
	at, n  int // in the packet
	pes    int // packet in which its PES begins
}

// read takes the packets apart. What lies before the first program association is left out: a receiver that begins
// there cannot know what it is.
func read(data []byte) (*file, error) {
	if len(data)%packetSize != 0 {
		return nil, ErrNotTS
	}
	for len(data) > 0 && pidOf(data) != 0 {
		data = data[packetSize:]
	}
	f := &file{data: data}
	mpegts.NewDemuxer(programs{f}, mpegts.Options{}).Write(data)
	for at := 0; at < len(data); at += packetSize {
		p := data[at : at+packetSize]
		if p[0] != syncByte {
			return nil, ErrNotTS
		}
		f.packet(at/packetSize, p)
	}
	d := mpegts.NewDemuxer(f, mpegts.Options{})
	d.Write(data)
	d.Flush()
	return f, nil
}

// programs learns what tracks there are.
type programs struct{ *file }

// AccessUnit implements mpegts.Handler.
func (programs) AccessUnit(*mpegts.AccessUnit) {}

// reference is the track that says how long a turn is.
func (f *file) reference() *video {
	if len(f.videos) > 0 {
		return f.videos[0]
	}
	return nil
}

// Program implements mpegts.Handler.
func (p programs) Program(m mpegts.Program) {
	for _, s := range m.Streams {
		known := slices.ContainsFunc(p.videos, func(v *video) bool { return v.pid == s.PID }) ||
			slices.ContainsFunc(p.sounds, func(x *sound) bool { return x.pid == s.PID })
		switch {
		case known || s.Codec == mpegts.CodecNone || s.Codec.Data():
		case s.Codec == mpegts.CodecLATM: // its frames do not stand in the elementary stream byte for byte
		case s.Codec.Video():
			p.videos = append(p.videos, &video{pid: s.PID})
		default:
			p.sounds = append(p.sounds, &sound{pid: s.PID})
		}
	}
}

// Program implements mpegts.Handler.
func (f *file) Program(mpegts.Program) {}

// AccessUnit implements mpegts.Handler: it finds an audio frame in its track.
func (f *file) AccessUnit(u *mpegts.AccessUnit) {
	for _, s := range f.sounds {
		if s.pid != u.PID || u.Rate == 0 {
			continue
		}
		from := 0
		if n := len(s.ends); n > 0 {
			from = s.ends[n-1]
		}
		if i := bytes.Index(s.es[from:], u.Data); i >= 0 {
			s.ends = append(s.ends, from+i+len(u.Data))
			s.ticks = float64(u.Samples) * 90000 / float64(u.Rate)
		}
	}
}

// packet notes where PES and elementary streams lie (H.222.0, 2.4.3).
func (f *file) packet(i int, p []byte) {
	at := payload(p)
	if at == packetSize {
		return
	}
	pid, start := pidOf(p), p[1]&0x40 != 0
	for _, v := range f.videos {
		if v.pid == pid && start {
			v.begin(i, p[at:])
		}
	}
	for _, s := range f.sounds {
		if s.pid == pid {
			s.add(i, p, at, start)
		}
	}
}

func (v *video) begin(i int, b []byte) {
	if len(b) < 14 || b[7]&0x80 == 0 {
		return
	}
	pts := stamp(b[9:])
	dts := pts
	if b[7]&0x40 != 0 && len(b) >= 19 {
		dts = stamp(b[14:])
	}
	if n := len(v.pts); n > 0 {
		dts = near(dts, v.dts[n-1])
	}
	v.starts, v.pts, v.dts = append(v.starts, i), append(v.pts, near(pts, dts)), append(v.dts, dts)
}

func (s *sound) add(i int, p []byte, at int, start bool) {
	pes := i
	if start {
		if len(p)-at < 9 || at+9+int(p[at+8]) > packetSize {
			return
		}
		at += 9 + int(p[at+8])
	} else {
		n := len(s.pieces)
		if n == 0 {
			return
		}
		pes = s.pieces[n-1].pes
	}
	s.pieces = append(s.pieces, piece{packet: i, es: len(s.es), at: at, n: packetSize - at, pes: pes})
	s.es = append(s.es, p[at:]...)
}

// cut gives the packets of one turn.
func (f *file) cut(t turn) []byte {
	last := make(map[uint16]int) // packets of a PID from here on are left out
	v := f.reference()
	if t.pictures < len(v.starts) {
		last[v.pid] = v.starts[t.pictures]
	}
	for i, s := range f.sounds {
		if t.frames[i] < len(s.ends) {
			last[s.pid] = f.end(s, t.frames[i])
		}
	}
	out, end := make([]byte, 0, len(f.data)), 0
	for at := 0; at < len(f.data); at += packetSize {
		p := f.data[at : at+packetSize]
		pid := pidOf(p)
		if n, ok := last[pid]; ok && at/packetSize >= n {
			continue
		}
		out = append(out, p...)
		if pid == v.pid || slices.ContainsFunc(f.sounds, func(s *sound) bool { return s.pid == pid }) {
			end = len(out)
		}
	}
	return out[:end] // what follows the tracks has no time of its own
}

// end shortens the PES and the packet in which frame n begins, and gives the first packet of the track that is left out.
func (f *file) end(s *sound, n int) int {
	keep := 0
	if n > 0 {
		keep = s.ends[n-1]
	}
	k, _ := slices.BinarySearchFunc(s.pieces, keep, func(p piece, at int) int { return p.es + p.n - at - 1 })
	if k == len(s.pieces) {
		return s.pieces[k-1].packet + 1
	}
	p := s.pieces[k]
	first := s.pieces[slices.IndexFunc(s.pieces, func(x piece) bool { return x.packet == p.pes })]
	if first.es == keep { // the PES begins with the frame
		return p.pes
	}
	head := f.data[p.pes*packetSize:][:packetSize]
	head = head[payload(head):]
	if binary.BigEndian.Uint16(head[4:]) != 0 {
		binary.BigEndian.PutUint16(head[4:], uint16(3+int(head[8])+keep-first.es)) //nolint:gosec // less than it was
	}
	if p.es == keep {
		return p.packet
	}
	stuff(f.data[p.packet*packetSize:][:packetSize], p.at+keep-p.es)
	return p.packet + 1
}

// stuff ends the payload of a packet at an offset: it moves to the end, behind an adaptation field (2.4.3.4).
func stuff(p []byte, end int) {
	at := payload(p)
	body := slices.Clone(p[at:end])
	begin := packetSize - len(body)
	was := 0 // bytes that the adaptation field has, with its length
	if p[3]&0x20 != 0 {
		was = 1 + int(p[4])
	}
	p[3] |= 0x20
	p[4] = byte(begin - 5)
	for i := 4 + max(was, 1); i < begin; i++ {
		p[i] = 0xFF
	}
	if was < 2 && begin > 5 {
		p[5] = 0 // no flag is set
	}
	copy(p[begin:], body)
}

func pidOf(p []byte) uint16 { return binary.BigEndian.Uint16(p[1:]) & 0x1FFF }

// payload is where the payload of a packet begins, or its end when it has none.
func payload(p []byte) int {
	switch p[3] >> 4 & 3 {
	case 1:
		return 4
	case 3:
		return min(packetSize, 5+int(p[4]))
	}
	return packetSize
}

func stamp(b []byte) int64 {
	return int64(b[0]>>1&7)<<30 | int64(binary.BigEndian.Uint16(b[1:])>>1)<<15 | int64(binary.BigEndian.Uint16(b[3:])>>1)
}

// near is the time that equals t modulo 2^33 and is nearest to ref.
func near(t, ref int64) int64 {
	const wrap = 1 << 33
	d := (t - ref) & (wrap - 1)
	if d >= wrap/2 {
		d -= wrap
	}
	return ref + d
}
