package verdict

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/twinreel/twinreel/deploy/twinreel/witness"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/segment"
)

// Read gets the whole archive of a stream from one site.
func Read(ctx context.Context, name string, src *archive.Stream) (Site, error) {
	s := Site{Name: name}
	r := reader{src: src, inits: make(map[segment.Digest]*mp4.InitSegment)}
	for located, err := range src.Locate(ctx, archive.Range{}) {
		if err != nil {
			return s, fmt.Errorf("read archive of %s: %w", name, err)
		}
		if located.Open {
			continue
		}
		g, err := r.segment(ctx, located)
		if err != nil {
			return s, fmt.Errorf("read archive of %s: %w", name, err)
		}
		s.Segments = append(s.Segments, g)
	}
	return s, nil
}

type reader struct {
	src   *archive.Stream
	inits map[segment.Digest]*mp4.InitSegment
}

func (r *reader) segment(ctx context.Context, located archive.Segment) (Segment, error) {
	got, b, err := r.src.Read(ctx, located)
	if err != nil {
		return Segment{}, err
	}
	g := Segment{
		Digest: segment.Sum(b), At: got.Start, Start: got.Info.Start,
		Whole: got.Info.Evidence.Whole(), Tracks: got.Info.Tracks,
	}
	if g.Units, err = r.units(ctx, got.Info.Tracks, b); err != nil {
		return g, fmt.Errorf("take segment %s apart: %w", g.Digest, err)
	}
	return g, nil
}

// units reads the samples out of the boxes; nothing but the bytes and the init segments is asked.
func (r *reader) units(ctx context.Context, tracks []segment.Track, b []byte) ([]witness.Unit, error) {
	inits := make(map[uint32]*mp4.InitSegment)
	for _, t := range tracks {
		init, err := r.init(ctx, t.Init)
		if err != nil {
			return nil, err
		}
		inits[uint32(t.PID)] = init
	}
	file, err := mp4.DecodeFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var units []witness.Unit
	for _, s := range file.Segments {
		for _, f := range s.Fragments {
			id := f.Moof.Traf.Tfhd.TrackID
			init := inits[id]
			if init == nil {
				return nil, fmt.Errorf("there is a fragment of track %d, and no init segment of it", id)
			}
			samples, err := f.GetFullSamples(init.Moov.Mvex.Trex)
			if err != nil {
				return nil, err
			}
			avc := init.Moov.Trak.Mdia.Minf.Stbl.Stsd.AvcX != nil
			for _, s := range samples {
				u := witness.Unit{PID: uint16(id), DTS: int64(s.DecodeTime & (1<<33 - 1)), Hash: witness.HashOf(s.Data)}
				if avc {
					u.Hash = witness.HashNALs(nals(s.Data))
				}
				units = append(units, u)
			}
		}
	}
	return units, nil
}

func (r *reader) init(ctx context.Context, hash segment.Digest) (*mp4.InitSegment, error) {
	if init := r.inits[hash]; init != nil {
		return init, nil
	}
	b, err := r.src.ReadInit(ctx, hash)
	if err != nil {
		return nil, err
	}
	file, err := mp4.DecodeFile(bytes.NewReader(b))
	if err != nil || file.Init == nil || file.Init.Moov.Mvex == nil {
		return nil, fmt.Errorf("read init segment %s: %w", hash, err)
	}
	r.inits[hash] = file.Init
	return file.Init, nil
}

// nals takes a sample with lengths of 4 bytes apart (ISO/IEC 14496-15, 5.3).
func nals(b []byte) [][]byte {
	var out [][]byte
	for len(b) >= 4 {
		n := binary.BigEndian.Uint32(b)
		if uint64(n) > uint64(len(b)-4) {
			return append(out, b[4:])
		}
		out = append(out, b[4:4+n])
		b = b[4+n:]
	}
	return out
}
