package mpegts

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"time"
)

// A burst of lost packets that takes a multiple of 16 of each PID shows in no continuity counter. Where the rate of the
// multiplex is constant it shows between two PCRs: time for more packets went by than came.
//
// The rate counts as constant where for 10 s and 100 PCRs no interval was off by a quarter of a packet, and null packets
// come: a multiplex from which a relay takes them has no constant rate, however full it was for a while. A PCR with more
// jitter, or a varying rate, never gets there. From then on packets wait for the next PCR, so that what it says is known
// before they are used. When 16 packets or more are missing that no continuity counter misses, every unit that had a part
// in the interval is damaged, since the loss may have been anywhere in it. Fewer can only have been null packets.
//
// When the interval does not fit whole packets either, or has too many, the rate has changed: that is evidence of nothing,
// and it has to prove itself anew.
const (
	provenFor       = 10 * pcrHz
	provenIntervals = 100
	nullsWithin     = 5 * pcrHz
	longestInterval = pcrHz
	offBy           = 0.25 // packets
	hidden          = 16   // packets that no continuity counter misses
	maxHeldBytes    = 4 << 20

	accuracy   = pcrHz / 2_000_000.0 // 500 ns
	jitterSpan = 5 * time.Second
)

// muxRate is what PCRs say of the rate of the multiplex.
type muxRate struct {
	has         bool // the fields below are set
	raw         int64
	packets     uint64 // counted up to and with the PCR
	nulls, lost uint64 // Stats.NullPackets and LostPackets then
	clock       int64  // time since the proof began, 27 MHz
	nullAt      int64  // when a null packet came last, by that

	// Of the intervals that agree: their sum is the rate.
	intervals    int
	ticks        int64
	span         uint64
	constant     bool
	explained    bool // since the last PCR something was lost that everything knows of
	judged       bool // the PCR of the packet at hand has been looked at
	peak, before float64

	held      []byte // packets that wait for the next PCR
	places    []place
	heldNulls uint64
	arrivals  []arrival

	offset offset
}

// offset is arrival less PCR, over two spans of time.
type offset struct {
	begun, base       time.Duration
	low, high         time.Duration
	lastLow, lastHigh time.Duration
	n, lastN          int
}

// arrival is when the held packets from the n-th on came.
type arrival struct {
	n  int
	at time.Duration
}

// ticksPerPacket is the rate, or 0.
func (m *muxRate) ticksPerPacket() float64 {
	if m.span == 0 {
		return 0
	}
	return float64(m.ticks) / float64(m.span)
}

// restart begins the proof anew with the PCR that was seen last.
func (m *muxRate) restart() {
	m.intervals, m.ticks, m.span, m.clock, m.nullAt = 0, 0, 0, 0, -nullsWithin-1
	m.constant, m.peak, m.before = false, 0, 0
}

// take takes a PCR and the counts up to and with its packet. It returns how many packets are missing since the one before,
// if that can be told; a negative number says that it cannot.
func (m *muxRate) take(raw int64, packets, nulls, lost uint64) (missing int, deviation float64) {
	step := (raw - m.raw + pcrWrap) % pcrWrap
	if m.has && step == 0 {
		return -1, 0 // a packet that was sent twice
	}
	count, hadNulls, gaps, explained := packets-m.packets, nulls != m.nulls, lost != m.lost, m.explained
	had := m.has
	m.has, m.raw, m.packets, m.nulls, m.lost, m.explained = true, raw, packets, nulls, lost, false
	if !had || step > longestInterval {
		m.restart()
		return -1, 0
	}
	m.clock += step
	if hadNulls {
		m.nullAt = m.clock
	}
	if explained {
		return -1, 0
	}
	if m.intervals > 0 {
		c := m.ticksPerPacket()
		off := float64(step)/c - float64(count)
		whole := math.Round(off)
		switch {
		case math.Abs(off-whole) >= offBy || whole < 0 || whole > 0 && !m.constant && !gaps:
			m.restart()
		case whole > 0:
			return int(whole), 0
		default:
			deviation = float64(step) - c*float64(count)
		}
	}
	m.intervals++
	m.ticks += step
	m.span += count
	m.constant = m.ticks >= provenFor && m.intervals >= provenIntervals && m.clock-m.nullAt <= nullsWithin
	return 0, deviation
}

// take uses a packet, now or when the next PCR has come.
func (d *Demuxer) take(p *[PacketSize]byte) {
	n := &d.numbers
	if d.place = (place{n.datagram, n.n, n.run}); n.sender == 0 || n.n < 0 {
		d.place.n = -1
	} else if n.n < math.MaxInt16 {
		n.n++
	}
	if d.mux.constant && !d.mux.explained {
		d.hold(p)
	} else {
		d.packet(p)
	}
}

// hold keeps a packet until the next PCR, which may be its own.
func (d *Demuxer) hold(p *[PacketSize]byte) {
	m := &d.mux
	header := binary.BigEndian.Uint32(p[:])
	if header>>8&0x1FFF == nullPID {
		m.heldNulls++
		return
	}
	if uint16(header>>8&0x1FFF) == d.psi.program.PCRPID && header&0x20 != 0 && p[4] > 0 && p[5]&0x80 != 0 {
		m.has = false // discontinuity_indicator
	}
	raw, ok := d.pcrIn(p, header)
	if !ok {
		if len(m.arrivals) == 0 || m.arrivals[len(m.arrivals)-1].at != d.now {
			m.arrivals = append(m.arrivals, arrival{len(m.held) / PacketSize, d.now})
		}
		m.places = append(m.places, d.place)
		if m.held = append(m.held, p[:]...); len(m.held) >= maxHeldBytes {
			d.giveUpRate()
		}
		return
	}
	count := uint64(len(m.held)/PacketSize) + m.heldNulls + 1
	missing := d.takePCR(raw, d.stats.Packets+count, d.stats.NullPackets+m.heldNulls)
	m.judged = true
	if missing < hidden || missing-d.heldGaps(p) < hidden {
		d.release()
		d.packet(p)
		return
	}
	d.stats.HiddenLosses++
	d.loseAll(DamageRate)
	d.forgetTapes()
	d.suspect = DamageRate
	d.release()
	d.packet(p)
	d.suspect = 0
	d.loseAll(DamageRate)
	d.forgetTapes()
}

// takePCR counts what a PCR says of the accuracy of those before, and returns how many packets are missing.
func (d *Demuxer) takePCR(raw int64, packets, nulls uint64) (missing int) {
	m := &d.mux
	proven := m.constant
	missing, off := m.take(raw, packets, nulls, d.stats.LostPackets)
	if off = math.Abs(off); proven && m.constant {
		if off > accuracy {
			d.stats.TR101290.PCRAccuracyError++
		}
		m.peak = max(m.peak, off)
	}
	m.jitter(raw, d.now)
	return missing
}

// release uses the packets that waited.
func (d *Demuxer) release() {
	m := &d.mux
	now, here := d.now, d.place
	for i, a := range m.arrivals {
		d.now = a.at
		to := len(m.held)
		if i+1 < len(m.arrivals) {
			to = m.arrivals[i+1].n * PacketSize
		}
		for at := a.n * PacketSize; at < to; at += PacketSize {
			d.place = m.places[at/PacketSize]
			d.packet((*[PacketSize]byte)(m.held[at:]))
		}
	}
	d.now, d.place = now, here
	d.stats.Packets += m.heldNulls
	d.stats.NullPackets += m.heldNulls
	m.held, m.arrivals, m.heldNulls = m.held[:0], m.arrivals[:0], 0
	m.places = m.places[:0]
}

// giveUpRate uses what waits for a PCR that does not come.
func (d *Demuxer) giveUpRate() {
	d.mux.has = false
	d.mux.restart()
	d.release()
}

// lostHere says that a loss is known to be at this point: what waits came before it.
func (d *Demuxer) lostHere() {
	d.release()
	d.mux.explained = true
}

// heldSince is the time up to which everything that came has been used.
func (m *muxRate) heldSince(now time.Duration) time.Duration {
	if len(m.arrivals) > 0 {
		return min(now, m.arrivals[0].at)
	}
	return now
}

// pcrIn returns the PCR of a packet, if it has one that will be used.
func (d *Demuxer) pcrIn(p *[PacketSize]byte, header uint32) (int64, bool) {
	if uint16(header>>8&0x1FFF) != d.psi.program.PCRPID || header&0x80_0020 != 0x20 ||
		p[4] < 7 || p[4] > 183 || header&0x10 != 0 && p[4] > 182 || p[5]&0x10 == 0 {
		return 0, false
	}
	return pcrValue(p[6:12]), true
}

func pcrValue(b []byte) int64 {
	base := int64(binary.BigEndian.Uint32(b))<<1 | int64(b[4]>>7)
	return base*300 + (int64(b[4]&1)<<8 | int64(b[5]))
}

// heldGaps is how many packets the continuity counters of those that wait, and of last behind them, miss.
func (d *Demuxer) heldGaps(last *[PacketSize]byte) (gaps int) {
	type state struct {
		counter uint8
		payload []byte
	}
	seen := map[uint16]state{}
	for p := range slices.Chunk(append(d.mux.held, last[:]...), PacketSize) {
		header := binary.BigEndian.Uint32(p)
		num := uint16(header >> 8 & 0x1FFF)
		if header&0x10 == 0 || header&0x80_0000 != 0 {
			continue
		}
		s, ok := seen[num]
		if q := d.pids[num]; !ok && q != nil && q.hasCounter {
			s, ok = state{q.counter, nil}, true
		}
		announced := header&0x20 != 0 && p[4] > 0 && p[5]&0x80 != 0
		counter := uint8(header & 0x0F)
		if ok && !announced && !(counter == s.counter && bytes.Equal(p, s.payload)) {
			gaps += int((counter - s.counter - 1) & 0x0F)
		}
		seen[num] = state{counter, p}
	}
	return gaps
}

// jitter follows how much later or earlier than their own time PCRs arrive.
func (m *muxRate) jitter(raw int64, now time.Duration) {
	o := &m.offset
	at := time.Duration(raw * 1000 / 27)
	const wrap = time.Duration(pcrWrap / pcrHz * int64(time.Second))
	off := now - at - o.base
	if off > wrap/2 || off < -wrap/2 || off > longestTick || off < -longestTick { // a jump, a wrap or an outage
		*o = offset{begun: now, base: now - at}
		off = 0
	}
	if now-o.begun >= jitterSpan {
		o.lastLow, o.lastHigh, o.lastN = o.low, o.high, o.n
		o.begun, o.n = now, 0
		o.base, off = o.base+off, 0 // follows a clock that drifts
		m.before, m.peak = m.peak, 0
	}
	if o.n == 0 {
		o.low, o.high = off, off
	}
	o.low, o.high = min(o.low, off), max(o.high, off)
	o.n++
}

// tell fills in what is known of the rate.
func (m *muxRate) tell(s *Stats) {
	s.MuxConstant = m.constant
	if c := m.ticksPerPacket(); c > 0 && m.constant {
		s.MuxBitsPerSecond = uint64(math.Round(PacketSize * 8 * pcrHz / c))
		s.PCRAccuracy = time.Duration(max(m.peak, m.before) / pcrHz * float64(time.Second))
	}
	s.PCRJitter = m.offset.high - m.offset.low
	if m.offset.lastN > 0 {
		s.PCRJitter = max(s.PCRJitter, m.offset.lastHigh-m.offset.lastLow)
	}
}
