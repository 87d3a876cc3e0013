package mpegts

// picture is what tells a coded picture from its neighbours.
type picture struct {
	seen     bool // the header could be read: its parameter sets were there
	field    bool
	bottom   bool
	idr      bool
	ref      bool
	paired   bool // its second field has come
	frameNum uint32
}

// pairs reports whether q is the second field of the frame whose first is p (14496-10, 3.30 and 3.31).
func (p picture) pairs(q picture) bool {
	return p.seen && q.seen && p.field && q.field && !p.paired && !q.idr &&
		p.bottom != q.bottom && p.frameNum == q.frameNum && p.ref == q.ref
}

// h264Params holds what slice headers need of the parameter sets.
type h264Params struct {
	sps [32]h264SPS
	pps [256]h264PPS
}

type h264SPS struct {
	known bool
	// opaque: the set does not parse. Its pictures are taken for frames.
	opaque         bool
	separatePlanes bool
	framesOnly     bool
	frameNumBits   uint8
	pocType        uint8
	pocBits        uint8
	deltaPOCIsZero bool
}

type h264PPS struct {
	known      bool
	sps        uint8
	fieldPOC   bool // bottom_field_pic_order_in_frame_present_flag
	redundancy bool // redundant_pic_cnt_present_flag
}

// take reads a NAL unit if it is a parameter set.
func (s *h264Params) take(nal []byte) {
	if len(nal) < 2 {
		return
	}
	r := bitReader{b: nal[1:]}
	switch nal[0] & 0x1F {
	case nalSPS:
		s.takeSPS(&r)
	case nalPPS:
		s.takePPS(&r)
	}
}

// takeSPS reads seq_parameter_set_data (7.3.2.1.1) as far as slice headers need it.
func (s *h264Params) takeSPS(r *bitReader) {
	var p h264SPS
	profile := r.bits(8)
	r.bits(16)
	id := r.ue()
	if r.failed() || id >= uint32(len(s.sps)) {
		return
	}
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		format := r.ue()
		if format == 3 {
			p.separatePlanes = r.bits(1) == 1
		}
		r.ue()
		r.ue()
		r.bits(1)
		if r.bits(1) == 1 {
			lists := 8
			if format == 3 {
				lists = 12
			}
			for i := range lists {
				if r.bits(1) == 1 {
					skipScalingList(r, i)
				}
			}
		}
	}
	frameNumBits := r.ue() + 4
	pocType := r.ue()
	switch pocType {
	case 0:
		p.pocBits = uint8(min(r.ue()+4, 255))
	case 1:
		p.deltaPOCIsZero = r.bits(1) == 1
		r.ue()
		r.ue()
		for range min(r.ue(), 255) {
			r.ue()
		}
	}
	r.ue()
	r.bits(1)
	r.ue()
	r.ue()
	p.framesOnly = r.bits(1) == 1
	p.known = true
	p.frameNumBits, p.pocType = uint8(min(frameNumBits, 255)), uint8(min(pocType, 255))
	p.opaque = r.failed() || frameNumBits > 16 || pocType > 2 || p.pocBits > 16
	s.sps[id] = p
}

func skipScalingList(r *bitReader, list int) {
	size := 16
	if list >= 6 {
		size = 64
	}
	last, next := int32(8), int32(8)
	for range size {
		if next != 0 {
			next = (last + r.se() + 256) % 256
		}
		if next != 0 {
			last = next
		}
	}
}

// takePPS reads pic_parameter_set_rbsp (7.3.2.2).
func (s *h264Params) takePPS(r *bitReader) {
	id, sps := r.ue(), r.ue()
	if r.failed() || id >= uint32(len(s.pps)) || sps >= uint32(len(s.sps)) {
		return
	}
	p := h264PPS{known: true, sps: uint8(sps)}
	r.bits(1)
	p.fieldPOC = r.bits(1) == 1
	if r.ue() == 0 { // one slice group; more come with the profiles of arbitrary slice order, which are not followed
		r.ue()
		r.ue()
		r.bits(3)
		r.ue()
		r.ue()
		r.ue()
		r.bits(2)
		p.redundancy = r.bits(1) == 1
	}
	s.pps[id] = p
}

// slice reads slice_header (7.3.3) of a slice that begins a picture. !ok: the NAL unit's bytes here are too few.
func (s *h264Params) slice(nal []byte) (p picture, redundant, ok bool) {
	p.idr = nal[0]&0x1F == nalIDR
	p.ref = nal[0]&0x60 != 0
	r := bitReader{b: nal[1:]}
	r.ue() // first_mb_in_slice
	r.ue() // slice_type
	id := r.ue()
	if r.failed() || id >= uint32(len(s.pps)) {
		return p, false, r.bad || !r.short
	}
	pps := s.pps[id]
	sps := s.sps[pps.sps]
	if !pps.known || !sps.known {
		return p, false, true
	}
	p.seen = true
	if sps.opaque {
		return p, false, true
	}
	if sps.separatePlanes {
		r.bits(2)
	}
	p.frameNum = r.bits(int(sps.frameNumBits))
	if !sps.framesOnly {
		if p.field = r.bits(1) == 1; p.field {
			p.bottom = r.bits(1) == 1
		}
	}
	if pps.redundancy {
		if p.idr {
			r.ue()
		}
		switch {
		case sps.pocType == 0:
			r.bits(int(sps.pocBits))
			if pps.fieldPOC && !p.field {
				r.ue()
			}
		case sps.pocType == 1 && !sps.deltaPOCIsZero:
			r.ue()
			if pps.fieldPOC && !p.field {
				r.ue()
			}
		}
		redundant = r.ue() > 0
	}
	return p, redundant, r.bad || !r.short
}

// bitReader reads an RBSP from a NAL unit's bytes, passing over emulation prevention (7.3.1). Past the end it reads
// zeros and has failed.
type bitReader struct {
	b     []byte
	at    int  // byte
	bit   int  // of that byte, from the top
	zeros int  // bytes of zero before it
	short bool // read past the end
	bad   bool // a code that cannot be
}

func (r *bitReader) failed() bool { return r.short || r.bad }

func (r *bitReader) bits(n int) (v uint32) {
	for range n {
		v = v<<1 | r.next()
	}
	return v
}

func (r *bitReader) next() uint32 {
	if r.bit == 0 && r.zeros >= 2 && r.at < len(r.b) && r.b[r.at] == 3 {
		r.at++
		r.zeros = 0
	}
	if r.at >= len(r.b) {
		r.short = true
		return 0
	}
	v := uint32(r.b[r.at]>>(7-r.bit)) & 1
	if r.bit++; r.bit == 8 {
		if r.b[r.at] == 0 {
			r.zeros++
		} else {
			r.zeros = 0
		}
		r.bit = 0
		r.at++
	}
	return v
}

// ue reads an Exp-Golomb code (9.1).
func (r *bitReader) ue() uint32 {
	n := 0
	for r.next() == 0 {
		if n++; n > 32 {
			r.bad = true
			return 0
		}
		if r.short {
			return 0
		}
	}
	return uint32(1<<n - 1 + uint64(r.bits(n)))
}

func (r *bitReader) se() int32 {
	v := int32(r.ue())
	if v&1 == 1 {
		return v/2 + 1
	}
	return -(v / 2)
}
