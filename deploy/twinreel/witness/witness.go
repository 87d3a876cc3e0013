package witness

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
)

// Hash is the beginning of a SHA-256.
type Hash [16]byte

// HashOf hashes parts as one.
func HashOf(parts ...[]byte) Hash {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return Hash(h.Sum(nil)[:16])
}

// Unit is one access unit.
type Unit struct {
	PID  uint16
	DTS  int64 // 90 kHz, 33 bits
	Hash Hash
}

// Stream is one elementary stream of the program.
type Stream struct {
	PID     uint16
	Name    string
	Counted bool // false: nothing here can frame it
}

// String is the stream as a person reads it.
func (s Stream) String() string { return fmt.Sprintf("PID %d %s", s.PID, s.Name) }

// Log is what was seen so far.
type Log struct {
	Datagrams uint64
	Units     []Unit   // in the order in which they ended
	Streams   []Stream // in the order of the program map
	Untimed   uint64   // units that no PES gave a time
	Missed    uint64   // packets that the witness itself did not get, or could not read
}

const packetSize = 188

// Witness reads datagrams.
type Witness struct {
	mu      sync.Mutex
	log     Log
	pmtPID  uint16
	streams map[uint16]*stream
	psi     map[uint16][]byte
	counter map[uint16]byte
}

// New begins with nothing.
func New() *Witness {
	return &Witness{streams: make(map[uint16]*stream), psi: make(map[uint16][]byte), counter: make(map[uint16]byte)}
}

// Log gives a copy of what was seen so far.
func (w *Witness) Log() Log {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.log
	l.Units, l.Streams = slices.Clone(l.Units), slices.Clone(l.Streams)
	return l
}

// Count gives the datagrams and units so far.
func (w *Witness) Count() (datagrams uint64, units int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Datagrams, len(w.log.Units)
}

// Datagram reads one datagram of whole transport packets.
func (w *Witness) Datagram(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log.Datagrams++
	for ; len(b) >= packetSize; b = b[packetSize:] {
		w.packet(b[:packetSize])
	}
	if len(b) > 0 {
		w.log.Missed++
	}
}

// packet reads one transport packet (H.222.0, 2.4.3).
func (w *Witness) packet(p []byte) {
	if p[0] != 0x47 || p[1]&0x80 != 0 {
		w.log.Missed++
		return
	}
	start := p[1]&0x40 != 0
	pid := uint16(p[1]&0x1F)<<8 | uint16(p[2])
	control, cc := p[3]>>4&3, p[3]&0x0F
	if pid == 0x1FFF || control&1 == 0 {
		return
	}
	body := p[4:]
	if control == 3 {
		n := int(p[4])
		if n > 182 {
			w.log.Missed++
			return
		}
		body = p[5+n:]
	}
	if pid != 0 && pid != w.pmtPID && w.streams[pid] == nil {
		return
	}
	if last, ok := w.counter[pid]; ok {
		if cc == last {
			return // sent twice, which the standard allows
		}
		if cc != (last+1)&0x0F {
			w.log.Missed++
		}
	}
	w.counter[pid] = cc
	if s := w.streams[pid]; s != nil {
		w.log.Units = s.payload(w.log.Units, body, start)
		w.log.Untimed += s.takeUntimed()
		return
	}
	w.section(pid, body, start)
}

// section gathers a PSI section and reads it when it is whole (H.222.0, 2.4.4).
func (w *Witness) section(pid uint16, body []byte, start bool) {
	if start {
		if len(body) == 0 || int(body[0]) >= len(body) {
			return
		}
		w.psi[pid] = slices.Clone(body[1+body[0]:])
	} else {
		w.psi[pid] = append(w.psi[pid], body...)
	}
	s := w.psi[pid]
	if len(s) < 3 {
		return
	}
	n := 3 + int(s[1]&0x0F)<<8 + int(s[2])
	if len(s) < n || n < 12 {
		return
	}
	switch s = s[:n-4]; { // without the CRC
	case pid == 0 && s[0] == 0:
		w.programs(s[8:])
	case pid == w.pmtPID && s[0] == 2 && len(s) >= 12:
		w.program(s)
	}
}

// programs takes the first program of a PAT.
func (w *Witness) programs(s []byte) {
	for ; len(s) >= 4; s = s[4:] {
		if s[0] != 0 || s[1] != 0 {
			w.pmtPID = uint16(s[2]&0x1F)<<8 | uint16(s[3])
			return
		}
	}
}

// program takes the elementary streams of a PMT.
func (w *Witness) program(s []byte) {
	at := 12 + int(s[10]&0x0F)<<8 + int(s[11])
	for at+5 <= len(s) {
		kind, pid := s[at], uint16(s[at+1]&0x1F)<<8|uint16(s[at+2])
		begin := at + 5
		at = begin + int(s[at+3]&0x0F)<<8 + int(s[at+4])
		if slices.ContainsFunc(w.log.Streams, func(x Stream) bool { return x.PID == pid }) {
			continue
		}
		f := newFramer(kind)
		if f != nil {
			w.streams[pid] = &stream{pid: pid, framer: f}
		}
		w.log.Streams = append(w.log.Streams, Stream{PID: pid, Name: name(kind, s[begin:min(at, len(s))]), Counted: f != nil})
	}
}

// name says what an elementary stream is (H.222.0, table 2-34; of private data ETSI EN 300 468, 6.1).
func name(kind byte, descriptors []byte) string {
	names := map[byte]string{
		0x01: "MPEG-1 video", 0x02: "MPEG-2 video", 0x03: "MPEG-1 audio", 0x04: "MPEG-2 audio", 0x0F: "AAC", 0x11: "AAC (LATM)",
		0x1B: "H.264", 0x24: "HEVC", 0x81: "AC-3", 0x86: "SCTE-35", 0x87: "E-AC-3",
	}
	private := map[byte]string{0x56: "teletext", 0x59: "subtitles", 0x6A: "AC-3", 0x7A: "E-AC-3", 0x7B: "DTS"}
	for d := descriptors; kind == 0x06 && len(d) >= 2; d = d[min(len(d), 2+int(d[1])):] {
		if n := private[d[0]]; n != "" {
			return n
		}
	}
	if n := names[kind]; n != "" {
		return n
	}
	return fmt.Sprintf("of stream type 0x%02X", kind)
}
