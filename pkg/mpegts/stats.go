package mpegts

import (
	"cmp"
	"slices"
	"time"
)

// Stats counts since NewDemuxer. Rates are the caller's: it has a clock.
type Stats struct {
	Packets          uint64 // of 188 bytes, all PIDs
	NullPackets      uint64
	UntrackedPackets uint64 // of PIDs beyond Options.MaxPIDs
	GarbageBytes     uint64 // outside of packets
	SyncLosses       uint64 // how often the packet grid was lost
	TransportErrors  uint64 // packets with transport_error_indicator
	AdaptationErrors uint64 // packets with an impossible adaptation field
	Scrambled        uint64 // packets with payload and transport_scrambling_control
	ContinuityErrors uint64 // sum over PIDs
	Duplicates       uint64 // legal repetitions, sum over PIDs
	PESErrors        uint64 // headers that do not parse, lengths that do not hold
	SectionErrors    uint64 // PSI sections with a wrong CRC or length
	SyntaxErrors     uint64 // elementary streams that do not chain, units beyond MaxUnitBytes
	KernelDrops      uint64 // datagrams, as told by KernelDrop
	SequenceLosses   uint64 // datagrams, as told by SequenceLoss
	Units            uint64 // access units delivered
	DamagedUnits     uint64 // of these with Damage
	LostBefore       uint64 // of these with Lost

	PacketBytes int // from one packet to the next: 188, 192 or 204; 0: not known

	PCRs       uint64 // on the PCR PID of the program
	PCR        int64  // the last of them, 27 MHz
	PCRPackets uint64 // Packets when it came: two readings give the rate of the multiplex

	LostPackets  uint64 // that continuity counters miss: each gap counts as its remainder of 16
	HiddenLosses uint64 // bursts that no continuity counter shows, found by the rate of the multiplex

	MuxConstant      bool          // the rate of the multiplex is constant: packets wait for the next PCR
	MuxBitsPerSecond uint64        // where it is
	PCRAccuracy      time.Duration // greatest deviation of an interval over 5 to 10 s, where the rate is constant
	PCRJitter        time.Duration // how far PCRs arrived from their own time over 5 to 10 s, as exact as SetNow

	TR101290 TR101290

	PAT     bool   // one has come
	Program uint16 // what it offers to be taken; 0: none
	MapPID  uint16 // where the map of that comes, or should

	PIDs []PIDStats // by PID; at most Options.MaxPIDs and those of the program
}

// PIDStats counts the packets of one PID.
type PIDStats struct {
	PID              uint16
	Packets          uint64
	ContinuityErrors uint64
	Duplicates       uint64
	Discontinuities  uint64 // packets with discontinuity_indicator
	TransportErrors  uint64 // packets that claim to be of it and have transport_error_indicator
	Scrambled        uint64 // packets with payload and transport_scrambling_control
	CRCErrors        uint64 // sections of PSI or SI with a wrong CRC
	PIDErrors        uint64 // periods without a packet (TR101290)
	PTSErrors        uint64 // periods without a PTS (TR101290)
	Refused          string // why units of it are not delivered although nothing is wrong with them; "": they are
}

// Stats returns the counts so far.
func (d *Demuxer) Stats() Stats {
	s := d.stats
	s.PacketBytes = d.stride
	s.PAT, s.Program, s.MapPID = d.psi.patSeen, d.psi.number, d.psi.pmtPID
	d.mux.tell(&s)
	s.PIDs = make([]PIDStats, 0, len(d.tracked))
	for _, q := range d.tracked {
		if q.stats.Packets == 0 && q.stats.PIDErrors == 0 {
			continue
		}
		q.stats.PID = q.num
		if q.stats.Refused = ""; q.stream != nil {
			q.stats.Refused = q.stream.out.refused
		}
		s.ContinuityErrors += q.stats.ContinuityErrors
		s.TR101290.CRCError += q.stats.CRCErrors
		s.TR101290.PIDError += q.stats.PIDErrors
		s.TR101290.PTSError += q.stats.PTSErrors
		s.Duplicates += q.stats.Duplicates
		s.PIDs = append(s.PIDs, q.stats)
	}
	s.TR101290.ContinuityCountError, s.TR101290.TransportError = s.ContinuityErrors, s.TransportErrors
	slices.SortFunc(s.PIDs, func(a, b PIDStats) int { return cmp.Compare(a.PID, b.PID) })
	return s
}
