package mpegts

import (
	"bytes"
	"encoding/binary"
)

// PacketHandler is a Handler that is also given what came of the packets around damaged units of picture and sound.
type PacketHandler interface {
	Handler
	// Packets is called behind the units that a loss has damaged, and before the next one. p and all that it leads to is
	// valid only during the call.
	Packets(p *Packets)
}

// Packets are the transport packets of a PID from the PES in which a damaged unit began to where framing went on.
type Packets struct {
	PID  uint16
	Runs []PacketRun
	// Sender is who numbered the datagrams in which they came: 1 + that of WriteDatagram. 0: nobody has.
	Sender uint64
	// Until is the DTS of the PES with which they end, where HasUntil is set.
	Until    int64
	HasUntil bool
}

// PacketRun is what came from one PES with a time to the next one.
type PacketRun struct {
	DTS int64 // raw, of its first PES
	// Before is the DTS of the PES with a time before it, where Linked is set; that began LinkAt packets before it, and
	// LinkWhole says that all of these came.
	Before    int64
	Linked    bool
	LinkAt    int
	LinkWhole bool
	LinkSure  bool // LinkAt is exact; else a multiple of 16 may be missing in it
	// Cut: it begins behind a hole of which nobody can count the packets, somewhere behind the PES of DTS.
	Cut     bool
	Packets []TapePacket
}

// TapePacket is one packet with payload.
type TapePacket struct {
	At      int // packets of the PID since the first of its run, by the continuity counter
	Counter uint8
	Start   bool // payload_unit_start_indicator
	Follows bool // the packet before it in the tape is the one before it in the stream
	// Sure: between that and this one fewer than 16 are missing for certain, so the counter tells how many.
	Sure bool
	// Datagram is the number of the datagram in which it came, and Place its place in that; -1: not known.
	Datagram uint16
	Place    int
	// Before and After are, beside a hole, how many datagrams without a packet of the PID came in a row before that one, and
	// behind it.
	Before, After int
	Data          []byte
}

const (
	// maxTapeBytes is how much of a PID's packets is held; what has more is not kept.
	maxTapeBytes   = 1 << 20
	maxTapePackets = maxTapeBytes / 128
	// surePackets are as many as the continuity counter can count.
	surePackets = 15
	// mostPackets are those of a datagram, where none had more.
	mostPackets = 7
)

// tape holds the packets of one PID from the PES in which the open unit began. While nothing is lost it is wound on with
// each PES.
type tape struct {
	h     PacketHandler
	pid   uint16
	video bool

	buf     []byte // payloads of the packets
	packets []taped
	runs    []tapedRun
	on      bool   // it holds all since its first PES; false: until a PES with a time begins
	next    uint8  // continuity counter that is expected
	missing int    // packets, of any PID, that the transport may have lost since the newest one here
	sender  uint64 // Packets.Sender
	lost    bool   // since something was lost that damages units
	since   uint64 // AccessUnit.Order of those that begin behind the newest loss is this or more

	out  Packets
	flat []TapePacket
}

type taped struct {
	from, to int
	at       int
	counter  uint8
	start    bool
	follows  bool
	sure     bool
	place    place
	before   int
	after    int
}

// place is where a packet came by the numbers of its datagrams.
type place struct {
	datagram uint16
	n        int16 // in it; -1: not known
	run      int   // datagrams that came in a row before it
}

type tapedRun struct {
	dts   int64
	first int // in packets
	size  int // packets of the PID from its first on, also those that were lost
	whole bool
	sure  bool // so is its size
	cut   bool
	link  tapedLink
}

type tapedLink struct {
	dts   int64
	at    int
	whole bool
	sure  bool
	known bool
}

// forget gives up what is held: where the next packets stand is not known.
func (t *tape) forget() {
	t.buf, t.packets, t.runs = t.buf[:0], t.packets[:0], t.runs[:0]
	t.on, t.lost, t.missing = false, false, 0
}

// miss says that the transport lost up to n packets of any PID here, behind the datagram last. Where the counter cannot tell how many are missing, their
// places are known by numbers of datagrams alone.
func (t *tape) miss(n int, last uint16) {
	if k := len(t.packets); t.on && t.missing == 0 && t.packets[k-1].place.n >= 0 {
		t.packets[k-1].after = int(last - t.packets[k-1].place.datagram)
	}
	if t.missing = min(t.missing+n, surePackets+1); t.missing > surePackets && t.sender == 0 {
		t.forget()
	}
}

// lose says that units are damaged up to those that begin with a packet, counted over all PIDs.
func (t *tape) lose(packet uint64) {
	if t.on {
		t.lost, t.since = true, packet
	}
}

// packet takes the payload of a packet. It is called before the framer has it.
func (t *tape) packet(counter uint8, b []byte, start bool, at place) {
	gap := int((counter - t.next) & 0x0F)
	t.next = (counter + 1) & 0x0F
	cut, sure := t.missing > surePackets, gap == 0 || t.missing > 0
	t.missing = 0
	var m mark
	timed := false
	if start {
		m, timed = startTimes(b)
	}
	if !t.on && !timed {
		return
	}
	first := !t.on
	switch {
	case first:
	case cut:
		t.runs = append(t.runs, tapedRun{dts: t.runs[len(t.runs)-1].dts, first: len(t.packets), cut: true})
	default:
		r := &t.runs[len(t.runs)-1]
		r.size += gap
		r.whole, r.sure = r.whole && gap == 0, r.sure && sure
	}
	if timed {
		t.begin(m.dts, cut)
	}
	r := &t.runs[len(t.runs)-1]
	from := len(t.buf)
	t.buf = append(t.buf, b...)
	x := taped{from: from, to: len(t.buf), at: r.size, counter: counter, start: start, follows: !first && !cut && gap == 0, sure: sure, place: at}
	if !first { // those without a packet of the PID
		x.before = min(at.run, max(int(at.datagram-t.packets[len(t.packets)-1].place.datagram)-1, 0))
	}
	t.packets = append(t.packets, x)
	if r.size++; len(t.buf) > maxTapeBytes || len(t.packets) > maxTapePackets {
		t.forget()
	}
}

// begin opens a run with the PES that begins.
func (t *tape) begin(dts int64, cut bool) {
	r := tapedRun{dts: dts, first: len(t.packets), whole: true, sure: true}
	switch n := len(t.runs); {
	case !t.on || n == 0:
	case cut: // instead of the run that would have begun here without a time
		t.runs = t.runs[:n-1]
	case !t.runs[n-1].cut:
		o := &t.runs[n-1]
		r.link = tapedLink{o.dts, o.size, o.whole, o.sure, true}
	}
	t.on = true
	t.runs = append(t.runs, r)
	if !t.lost && !t.video {
		t.wind(len(t.runs) - 2) // the open frame may have begun in the PES before
	}
}

// began says that a picture begins: what came before its PES is not needed, while nothing is lost.
func (t *tape) began() {
	if t.on && !t.lost && t.video {
		t.wind(len(t.runs) - 1)
	}
}

// wind drops all runs before one.
func (t *tape) wind(to int) {
	if to <= 0 {
		return
	}
	first := t.runs[to].first
	cut := t.packets[first].from
	t.buf = t.buf[:copy(t.buf, t.buf[cut:])]
	t.packets = t.packets[:copy(t.packets, t.packets[first:])]
	for i := range t.packets {
		t.packets[i].from -= cut
		t.packets[i].to -= cut
	}
	t.runs = t.runs[:copy(t.runs, t.runs[to:])]
	for i := range t.runs {
		t.runs[i].first -= first
	}
}

// settle hands on what a loss has left, once framing has gone on.
func (t *tape) settle() {
	if !t.lost {
		return
	}
	t.lost = false
	t.out = Packets{PID: t.pid, Sender: t.sender, Runs: t.out.Runs[:0]}
	t.flat = t.flat[:0]
	for i, p := range t.packets {
		x := TapePacket{
			At: p.at, Counter: p.counter, Start: p.start, Follows: p.follows && i > 0, Sure: p.sure, Datagram: p.place.datagram, Place: int(p.place.n),
			After: p.after, Data: t.buf[p.from:p.to],
		}
		if !x.Follows {
			x.Before = p.before
		}
		t.flat = append(t.flat, x)
	}
	for i := range t.runs {
		r := &t.runs[i]
		end := len(t.packets)
		if i+1 < len(t.runs) {
			end = t.runs[i+1].first
		}
		t.out.Runs = append(t.out.Runs, PacketRun{
			DTS: r.dts, Before: r.link.dts, Linked: r.link.known, LinkAt: r.link.at, LinkWhole: r.link.whole, LinkSure: r.link.sure, Cut: r.cut,
			Packets: t.flat[r.first:end],
		})
	}
	last := t.runs[len(t.runs)-1]
	t.out.Until, t.out.HasUntil = last.dts, len(t.runs) > 1
	t.h.Packets(&t.out)
	if t.video {
		t.wind(len(t.runs) - 1)
	} else {
		t.wind(len(t.runs) - 2)
	}
}

// startTimes reads the times of a PES from its first packet.
func startTimes(b []byte) (m mark, ok bool) {
	if len(b) < pesFixedHeader || b[0] != 0 || b[1] != 0 || b[2] != 1 || !hasPESHeader(b[3]) || len(b) < pesFixedHeader+int(b[8]) {
		return m, false
	}
	m, _ = parsePESTimes(b[:pesFixedHeader+int(b[8])])
	return m, m.hasPTS
}

// StartDTS reads the raw DTS of a PES from its first packet.
func StartDTS(payload []byte) (dts int64, ok bool) {
	m, ok := startTimes(payload)
	return m.dts, ok
}

// Reframer frames packets that were put together again. It does so by the code by which a Demuxer frames those that come,
// and as that does when it joins at their first.
type Reframer struct {
	d *Demuxer
	e *stream
}

// NewReframer returns a reframer of one elementary stream, of picture or sound, that delivers to h.
func NewReframer(s Stream, h Handler) *Reframer {
	d := NewDemuxer(h, Options{})
	e := d.newStream(s)
	e.tape = nil
	return &Reframer{d: d, e: e}
}

// Know tells it what the headers of a picture of the stream say, as a Demuxer knows it that saw earlier pictures. data is as
// AccessUnit.Data, but of H.264 with four bytes of length before each NAL unit.
func (r *Reframer) Know(data []byte) {
	switch f := r.e.framer.(type) {
	case *h264Framer:
		for len(data) > 4 {
			n := int(binary.BigEndian.Uint32(data))
			if n > len(data)-4 {
				return
			}
			f.params.take(data[4 : 4+n])
			data = data[4+n:]
		}
	case *mpegVideoFramer:
		for {
			i := bytes.Index(data, []byte{0, 0, 1})
			if i < 0 || len(data) < i+10 {
				return
			}
			switch data = data[i+3:]; {
			case data[0] == mpegSequence:
				f.rate = sequenceRate(data[1:])
			case data[0] == mpegExtension && data[1]>>4 == mpegSequenceExtension:
				f.rate.extension(data[1:])
			case data[0] >= mpegSlice && data[0] <= mpegLastSlice:
				return
			}
		}
	}
}

// Packet takes the payload of the next packet.
func (r *Reframer) Packet(payload []byte, start bool) {
	r.d.stats.Packets++
	r.e.packet(payload, start)
}

// End says that packets are missing behind the newest: what is complete by then is delivered.
func (r *Reframer) End() { r.e.lose(DamageContinuity) }
