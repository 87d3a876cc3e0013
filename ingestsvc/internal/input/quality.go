package input

import (
	"time"

	"github.com/twinreel/twinreel/pkg/mpegts"
)

// maxPIDs bounds the PIDs that are shown one by one, and so the series of metrics.
const maxPIDs = 64

// Quality is what was found in the packets since the process started.
type Quality struct {
	TR101290     mpegts.TR101290
	LostPackets  uint64
	HiddenLosses uint64
	PESErrors    uint64
	SyntaxErrors uint64
	Adaptation   uint64
	Packets      uint64 // null packets among them
	NullPackets  uint64
	Units        uint64
	DroppedUnits uint64
	ClockJumps   uint64
	Programs     uint64 // program maps that came into force after the first
}

func (q *Quality) add(o *Quality) {
	q.TR101290.Add(o.TR101290)
	q.LostPackets += o.LostPackets
	q.HiddenLosses += o.HiddenLosses
	q.PESErrors += o.PESErrors
	q.SyntaxErrors += o.SyntaxErrors
	q.Adaptation += o.Adaptation
	q.Packets += o.Packets
	q.NullPackets += o.NullPackets
	q.Units += o.Units
	q.DroppedUnits += o.DroppedUnits
	q.ClockJumps += o.ClockJumps
	q.Programs += o.Programs
}

// errors are those that cost media or the way to it.
func (q *Quality) errors() uint64 {
	t := &q.TR101290
	return t.TSSyncLoss + t.SyncByteError + t.PATError2 + t.ContinuityCountError + t.PMTError2 + t.PIDError +
		t.TransportError + t.CRCError
}

// Clock is what PCRs say, as it is now.
type Clock struct {
	Constant      bool
	BitsPerSecond uint64 // where it is constant
	Accuracy      time.Duration
	Jitter        time.Duration
}

// PIDQuality is what one PID brought since the socket was opened.
type PIDQuality struct {
	mpegts.PIDStats
	Name          string
	BitsPerSecond uint64
	Units         UnitCounts
}

// UnitCounts are of the access units of a PID.
type UnitCounts struct{ Found, Damaged, Lost uint64 }

// unit counts an access unit. PIDs are bounded as those that are shown.
func (c unitsByPID) unit(u *mpegts.AccessUnit) {
	n := c[u.PID]
	if n == nil {
		if len(c) == maxPIDs {
			return
		}
		n = &UnitCounts{}
		c[u.PID] = n
	}
	n.Found++
	if u.Damage != 0 {
		n.Damaged++
	}
	if u.Lost {
		n.Lost++
	}
}

// unitsByPID are the counts of a run.
type unitsByPID map[uint16]*UnitCounts

// pids follows the PIDs that are shown one by one. They are replaced, never changed.
type pids struct {
	rates  map[uint16]*rate
	shown  []PIDQuality
	others PIDQuality
}

// take takes the counts of all PIDs. Those of the program and of PSI and SI are shown one by one.
func (p *pids) take(now time.Duration, s *mpegts.Stats, prog *mpegts.Program, units unitsByPID) {
	names := pidNames(prog)
	shown := make([]PIDQuality, 0, min(len(s.PIDs), maxPIDs))
	var others PIDQuality
	rates := make(map[uint16]*rate, len(p.rates))
	for i := range s.PIDs {
		st := &s.PIDs[i]
		name, own := names[st.PID]
		if !own || len(shown) == maxPIDs {
			merge(&others.PIDStats, st)
			continue
		}
		q := PIDQuality{PIDStats: *st, Name: name}
		if n := units[st.PID]; n != nil {
			q.Units = *n
		}
		q.BitsPerSecond = p.follow(rates, st.PID, now, st.Packets)
		shown = append(shown, q)
	}
	others.Packets += s.UntrackedPackets
	others.BitsPerSecond = p.follow(rates, otherPIDs, now, others.Packets)
	p.rates, p.shown, p.others = rates, shown, others
}

// otherPIDs is no PID.
const otherPIDs = 0xFFFF

func (p *pids) follow(rates map[uint16]*rate, pid uint16, now time.Duration, packets uint64) uint64 {
	r := p.rates[pid]
	if r == nil {
		r = &rate{}
	}
	rates[pid] = r
	bytes := packets * mpegts.PacketSize
	r.add(now, bytes)
	return r.bits(now, bytes)
}

func merge(to, s *mpegts.PIDStats) {
	to.Packets += s.Packets
	to.ContinuityErrors += s.ContinuityErrors
	to.Duplicates += s.Duplicates
	to.Discontinuities += s.Discontinuities
	to.TransportErrors += s.TransportErrors
	to.Scrambled += s.Scrambled
	to.CRCErrors += s.CRCErrors
	to.PIDErrors += s.PIDErrors
	to.PTSErrors += s.PTSErrors
}

// pidNames names the PIDs that are shown one by one.
func pidNames(prog *mpegts.Program) map[uint16]string {
	names := map[uint16]string{0x00: "PAT", 0x01: "CAT", 0x10: "NIT", 0x11: "SDT", 0x12: "EIT", 0x14: "TDT"}
	if prog.PMTPID != 0 {
		names[prog.PMTPID] = "PMT"
		if prog.PCRPID != 0x1FFF {
			names[prog.PCRPID] = "PCR"
		}
	}
	for _, s := range prog.Streams {
		names[s.PID] = s.Name
	}
	return names
}

// lately counts events over the last seconds. The zero value is ready for use.
type lately struct {
	at     time.Duration // of the newest sample
	last   uint64        // count then
	events [60]uint64    // of each second, a ring
	n      int
}

// take takes a count so far. It is called about once a second.
func (l *lately) take(now time.Duration, count uint64) {
	for first := l.n == 0; l.n == 0 || now-l.at >= time.Second; {
		if first || now-l.at > time.Minute {
			l.at, l.n = now, l.n+1
			l.events = [60]uint64{}
			break
		}
		l.at += time.Second
		l.n++
		l.events[l.n%len(l.events)] = 0
	}
	l.events[l.n%len(l.events)] += count - l.last
	l.last = count
}

// within is how many events there were in the last n seconds, at most 60, to the second.
func (l *lately) within(now time.Duration, n int) (sum uint64) {
	n -= int(max(now-l.at, 0) / time.Second)
	for i := range min(n, l.n, len(l.events)) {
		sum += l.events[(l.n-i)%len(l.events)]
	}
	return sum
}
