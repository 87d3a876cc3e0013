package mpegts

import (
	"encoding/binary"
	"errors"
)

// Why a stream of frames is not delivered although nothing is wrong with it.
var (
	errFreeFormat = errors.New("MPEG audio of free format: its frames do not tell their length")
	errRawBlocks  = errors.New("ADTS with several raw_data_blocks in a frame: where each begins is not told")
)

// parseAudio reads the header of an AAC frame in ADTS or of an MPEG audio frame. The layer, which ADTS has as 0, tells
// which it is: some multiplexers announce the one and send the other.
func parseAudio(b []byte) (frameHeader, bool) {
	if h, ok := parseADTS(b); ok {
		return h, true
	}
	return parseMPEGAudio(b)
}

// refusedAudio says why parseAudio does not take a header that is one, or nil.
func refusedAudio(b []byte) error {
	const layer, bitrate, block = 1, 2, 6
	switch {
	case b[0] != 0xFF || b[1]&0xE0 != 0xE0:
	case b[1]&0xF6 == 0xF0 && b[block]&3 != 0:
		return errRawBlocks
	case b[layer]&0x18 != 0x08 && b[layer]&6 != 0 && b[bitrate]&0xF0 == 0 && b[bitrate]&0x0C != 0x0C:
		return errFreeFormat
	}
	return nil
}

// parseADTS reads the header of an AAC frame (ISO/IEC 14496-3, 1.A.2.2) with one raw_data_block.
func parseADTS(b []byte) (frameHeader, bool) {
	v := binary.BigEndian.Uint32(b)
	if v&0xFFF6_0000 != 0xFFF0_0000 { // syncword, layer 0
		return frameHeader{}, false
	}
	rate := adtsRate(uint8(v >> 10 & 0x0F))
	length := int(v&3)<<11 | int(b[4])<<3 | int(b[5])>>5
	header := 7
	if v&0x1_0000 == 0 {
		header = 9 // with CRC
	}
	if blocks := b[6]&3 + 1; rate == 0 || length <= header || blocks > 1 {
		return frameHeader{}, false
	}
	return frameHeader{
		length:  length,
		samples: 1024,
		rate:    rate,
		// All of the fixed header but the private, original and home bits.
		kind: v & 0xFFFF_FDC0 &^ 0x1_0000,
	}, true
}

// adtsRate is the rate of a sampling_frequency_index, or 0.
func adtsRate(index uint8) int {
	rates := [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
	if int(index) >= len(rates) {
		return 0
	}
	return rates[index]
}

// parseMPEGAudio reads the header of an MPEG audio frame: MPEG-1 (ISO/IEC 11172-3, 2.4.2.3), the low rates of MPEG-2
// (13818-3, 2.4.2.3) and MPEG-2.5. Free format is not taken: its frames do not tell their length.
func parseMPEGAudio(b []byte) (frameHeader, bool) {
	v := binary.BigEndian.Uint32(b)
	if v>>21 != 0x7FF {
		return frameHeader{}, false
	}
	version, layer := v>>19&3, 4-int(v>>17&3) // version 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
	bitrate, rateIndex, padding := int(v>>12&0x0F), v>>10&3, int(v>>9&1)
	if version == 1 || layer == 4 || bitrate == 0 || bitrate == 15 || rateIndex == 3 {
		return frameHeader{}, false
	}
	rate := [3]int{44100, 48000, 32000}[rateIndex]
	switch version {
	case 2:
		rate /= 2
	case 0:
		rate /= 4
	}
	low := version != 3
	bits := mpegAudioBitrate(low, layer, bitrate) * 1000
	h := frameHeader{rate: rate, kind: v & 0xFFFE_0C00}
	switch {
	case layer == 1:
		h.samples = 384
		h.length = (12*bits/rate + padding) * 4
	case layer == 3 && low:
		h.samples = 576
		h.length = 72*bits/rate + padding
	default:
		h.samples = 1152
		h.length = 144*bits/rate + padding
	}
	return h, true
}

// mpegAudioBitrate is the rate of a bitrate_index in kbit/s.
func mpegAudioBitrate(low bool, layer, index int) int {
	switch {
	case low && layer == 1:
		return [...]int{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256}[index]
	case low:
		return [...]int{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}[index]
	case layer == 1:
		return [...]int{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448}[index]
	case layer == 2:
		return [...]int{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384}[index]
	}
	return [...]int{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}[index]
}
