package fmp4

import (
	"encoding/binary"
	"iter"
	"math"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// Layout of a chunk (FORMAT.md has the drawing). Everything up to the sample table is of fixed size.
const (
	// TfdtOffset is where the 8 bytes of decode time stand in every chunk.
	TfdtOffset = 60

	trunOffset = TfdtOffset + 8
	headerSize = trunOffset + 20 // up to the first entry of the sample table

	trunFlagsVideo = 0x0000_0F01 // data offset; duration, size, flags, composition offset of each sample
	trunFlagsAudio = 0x0000_0301 // data offset; duration, size
	tfhdFlags      = 0x0002_0000 // default-base-is-moof

	videoEntry = 16
	audioEntry = 8
)

// Kind tells which fields the sample table has.
type Kind uint8

// Kinds of track.
const (
	Audio Kind = iota
	Video      // and data, whose samples are all FlagsSync
)

func (k Kind) entry() int {
	if k == Video {
		return videoEntry
	}
	return audioEntry
}

// Sample is one entry of a chunk's sample table.
type Sample struct {
	Duration uint32 // ticks
	Size     uint32 // bytes
	Flags    uint32 // FlagsSync or FlagsNonSync; audio: always FlagsSync, not written
	Offset   uint32 // composition offset in ticks: PTS - DTS; audio: 0, not written
}

// HeaderSize is how many bytes stand before the payload of a chunk of n samples.
func HeaderSize(k Kind, n int) int { return headerSize + n*k.entry() + 8 }

// AppendChunk appends a moof and mdat of one track to dst. start is T of the first sample's DTS, and payload the samples
// one behind the other: as many bytes as their sizes sum up to. It allocates only to grow dst.
func AppendChunk(dst []byte, k Kind, pid uint16, start timeline.Ticks, samples []Sample, payload []byte) []byte {
	return append(AppendHeader(dst, k, pid, start, samples), payload...)
}

// AppendHeader appends what stands before the payload of a chunk: HeaderSize bytes.
func AppendHeader(dst []byte, k Kind, pid uint16, start timeline.Ticks, samples []Sample) []byte {
	be := binary.BigEndian
	moof := headerSize + len(samples)*k.entry()
	trunFlags := uint32(trunFlagsAudio)
	if k == Video {
		trunFlags = trunFlagsVideo
	}

	dst = be.AppendUint32(dst, uint32(moof))
	dst = append(dst, "moof\x00\x00\x00\x10mfhd\x00\x00\x00\x00"...)
	dst = be.AppendUint32(dst, uint32(start/timeline.ChunkTicks))
	dst = be.AppendUint32(dst, uint32(moof-24))
	dst = append(dst, "traf\x00\x00\x00\x10tfhd"...)
	dst = be.AppendUint32(dst, tfhdFlags)
	dst = be.AppendUint32(dst, uint32(pid))
	dst = append(dst, "\x00\x00\x00\x14tfdt\x01\x00\x00\x00"...)
	dst = be.AppendUint64(dst, uint64(start))
	dst = be.AppendUint32(dst, uint32(moof-trunOffset))
	dst = append(dst, "trun"...)
	dst = be.AppendUint32(dst, trunFlags)
	dst = be.AppendUint32(dst, uint32(len(samples)))
	dst = be.AppendUint32(dst, uint32(moof+8)) // data offset, from the first byte of moof
	payload := uint32(0)
	for i := range samples {
		s := &samples[i]
		payload += s.Size
		dst = be.AppendUint32(dst, s.Duration)
		dst = be.AppendUint32(dst, s.Size)
		if k == Video {
			dst = be.AppendUint32(dst, s.Flags)
			dst = be.AppendUint32(dst, s.Offset)
		}
	}
	dst = be.AppendUint32(dst, 8+payload)
	return append(dst, "mdat"...)
}

// Chunk is a parsed chunk.
type Chunk struct {
	Kind    Kind
	PID     uint16
	Start   timeline.Ticks // decode time of the first sample, as tfdt says
	Samples []Sample
	Payload []byte // the samples one behind the other; part of the bytes that were parsed
}

// ParsedSample is a sample with what follows from those before it.
type ParsedSample struct {
	Sample
	DTS  timeline.Ticks
	Data []byte
}

// PTS is the presentation time.
func (s *ParsedSample) PTS() timeline.Ticks { return s.DTS + timeline.Ticks(s.Offset) }

// All gives the samples in decode order.
func (c *Chunk) All() iter.Seq[ParsedSample] {
	return func(yield func(ParsedSample) bool) {
		dts, data := c.Start, c.Payload
		for _, s := range c.Samples {
			if !yield(ParsedSample{Sample: s, DTS: dts, Data: data[:s.Size]}) {
				return
			}
			dts += timeline.Ticks(s.Duration)
			data = data[s.Size:]
		}
	}
}

// End is the decode time at which the last sample ends.
func (c *Chunk) End() timeline.Ticks {
	t := c.Start
	for _, s := range c.Samples {
		t += timeline.Ticks(s.Duration)
	}
	return t
}

// ParseChunk reads a chunk that fills data. It accepts nothing but what AppendChunk writes, be the decode time patched
// or not (invariant I3).
func ParseChunk(data []byte) (*Chunk, error) {
	c := new(Chunk)
	if err := c.Parse(data); err != nil {
		return nil, err
	}
	return c, nil
}

// Parse is ParseChunk into c, whose slice of samples is used again.
func (c *Chunk) Parse(data []byte) error {
	be := binary.BigEndian
	if len(data) < headerSize+8 {
		return malformed("chunk of %d bytes", len(data))
	}
	if len(data) > math.MaxUint32 {
		return malformed("chunk of %d bytes", len(data))
	}
	switch be.Uint32(data[trunOffset+8:]) {
	case trunFlagsVideo:
		c.Kind = Video
	case trunFlagsAudio:
		c.Kind = Audio
	default:
		return malformed("trun flags %#x", be.Uint32(data[trunOffset+8:]))
	}
	entry := c.Kind.entry()
	count := int(be.Uint32(data[trunOffset+12:]))
	if count == 0 || count > (len(data)-headerSize-8)/entry {
		return malformed("%d samples in a chunk of %d bytes", count, len(data))
	}
	id, start := be.Uint32(data[TfdtOffset-16:]), be.Uint64(data[TfdtOffset:])
	if id > 0x1FFF || start > math.MaxInt64/2 {
		return malformed("track %d at %d", id, start)
	}
	c.PID, c.Start = uint16(id), timeline.Ticks(start)

	table := data[headerSize : headerSize+count*entry]
	c.Payload = data[headerSize+count*entry+8:]
	c.Samples = c.Samples[:0]
	total := uint64(0)
	for ; len(table) > 0; table = table[entry:] {
		s := Sample{Duration: be.Uint32(table), Size: be.Uint32(table[4:]), Flags: FlagsSync}
		if c.Kind == Video {
			s.Flags, s.Offset = be.Uint32(table[8:]), be.Uint32(table[12:])
			if s.Flags != FlagsSync && s.Flags != FlagsNonSync || s.Offset > math.MaxInt32 {
				return malformed("sample flags %#x, composition offset %d", s.Flags, s.Offset)
			}
		}
		total += uint64(s.Size)
		c.Samples = append(c.Samples, s)
	}
	if total != uint64(len(c.Payload)) {
		return malformed("samples of %d bytes in a payload of %d", total, len(c.Payload))
	}
	return c.checkHeader(data)
}

// checkHeader compares the fixed bytes of a chunk with those that AppendChunk writes.
func (c *Chunk) checkHeader(data []byte) error {
	var buf [headerSize + 8]byte
	be := binary.BigEndian
	want := AppendHeader(buf[:0], c.Kind, c.PID, c.Start, nil)[:headerSize]
	moof := headerSize + len(c.Samples)*c.Kind.entry()
	be.PutUint32(want, uint32(moof))
	be.PutUint32(want[24:], uint32(moof-24))
	be.PutUint32(want[trunOffset:], uint32(moof-trunOffset))
	be.PutUint32(want[trunOffset+12:], uint32(len(c.Samples)))
	be.PutUint32(want[trunOffset+16:], uint32(moof+8))
	copy(want[20:24], data[20:24]) // mfhd sequence: of T, whatever the decode time was patched to
	if string(want) != string(data[:headerSize]) {
		return malformed("the boxes around the sample table")
	}
	if be.Uint32(data[moof:]) != uint32(8+len(c.Payload)) || string(data[moof+4:moof+8]) != "mdat" {
		return malformed("no mdat to the end behind moof")
	}
	return nil
}

// PatchTfdt adds delta to the decode time of a chunk whose 8 bytes of it stand at offset: the one change that playback
// and export may make.
func PatchTfdt(chunk []byte, offset uint32, delta timeline.Ticks) error {
	if int64(offset)+8 > int64(len(chunk)) {
		return malformed("decode time at %d in a chunk of %d bytes", offset, len(chunk))
	}
	at := chunk[offset:]
	binary.BigEndian.PutUint64(at, binary.BigEndian.Uint64(at)+uint64(delta))
	return nil
}

// Split gives the chunks of a segment's bytes, unparsed, and at the end an error if they do not end with a chunk.
func Split(data []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for len(data) > 0 {
			name, _, rest, err := nextBox(data)
			if err == nil && name != "moof" {
				err = malformed("box %q where a moof belongs", name)
			}
			if err == nil {
				if name, _, rest, err = nextBox(rest); err == nil && name != "mdat" {
					err = malformed("box %q where an mdat belongs", name)
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(data[:len(data)-len(rest):len(data)-len(rest)], nil) {
				return
			}
			data = rest
		}
	}
}
