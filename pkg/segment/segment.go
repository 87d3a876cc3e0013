// Package segment has the identity of a segment, what it is made of, and what is known against a copy of it.
//
// It owns no bytes of media and knows no service. Times are T or U in ticks of 90 kHz (FORMAT.md, rule 1).
package segment

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// Format is the number of the format that this program writes (FORMAT.md).
const Format = 1

// Digest is the SHA-256 of a segment's or an init segment's bytes.
type Digest [32]byte

// Sum returns the digest of b.
func Sum(b []byte) Digest { return sha256.Sum256(b) }

// String gives 64 lower-case hex digits, as sha256sum prints.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether no digest is set.
func (d Digest) IsZero() bool { return d == Digest{} }

// Compare orders digests by their bytes.
func (d Digest) Compare(o Digest) int { return bytes.Compare(d[:], o[:]) }

// ParseDigest reads what String gives.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) {
		return d, fmt.Errorf("parse digest %q: want %d hex digits", s, 2*len(d))
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return d, fmt.Errorf("parse digest %q: %w", s, err)
	}
	return d, nil
}

// TimelineID names a timeline row of one node: 16 random bytes.
type TimelineID [16]byte

// String gives hex.
func (t TimelineID) String() string { return hex.EncodeToString(t[:]) }

// IsZero reports whether no row is named.
func (t TimelineID) IsZero() bool { return t == TimelineID{} }

// InitSet identifies the configuration of all tracks of a segment.
type InitSet [8]byte

// String gives hex.
func (s InitSet) String() string { return hex.EncodeToString(s[:]) }

// MakeInitSet hashes (PID, init hash) of each track by PID; tracks need not be sorted.
func MakeInitSet(tracks []Track) InitSet {
	sorted := slices.SortedFunc(slices.Values(tracks), func(a, b Track) int { return cmp.Compare(a.PID, b.PID) })
	h := sha256.New()
	for _, t := range sorted {
		h.Write([]byte{byte(t.PID >> 8), byte(t.PID)})
		h.Write(t.Init[:])
	}
	return InitSet(h.Sum(nil)[:8])
}

// Slot is the place of a segment on the source's own timeline, in the numbering of the node that stores it.
type Slot struct {
	Timeline TimelineID
	Turn     int32
	Cell     uint16 // 0 to 16383
	InitSet  InitSet
}

// Compare orders slots of one timeline by time, then by init set; timelines by their bytes.
func (s Slot) Compare(o Slot) int {
	return cmp.Or(
		bytes.Compare(s.Timeline[:], o.Timeline[:]),
		cmp.Compare(s.Turn, o.Turn),
		cmp.Compare(s.Cell, o.Cell),
		bytes.Compare(s.InitSet[:], o.InitSet[:]),
	)
}

// AbsCell is the cell counted over all turns of the row.
func (s Slot) AbsCell() int64 { return int64(s.Turn)*timeline.CellsPerTurn + int64(s.Cell) }

// String is for logs.
func (s Slot) String() string {
	return fmt.Sprintf("%x/%d/%d/%x", s.Timeline[:4], s.Turn, s.Cell, s.InitSet[:4])
}

// BlockCells is how many cells of a timeline one digest block covers (49.7 min).
const BlockCells = 512

// Block returns the digest block in which the slot lies.
func (s Slot) Block() int64 { return s.AbsCell() >> 9 }

// Key is how a producer names a segment before dvrsvc has named its slot.
type Key struct {
	Seq           uint64         // counts the segments of one incarnation, from 1
	Stretch       uint32         // counts the jumps of the source clock seen in this incarnation
	Run           uint32         // counts how often the source was joined in it
	Start         timeline.Ticks // T
	InitSet       InitSet
	SincePrevious time.Duration // monotonic, between the arrivals of the segment before and of this one; 0: none
	Slot          *Slot         // in dvrsvc's numbering, where the producer knows it
	Peer          PeerRow       // of a feed through a peer: the peer's row that the stretch is
}

// PeerRow is a timeline row of a peer's. Zero: none.
type PeerRow struct {
	Store    [16]byte
	Timeline TimelineID
}

// Init is the init segment (ftyp and moov) of one track.
type Init struct {
	PID  uint16
	Hash Digest
	Data []byte
}

// Track says what one track of a segment holds.
type Track struct {
	PID        uint16
	Codec      string // RFC 6381; of data "urim." and what it is
	Language   string // ISO 639-2 or ""
	Role       string // of sound, a mpegts.Role; not in the bytes, and no part of the identity
	Init       Digest // of its init segment
	Start, End timeline.Ticks
	Samples    uint32
	Bytes      uint64
}

// Video reports whether the track is coded video, by its codec string.
func (t Track) Video() bool {
	switch name, _, _ := strings.Cut(t.Codec, "."); name {
	case "avc1", "hvc1", "hev1", "mp4v":
		return true
	}
	return false
}

// Data reports whether the track is neither picture nor sound: it may be without samples for as long as it likes.
func (t Track) Data() bool { return strings.HasPrefix(t.Codec, DataCodec) }

// DataCodec is how the codec strings of data tracks begin. What follows is one of the names below.
const DataCodec = "urim."

// What a data track carries, behind DataCodec.
const (
	DVBSubtitles = "dvbsub"
	Teletext     = "teletext"
	ID3          = "id3"
	KLV          = "klv"
	Metadata     = "metadata"
	SCTE35       = "scte35"
)

// Reason says, as a set of bits, how it is known that a sample is damaged or missing. The low bits equal
// mpegts.Damage; they are stored and travel, so they never change.
type Reason uint32

// Reasons.
const (
	ReasonContinuity    Reason = 1 << 0  // packets missing by the continuity counter
	ReasonTransport     Reason = 1 << 1  // transport_error_indicator
	ReasonScrambled     Reason = 1 << 2  // transport_scrambling_control
	ReasonPESLength     Reason = 1 << 3  // PES_packet_length does not match
	ReasonSyntax        Reason = 1 << 4  // headers do not parse or chain
	ReasonReceive       Reason = 1 << 5  // the kernel dropped datagrams
	ReasonSequence      Reason = 1 << 6  // datagrams missing by the sequence of the transport (RTP, SRT)
	ReasonRate          Reason = 1 << 7  // packets missing by the constant rate of the multiplex
	ReasonStep          Reason = 1 << 8  // the track's clock stepped over it
	ReasonLate          Reason = 1 << 9  // it came after the segment was sealed
	ReasonConfiguration Reason = 1 << 10 // the configuration changed before the reference track's next RAP
	ReasonBroken        Reason = 1 << 11 // the producer died or the disk failed in the middle
)

// FaultySample is a sample that is here but not intact.
type FaultySample struct {
	PID    uint16
	DTS    timeline.Ticks // T
	Reason Reason
}

// MissingSpan is a stretch of one track in which samples are known or suspected to be missing.
type MissingSpan struct {
	PID      uint16
	From, To timeline.Ticks // T
	Reason   Reason
}

// Evidence is everything known against a copy. The zero value: the copy is whole.
type Evidence struct {
	StartUncertain bool
	EndUncertain   bool
	Faulty         []FaultySample // by (PID, DTS)
	Missing        []MissingSpan  // by (PID, From)
}

// Whole reports whether nothing is known against the copy (FORMAT.md, rule 9).
func (e *Evidence) Whole() bool {
	return !e.StartUncertain && !e.EndUncertain && len(e.Faulty) == 0 && len(e.Missing) == 0
}

// Damaged reports whether a sample is known to be damaged or missing.
func (e *Evidence) Damaged() bool { return len(e.Faulty) > 0 || len(e.Missing) > 0 }

// Chunk is where one chunk lies in the bytes of its segment.
type Chunk struct {
	PID        uint16
	Cell       uint32 // T of the first sample's DTS >> 15
	Offset     uint64
	Size       uint32
	CRC        uint32 // CRC-32C
	TfdtOffset uint32 // of the 8 bytes of tfdt, from the chunk's first byte
}

// Info is all about a sealed segment but its bytes.
type Info struct {
	Start, End  timeline.Ticks // T, of the reference track
	Digest      Digest
	Bytes       uint64
	Tracks      []Track // by PID
	Evidence    Evidence
	Chunks      []Chunk // in the order of the bytes
	Independent bool    // starts with a RAP
	Path        []string
	Format      uint32
	// Runs are what is kept of the packets of damaged access units. They travel and are read only where they are asked for.
	Runs []Run
}

// Track returns the track of a PID, or nil.
func (i *Info) Track(pid uint16) *Track {
	for k := range i.Tracks {
		if i.Tracks[k].PID == pid {
			return &i.Tracks[k]
		}
	}
	return nil
}
