package mpegts

import (
	"encoding/binary"
	"math"
	"time"
)

// PacketSize is the length of a transport packet.
const PacketSize = 188

const (
	syncByte = 0x47
	nullPID  = 0x1FFF
	// lockPackets sync bytes in a row are needed to find the packet grid (ETSI TR 101 290, 5.2.1: five).
	lockPackets = 5
	lockBytes   = (lockPackets-1)*maxStride + 1
	maxStride   = 204
)

// strides are how far packets may begin from each other. Beside the packets alone: with a time code of four bytes before
// each of them (M2TS, BDAV), and with the parity of a Reed-Solomon code of 16 bytes behind it (EN 300 429). Neither is
// looked into.
var strides = [...]int{PacketSize, 192, maxStride}

// Options limit and steer a Demuxer. The zero value is ready to use.
type Options struct {
	// Program is the program_number to take; 0 is the lowest in the PAT.
	Program uint16
	// PIDs are the elementary streams to take; none: all of the program. PAT, PMT and PCR are followed whatever it says.
	PIDs []uint16
	// MaxUnitBytes bounds one access unit (default 4 MiB); a longer one is delivered cut short, with DamageSyntax.
	MaxUnitBytes int
	// MaxPIDs bounds how many PIDs are told apart in continuity and statistics (default 512); the rest are counted
	// together. PSI and the elementary streams of the program are always followed.
	MaxPIDs int
	// MaxStreams bounds how many elementary streams of picture and sound are framed, and how many of data (default 32 each);
	// further ones are announced only.
	MaxStreams int
	// PIDPeriod is how long a video or audio PID may be silent before that is a PID_error of TR 101 290 (default 5 s).
	PIDPeriod time.Duration
}

func (o Options) withDefaults() Options {
	if o.MaxUnitBytes <= 0 {
		o.MaxUnitBytes = 4 << 20
	}
	if o.MaxPIDs <= 0 {
		o.MaxPIDs = 512
	}
	if o.MaxStreams <= 0 {
		o.MaxStreams = 32
	}
	if o.PIDPeriod <= 0 {
		o.PIDPeriod = pidPeriod
	}
	return o
}

// Demuxer frames the access units of one program. Not for concurrent use.
type Demuxer struct {
	h    Handler
	opts Options

	now    time.Duration
	locked bool   // the packet grid is known
	stride int    // of the grid that was found last
	skip   int    // bytes of it that come before the next packet
	carry  []byte // bytes that do not make a packet, or do not prove the grid, yet

	pids    [nullPID]*pid
	tracked []*pid // every non-nil entry of pids
	psi     psi
	stats   Stats
	quality quality
	mux     muxRate
	suspect Damage     // of every unit that is delivered now
	numbers numbers    // of the datagram that is written
	place   place      // of the packet at hand, by these
	most    int        // packets of a datagram
	between uint64     // 1 while a loss is told that is not in the packet at hand, but behind it
	unit    AccessUnit // reused for each delivery
}

// NewDemuxer returns a demuxer that delivers to h.
func NewDemuxer(h Handler, opts Options) *Demuxer {
	d := &Demuxer{h: h, opts: opts.withDefaults(), most: mostPackets}
	d.psi.init()
	d.follow(patPID).section = &sectionReader{table: d.pat}
	return d
}

// SetNow tells the monotonic time at which what comes next was received.
func (d *Demuxer) SetNow(mono time.Duration) {
	d.judge(mono)
	if len(d.mux.arrivals) > 0 && mono-d.mux.arrivals[0].at > longestTick {
		d.giveUpRate()
	}
	d.now = mono
}

// numbers are those of the datagram that is written.
type numbers struct {
	sender   uint64 // 1 + that of WriteDatagram; 0: there are none
	datagram uint16
	n        int16 // packets of it so far; -1: not known
	run      int   // how many came in a row before it
}

// WriteDatagram is Write of a datagram that its sender (RTP: SSRC) has numbered. By these numbers, others who had it of the same
// sender know where its packets belong.
func (d *Demuxer) WriteDatagram(sender uint32, number uint16, p []byte) {
	if s := uint64(sender) + 1; s != d.numbers.sender {
		d.forgetTapes()
		d.numbers.sender, d.numbers.run = s, -1
	}
	d.numbers.datagram, d.numbers.n = number, 0
	d.numbers.run = min(d.numbers.run+1, math.MaxInt16)
	if len(d.carry) > 0 {
		d.numbers.n = -1
	}
	d.Write(p)
	d.numbers.n = -1
}

// Write takes the next bytes: a datagram, a part of a file, anything. It keeps no reference to p.
//
// A packet is used as soon as its last byte is here; if more bytes of p follow it, they must begin with a sync byte, or
// the packet is not believed (bytes were lost or inserted within it).
func (d *Demuxer) Write(p []byte) {
	d.most = max(d.most, len(p)/PacketSize)
	for len(d.carry) > 0 && len(p) > 0 {
		held := len(d.carry)
		take := min(len(p), max(lockBytes-held, PacketSize+1))
		d.carry = append(d.carry, p[:take]...)
		used := d.consume(d.carry)
		if used >= held { // the rest can be read in place
			d.carry = d.carry[:0]
			p = p[used-held:]
			break
		}
		d.carry = d.carry[:copy(d.carry, d.carry[used:])]
		p = p[take:]
	}
	d.carry = append(d.carry, p[d.consume(p):]...)
}

// consume uses what it can of p and returns how many bytes that was.
func (d *Demuxer) consume(p []byte) int {
	i := 0
	for {
		if !d.locked {
			n, stride := findGrid(p[i:])
			d.stats.GarbageBytes += uint64(n)
			i += n
			d.judgeGrid(stride != 0)
			if stride == 0 {
				return i
			}
			d.locked, d.stride, d.skip = true, stride, 0
		}
		for {
			n := min(d.skip, len(p)-i)
			i += n
			d.skip -= n
			if len(p)-i < PacketSize || !d.believable(p[i:]) {
				break
			}
			d.take((*[PacketSize]byte)(p[i:]))
			i += PacketSize
			d.skip = d.stride - PacketSize
		}
		if len(p)-i < PacketSize && (i == len(p) || p[i] == syncByte) {
			return i
		}
		d.judgeUnlock(p[i:])
		d.unlock()
		d.stats.GarbageBytes++
		i++ // or the same wrong byte would be found again
	}
}

// believable reports whether p begins with a packet of the grid. A missing sync byte after it is forgiven when the one
// after that is in place: then it is the next packet's header that is broken.
func (d *Demuxer) believable(p []byte) bool {
	if p[0] != syncByte {
		return false
	}
	return len(p) <= d.stride || p[d.stride] == syncByte || len(p) > 2*d.stride && p[2*d.stride] == syncByte
}

// findGrid returns where the packet grid begins in p, and its stride; with 0 for that, how much of p cannot be its
// beginning. What fits several strides is of the shortest.
func findGrid(p []byte) (n, stride int) {
	for i := range p {
		if p[i] != syncByte {
			continue
		}
		open := false // more bytes may show that it begins here
		for _, stride := range strides {
			seen := syncs(p[i:], stride)
			if seen == lockPackets {
				return i, stride
			}
			open = open || seen < 0
		}
		if open {
			return i, 0
		}
	}
	return len(p), 0
}

// syncs counts the sync bytes at a stride, up to lockPackets; -1 where p ends before one is missing.
func syncs(p []byte, stride int) int {
	for k := range lockPackets {
		at := k * stride
		if at >= len(p) {
			return -1
		}
		if p[at] != syncByte {
			return k
		}
	}
	return lockPackets
}

// unlock gives the packet grid up: what was lost with it may have been of any PID.
func (d *Demuxer) unlock() {
	d.lostHere()
	d.locked = false
	d.stats.SyncLosses++
	d.loseAll(DamageContinuity)
	d.forgetTapes()
}

// Flush ends the stream: packets still waiting for proof of the grid are used, and what is open is delivered. A picture
// whose end was not seen is delivered with DamagePESLength, for nothing proves that it is all there.
func (d *Demuxer) Flush() {
	stride := d.stride
	if !d.locked {
		stride = PacketSize
		for _, s := range strides[1:] {
			if syncs(d.carry, stride) >= 0 { // the shorter one misses a sync byte
				stride = s
			}
		}
	}
	for i := 0; len(d.carry)-i >= PacketSize && d.carry[i] == syncByte; i += stride {
		d.take((*[PacketSize]byte)(d.carry[i:]))
		if len(d.carry) < i+stride {
			break
		}
	}
	d.giveUpRate()
	d.carry = d.carry[:0]
	d.locked, d.skip = false, 0
	for _, s := range d.psi.program.Streams {
		if e := d.pids[s.PID].stream; e != nil {
			e.flush()
		}
	}
}

// KernelDrop says that n datagrams were lost between what was written before and what comes next. They may have
// carried anything: each open unit becomes damaged, and the next of each PID is marked Lost.
func (d *Demuxer) KernelDrop(n uint32) {
	d.lostHere()
	d.stats.KernelDrops += uint64(n)
	d.stats.GarbageBytes += uint64(len(d.carry))
	d.carry = d.carry[:0]
	d.loseBetween(DamageReceive)
	if n == 0 || uint64(n)*uint64(d.most) > surePackets { // the network may have lost some too, and nobody has counted those
		d.forgetTapes()
	}
}

// SequenceLoss says the same of n datagrams that never came, by the sequence numbers of the transport; 0: some, and
// nobody knows how many.
func (d *Demuxer) SequenceLoss(n uint32) {
	d.lostHere()
	d.stats.SequenceLosses += uint64(n)
	d.stats.GarbageBytes += uint64(len(d.carry))
	d.carry = d.carry[:0]
	d.loseBetween(DamageSequence)
	if n == 0 {
		d.forgetTapes()
		return
	}
	for t := range d.tapes {
		t.miss(int(min(uint64(n)*uint64(d.most), surePackets+1)), d.numbers.datagram)
	}
	d.numbers.run = -1
}

// forgetTapes says that nobody can tell how many packets are missing here.
func (d *Demuxer) forgetTapes() {
	for t := range d.tapes {
		t.forget()
	}
}

func (d *Demuxer) tapes(yield func(*tape) bool) {
	for _, q := range d.tracked {
		if q.stream != nil && q.stream.tape != nil && !yield(q.stream.tape) {
			return
		}
	}
}

// loseBetween is loseAll behind the newest packet, not in it.
func (d *Demuxer) loseBetween(reason Damage) {
	d.between = 1
	d.loseAll(reason)
	d.between = 0
}

func (d *Demuxer) loseAll(reason Damage) {
	for _, q := range d.tracked {
		q.lose(reason)
	}
}

// follow returns the state of a PID of interest, whatever MaxPIDs says: those are few.
func (d *Demuxer) follow(num uint16) *pid {
	if d.pids[num] == nil {
		d.pids[num] = &pid{num: num}
		d.tracked = append(d.tracked, d.pids[num])
	}
	return d.pids[num]
}

// packet takes one transport packet (H.222.0, 2.4.3.2).
func (d *Demuxer) packet(p *[PacketSize]byte) {
	d.stats.Packets++
	header := binary.BigEndian.Uint32(p[:])
	num := uint16(header >> 8 & 0x1FFF)
	if num == nullPID {
		d.stats.NullPackets++
		return
	}
	q := d.pids[num]
	if q == nil {
		if len(d.tracked) >= d.opts.MaxPIDs {
			d.stats.UntrackedPackets++
			return
		}
		q = d.follow(num)
		q.si = d.newSI(num)
	}
	q.stats.Packets++
	if header&0x80_0000 != 0 {
		// Nothing in the packet can be relied on, not even its PID: it counts as lost where it claims to belong, and
		// as a continuity error where it is missing.
		d.stats.TransportErrors++
		q.stats.TransportErrors++
		q.lose(DamageTransport)
		if next := uint8(header & 0x0F); q.hasCounter && next == (q.counter+1)&0x0F {
			q.counter = next
		}
		return
	}

	payload, discontinuity, ok := d.adaptation(p, header, q)
	if !ok {
		d.stats.AdaptationErrors++
		q.lose(DamageSyntax)
		return
	}
	if header&0x10 == 0 { // no payload: the counter does not count
		if discontinuity {
			q.counter, q.hasCounter = uint8(header&0x0F), true
		}
		return
	}
	pusi := header&0x40_0000 != 0
	if !d.continuous(q, uint8(header&0x0F), payload, pusi, discontinuity) {
		return
	}
	if header&0xC0 != 0 {
		d.stats.Scrambled++
		q.stats.Scrambled++
		d.judgeScrambled(q)
		q.lose(DamageScrambled)
		return
	}
	switch {
	case q.stream != nil:
		if q.stream.tape != nil {
			q.stream.tape.sender = d.numbers.sender
			q.stream.tape.packet(uint8(header&0x0F), payload, pusi, d.place)
		}
		q.stream.packet(payload, pusi)
	case q.section != nil:
		q.section.packet(d, payload, pusi)
	case q.si != nil:
		q.si.packet(d, q, payload, pusi)
	}
}

// adaptation returns the payload of p behind its adaptation field, and whether that has discontinuity_indicator.
func (d *Demuxer) adaptation(p *[PacketSize]byte, header uint32, q *pid) (payload []byte, discontinuity, ok bool) {
	switch header & 0x30 {
	case 0x10:
		return p[4:], false, true
	case 0x00: // reserved: discarded (2.4.3.3)
		return nil, false, false
	}
	length := int(p[4])
	if length > 183 || header&0x10 != 0 && length > 182 {
		return nil, false, false
	}
	if length > 0 {
		discontinuity = p[5]&0x80 != 0
		if discontinuity {
			d.discontinuity(q)
		}
		if p[5]&0x10 != 0 && length >= 7 {
			d.pcr(p[6:12], q)
		}
	}
	return p[5+length:], discontinuity, true
}

// pcr takes a program_clock_reference (2.4.3.5).
func (d *Demuxer) pcr(b []byte, q *pid) {
	if q.num != d.psi.program.PCRPID {
		return
	}
	d.stats.PCRs++
	d.stats.PCR = pcrValue(b)
	d.stats.PCRPackets = d.stats.Packets
	if d.quality.jump {
		d.mux.has = false
	}
	d.judgePCR(d.stats.PCR)
	if !d.mux.judged {
		d.takePCR(d.stats.PCR, d.stats.Packets, d.stats.NullPackets)
	}
	d.mux.judged = false
}

// discontinuity notes that the source announced a jump: of its clock, if on the PCR PID, so for all streams.
func (d *Demuxer) discontinuity(q *pid) {
	q.stats.Discontinuities++
	if q.stream != nil {
		q.stream.out.discontinuity = true
	}
	if q.num != d.psi.program.PCRPID {
		return
	}
	d.quality.jump = true
	for _, s := range d.psi.program.Streams {
		if e := d.pids[s.PID].stream; e != nil {
			e.out.discontinuity = true
		}
	}
}
