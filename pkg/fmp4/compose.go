package fmp4

import "encoding/binary"

// ComposeMoov makes one ftyp and moov of the init segments of several tracks, in the order given: the head of a data
// file or of an export.
func ComposeMoov(inits ...[]byte) ([]byte, error) {
	if len(inits) == 0 {
		return nil, malformed("no init segment")
	}
	var ftyp, mvhd []byte
	var traks, trexs [][]byte
	for _, data := range inits {
		p, err := splitInit(data)
		if err != nil {
			return nil, err
		}
		if ftyp == nil {
			ftyp, mvhd = p.ftyp, p.mvhd
		}
		traks = append(traks, p.trak)
		trexs = append(trexs, p.trex)
	}
	w := &boxes{}
	w.bytes(ftyp)
	w.box("moov", func() {
		w.bytes(mvhd)
		for _, t := range traks {
			w.bytes(t)
		}
		w.box("mvex", func() {
			for _, t := range trexs {
				w.bytes(t)
			}
		})
	})
	return w.b, nil
}

// InitTrack returns the track id (the PID) of an init segment of one track.
func InitTrack(data []byte) (uint16, error) {
	p, err := splitInit(data)
	if err != nil {
		return 0, err
	}
	id := binary.BigEndian.Uint32(p.trex[12:])
	if id == 0 || id > 0x1FFF {
		return 0, malformed("track id %d is no PID", id)
	}
	return uint16(id), nil
}

// initParts are whole boxes of an init segment of one track.
type initParts struct{ ftyp, mvhd, trak, trex []byte }

func splitInit(data []byte) (p initParts, err error) {
	name, _, rest, err := nextBox(data)
	if err != nil || name != "ftyp" {
		return p, malformed("init segment begins with %q", name)
	}
	p.ftyp = data[:len(data)-len(rest)]
	name, moov, rest, err := nextBox(rest)
	if err != nil || name != "moov" || len(rest) != 0 {
		return p, malformed("no moov alone behind ftyp")
	}
	if p.mvhd, err = only(moov, "mvhd"); err != nil {
		return p, err
	}
	if p.trak, err = only(moov, "trak"); err != nil {
		return p, err
	}
	mvex, err := only(moov, "mvex")
	if err != nil {
		return p, err
	}
	if p.trex, err = only(mvex[8:], "trex"); err != nil {
		return p, err
	}
	if len(p.trex) != 32 {
		return p, malformed("trex of %d bytes", len(p.trex))
	}
	return p, nil
}

func only(content []byte, name string) ([]byte, error) {
	found, err := children(content, name)
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, malformed("%d boxes %q where one belongs", len(found), name)
	}
	return found[0], nil
}
