// Package segmentpb maps package segment to its messages and back. It checks what it reads: a peer's message may be
// anything.
package segmentpb

import (
	"fmt"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// maxPID is the largest PID of ISO/IEC 13818-1.
const maxPID = 0x1FFF

// Slot maps to the message.
func Slot(s segment.Slot) *dvrv1.Slot {
	return &dvrv1.Slot{Timeline: s.Timeline[:], Turn: s.Turn, Cell: uint32(s.Cell), InitSet: s.InitSet[:]}
}

// ToSlot maps from the message.
func ToSlot(m *dvrv1.Slot) (segment.Slot, error) {
	var s segment.Slot
	if len(m.GetTimeline()) != len(s.Timeline) || len(m.GetInitSet()) != len(s.InitSet) {
		return s, fmt.Errorf("read slot: timeline has %d bytes and init set %d, want %d and %d",
			len(m.GetTimeline()), len(m.GetInitSet()), len(s.Timeline), len(s.InitSet))
	}
	if int64(m.GetCell()) >= timeline.CellsPerTurn {
		return s, fmt.Errorf("read slot: cell %d is beyond %d", m.GetCell(), timeline.CellsPerTurn-1)
	}
	copy(s.Timeline[:], m.GetTimeline())
	copy(s.InitSet[:], m.GetInitSet())
	s.Turn, s.Cell = m.GetTurn(), uint16(m.GetCell())
	return s, nil
}

// ToDigest maps from bytes.
func ToDigest(b []byte) (segment.Digest, error) {
	var d segment.Digest
	if len(b) != len(d) {
		return d, fmt.Errorf("read digest: has %d bytes, want %d", len(b), len(d))
	}
	copy(d[:], b)
	return d, nil
}

// Key maps to the message.
func Key(k segment.Key) *dvrv1.SegmentKey {
	m := &dvrv1.SegmentKey{
		Seq: k.Seq, Run: k.Run, Stretch: k.Stretch, StartTicks: int64(k.Start),
		InitSet: k.InitSet[:], SincePreviousNanos: int64(k.SincePrevious),
	}
	if k.Slot != nil {
		m.Slot = Slot(*k.Slot)
	}
	m.PeerRow = PeerRow(k.Peer)
	return m
}

// PeerRow maps to the message; nil: none.
func PeerRow(r segment.PeerRow) *dvrv1.PeerRow {
	if r == (segment.PeerRow{}) {
		return nil
	}
	return &dvrv1.PeerRow{StoreId: r.Store[:], Timeline: r.Timeline[:]}
}

// ToPeerRow maps from the message. What is none is not known, and no error: it only helps to name media.
func ToPeerRow(m *dvrv1.PeerRow) (r segment.PeerRow) {
	if len(m.GetStoreId()) == len(r.Store) && len(m.GetTimeline()) == len(r.Timeline) {
		copy(r.Store[:], m.GetStoreId())
		copy(r.Timeline[:], m.GetTimeline())
	}
	return r
}

// ToKey maps from the message.
func ToKey(m *dvrv1.SegmentKey) (segment.Key, error) {
	k := segment.Key{
		Seq: m.GetSeq(), Run: m.GetRun(), Stretch: m.GetStretch(), Start: timeline.Ticks(m.GetStartTicks()),
		SincePrevious: time.Duration(m.GetSincePreviousNanos()), Peer: ToPeerRow(m.GetPeerRow()),
	}
	if len(m.GetInitSet()) != len(k.InitSet) {
		return k, fmt.Errorf("read segment key: init set has %d bytes, want %d", len(m.GetInitSet()), len(k.InitSet))
	}
	copy(k.InitSet[:], m.GetInitSet())
	if k.Start < timeline.Wrap || k.Start >= 2*timeline.Wrap {
		return k, fmt.Errorf("read segment key: start %d is not in [2^33, 2^34)", k.Start)
	}
	if m.GetSlot() != nil {
		s, err := ToSlot(m.GetSlot())
		if err != nil {
			return k, err
		}
		k.Slot = &s
	}
	return k, nil
}

// Inits maps to messages.
func Inits(in []segment.Init) []*dvrv1.Init {
	out := make([]*dvrv1.Init, len(in))
	for i := range in {
		out[i] = &dvrv1.Init{Pid: uint32(in[i].PID), Hash: in[i].Hash[:], Data: in[i].Data}
	}
	return out
}

// ToInits maps from messages. Where data is given it must have the hash that is said.
func ToInits(ms []*dvrv1.Init) ([]segment.Init, error) {
	out := make([]segment.Init, len(ms))
	for i, m := range ms {
		h, err := ToDigest(m.GetHash())
		if err != nil {
			return nil, fmt.Errorf("read init: %w", err)
		}
		if m.GetPid() > maxPID {
			return nil, fmt.Errorf("read init: PID %d is beyond %d", m.GetPid(), maxPID)
		}
		if len(m.GetData()) > 0 && segment.Sum(m.GetData()) != h {
			return nil, fmt.Errorf("read init of PID %d: data does not have hash %s", m.GetPid(), h)
		}
		out[i] = segment.Init{PID: uint16(m.GetPid()), Hash: h, Data: m.GetData()}
	}
	return out, nil
}

// Tracks maps to messages.
func Tracks(in []segment.Track) []*dvrv1.Track {
	out := make([]*dvrv1.Track, len(in))
	for i := range in {
		t := &in[i]
		out[i] = &dvrv1.Track{
			Pid: uint32(t.PID), Codec: t.Codec, Language: t.Language, Role: t.Role, InitHash: t.Init[:],
			StartTicks: int64(t.Start), EndTicks: int64(t.End), Samples: t.Samples, Bytes: t.Bytes,
		}
	}
	return out
}

// ToTracks maps from messages.
func ToTracks(ms []*dvrv1.Track) ([]segment.Track, error) {
	out := make([]segment.Track, len(ms))
	for i, m := range ms {
		h, err := ToDigest(m.GetInitHash())
		if err != nil {
			return nil, fmt.Errorf("read track: %w", err)
		}
		if m.GetPid() > maxPID {
			return nil, fmt.Errorf("read track: PID %d is beyond %d", m.GetPid(), maxPID)
		}
		out[i] = segment.Track{
			PID: uint16(m.GetPid()), Codec: m.GetCodec(), Language: m.GetLanguage(), Role: m.GetRole(), Init: h,
			Start: timeline.Ticks(m.GetStartTicks()), End: timeline.Ticks(m.GetEndTicks()),
			Samples: m.GetSamples(), Bytes: m.GetBytes(),
		}
	}
	return out, nil
}

// Evidence maps to the message.
func Evidence(e segment.Evidence) *dvrv1.Evidence {
	m := &dvrv1.Evidence{StartUncertain: e.StartUncertain, EndUncertain: e.EndUncertain}
	for _, f := range e.Faulty {
		m.Faulty = append(m.Faulty, &dvrv1.FaultySample{Pid: uint32(f.PID), Ticks: int64(f.DTS), Reasons: uint32(f.Reason)})
	}
	for _, g := range e.Missing {
		m.Missing = append(m.Missing, &dvrv1.MissingSpan{
			Pid: uint32(g.PID), FromTicks: int64(g.From), ToTicks: int64(g.To), Reasons: uint32(g.Reason),
		})
	}
	return m
}

// ToEvidence maps from the message.
func ToEvidence(m *dvrv1.Evidence) segment.Evidence {
	e := segment.Evidence{StartUncertain: m.GetStartUncertain(), EndUncertain: m.GetEndUncertain()}
	for _, f := range m.GetFaulty() {
		e.Faulty = append(e.Faulty, segment.FaultySample{
			PID: uint16(f.GetPid()), DTS: timeline.Ticks(f.GetTicks()), Reason: segment.Reason(f.GetReasons()),
		})
	}
	for _, g := range m.GetMissing() {
		e.Missing = append(e.Missing, segment.MissingSpan{
			PID: uint16(g.GetPid()), From: timeline.Ticks(g.GetFromTicks()), To: timeline.Ticks(g.GetToTicks()),
			Reason: segment.Reason(g.GetReasons()),
		})
	}
	return e
}

// Info maps to the message.
func Info(i segment.Info) *dvrv1.SegmentInfo {
	m := &dvrv1.SegmentInfo{
		StartTicks: int64(i.Start), EndTicks: int64(i.End), Digest: i.Digest[:], Bytes: i.Bytes,
		Tracks: Tracks(i.Tracks), Evidence: Evidence(i.Evidence), Independent: i.Independent,
		Path: i.Path, Format: i.Format, Chunks: make([]*dvrv1.ChunkInfo, len(i.Chunks)),
	}
	for k, c := range i.Chunks {
		m.Chunks[k] = &dvrv1.ChunkInfo{
			Pid: uint32(c.PID), ChunkCell: c.Cell, Offset: c.Offset, Size: c.Size, Crc32C: c.CRC, TfdtOffset: c.TfdtOffset,
		}
	}
	return m
}

// ToInfo maps from the message.
func ToInfo(m *dvrv1.SegmentInfo) (segment.Info, error) {
	d, err := ToDigest(m.GetDigest())
	if err != nil {
		return segment.Info{}, fmt.Errorf("read segment: %w", err)
	}
	tracks, err := ToTracks(m.GetTracks())
	if err != nil {
		return segment.Info{}, fmt.Errorf("read segment %s: %w", d, err)
	}
	i := segment.Info{
		Start: timeline.Ticks(m.GetStartTicks()), End: timeline.Ticks(m.GetEndTicks()), Digest: d, Bytes: m.GetBytes(),
		Tracks: tracks, Evidence: ToEvidence(m.GetEvidence()), Independent: m.GetIndependent(),
		Path: m.GetPath(), Format: m.GetFormat(), Chunks: make([]segment.Chunk, len(m.GetChunks())),
	}
	var at uint64
	for k, c := range m.GetChunks() {
		if c.GetOffset() != at || c.GetPid() > maxPID {
			return i, fmt.Errorf("read segment %s: chunk %d of PID %d at %d, want offset %d", d, k, c.GetPid(), c.GetOffset(), at)
		}
		at += uint64(c.GetSize())
		i.Chunks[k] = segment.Chunk{
			PID: uint16(c.GetPid()), Cell: c.GetChunkCell(), Offset: c.GetOffset(), Size: c.GetSize(),
			CRC: c.GetCrc32C(), TfdtOffset: c.GetTfdtOffset(),
		}
	}
	if len(i.Chunks) > 0 && at != i.Bytes {
		return i, fmt.Errorf("read segment %s: chunks have %d bytes, the segment %d", d, at, i.Bytes)
	}
	return i, nil
}
