package mpegts

import (
	"encoding/binary"
	"time"
)

// TR101290 counts what ETSI TR 101 290 (V1.4.1, 5.2.1 and 5.2.2) calls errors of priority 1 and 2, under its names.
//
// Values of clocks are judged by themselves. What has to come in time is judged by its arrival as SetNow tells it, and
// counts where it is late for certain: arrival is known to the receiver's tick. Of what stays away, each further period is
// another error. Tables and PIDs are those of the program that is recorded.
type TR101290 struct {
	TSSyncLoss                     uint64 // 1.1: two sync bytes in a row, or the grid of packets, are wrong
	SyncByteError                  uint64 // 1.2: a sync byte is wrong; those within a loss of sync are one
	PATError2                      uint64 // 1.3.a: no PAT for 0.5 s; PID 0 has another table or is scrambled
	ContinuityCountError           uint64 // 1.4: packets lost, out of order, or there more than twice
	PMTError2                      uint64 // 1.5.a: no PMT for 0.5 s, or its PID is scrambled
	PIDError                       uint64 // 1.6: no packet of a video or audio PID for Options.PIDPeriod
	TransportError                 uint64 // 2.1: transport_error_indicator
	CRCError                       uint64 // 2.2: of CAT, PAT, PMT, NIT, EIT, BAT, SDT, TOT
	PCRRepetitionError             uint64 // 2.3.a: consecutive PCRs are more than 100 ms apart, or none comes for that long
	PCRDiscontinuityIndicatorError uint64 // 2.3.b: the PCR moved by other than 0 to 100 ms without discontinuity_indicator
	PCRAccuracyError               uint64 // 2.4: beyond 500 ns, where the rate of the multiplex is constant (muxrate.go)
	PTSError                       uint64 // 2.5: no PTS for 700 ms on a video or audio PID that had one
	CATError                       uint64 // 2.6: scrambled packets and no CAT for 10 s; PID 1 has another table
}

// The periods of TR 101 290. It has none for the CAT (catPeriod is ours), and leaves that of a PID to the user.
const (
	tablePeriod = 500 * time.Millisecond
	ptsPeriod   = 700 * time.Millisecond
	pcrPeriod   = 100 * time.Millisecond
	catPeriod   = 10 * time.Second
	pidPeriod   = 5 * time.Second

	// longestTick bounds how long before SetNow the packets behind it may have come: what waits in a socket's buffer while
	// the process is starved is not late.
	longestTick = time.Second
	// checkEvery is how often periods are looked at.
	checkEvery = 50 * time.Millisecond
)

const (
	pcrHz   = 27_000_000
	pcrWrap = int64(1) << 33 * 300
)

// PIDs and tables whose CRC counts, beside PAT and PMT (ETSI EN 300 468, 5.1).
const (
	catPID = 0x0001
	nitPID = 0x0010
	sdtPID = 0x0011 // and BAT
	eitPID = 0x0012
	tdtPID = 0x0014 // TDT and TOT

	catTable     = 0x01
	maxSISection = 4096
)

// quality is what the demuxer remembers to count TR101290, but for what its other parts count anyway.
type quality struct {
	started  bool
	from     time.Duration // nothing has come after this that was not seen
	checked  time.Duration
	pat, pmt time.Duration // when the last section came
	cat      time.Duration
	pcr      time.Duration

	scrambled uint64 // Stats.Scrambled when the CAT was last asked for

	hasPCR  bool
	lastPCR int64
	jump    bool // discontinuity_indicator on the PCR PID since the last PCR
	overdue bool // that there was none for too long is counted

	unlocked bool   // the grid was lost, and whether more than a sync byte was wrong is not known yet
	lostAt   uint64 // GarbageBytes where the first wrong sync byte stood
	stride   int    // of that grid
}

// judge counts what has not come in time. It is called with the time of packets to come.
func (d *Demuxer) judge(now time.Duration) {
	k := &d.quality
	if !k.started {
		k.started = true
		k.pat, k.pmt, k.cat, k.pcr, k.checked = now, now, now, now, now
	}
	from := d.mux.heldSince(max(d.now, now-longestTick))
	if from-k.checked < checkEvery {
		return
	}
	k.from, k.checked = from, from
	s := &d.stats.TR101290
	late := func(since *time.Duration, period time.Duration, count *uint64) bool {
		if from-*since <= period {
			return false
		}
		*since = from
		*count++
		return true
	}
	late(&k.pat, tablePeriod, &s.PATError2)
	if d.psi.pmtPID != 0 {
		late(&k.pmt, tablePeriod, &s.PMTError2)
	}
	if d.psi.program.Number != 0 && d.psi.program.PCRPID != nullPID && late(&k.pcr, pcrPeriod, &s.PCRRepetitionError) {
		k.overdue = true
	}
	switch {
	case d.stats.Scrambled == k.scrambled:
		k.cat = from
	case late(&k.cat, catPeriod, &s.CATError):
		k.scrambled = d.stats.Scrambled
	}
	for _, st := range d.psi.program.Streams {
		if q := d.pids[st.PID]; q != nil && (st.Codec.Video() || st.Codec.Audio()) {
			d.judgePID(q, from)
		}
	}
}

// judgePID counts what is late of a PID of the program.
func (d *Demuxer) judgePID(q *pid, from time.Duration) {
	if q.stats.Packets != q.packetsSeen || !q.watched {
		q.packetsSeen, q.seen, q.watched = q.stats.Packets, from, true
	} else if from-q.seen > d.opts.PIDPeriod {
		q.seen = from
		q.stats.PIDErrors++
	}
	if e := q.stream; e != nil && e.hasTime && from-e.timed > ptsPeriod {
		e.timed = from
		q.stats.PTSErrors++
	}
}

// Audio reports whether the codec is of sound.
func (c Codec) Audio() bool {
	switch c {
	case CodecAAC, CodecMPEGAudio, CodecAC3, CodecLATM, CodecOpus, CodecEAC3:
		return true
	}
	return false
}

// judgePCR compares a PCR with the one before it.
func (d *Demuxer) judgePCR(value int64) {
	k := &d.quality
	if k.hasPCR && !k.jump {
		step := (value - k.lastPCR + pcrWrap) % pcrWrap
		back := step > pcrWrap/2
		const most = int64(pcrPeriod) * pcrHz / int64(time.Second)
		if back || step > most {
			d.stats.TR101290.PCRDiscontinuityIndicatorError++
		}
		if !back && step > most && !k.overdue {
			d.stats.TR101290.PCRRepetitionError++
		}
	}
	k.hasPCR, k.lastPCR, k.jump, k.overdue, k.pcr = true, value, false, false, d.now
}

// judgeUnlock notes that the grid of packets is lost where p begins.
func (d *Demuxer) judgeUnlock(p []byte) {
	d.stats.TR101290.SyncByteError++
	d.quality.unlocked, d.quality.lostAt, d.quality.stride = true, d.stats.GarbageBytes, d.stride
	if p[0] == syncByte { // it is the next one that is wrong
		d.quality.lostAt += uint64(d.stride)
	}
}

// judgeGrid tells a wrong sync byte from a loss of sync: after the one the grid goes on with the next packet.
func (d *Demuxer) judgeGrid(found bool) {
	k := &d.quality
	garbage := int64(d.stats.GarbageBytes - k.lostAt)
	switch {
	case !k.unlocked:
	case garbage > int64(d.quality.stride), found && garbage != int64(d.quality.stride):
		d.stats.TR101290.TSSyncLoss++
		k.unlocked = false
	case found:
		k.unlocked = false
	}
}

// judgeScrambled counts a scrambled packet of a table.
func (d *Demuxer) judgeScrambled(q *pid) {
	switch {
	case q.num == patPID:
		d.stats.TR101290.PATError2++
	case q.num == d.psi.pmtPID && q.section != nil:
		d.stats.TR101290.PMTError2++
	}
}

// newSI returns a reader for a PID whose tables are checked and not used, or nil.
func (d *Demuxer) newSI(num uint16) *siReader {
	switch num {
	case catPID, nitPID, sdtPID, eitPID, tdtPID:
		return &siReader{}
	}
	return nil
}

// siReader checks the sections of one PID.
type siReader struct {
	open bool
	buf  []byte // at most a section and a packet
}

func (r *siReader) reset() { r.open, r.buf = false, r.buf[:0] }

func (r *siReader) packet(d *Demuxer, q *pid, payload []byte, pusi bool) {
	if !pusi {
		if r.open {
			r.take(d, q, payload)
		}
		return
	}
	at := 1
	if len(payload) > 0 {
		at += int(payload[0])
	}
	if at > len(payload) {
		r.reset()
		return
	}
	if r.open {
		r.take(d, q, payload[1:at])
	}
	r.open, r.buf = true, r.buf[:0]
	r.take(d, q, payload[at:])
}

func (r *siReader) take(d *Demuxer, q *pid, b []byte) {
	r.buf = append(r.buf, b...)
	at := 0
	for r.open {
		s := r.buf[at:]
		if len(s) > 0 && s[0] == 0xFF {
			r.reset()
			return
		}
		if len(s) < sectionHeader {
			break
		}
		n := sectionHeader + int(binary.BigEndian.Uint16(s[1:])&0x0FFF)
		if n > maxSISection {
			r.reset()
			return
		}
		if len(s) < n {
			break
		}
		d.judgeSection(q, s[:n])
		at += n
	}
	r.buf = r.buf[:copy(r.buf, r.buf[at:])]
}

// judgeSection checks a section of a table that is not used.
func (d *Demuxer) judgeSection(q *pid, s []byte) {
	if q.num == catPID {
		if s[0] != catTable {
			d.stats.TR101290.CATError++
			return
		}
		d.quality.cat, d.quality.scrambled = d.now, d.stats.Scrambled
	}
	if hasCheckedCRC(s[0]) && len(s) >= sectionHeader+crcLength && crc32(s) != 0 {
		q.stats.CRCErrors++
	}
}

// hasCheckedCRC reports whether a table_id is of CAT, NIT, SDT, BAT, EIT or TOT (EN 300 468, table 2).
func hasCheckedCRC(id uint8) bool {
	switch id {
	case catTable, 0x40, 0x41, 0x42, 0x46, 0x4A, 0x73:
		return true
	}
	return id >= 0x4E && id <= 0x6F
}

// crcTable has the CRC of each byte (H.222.0, annex A).
var crcTable = func() (t [256]uint32) {
	for i := range t {
		crc := uint32(i) << 24
		for range 8 {
			if crc&0x8000_0000 != 0 {
				crc = crc<<1 ^ 0x04C1_1DB7
			} else {
				crc <<= 1
			}
		}
		t[i] = crc
	}
	return t
}()

// crc32 is the CRC of PSI and SI; over a section with its CRC it is 0.
func crc32(b []byte) uint32 {
	crc := ^uint32(0)
	for _, c := range b {
		crc = crc<<8 ^ crcTable[byte(crc>>24)^c]
	}
	return crc
}

// Each gives the counters in the order of the standard, under its names.
func (t *TR101290) Each(f func(name string, count *uint64)) {
	f("TS_sync_loss", &t.TSSyncLoss)
	f("Sync_byte_error", &t.SyncByteError)
	f("PAT_error_2", &t.PATError2)
	f("Continuity_count_error", &t.ContinuityCountError)
	f("PMT_error_2", &t.PMTError2)
	f("PID_error", &t.PIDError)
	f("Transport_error", &t.TransportError)
	f("CRC_error", &t.CRCError)
	f("PCR_repetition_error", &t.PCRRepetitionError)
	f("PCR_discontinuity_indicator_error", &t.PCRDiscontinuityIndicatorError)
	f("PCR_accuracy_error", &t.PCRAccuracyError)
	f("PTS_error", &t.PTSError)
	f("CAT_error", &t.CATError)
}

// Add adds the counts of o.
func (t *TR101290) Add(o TR101290) {
	var counts []*uint64
	t.Each(func(_ string, n *uint64) { counts = append(counts, n) })
	o.Each(func(_ string, n *uint64) { *counts[0] += *n; counts = counts[1:] })
}
