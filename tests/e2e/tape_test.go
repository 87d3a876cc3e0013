package e2e

import (
	"sync"
	"testing"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/witness"
)

// unit is an access unit that the source sent. A clip of ours has one to a PES.
type unit struct {
	pid      uint16
	dts, pts int64 // 33 bits
	packets  []int // of each of its packets the datagram
}

// tape reads what a source sends, and knows which datagrams an access unit was in.
type tape struct {
	*witness.Witness // its hashes

	mu    sync.Mutex // protects the fields below
	sent  int
	units map[uint16][]*unit // by PID, in the order in which they were sent
}

func newTape() *tape { return &tape{Witness: witness.New(), units: map[uint16][]*unit{}} }

// Write implements io.Writer.
func (t *tape) Write(b []byte) (int, error) {
	t.Datagram(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := b; len(p) >= 188; p = p[188:] {
		t.packet(p[:188])
	}
	t.sent++
	return len(b), nil
}

func (t *tape) packet(p []byte) {
	pid := uint16(p[1]&0x1F)<<8 | uint16(p[2])
	body := p[4:]
	if p[3]&0x20 != 0 {
		body = p[5+int(p[4]):]
	}
	if p[3]&0x10 == 0 {
		return
	}
	units := t.units[pid]
	switch {
	case p[1]&0x40 != 0 && len(body) > 19 && body[0] == 0 && body[1] == 0 && body[2] == 1 && body[7]&0x80 != 0:
		u := &unit{pid: pid, pts: stamp(body[9:])}
		if u.dts = u.pts; body[7]&0x40 != 0 {
			u.dts = stamp(body[14:])
		}
		units = append(units, u)
		t.units[pid] = units
	case len(units) == 0:
		return
	}
	last := units[len(units)-1]
	last.packets = append(last.packets, t.sent)
}

func stamp(b []byte) int64 {
	return int64(b[0]>>1&7)<<30 | int64(b[1])<<22 | int64(b[2]>>1)<<15 | int64(b[3])<<7 | int64(b[4]>>1)
}

// clipVideo is the PID of the picture in a clip of ours.
const clipVideo = 0x100

// wait returns when so much media was sent.
func (t *tape) wait(tt *testing.T, length time.Duration) {
	tt.Helper()
	for {
		t.mu.Lock()
		pictures := len(t.units[clipVideo])
		t.mu.Unlock()
		if time.Duration(pictures)*time.Second/25 >= length {
			return
		}
		select {
		case <-tt.Context().Done():
			tt.Fatal(tt.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
