package input

import (
	"maps"
	"sync"
	"time"

	"github.com/twinreel/twinreel/ingestsvc/internal/packager"
	"github.com/twinreel/twinreel/ingestsvc/internal/ring"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// packagingHash identifies everything beside the format number that could make two sites cut one stream differently.
// Nothing of it can be configured yet, so it is that of the empty config.
func packagingHash() segment.Digest { return segment.Sum(nil) }

// pipeline is one run of an input: from the opening of the socket to its closing. Its methods are called by the packet
// goroutine alone; what others read is copied under the input's mutex.
type pipeline struct {
	in    *Input
	demux *mpegts.Demuxer
	pack  *packager.Packager
	out   *ring.Writer

	mu        sync.Mutex // of the packet path: legs take turns
	datagrams datagrams

	// Of the batch in hand.
	stretch uint32
	head    timeline.Ticks
	moved   bool
	lost    bool
	news    *mpegts.Program // came into force
	video   bool            // pictures came
	audio   bool            // sound came
	now     *mpegts.Program // in force

	units   unitsByPID
	told    map[uint16]bool // PIDs of which the log has said that they are not recorded
	statsAt time.Duration   // when the demuxer's counts were last read

	// The fields below are protected by in.mu.
	counted     counters
	packetBytes int
	tables      *tables // nil: not looked at yet
	rtp         bool
	legSeen     [2]time.Duration // monotonic; 0: never
	legOdd      [2]time.Duration // when it last brought something that does not fit
	legBehind   [2]time.Duration
	program     mpegts.Program
	pidErrors   map[uint16]uint64
	refused     map[uint16]string // why a PID is not recorded although its type is; replaced, never changed
	pids        pids
	clock       Clock
}

// statsEvery is how often the demuxer's counts are read: they are gathered over all PIDs.
const statsEvery = time.Second

func newPipeline(in *Input) *pipeline {
	p := &pipeline{in: in, out: in.ring.Writer(), statsAt: in.deps.Clock.Mono(), told: make(map[uint16]bool), units: make(unitsByPID)}
	p.pack = packager.New(packager.Options{}, (*sink)(p))
	p.demux = mpegts.NewDemuxer((*watcher)(p), mpegts.Options{
		Program: in.source.Take.Program, PIDs: in.source.Take.PIDs.All(),
	})
	p.datagrams = newDatagrams(in.source)
	return p
}

// take is the udp.Sink of the run.
func (p *pipeline) take(mono time.Duration, datagrams [][]byte, dropped uint32) {
	p.takeLeg(0, mono, datagrams, dropped)
}

// takeLeg is the udp.Sink of one leg. Where there is RTP, its sequence says what is missing, and better than the kernel
// does: another leg may have it.
func (p *pipeline) takeLeg(leg int, mono time.Duration, datagrams [][]byte, dropped uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	merger := p.datagrams.merger
	p.demux.SetNow(mono) // also where nothing came: what is late shows by it
	if len(datagrams) == 0 && dropped == 0 && (merger == nil || !merger.Waiting()) && mono-p.statsAt < statsEvery {
		return // nobody waits for it
	}
	if merger != nil {
		merger.Tick(mono)
	}
	if dropped > 0 && p.datagrams.form != inRTP {
		p.demux.KernelDrop(dropped)
	}
	size := 0
	for _, d := range datagrams {
		size += len(d)
		p.datagram(leg, mono, d)
	}
	p.publish(mono, len(datagrams), size, dropped)
}

// write takes the next bytes of a source that has no datagrams.
func (p *pipeline) write(mono time.Duration, b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.demux.SetNow(mono)
	p.demux.Write(b)
	p.publish(mono, 0, len(b), 0)
}

// publish shows the others what the batch brought.
func (p *pipeline) publish(mono time.Duration, datagrams, size int, dropped uint32) {
	in := p.in
	wall := in.deps.Clock.Now()
	var stats *mpegts.Stats
	if mono-p.statsAt >= statsEvery {
		s := p.demux.Stats()
		stats, p.statsAt = &s, mono
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	p.counted.datagrams += uint64(datagrams)
	p.counted.bytes += uint64(size)
	p.counted.kernelDrops += uint64(dropped)
	if size > 0 {
		in.received = wall
		in.silent += silence(mono - in.arrived)
		in.arrived = mono
	}
	if p.video {
		in.watch.unit(mono, true)
	}
	if p.audio {
		in.watch.unit(mono, false)
	}
	p.video, p.audio = false, false
	in.rate.add(mono, in.total.bytes+p.counted.bytes)
	if p.moved || p.lost && p.head != 0 { // a head of the run before is not this one's
		in.meter.advance(mono, p.stretch, p.head, p.lost)
		in.meter.run = p.out.Run()
		p.moved, p.lost = false, false
	}
	if p.news != nil {
		if p.program.Number != 0 {
			p.counted.quality.Programs++
		}
		p.program, p.news = *p.news, nil
	}
	if stats != nil {
		p.count(stats)
		p.pids.take(mono, stats, &p.program, p.units)
		p.clock = Clock{
			Constant: stats.MuxConstant, BitsPerSecond: stats.MuxBitsPerSecond,
			Accuracy: stats.PCRAccuracy, Jitter: stats.PCRJitter,
		}
		in.watch.hidden(mono, stats, &p.program)
		in.lately.take(mono, in.total.quality.errors()+p.counted.quality.errors()+
			in.total.kernelDrops+p.counted.kernelDrops+in.total.sequenceLosses+p.counted.sequenceLosses)
		in.cc.take(mono, in.total.continuityErrors+p.counted.continuityErrors)
		in.watch.judge(mono, in.options.Quality, in.cc.within(mono, ccSpan))
	}
}

// count takes over the demuxer's counts. in.mu is held.
func (p *pipeline) count(s *mpegts.Stats) {
	p.counted.continuityErrors = s.ContinuityErrors
	p.counted.transportErrors = s.TransportErrors
	p.counted.resyncs = s.SyncLosses
	p.counted.faulty = s.DamagedUnits
	p.counted.sequenceLosses = s.SequenceLosses
	p.counted.garbage = s.GarbageBytes
	p.counted.alien = p.datagrams.alien
	p.tables = &tables{s.Packets, s.PAT, s.Program, s.MapPID}
	p.packetBytes, p.rtp = s.PacketBytes, p.datagrams.form == inRTP
	if m := p.datagrams.merger; m != nil {
		r := m.Stats()
		p.counted.late, p.counted.reordered, p.counted.restarts = r.Late, r.Reordered, r.Restarts
		for i, l := range r.Legs {
			p.counted.legs[i] = legCounters{l.Packets, l.Lost, l.Duplicates, l.Foreign}
			p.legSeen[i], p.legOdd[i], p.legBehind[i] = l.Seen, l.Odd, l.Behind
		}
	}
	packed := p.pack.Stats()
	p.counted.quality = Quality{
		TR101290: s.TR101290, LostPackets: s.LostPackets, HiddenLosses: s.HiddenLosses, PESErrors: s.PESErrors,
		SyntaxErrors: s.SyntaxErrors, Adaptation: s.AdaptationErrors, Packets: s.Packets, NullPackets: s.NullPackets,
		Units: s.Units, DroppedUnits: packed.Dropped, ClockJumps: packed.Jumps, Programs: p.counted.quality.Programs,
	}
	p.pidErrors = make(map[uint16]uint64, len(s.PIDs))
	for _, pid := range s.PIDs {
		p.pidErrors[pid.PID] = pid.ContinuityErrors
		if pid.Refused != p.refused[pid.PID] {
			p.refuse(pid.PID, pid.Refused)
		}
	}
}

// tell reports whether the log may say that a PID is not recorded: once in a run, of a few of them. A source may change
// its program map with each packet.
func (p *pipeline) tell(pid uint16) bool {
	if p.told[pid] || len(p.told) == maxPIDs {
		return false
	}
	p.told[pid] = true
	return true
}

// refuse notes why a PID is not recorded; "": it is.
func (p *pipeline) refuse(pid uint16, why string) {
	refused := maps.Clone(p.refused)
	if refused == nil {
		refused = make(map[uint16]string, 1)
	}
	if refused[pid] = why; why != "" && p.tell(pid) {
		p.in.log.Warn("elementary stream is not recorded", "pid", pid, "reason", why)
	}
	p.refused = refused
}

// close seals what is open.
func (p *pipeline) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.datagrams.merger != nil {
		p.datagrams.merger.Flush()
	}
	p.demux.Flush()
	p.pack.Flush()
	p.end(0)
}

// end closes the ring's side and takes the last counts, among them the panics that ended the run.
func (p *pipeline) end(panics uint64) {
	p.out.Close()
	s := p.demux.Stats()
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	p.counted.panics += panics
	p.count(&s)
}

// watcher sees what the demuxer finds before the packager gets it.
type watcher pipeline

var _ mpegts.PacketHandler = (*watcher)(nil)

// Program implements mpegts.Handler.
func (w *watcher) Program(prog mpegts.Program) {
	w.news, w.now = &prog, &prog
	for _, s := range prog.Streams {
		if s.Codec == mpegts.CodecNone && (*pipeline)(w).tell(s.PID) {
			w.in.log.Info("elementary stream is not recorded: its type is not supported",
				"pid", s.PID, "stream_type", s.StreamType, "name", s.Name)
		}
	}
	w.pack.Program(prog)
}

// AccessUnit implements mpegts.Handler.
func (w *watcher) AccessUnit(u *mpegts.AccessUnit) {
	if u.Damage != 0 || u.Lost {
		w.lost = true
	}
	w.units.unit(u)
	for i := range w.now.Streams {
		if st := &w.now.Streams[i]; st.PID == u.PID {
			w.video, w.audio = w.video || st.Codec.Video(), w.audio || st.Codec.Audio()
			break
		}
	}
	w.pack.AccessUnit(u)
}

// Packets implements mpegts.PacketHandler.
func (w *watcher) Packets(p *mpegts.Packets) { w.pack.Packets(p) }

// sink writes what the packager makes to the ring.
type sink pipeline

var _ packager.Sink = (*sink)(nil)

// Begin implements packager.Sink.
func (s *sink) Begin(
	key segment.Key, inits []segment.Init, tracks []segment.Track, startUncertain, independent bool,
) {
	s.out.Begin(ring.Begin{
		Key: key, Inits: inits, Tracks: tracks, StartUncertain: startUncertain, Independent: independent,
	})
}

// Chunk implements packager.Sink.
func (s *sink) Chunk(_ uint64, c segment.Chunk, data []byte, evidence segment.Evidence) {
	s.out.Chunk(ring.Chunk{Chunk: c, Data: data, Evidence: evidence})
}

// Seal implements packager.Sink.
func (s *sink) Seal(_ uint64, info segment.Info) { s.out.Seal(info) }

// Head implements packager.Sink.
func (s *sink) Head(stretch uint32, head timeline.Ticks) {
	s.stretch, s.head, s.moved = s.out.Stretch(stretch), head, true
}
