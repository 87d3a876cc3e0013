package ac3

import "encoding/binary"

const (
	// HeaderSize bytes are enough for ParseHeader.
	HeaderSize = 7
	// MinFrame and MaxFrame bound the size of a syncframe.
	MinFrame = HeaderSize + 1
	MaxFrame = 4096
	// BlockSamples is the length of an audio block, UnitBlocks how many blocks a sample of an MP4 file has.
	BlockSamples = 256
	UnitBlocks   = 6
)

const syncWord = 0x0B77

// Header is what the first bytes of a syncframe say.
type Header struct {
	Size      int // bytes, all of the syncframe
	Rate      int // Hz
	Blocks    int // of 256 samples: 1, 2, 3 or 6
	Enhanced  bool
	Dependent bool  // belongs to the independent substream before it
	Substream uint8 // substreamid
	bsid      uint8
	fscod     uint8
	mode      uint8 // acmod
	lfe       bool
	sizeCode  uint8 // frmsizecod, AC-3 only
	convert   bool  // strmtyp 2: was AC-3
}

// First reports whether the syncframe is of the first independent substream, with which each access unit begins.
func (h Header) First() bool { return !h.Dependent && h.Substream == 0 }

// ParseHeader reads the header of a syncframe: of AC-3 (4.3.1, 4.3.2; bsid up to 8, and 9 and 10 of half and a quarter of
// the rate) or of E-AC-3 (E.1.2.2; bsid 11 to 16). b has at least HeaderSize bytes.
func ParseHeader(b []byte) (Header, bool) {
	if len(b) < HeaderSize || binary.BigEndian.Uint16(b) != syncWord {
		return Header{}, false
	}
	bsid := b[5] >> 3 // in both
	switch {
	case bsid <= 10:
		return parseAC3(b, bsid)
	case bsid <= 16:
		return parseEAC3(b, bsid)
	}
	return Header{}, false
}

var rates = [...]int{48000, 44100, 32000}

// bitRates in kbit/s by frmsizecod / 2 (table 4.13).
var bitRates = [...]int{32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640}

func parseAC3(b []byte, bsid uint8) (Header, bool) {
	h := Header{bsid: bsid, fscod: b[4] >> 6, sizeCode: b[4] & 0x3F, Blocks: UnitBlocks, mode: b[6] >> 5}
	if h.fscod == 3 || int(h.sizeCode/2) >= len(bitRates) {
		return Header{}, false
	}
	// 1536 samples at the bit rate, in words of 16 bits; at 44.1 kHz that is no whole number, and the lowest bit of the
	// code adds the word that keeps the rate.
	words := bitRates[h.sizeCode/2] * 1000 * UnitBlocks * BlockSamples / rates[h.fscod] / 16
	if h.fscod == 1 {
		words += int(h.sizeCode & 1)
	}
	h.Size = 2 * words
	h.Rate = rates[h.fscod] >> (max(bsid, 8) - 8)
	// Between acmod and lfeon stand two bits each for the mix levels that the mode has, and for Dolby Surround.
	at := 3
	if h.mode&1 != 0 && h.mode != 1 {
		at += 2
	}
	if h.mode&4 != 0 {
		at += 2
	}
	if h.mode == 2 {
		at += 2
	}
	h.lfe = b[6]>>(7-at)&1 != 0
	return h, true
}

func parseEAC3(b []byte, bsid uint8) (Header, bool) {
	h := Header{
		Enhanced: true, bsid: bsid,
		Substream: b[2] >> 3 & 7, Size: 2 * (int(b[2]&7)<<8 | int(b[3]) + 1),
		fscod: b[4] >> 6, mode: b[4] >> 1 & 7, lfe: b[4]&1 != 0,
	}
	code := b[4] >> 4 & 3
	if h.fscod == 3 { // half of the rate that the code says
		if code == 3 {
			return Header{}, false
		}
		h.Rate, h.Blocks = rates[code]/2, UnitBlocks
	} else {
		h.Rate, h.Blocks = rates[h.fscod], [...]int{1, 2, 3, 6}[code]
	}
	switch b[2] >> 6 {
	case 1:
		h.Dependent = true
	case 2:
		h.convert = true
	case 3: // reserved
		return Header{}, false
	}
	if h.Size < MinFrame {
		return Header{}, false
	}
	return h, true
}

// channels is how many channels an acmod has without LFE.
var channels = [...]int{2, 1, 2, 3, 3, 4, 4, 5}
