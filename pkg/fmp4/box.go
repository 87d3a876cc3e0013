package fmp4

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// boxes appends boxes to a byte slice. Sizes are filled in when a box ends.
type boxes struct{ b []byte }

// box appends a box around what content appends.
func (w *boxes) box(name string, content func()) {
	at := len(w.b)
	w.u32(0)
	w.str(name)
	content()
	binary.BigEndian.PutUint32(w.b[at:], uint32(len(w.b)-at))
}

// full appends a box with version and flags (ISO/IEC 14496-12, 4.2).
func (w *boxes) full(name string, version uint8, flags uint32, content func()) {
	w.box(name, func() {
		w.u32(uint32(version)<<24 | flags)
		content()
	})
}

func (w *boxes) u8(v uint8)     { w.b = append(w.b, v) }
func (w *boxes) u16(v uint16)   { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *boxes) u32(v uint32)   { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *boxes) str(s string)   { w.b = append(w.b, s...) }
func (w *boxes) bytes(b []byte) { w.b = append(w.b, b...) }
func (w *boxes) zero(n int)     { w.b = append(w.b, make([]byte, n)...) }

// ErrMalformed is what every parser of this package returns for bytes that AppendChunk or an init function of this
// package cannot have written.
var ErrMalformed = errors.New("the bytes are not what this format writes")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// nextBox splits b behind its first box. Sizes of 0 (to the end) and 1 (64 bits) are never written here.
func nextBox(b []byte) (name string, content, rest []byte, err error) {
	if len(b) < 8 {
		return "", nil, nil, malformed("%d bytes where a box begins", len(b))
	}
	size := binary.BigEndian.Uint32(b)
	if size < 8 || uint64(size) > uint64(len(b)) {
		return "", nil, nil, malformed("box of %d bytes with %d left", size, len(b))
	}
	return string(b[4:8]), b[8:size], b[size:], nil
}

// child returns the whole boxes of that name directly in content, headers included.
func children(content []byte, name string) ([][]byte, error) {
	var found [][]byte
	for len(content) > 0 {
		got, _, rest, err := nextBox(content)
		if err != nil {
			return nil, err
		}
		if got == name {
			found = append(found, content[:len(content)-len(rest)])
		}
		content = rest
	}
	return found, nil
}
