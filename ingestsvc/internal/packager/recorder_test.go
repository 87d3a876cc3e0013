package packager

import (
	"bytes"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// recorded is a sealed segment as a sink sees it.
type recorded struct {
	key   segment.Key
	inits []segment.Init
	info  segment.Info
	parts [][]byte // as they came
	size  int      // of these
	data  []byte
}

func (r *recorded) whole() bool { return r.info.Evidence.Whole() }

// recorder is a Sink that keeps everything and holds the packager to its invariants.
type recorder struct {
	t    testing.TB
	open *recorded
	segs []*recorded
	head timeline.Ticks
}

func (r *recorder) Begin(key segment.Key, inits []segment.Init, tracks []segment.Track, startUncertain, independent bool) {
	if r.open != nil {
		r.t.Errorf("segment %d begins before %d is sealed", key.Seq, r.open.key.Seq)
	}
	if len(tracks) == 0 || len(inits) != len(tracks) || key.InitSet != segment.MakeInitSet(tracks) {
		r.t.Errorf("segment %d: %d inits for %d tracks", key.Seq, len(inits), len(tracks))
	}
	if key.Start < timeline.Wrap || key.Start >= 2*timeline.Wrap {
		r.t.Errorf("segment %d starts at T %d", key.Seq, key.Start)
	}
	if n := len(r.segs); n > 0 && key.Seq != r.segs[n-1].key.Seq+1 || n == 0 && key.Seq != 1 {
		r.t.Errorf("segment %d after %d others", key.Seq, n)
	}
	r.open = &recorded{key: key, inits: inits}
}

func (r *recorder) Chunk(seq uint64, c segment.Chunk, data []byte, _ segment.Evidence) {
	if r.open == nil || r.open.key.Seq != seq {
		r.t.Fatalf("chunk of segment %d, which is not open", seq)
	}
	if c.Offset != uint64(r.open.size) || int(c.Size) != len(data) ||
		c.CRC != crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) {
		r.t.Errorf("segment %d: chunk %+v of %d bytes at %d", seq, c, len(data), r.open.size)
	}
	r.open.parts = append(r.open.parts, data)
	r.open.size += len(data)
}

func (r *recorder) Seal(seq uint64, info segment.Info) {
	s := r.open
	if s == nil || s.key.Seq != seq {
		r.t.Fatalf("seal of segment %d, which is not open", seq)
	}
	s.info = info
	s.data, s.parts = bytes.Join(s.parts, nil), nil
	r.check(s)
	r.segs = append(r.segs, s)
	r.open = nil
}

func (r *recorder) Head(_ uint32, head timeline.Ticks) { r.head = head }

// check holds a sealed segment to what its Info says (I3).
func (r *recorder) check(s *recorded) {
	if segment.Sum(s.data) != s.info.Digest || uint64(len(s.data)) != s.info.Bytes || s.info.Start != s.key.Start {
		r.t.Errorf("segment %d: digest, size or start is wrong", s.key.Seq)
	}
	type count struct{ samples, bytes int }
	counts := map[uint16]count{}
	ends := map[uint16]timeline.Ticks{}
	for _, tr := range s.info.Tracks {
		if tr.Data() && tr.Samples == 0 { // it may show nothing
			counts[tr.PID], ends[tr.PID] = count{}, s.info.Start
		}
	}
	i := 0
	lastCell, lastPID := uint32(0), uint16(0)
	for data, err := range fmp4.Split(s.data) {
		if err != nil {
			r.t.Fatalf("segment %d: %v", s.key.Seq, err)
		}
		c, err := fmp4.ParseChunk(data)
		if err != nil {
			r.t.Fatalf("segment %d chunk %d: %v", s.key.Seq, i, err)
		}
		in := s.info.Chunks[i]
		cell := uint32(c.Start / timeline.ChunkTicks)
		if in.PID != c.PID || in.Cell != cell || int(in.Size) != len(data) {
			r.t.Errorf("segment %d chunk %d: %+v", s.key.Seq, i, in)
		}
		if i > 0 && (cell < lastCell || cell == lastCell && c.PID <= lastPID) {
			r.t.Errorf("segment %d chunk %d: (%d, %d) after (%d, %d)", s.key.Seq, i, cell, c.PID, lastCell, lastPID)
		}
		lastCell, lastPID = cell, c.PID
		if end, ok := ends[c.PID]; ok && (c.Start < end || c.Start > end && s.whole() && !s.info.Track(c.PID).Data()) {
			r.t.Errorf("segment %d chunk %d: PID %d at %d, the one before ended at %d", s.key.Seq, i, c.PID, c.Start, end)
		}
		ends[c.PID] = c.End()
		n := counts[c.PID]
		counts[c.PID] = count{n.samples + len(c.Samples), n.bytes + len(data)}
		for smp := range c.All() {
			if uint32(smp.DTS/timeline.ChunkTicks) != cell {
				r.t.Errorf("segment %d chunk %d: a sample of another cell", s.key.Seq, i)
			}
		}
		i++
	}
	if i != len(s.info.Chunks) || len(counts) != len(s.info.Tracks) || len(s.inits) != len(s.info.Tracks) {
		r.t.Errorf("segment %d: %d chunks of %d, %d tracks of %d", s.key.Seq, i, len(s.info.Chunks), len(counts), len(s.info.Tracks))
	}
	for _, tr := range s.info.Tracks {
		if n := counts[tr.PID]; n.samples != int(tr.Samples) || n.bytes != int(tr.Bytes) || ends[tr.PID] != tr.End {
			r.t.Errorf("segment %d: track %+v, but %+v until %d", s.key.Seq, tr, n, ends[tr.PID])
		}
	}
}

// record runs a transport stream through demuxer and packager.
func record(t testing.TB, ts []byte, datagram int) *recorder {
	t.Helper()
	r := &recorder{t: t}
	p := New(Options{}, r)
	d := mpegts.NewDemuxer(p, mpegts.Options{})
	for c := range slices.Chunk(ts, datagram) {
		d.Write(c)
	}
	d.Flush()
	p.Flush()
	if p.pending != 0 {
		t.Errorf("%d bytes are pending after Flush", p.pending)
	}
	return r
}
