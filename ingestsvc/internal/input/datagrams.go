package input

import (
	"time"

	"github.com/twinreel/twinreel/ingestsvc/internal/rtp"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// form is how the transport stream lies in datagrams.
type form uint8

const (
	unknownForm form = iota
	bare             // packets alone
	inRTP
)

// changeAfter datagrams in a row of the other form mean that the sender has changed it.
const changeAfter = 8

// datagrams tells RTP from bare packets, and orders what is in RTP.
type datagrams struct {
	form   form
	fixed  bool // by the URL
	legs   int
	other  int // datagrams of the other form in a row
	alien  uint64
	merger *rtp.Merger // nil until there is RTP
}

func newDatagrams(options streamconf.Input) datagrams {
	d := datagrams{legs: len(options.Legs())}
	if options.UDP.RTP {
		d.form, d.fixed = inRTP, true
	}
	return d
}

// datagram takes one of a leg.
func (p *pipeline) datagram(leg int, mono time.Duration, b []byte) {
	d := &p.datagrams
	if !d.fixed && !p.ofForm(b) {
		d.alien++
		return
	}
	if d.form == bare {
		p.demux.Write(b)
		return
	}
	h, payload, ok := rtp.Parse(b)
	if !ok || !h.Carries(payload) {
		d.alien++
		return
	}
	p.order().Packet(leg, mono, h, payload)
}

// ofForm reports whether a datagram is of the form that the sender has. The first one decides, and later many in a row:
// a second sender on the same address must not change it.
func (p *pipeline) ofForm(b []byte) bool {
	d := &p.datagrams
	looks := bare
	if rtp.Looks(b) || d.form == inRTP && carries(b) { // of the sender that is known also one without payload, which has a number
		looks = inRTP
	}
	switch {
	case d.form == unknownForm:
		d.form = looks
	case looks == d.form:
		d.other = 0
	case d.form == inRTP && !beginsPacket(b):
		return false // neither the one nor the other
	default:
		if d.other++; d.other < changeAfter {
			return false
		}
		if d.merger != nil {
			d.merger.Flush()
		}
		p.demux.SequenceLoss(0)
		d.form, d.other = looks, 0
	}
	return true
}

// carries reports whether a datagram is one of RTP that brings MPEG-TS, to one who knows that RTP comes.
func carries(b []byte) bool {
	h, payload, ok := rtp.Parse(b)
	return ok && h.Carries(payload)
}

// beginsPacket reports whether a datagram may be bare packets.
func beginsPacket(b []byte) bool {
	return len(b) > 0 && b[0] == 0x47 || len(b) > 4 && b[4] == 0x47
}

// order is the merger, made when it is first needed.
func (p *pipeline) order() *rtp.Merger {
	d := &p.datagrams
	if d.merger == nil {
		limits := rtp.OneLeg()
		if d.legs > 1 {
			limits = rtp.TwoLegs()
		}
		d.merger = rtp.New(d.legs, limits, (*ordered)(p))
	}
	return d.merger
}

// ordered takes what the merger has in order.
type ordered pipeline

var _ rtp.Sink = (*ordered)(nil)

// Payload implements rtp.Sink.
func (o *ordered) Payload(sender uint32, number uint16, b []byte) {
	o.demux.WriteDatagram(sender, number, b)
}

// Missing implements rtp.Sink.
func (o *ordered) Missing(n uint32) { o.demux.SequenceLoss(n) }
