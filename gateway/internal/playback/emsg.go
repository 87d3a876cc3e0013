package playback

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/scte35"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Schemes of event messages: SCTE 214-3 for splice_info_section, and AOM's for ID3 (Carriage of ID3 Timed Metadata in the
// Common Media Application Format).
const (
	cueScheme = "urn:scte:scte35:2013:bin"
	id3Scheme = "https://aomedia.org/emsg/ID3"
)

// maxEvents bounds the event messages of a segment: data of one may be a flood of tiny units.
const maxEvents = 4096

// message is an event message, and the chunk cell in which it came.
type message struct {
	cell  uint32
	event fmp4.Event
}

// carriesMessages reports whether event messages stand in the segments of a track: in those of pictures, or of sound where
// there are none.
func carriesMessages(i *segment.Info, t *segment.Track) bool {
	if t.Data() || t.Video() {
		return t.Video()
	}
	for k := range i.Tracks {
		if i.Tracks[k].Video() {
			return false
		}
	}
	return true
}

// messages makes event messages of what SCTE-35 and ID3 said in a segment, with times moved by add. They follow from the
// bytes of the segment alone, as all that is served under its digest must (I1).
func messages(s *archive.Segment, b []byte, add timeline.Ticks) (out []message, err error) {
	for i := range s.Info.Tracks {
		t := &s.Info.Tracks[i]
		read := cueMessage
		switch t.Codec {
		case segment.DataCodec + segment.SCTE35:
		case segment.DataCodec + segment.ID3:
			read = id3Message
		default:
			continue
		}
		for _, c := range s.Info.Chunks {
			if c.PID != t.PID {
				continue
			}
			chunk, err := parseChunk(c, b)
			if err != nil {
				return nil, err
			}
			for sample := range chunk.All() {
				if len(out) == maxEvents {
					return out, nil
				}
				if e, ok := read(&sample); ok {
					e.Time += add
					if e.Scheme == cueScheme {
						e.Value = strconv.Itoa(int(t.PID))
					}
					out = append(out, message{c.Cell, e})
				}
			}
		}
	}
	return out, nil
}

func parseChunk(c segment.Chunk, b []byte) (*fmp4.Chunk, error) {
	if c.Offset+uint64(c.Size) > uint64(len(b)) {
		return nil, fmt.Errorf("%w: a chunk of PID %d lies outside of the segment", errs.ErrCorrupt, c.PID)
	}
	chunk, err := fmp4.ParseChunk(b[c.Offset : c.Offset+uint64(c.Size)])
	if err != nil {
		return nil, fmt.Errorf("%w: chunk of PID %d: %w", errs.ErrCorrupt, c.PID, err)
	}
	return chunk, nil
}

// cueMessage makes a message of a section: for when it is to happen, or for when it came. What only keeps the line open is
// none, and neither is what cannot be read. What is sent again has the same id: the section's own CRC.
func cueMessage(sample *fmp4.ParsedSample) (e fmp4.Event, ok bool) {
	s, err := scte35.Parse(sample.Data)
	if err != nil || !s.Encrypted && len(s.Segmentations) == 0 && (s.Command == scte35.SpliceNull || s.Command == scte35.BandwidthReservation) {
		return e, false
	}
	e = fmp4.Event{
		Scheme: cueScheme, Time: sample.PTS(), Duration: fmp4.NoDuration, Data: sample.Data,
		ID: binary.BigEndian.Uint32(sample.Data[len(sample.Data)-4:]),
	}
	when, length := s.Time, (*uint64)(nil)
	if s.Insert != nil {
		when, length = s.Insert.Time, s.Insert.Duration
	}
	for i := range s.Segmentations {
		if length == nil {
			length = s.Segmentations[i].Duration
		}
	}
	if when != nil {
		e.Time = timeline.Unwrap(timeline.Ticks(*when), sample.DTS)
	}
	if length != nil && *length < math.MaxUint32 {
		e.Duration = uint32(*length)
	}
	return e, true
}

// id3Message makes a message of a PES with ID3 tags (Timed Metadata for HTTP Live Streaming).
func id3Message(sample *fmp4.ParsedSample) (e fmp4.Event, ok bool) {
	tags := mpegts.PESPayload(sample.Data)
	if len(tags) > 5 && !bytes.HasPrefix(tags, []byte("ID3")) {
		tags = tags[5:] // behind the header of a metadata_AU (H.222.0, 2.12.4.2)
	}
	if !bytes.HasPrefix(tags, []byte("ID3")) {
		return e, false
	}
	return fmp4.Event{Scheme: id3Scheme, Time: sample.PTS(), Duration: fmp4.NoDuration, ID: crc32.ChecksumIEEE(sample.Data), Data: tags}, true
}
