package mpegts

import (
	"cmp"
	"slices"
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

	PIDs []PIDStats // by PID; at most Options.MaxPIDs and those of the program
}

// PIDStats counts the packets of one PID.
type PIDStats struct {
	PID              uint16
	Packets          uint64
	ContinuityErrors uint64
	Duplicates       uint64
	Discontinuities  uint64 // packets with discontinuity_indicator
	Refused          string // why units of it are not delivered although nothing is wrong with them; "": they are
}

// Stats returns the counts so far.
func (d *Demuxer) Stats() Stats {
	s := d.stats
	s.PacketBytes = d.stride
	s.PIDs = make([]PIDStats, 0, len(d.tracked))
	for _, q := range d.tracked {
		if q.stats.Packets == 0 {
			continue
		}
		q.stats.PID = q.num
		if q.stats.Refused = ""; q.stream != nil {
			q.stats.Refused = q.stream.out.refused
		}
		s.ContinuityErrors += q.stats.ContinuityErrors
		s.Duplicates += q.stats.Duplicates
		s.PIDs = append(s.PIDs, q.stats)
	}
	slices.SortFunc(s.PIDs, func(a, b PIDStats) int { return cmp.Compare(a.PID, b.PID) })
	return s
}
