package recorder

import (
	"fmt"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// errTailEnded ends a follower: the stream is no longer recorded here, or this process stops.
var errTailEnded = fmt.Errorf("the live tail has ended: %w", errs.ErrNotReady)

// Kind says what a producer brings.
type Kind uint8

// Kinds of producers.
const (
	Live     Kind = iota + 1
	Backfill      // segments that were asked of a peer
)

// Hello opens a call of a producer.
type Hello struct {
	Input       string // URL: the identity of the producer within the stream
	Priority    int    // 1 is the best; the config's own word for the input goes before
	Incarnation uint64 // greater for a later start of the same producer
	Kind        Kind
	Format      uint32
	Ring        []Offer // sealed segments that it still holds
}

// Progress tells how far the media of an input has come.
type Progress struct {
	Run     uint32 // counts how often the source was joined in this incarnation
	Stretch uint32
	Head    timeline.Ticks // T of the newest access unit of the reference track
	Age     time.Duration  // since it arrived
	Path    []string
	Alive   bool
	Gapless time.Duration
	Fault   string // why the input should be left although its media moves; empty: it should not
	Peer    segment.PeerRow
}

// Begin is what is known of a segment before its first chunk.
type Begin struct {
	Key            segment.Key
	Inits          []segment.Init // by PID, with data
	Tracks         []segment.Track
	Path           []string
	StartUncertain bool
	Independent    bool
}

// Chunk is one moof and mdat of one track.
type Chunk struct {
	segment.Chunk
	Path     []string
	Evidence segment.Evidence
	Data     []byte // nobody changes it any more
}

// Offer is a sealed segment without its bytes.
type Offer struct {
	Key  segment.Key
	Info segment.Info
	Age  time.Duration // of its end, as it arrived at the producer; 0: not said
}

// Message is what a producer is told: Role, Named, Want, Release or Slow.
type Message interface{ message() }

// Role decides who streams for the live tail.
type Role struct {
	Epoch   uint64
	Active  bool
	FromSeq uint64    // first segment to stream, from its start; 0: see After
	After   *Position // the first segment that contains or follows this point; nil: the open or the next one
}

// Position is a point on the source's clock.
type Position struct {
	Stretch uint32
	T       timeline.Ticks
}

// Named tells the slot of a segment.
type Named struct {
	Seq  uint64
	Slot segment.Slot
}

// Want asks for a segment that was offered.
type Want struct{ Seq uint64 }

// Release says that a segment may be forgotten: it is durable here, or refused for good.
type Release struct {
	Seq     uint64
	Slot    segment.Slot
	Durable bool
	Reason  string // of a refusal
}

// Slow is back-pressure.
type Slow struct{}

func (Role) message()    {}
func (Named) message()   {}
func (Want) message()    {}
func (Release) message() {}
func (Slow) message()    {}

// Archive is what the recorder needs of the archive of one stream. [FromStore] makes one of a store's.
type Archive interface {
	Begin(slot segment.Slot, inits []segment.Init, tracks []segment.Track, o store.BeginOptions) (Copy, error)
	Contains(slot segment.Slot, info *segment.Info) bool
	Absorb(slot segment.Slot, info *segment.Info, done func(error)) bool
	Places(d segment.Digest) ([]store.CopyInfo, error)
	Newest() (store.CopyInfo, bool)   // the end of what the live tail has sealed, as far as that can still be known
	Refuses(from, to time.Time) error // errs.ErrExpired or errs.ErrDeleted for what is not taken from a peer
	Ranges(from, to time.Time) []store.Range
	Timelines() []store.Row
	Locks() []store.Lock
	PutTimeline(store.Row) error
	ReadOpen(id uint64, i int) ([]byte, error)
	SetRetention(store.Rule)
	ClockIsRight() bool // the wall clock is synchronised, or was confirmed
	Watch() (<-chan store.Event, func())
}

// Copy is a copy of a segment on its way into the archive; see store.Copy.
type Copy interface {
	ID() uint64 // for ReadOpen; meaningful after the first chunk of a live copy
	Append(ch segment.Chunk, data []byte, ev segment.Evidence) error
	Seal(info segment.Info, done func(store.Outcome, error)) error
	Break(done func(store.Outcome, error))
	Drop()
}
