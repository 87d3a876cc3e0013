package fmp4

import (
	"encoding/binary"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// NoDuration is the Duration of an event that is not known to end.
const NoDuration = 0xFFFF_FFFF

// Event is an event message box of version 1 (ISO/IEC 23009-1, 5.10.3.3). It stands before a chunk. No recording has one:
// they are made for players.
type Event struct {
	Scheme, Value string // neither holds a zero byte
	Time          timeline.Ticks
	Duration      uint32 // ticks
	ID            uint32 // what is said again has the same
	Data          []byte
}

// AppendEvent appends the box.
func AppendEvent(dst []byte, e *Event) []byte {
	be := binary.BigEndian
	start := len(dst)
	dst = append(dst, "\x00\x00\x00\x00emsg\x01\x00\x00\x00"...)
	dst = be.AppendUint32(dst, uint32(timeline.TicksPerSecond))
	dst = be.AppendUint64(dst, uint64(e.Time))
	dst = be.AppendUint32(dst, e.Duration)
	dst = be.AppendUint32(dst, e.ID)
	dst = append(append(dst, e.Scheme...), 0)
	dst = append(append(dst, e.Value...), 0)
	dst = append(dst, e.Data...)
	be.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}
