package input

import (
	"fmt"
	"slices"
	"time"

	"github.com/twinreel/twinreel/ingestsvc/internal/ring"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// State says what an input is doing.
type State string

// States, as the API spells them.
const (
	Active      State = "active"     // its media feed the live tail
	Standby     State = "standby"    // it receives, and offers what it sealed
	ColdState   State = "cold"       // not joined, as it is not needed
	Connecting  State = "connecting" // dvrsvc is away; the ring fills
	Failed      State = "failed"     // the source cannot be opened
	Ended       State = "ended"      // the file was played to its end
	DeniedState State = "denied"     // allow_if or deny_if: not joined
)

// counters of an input since the process started.
type counters struct {
	datagrams, bytes, kernelDrops                              uint64
	continuityErrors, transportErrors, resyncs, faulty, panics uint64
	sequenceLosses, late, reordered, restarts, alien, garbage  uint64
	legs                                                       [2]legCounters
	quality                                                    Quality
}

// legCounters are of one leg of RTP.
type legCounters struct{ packets, lost, duplicates, foreign uint64 }

func (c *counters) add(o counters) {
	c.datagrams += o.datagrams
	c.bytes += o.bytes
	c.kernelDrops += o.kernelDrops
	c.continuityErrors += o.continuityErrors
	c.transportErrors += o.transportErrors
	c.resyncs += o.resyncs
	c.faulty += o.faulty
	c.panics += o.panics
	c.sequenceLosses += o.sequenceLosses
	c.late += o.late
	c.reordered += o.reordered
	c.restarts += o.restarts
	c.alien += o.alien
	c.garbage += o.garbage
	for i, l := range o.legs {
		c.legs[i].packets += l.packets
		c.legs[i].lost += l.lost
		c.legs[i].duplicates += l.duplicates
		c.legs[i].foreign += l.foreign
	}
	c.quality.add(&o.quality)
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

	// By the transport's sequence: RTP's, or SRT's.
	SequenceLosses, LatePackets, ReorderedPackets, SenderRestarts uint64

	ForeignDatagrams uint64 // of another form than the stream's, or of another sender
	GarbageBytes     uint64 // outside of packets
	PacketBytes      int    // from one TS packet to the next; 0: not known yet
	RTP              bool
	Legs             []LegStatus // of RTP, in the order of the URL; none: there is no RTP
	Program          uint16      // program_number in force; 0: none yet

	Ring          ring.Stats
	RingNeed      int64 // bytes for a takeover and a restart of dvrsvc; 0: not known yet
	ReceiveBuffer int
	Streams       []mpegts.Stream
	PIDErrors     map[uint16]uint64 // continuity errors of this run by PID
	Refused       map[uint16]string // why a PID is not recorded although its type is supported

	Quality          Quality
	ErrorsLastMinute uint64
	PIDs             []PIDQuality // by PID
	OtherPIDs        PIDQuality
	Clock            Clock
	Fault            Fault
	SilentSeconds    uint64        // in which nothing came while the socket was open
	MediaAge         time.Duration // of the newest media; negative: none has come
	Reopenings       uint64
	Activations      uint64
	ActiveFor        time.Duration
}

// LegStatus is one path by which RTP comes.
type LegStatus struct {
	URL    string
	Behind time.Duration // after the other one
	Alive  bool          // it brought a packet within the last second
	other  bool          // it brings what does not fit

	Packets, Lost, Duplicates, Foreign uint64

	Problem string // why it is not open, or empty
}

// trouble is what is wrong with leg n of two, or nothing.
func (l *LegStatus) trouble(n int) string {
	switch {
	case l.Problem != "":
		return fmt.Sprintf("leg %d: %s", n, l.Problem)
	case l.Alive:
		return ""
	case l.other:
		return fmt.Sprintf("leg %d brings another stream, or brings it too late", n)
	}
	return fmt.Sprintf("leg %d brings nothing", n)
}

// legAlive is how long a leg may be silent.
const legAlive = time.Second

// legs gives the state of the paths. in.mu is held.
func (in *Input) legs(now time.Duration, n *counters) []LegStatus {
	p := in.pipe
	two := in.source.Second != (streamconf.UDP{})
	if !two && !in.source.UDP.RTP && (p == nil || !p.rtp) {
		return nil
	}
	var out []LegStatus
	for i, u := range in.source.Legs() {
		c := n.legs[i]
		l := LegStatus{
			URL: u.String(), Packets: c.packets, Lost: c.lost, Duplicates: c.duplicates, Foreign: c.foreign,
		}
		if p != nil || in.problem != "" {
			l.Problem = in.legProblem[i]
		}
		// What the pipeline tells is up to statsEvery old.
		if p != nil {
			l.Behind = p.legBehind[i]
			l.other = p.legOdd[i] != 0 && now-p.legOdd[i] < legAlive+statsEvery
		}
		l.Alive = p != nil && p.legSeen[i] > 0 && now-p.legSeen[i] < legAlive+statsEvery
		out = append(out, l)
	}
	return out
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
		s.PacketBytes, s.RTP, s.Program = p.packetBytes, p.rtp, p.program.Number
	}
	s.SequenceLosses, s.LatePackets, s.ReorderedPackets, s.SenderRestarts = n.sequenceLosses, n.late, n.reordered, n.restarts
	s.GarbageBytes, s.ForeignDatagrams = n.garbage, n.alien
	s.Legs = in.legs(now, &n)
	for _, l := range s.Legs {
		s.ForeignDatagrams += l.Foreign
	}
	if p := in.pipe; p != nil {
		s.PIDs, s.OtherPIDs, s.Clock = p.pids.shown, p.pids.others, p.clock
		if now-in.arrived > (rateSpan+1)*time.Second { // they were counted when something came last
			s.PIDs, s.OtherPIDs.BitsPerSecond = slices.Clone(s.PIDs), 0
			for i := range s.PIDs {
				s.PIDs[i].BitsPerSecond = 0
			}
		}
	}
	in.fillQuality(&s, now, n)
	s.Datagrams, s.Bytes, s.KernelDrops = n.datagrams, n.bytes, n.kernelDrops
	s.ContinuityErrors, s.TransportErrors, s.Resyncs = n.continuityErrors, n.transportErrors, n.resyncs
	s.FaultyUnits, s.Panics = n.faulty, n.panics
	s.BitsPerSecond = in.rate.bits(now, n.bytes)

	switch {
	case in.denied != "":
		s.State, s.Problem = DeniedState, "denied by "+in.denied
	case in.problem != "":
		s.State, s.Problem = Failed, in.problem
	case in.ended:
		s.State, s.Problem = Ended, "the file was played to its end; loop=yes plays it again and again"
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
	case in.meter.head == 0 && s.Program == 0:
		s.Problem = in.pipe.tables.lack(in.source.Take.Program)
	case in.meter.head == 0:
		s.Problem = "no media has come yet"
	case !in.meter.alive(now, in.options.SourceTimeout):
		s.Problem = fmt.Sprintf("no media for %s", (now - in.meter.moved).Truncate(time.Second))
	case s.Fault != "":
		s.Problem = in.explain(s.Fault, now)
	case in.permitProblem != "":
		s.Problem = in.permitProblem
	case s.RingNeed > held.Limit:
		s.Problem = fmt.Sprintf("the ring is too small for source_timeout=%s at this rate: it needs %d bytes and may take %d; raise INGEST_RING_BYTES",
			streamconf.FormatDuration(in.options.SourceTimeout), s.RingNeed, held.Limit)
	case in.advice != "":
		s.Problem = in.advice
	}
	if in.pipe != nil && (s.Problem == "" || s.Problem == in.advice) {
		for i, l := range s.Legs {
			if len(s.Legs) > 1 || l.Problem != "" {
				if text := l.trouble(i + 1); text != "" {
					s.Problem = text
				}
			}
		}
	}
	return s
}

// fillQuality tells what was found in the packets. in.mu is held.
func (in *Input) fillQuality(s *Status, now time.Duration, n counters) {
	s.Quality, s.ErrorsLastMinute, s.Fault = n.quality, in.lately.within(now, 60), in.fault(now)
	s.SilentSeconds, s.Reopenings = in.silent, max(in.opened, 1)-1
	if in.pipe != nil {
		s.SilentSeconds += silence(now - in.arrived)
	}
	s.MediaAge = -1
	if in.meter.head != 0 {
		s.MediaAge = now - in.meter.moved
	}
	s.Activations, s.ActiveFor = in.activations, in.activeFor
	if in.active {
		s.ActiveFor += now - in.activeSince
	}
}

// explain says a fault in a sentence. in.mu is held.
func (in *Input) explain(f Fault, now time.Duration) string {
	since := func(t time.Duration) time.Duration { return (now - t).Truncate(time.Second) }
	q := in.options.Quality
	if now-in.watch.wrong >= time.Second {
		return fmt.Sprintf("was left for: %s; good again for %s", f, since(in.watch.wrong))
	}
	switch f {
	case NoVideo:
		return fmt.Sprintf("no picture for %s", since(in.watch.video))
	case NoAudio:
		return fmt.Sprintf("no sound for %s", since(in.watch.audio))
	case ScrambledFault:
		return "pictures or sound are scrambled"
	}
	return fmt.Sprintf("%d continuity errors in %d s: max_cc_rate=%d", in.cc.within(now, ccSpan), ccSpan, q.MaxCCRate)
}

// tables is how far the tables of a source have come that has no program yet.
type tables struct {
	packets uint64
	pat     bool
	program uint16 // that is to be taken; 0: the PAT has none
	mapPID  uint16
}

// lack says what is missing, where a program was asked for (0: the lowest).
func (t *tables) lack(asked uint16) string {
	switch {
	case t == nil || t.packets == 0:
		return "no media has come yet"
	case !t.pat:
		return "what comes has no program association table (PID 0): it is no whole transport stream"
	case t.program == 0 && asked != 0:
		return fmt.Sprintf("there is no program %d in what comes", asked)
	case t.program == 0:
		return "the program association table of what comes has no program"
	case asked != 0:
		return fmt.Sprintf("the map of program %d does not come: it should, on PID %d", asked, t.mapPID)
	}
	return fmt.Sprintf("the map of program %d, the lowest in the table, does not come (on PID %d): program= takes another", t.program, t.mapPID)
}
