package input

import (
	"fmt"
	"time"

	"github.com/twinreel/twinreel/ingestsvc/internal/ring"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// State says what an input is doing.
type State string

// States, as the API spells them.
const (
	Active     State = "active"     // its media feed the live tail
	Standby    State = "standby"    // it receives, and offers what it sealed
	ColdState  State = "cold"       // not joined, as it is not needed
	Connecting State = "connecting" // dvrsvc is away; the ring fills
	Failed     State = "failed"     // the socket cannot be opened
)

// counters of an input since the process started.
type counters struct {
	datagrams, bytes, kernelDrops                              uint64
	continuityErrors, transportErrors, resyncs, faulty, panics uint64
}

func (c *counters) add(o counters) {
	c.datagrams += o.datagrams
	c.bytes += o.bytes
	c.kernelDrops += o.kernelDrops
	c.continuityErrors += o.continuityErrors
	c.transportErrors += o.transportErrors
	c.resyncs += o.resyncs
	c.faulty += o.faulty
	c.panics += o.panics
}

// Status is an input as it is shown.
type Status struct {
	Stream, URL   string
	Priority      int
	State         State
	Problem       string
	LastReceived  time.Time // zero: never
	Datagrams     uint64
	Bytes         uint64
	BitsPerSecond uint64

	ContinuityErrors, TransportErrors, KernelDrops, Resyncs, FaultyUnits, Panics uint64

	Ring          ring.Stats
	RingNeed      int64 // bytes for a takeover and a restart of dvrsvc; 0: not known yet
	ReceiveBuffer int
	Streams       []mpegts.Stream
	PIDErrors     map[uint16]uint64 // continuity errors of this run by PID
	Refused       map[uint16]string // why a PID is not recorded although its type is supported
}

// Status returns the input as it is now.
func (in *Input) Status() Status {
	now := in.deps.Clock.Mono()
	held := in.ring.Stats()
	rec := in.client.State()
	in.mu.Lock()
	defer in.mu.Unlock()
	s := Status{
		Stream: in.stream, URL: in.url, Priority: in.options.Priority,
		LastReceived: in.received, Ring: held, RingNeed: held.Need(in.options.SourceTimeout), ReceiveBuffer: in.buffer,
	}
	n := in.total
	if p := in.pipe; p != nil {
		n.add(p.counted)
		s.Streams, s.PIDErrors, s.Refused = p.program.Streams, p.pidErrors, p.refused
	}
	s.Datagrams, s.Bytes, s.KernelDrops = n.datagrams, n.bytes, n.kernelDrops
	s.ContinuityErrors, s.TransportErrors, s.Resyncs = n.continuityErrors, n.transportErrors, n.resyncs
	s.FaultyUnits, s.Panics = n.faulty, n.panics
	s.BitsPerSecond = in.rate.bits(now, n.bytes)

	switch {
	case in.problem != "":
		s.State, s.Problem = Failed, in.problem
	case !rec.Connected:
		s.State, s.Problem = Connecting, rec.Problem
	case rec.Active:
		s.State = Active
	case in.pipe == nil && in.options.Standby == streamconf.Cold:
		s.State = ColdState
	default:
		s.State = Standby
	}
	switch {
	case s.Problem != "" || in.pipe == nil:
	case in.meter.head == 0:
		s.Problem = "no media has come yet"
	case !in.meter.alive(now, in.options.SourceTimeout):
		s.Problem = fmt.Sprintf("no media for %s", (now - in.meter.moved).Truncate(time.Second))
	case s.RingNeed > held.Limit:
		s.Problem = fmt.Sprintf("the ring is too small for source_timeout=%s at this rate: it needs %d bytes and may take %d; raise INGEST_RING_BYTES",
			streamconf.FormatDuration(in.options.SourceTimeout), s.RingNeed, held.Limit)
	case in.advice != "":
		s.Problem = in.advice
	}
	return s
}
