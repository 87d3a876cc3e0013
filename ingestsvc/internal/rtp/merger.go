package rtp

import (
	"hash/maphash"
	"time"
)

// Sink takes what is in order.
type Sink interface {
	// Payload takes the next packet's bytes, who numbered it and its number; b is valid only during the call.
	Payload(ssrc uint32, seq uint16, b []byte)
	// Missing says that n packets are missing here; 0: nobody knows how many.
	Missing(n uint32)
}

// Limits bound what is waited for.
type Limits struct {
	Packets int           // how far apart packets may arrive: a power of two, at most 8192
	Bytes   int           // of payload that is held
	Wait    time.Duration // how long a packet that is missing may still come
}

// OneLeg is for a sender on one path: what overtakes on the way does it by milliseconds.
func OneLeg() Limits { return Limits{Packets: 1024, Bytes: 4 << 20, Wait: 100 * time.Millisecond} }

// TwoLegs is for paths of different length: ST 2022-7 has classes up to 450 ms.
func TwoLegs() Limits { return Limits{Packets: 8192, Bytes: 16 << 20, Wait: 500 * time.Millisecond} }

// Stats counts since New.
type Stats struct {
	Missing   uint64 // packets that no leg brought in time, by sequence
	Late      uint64 // packets that came after they had been given up
	Reordered uint64 // packets that others had overtaken, and that came in time
	Restarts  uint64 // times that the sender began anew, or another took its place
	Legs      []LegStats
}

// LegStats counts on one leg.
type LegStats struct {
	Packets    uint64        // of the sender that is followed
	Duplicates uint64        // of these, that this leg had brought before
	Lost       uint64        // that this leg did not bring
	Foreign    uint64        // of other senders, or from far off, passed over
	Behind     time.Duration // how long after the first leg it brings a packet, smoothed over some 16 packets
	Seen       time.Duration // when the last of Packets came
	Odd        time.Duration // when the last came that did not fit
}

type state uint8

const (
	waiting state = iota
	held
	done
	given // up
)

// slot is what is known of one sequence number within reach.
type slot struct {
	data  []byte // while held
	at    time.Duration
	sum   uint64 // of the payload, by which legs are seen to bring the same
	stamp uint32 // RTP timestamp, by which a repetition is told from another packet with this number
	state state
	legs  uint8 // bits: which of them brought it
}

const (
	// settleAfter is how many packets later a packet counts as lost on its leg.
	settleAfter = 64
	// maxPending is how many packets of a new sender prove it, if nothing comes from the one before meanwhile, and how
	// many are kept where nobody is behind to prove them; maxStep is how far apart they may come.
	maxPending, maxStep = 512, 64
	// proof is how many packets in a row must be those of another leg, or not, before a leg is believed or given up.
	proof = 3
	// holes is how many in a row are proof where no other leg has brought them: one that has lost so much needs this leg.
	holes = 8
	// maxLeap is how far a leg may step ahead at once without proof: more than packets are overtaken on a path.
	maxLeap = 1024
	// maxDrift is how far the clocks of what goes on, and of what only has numbers near by, are apart at most.
	maxDrift = 1 << 24
	// keptBuffers of at most largeBuffer are kept to be used again.
	keptBuffers, largeBuffer = 64, 4 << 10
)

// Merger orders the packets of one input. Not for concurrent use.
type Merger struct {
	out    Sink
	limits Limits

	started bool
	slots   []slot
	mask    uint16
	next    uint16 // what is to be handed on next
	top     uint16 // one behind the highest that came; next equals top when nothing is held
	low     uint16 // the lowest that is held, if any is
	held    int
	bytes   int
	since   time.Duration // when it showed that next is missing
	aligned uint64        // packets that fitted, of all legs
	fitted  time.Duration // when the last of these came
	seed    maphash.Seed
	free    [][]byte
	legs    []leg
	stats   Stats
}

type leg struct {
	bit     uint8
	ssrc    uint32
	known   bool // it has brought something that fitted
	top     uint16
	settled uint16 // up to here it is known what it lost
	wrong   int    // packets in a row that were other ones than another leg's
	stats   LegStats

	// What may become the sender to follow.
	pending   []pending
	pendBytes int
	pendSSRC  uint32
	pendAt    time.Duration
	pendAnew  bool   // it repeats numbers with other packets
	pendSince uint64 // Merger.aligned when it began
	looked    int    // how many of them were compared with what other legs brought
	proven    int    // of these, behind the last that others brought otherwise, what they brought too
	filled    int    // and what they did not bring
}

type pending struct {
	seq   uint16
	stamp uint32
	sum   uint64
	data  []byte
}

// New returns a merger of one leg or more, eight at most.
func New(legs int, limits Limits, out Sink) *Merger {
	m := &Merger{
		out: out, limits: limits, slots: make([]slot, limits.Packets), mask: uint16(limits.Packets - 1), legs: make([]leg, legs),
		seed: maphash.MakeSeed(),
	}
	for i := range m.legs {
		m.legs[i].bit = 1 << i
	}
	return m
}

// Stats returns the counts so far.
func (m *Merger) Stats() Stats {
	s := m.stats
	s.Legs = make([]LegStats, len(m.legs))
	for i := range m.legs {
		s.Legs[i] = m.legs[i].stats
	}
	return s
}

// Waiting reports whether Tick has something to wait for.
func (m *Merger) Waiting() bool { return m.held > 0 }

// Packet takes a packet of a leg that was received at a time. payload is copied where it is kept.
func (m *Merger) Packet(number int, now time.Duration, h Header, payload []byte) {
	l := &m.legs[number]
	m.Tick(now)
	if !m.started {
		m.started = true
		m.begin(h.Seq)
		l.known, l.ssrc = true, h.SSRC
	}
	p := pending{seq: h.Seq, stamp: h.Stamp, data: payload}
	if len(m.legs) > 1 {
		p.sum = maphash.Bytes(m.seed, payload)
	}
	if !l.known || h.SSRC != l.ssrc || !m.fits(h.Seq) || m.anew(l, h) || m.leaps(l, now, p) {
		m.foreign(l, now, h.SSRC, p)
		return
	}
	m.drop(l)
	m.take(l, now, p)
}

// Tick gives up what was waited for too long.
func (m *Merger) Tick(now time.Duration) {
	for m.held > 0 && now-m.since >= m.limits.Wait {
		m.giveUp()
	}
}

// Flush hands on all that is held, for the end of the stream.
func (m *Merger) Flush() {
	for m.held > 0 {
		m.giveUp()
	}
	for i := range m.legs {
		m.drop(&m.legs[i])
	}
}

// fits reports whether a number is near what came.
func (m *Merger) fits(seq uint16) bool {
	d := int(int16(seq - m.top))
	return d >= -m.limits.Packets && d < m.limits.Packets
}

// take puts a packet in its place.
func (m *Merger) take(l *leg, now time.Duration, p pending) {
	seq, payload := p.seq, p.data
	if m.compare(l, p) < 0 {
		m.differ(l)
		return
	}
	l.wrong = 0
	m.aligned++
	m.fitted = now
	l.stats.Packets++
	l.stats.Seen = now
	overtaken := int16(seq-m.top) < 0
	if !overtaken {
		m.grow(seq + 1)
	}
	s := &m.slots[seq&m.mask]
	if s.legs&l.bit != 0 {
		l.stats.Duplicates++
		return
	}
	if s.legs == 0 {
		s.stamp, s.sum, s.at = p.stamp, p.sum, now
	}
	l.stats.Behind += (now - s.at - l.stats.Behind) / 16
	s.legs |= l.bit
	m.settle(l, seq)
	switch {
	case s.state == held || s.state == done: // by another leg
		return
	case s.state == given || int16(seq-m.next) < 0: // or it is older than the beginning
		m.stats.Late++
		return
	}
	if overtaken {
		m.stats.Reordered++
	}
	if seq == m.next {
		s.state = done
		m.next++
		m.out.Payload(m.sender(), seq, payload)
		m.run()
		return
	}
	s.state, s.data = held, append(m.buffer(), payload...)
	if m.held == 0 {
		m.low, m.since = seq, now
	} else if int16(seq-m.low) < 0 {
		m.low = seq
	}
	m.held++
	m.bytes += len(payload)
	for m.held > 0 && m.bytes > m.limits.Bytes {
		m.giveUp()
	}
}

// grow makes room up to a number; what falls out of reach is given up.
func (m *Merger) grow(top uint16) {
	for m.held > 0 && int(top-m.next) > m.limits.Packets {
		m.giveUp()
	}
	for ; m.top != top; m.top++ {
		old := m.top - uint16(m.limits.Packets)
		for i := range m.legs {
			if l := &m.legs[i]; l.known && l.settled == old {
				m.lose(l)
			}
		}
		s := &m.slots[m.top&m.mask]
		s.state, s.legs = waiting, 0
	}
}

// lose counts the next number of a leg that is settled.
func (m *Merger) lose(l *leg) {
	if m.slots[l.settled&m.mask].legs&l.bit == 0 {
		l.stats.Lost++
	}
	if l.settled++; int16(l.top-l.settled) < 0 { // it brings nothing, and numbers wrap
		l.top = l.settled
	}
}

// settle counts what the leg is far enough behind to have lost.
func (m *Merger) settle(l *leg, seq uint16) {
	if int16(seq+1-l.top) > 0 {
		l.top = seq + 1
	}
	for int16(l.top-settleAfter-l.settled) > 0 {
		m.lose(l)
	}
}

// giveUp hands on what is held behind the first hole.
func (m *Merger) giveUp() {
	n := m.low - m.next
	for ; m.next != m.low; m.next++ {
		m.slots[m.next&m.mask].state = given
	}
	m.stats.Missing += uint64(n)
	m.out.Missing(uint32(n))
	m.run()
}

// sender is the SSRC by which another receiver of the same numbers knows them: the least, where legs have several.
func (m *Merger) sender() (ssrc uint32) {
	known := false
	for i := range m.legs {
		if l := &m.legs[i]; l.known && (!known || l.ssrc < ssrc) {
			ssrc, known = l.ssrc, true
		}
	}
	return ssrc
}

// run hands on what is held without a hole before it.
func (m *Merger) run() {
	if m.held == 0 || m.next != m.low {
		return
	}
	for m.held > 0 && m.next != m.top {
		s := &m.slots[m.next&m.mask]
		if s.state != held {
			break
		}
		s.state = done
		m.next++
		m.held--
		m.bytes -= len(s.data)
		m.out.Payload(m.sender(), m.next-1, s.data)
		m.release(s.data)
		s.data = nil
	}
	if m.held == 0 {
		return
	}
	for m.low = m.next; m.slots[m.low&m.mask].state != held; m.low++ {
	}
	m.since = m.slots[m.low&m.mask].at
}

// begin makes a number the next, and forgets all others.
func (m *Merger) begin(seq uint16) {
	for i := range m.slots {
		m.slots[i] = slot{}
	}
	m.next, m.top = seq, seq
	for i := range m.legs {
		l := &m.legs[i]
		l.top, l.settled = seq, seq
	}
}

func (m *Merger) buffer() []byte {
	n := len(m.free)
	if n == 0 {
		return nil
	}
	b := m.free[n-1]
	m.free = m.free[:n-1]
	return b
}

func (m *Merger) release(b []byte) {
	if len(m.free) < keptBuffers && cap(b) <= largeBuffer && cap(b) > 0 {
		m.free = append(m.free, b[:0])
	}
}
