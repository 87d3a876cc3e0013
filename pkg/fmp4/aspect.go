package fmp4

// aspect is how wide pixels are against their height. The zero value: nothing is said of it, or they are square.
type aspect struct{ wide, high uint }

// shown is the width at which so many pixels in a row are shown, in the 16.16 of a track header; 0: that has no room.
func (a aspect) shown(width int) uint32 {
	if a == (aspect{}) {
		return uint32(width) << 16
	}
	if v := uint64(width) << 16 * uint64(a.wide) / uint64(a.high); v>>32 == 0 {
		return uint32(v)
	}
	return 0
}

// of is what is said of pixels, so many in a row: nothing, where it cannot be, or they are square.
func (a aspect) of(width int) aspect {
	if a.wide == 0 || a.high == 0 || a.wide == a.high || a.shown(width) == 0 {
		return aspect{}
	}
	return a
}

// reduced divides both by what they have in common.
func (a aspect) reduced() aspect {
	x, y := a.wide, a.high
	for y != 0 {
		x, y = y, x%y
	}
	if x == 0 {
		return aspect{}
	}
	return aspect{a.wide / x, a.high / x}
}

// aspects are those of aspect_ratio_idc (ITU-T H.264, table E-1; H.265 has the same).
var aspects = [...]aspect{
	{}, {1, 1}, {12, 11}, {10, 11}, {16, 11}, {40, 33}, {24, 11}, {20, 11}, {32, 11}, {80, 33}, {18, 11}, {15, 11}, {64, 33},
	{160, 99}, {4, 3}, {3, 2}, {2, 1},
}

// aspect reads what video usability information begins with (H.264, E.1.1; H.265, E.2.1), from its presence flag on.
func (r *bitReader) aspect() (a aspect) {
	const extended = 255
	if there := r.bits(1) == 1; !there || r.bits(1) == 0 {
		return aspect{}
	}
	switch idc := r.bits(8); {
	case idc == extended:
		a = aspect{r.bits(16), r.bits(16)}
	case idc < uint(len(aspects)):
		a = aspects[idc]
	}
	if r.failed {
		return aspect{}
	}
	return a.reduced()
}

// hevcAspect reads on from the bit depths of a sequence parameter set to its video usability information (H.265, 7.3.2.2.1).
// What does not parse on the way says nothing.
func (r *bitReader) hevcAspect(subLayers uint) aspect {
	orderBits := r.ue() + 4
	first := subLayers - 1
	if r.bits(1) == 1 { // for each sub-layer
		first = 0
	}
	for ; first < subLayers; first++ {
		r.ue()
		r.ue()
		r.ue()
	}
	for range 6 { // sizes of blocks, depths of transforms
		r.ue()
	}
	if lists := r.bits(1) == 1; lists && r.bits(1) == 1 {
		r.skipHEVCScalingLists()
	}
	r.bits(2)
	if r.bits(1) == 1 { // pcm
		r.bits(8)
		r.ue()
		r.ue()
		r.bits(1)
	}
	r.skipHEVCPictureSets()
	if r.bits(1) == 1 { // long-term reference pictures
		n := r.ue()
		if n > 32 || orderBits > 16 {
			return aspect{}
		}
		for range n {
			r.bits(orderBits + 1)
		}
	}
	r.bits(2)
	if r.failed {
		return aspect{}
	}
	return r.aspect()
}

// skipHEVCScalingLists passes over scaling_list_data (7.3.4).
func (r *bitReader) skipHEVCScalingLists() {
	for size := range 4 {
		step := 1
		if size == 3 {
			step = 3
		}
		for matrix := 0; matrix < 6 && !r.failed; matrix += step {
			if r.bits(1) == 0 {
				r.ue()
				continue
			}
			n := min(64, 1<<(4+2*size))
			if size > 1 {
				n++
			}
			for range n {
				r.ue() // signed, but as long
			}
		}
	}
}

// skipHEVCPictureSets passes over the short-term reference picture sets (7.3.7).
func (r *bitReader) skipHEVCPictureSets() {
	const mostSets, mostPictures = 64, 16
	sets := r.ue()
	if sets > mostSets {
		r.failed = true
	}
	pictures := uint(0) // of the set before
	for i := uint(0); i < sets && !r.failed; i++ {
		if i > 0 && r.bits(1) == 1 { // told by the one before
			r.bits(1)
			r.ue()
			n := uint(0)
			for range pictures + 1 {
				if used := r.bits(1) == 1; used || r.bits(1) == 1 {
					n++
				}
			}
			pictures = n
			continue
		}
		before, after := r.ue(), r.ue()
		if before > mostPictures || after > mostPictures {
			r.failed = true
			return
		}
		pictures = before + after
		for range pictures {
			r.ue()
			r.bits(1)
		}
	}
}

// mpegAspect is that of a picture of MPEG-2 by aspect_ratio_information, which names the shape of what is shown (ISO/IEC
// 13818-2, 6.3.3). That is the whole picture, and where the display extension names a part of it the part, if the whole then
// has one of the two shapes that pictures have: what else stands there in broadcasts is not meant so.
func mpegAspect(information byte, width, height int, display []byte) aspect {
	shapes := [...]aspect{2: {4, 3}, 3: {16, 9}, 4: {221, 100}}
	if int(information) >= len(shapes) || shapes[information].wide == 0 {
		return aspect{}
	}
	shape := shapes[information]
	fill := func(width, height uint) aspect { return aspect{shape.wide * height, shape.high * width}.reduced() }
	if n := len(display); n >= 4 {
		b := display[n-4:]
		part := fill(uint(b[0])<<6|uint(b[1])>>2, uint(b[1]&1)<<13|uint(b[2])<<5|uint(b[3])>>3)
		whole := aspect{part.wide * uint(width), part.high * uint(height)}.reduced()
		if whole == shapes[2] || whole == shapes[3] {
			return part
		}
	}
	return fill(uint(width), uint(height))
}
