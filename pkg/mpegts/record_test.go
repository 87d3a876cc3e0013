package mpegts

import (
	"bytes"
	"slices"
)

// recorder keeps what a demuxer delivers.
type recorder struct {
	programs []Program
	units    []AccessUnit
	stats    Stats
}

var _ Handler = (*recorder)(nil)

func (r *recorder) Program(p Program) { r.programs = append(r.programs, p) }

func (r *recorder) AccessUnit(u *AccessUnit) {
	c := *u
	c.Data = bytes.Clone(u.Data)
	r.units = append(r.units, c)
}

func (r *recorder) of(pid uint16) []AccessUnit {
	return slices.DeleteFunc(slices.Clone(r.units), func(u AccessUnit) bool { return u.PID != pid })
}

// demux takes a whole stream at once.
func demux(data []byte, opts Options) *recorder {
	r := &recorder{}
	d := NewDemuxer(r, opts)
	d.Write(data)
	d.Flush()
	r.stats = d.Stats()
	return r
}
