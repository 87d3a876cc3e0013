package mpegts

import (
	"bytes"
	"time"
)

// pid is what is kept of one packet identifier.
type pid struct {
	num        uint16
	counter    uint8 // continuity_counter of the last packet with payload
	hasCounter bool
	repeated   bool // that packet came twice already
	lastPUSI   bool
	last       []byte // its payload, to tell a repetition from a loss of fifteen
	lastBuf    [PacketSize]byte

	section *sectionReader // PSI
	stream  *stream        // an elementary stream that is framed
	si      *siReader      // tables that are checked alone
	stats   PIDStats

	// Of a video or audio PID of the program, for TR101290.
	watched     bool
	packetsSeen uint64
	seen        time.Duration // when it last had a packet
}

// continuous checks a packet with payload against the one before it and reports whether it is to be used. H.222.0
// (2.4.3.3) allows a packet to be sent twice, with the same counter and the same content but for the PCR.
func (d *Demuxer) continuous(q *pid, counter uint8, payload []byte, pusi, discontinuity bool) bool {
	switch {
	case !q.hasCounter, counter == (q.counter+1)&0x0F:
	case counter == q.counter && !q.repeated && pusi == q.lastPUSI && bytes.Equal(payload, q.last):
		q.repeated = true
		q.stats.Duplicates++
		return false
	case discontinuity && pusi: // a splice where one PES ends and another begins
		q.forgetTape()
	case discontinuity:
		q.lose(DamageContinuity)
		q.forgetTape()
	default:
		q.stats.ContinuityErrors++
		if counter != q.counter || !bytes.Equal(payload, q.last) {
			d.stats.LostPackets += uint64(counter-q.counter-1) & 0x0F
		}
		q.lose(DamageContinuity)
	}
	q.counter, q.hasCounter, q.repeated, q.lastPUSI = counter, true, false, pusi
	q.last = q.lastBuf[:copy(q.lastBuf[:], payload)]
	return true
}

// lose notes that packets of the PID are missing, or useless, at this point.
func (q *pid) lose(reason Damage) {
	switch {
	case q.stream != nil:
		q.stream.lose(reason)
	case q.section != nil:
		q.section.reset()
	case q.si != nil:
		q.si.reset()
	}
}

func (q *pid) forgetTape() {
	if q.stream != nil && q.stream.tape != nil {
		q.stream.tape.forget()
	}
}
