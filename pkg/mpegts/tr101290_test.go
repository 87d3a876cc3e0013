package mpegts

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// pcrPacket writes a packet without payload that carries a PCR.
func (b *tsBuilder) pcrPacket(pid uint16, pcr int64, flags byte) {
	b.adaptation(pid, 0x10|flags, (b.counter[pid]+15)&0x0F)
	p := b.data[len(b.data)-PacketSize:]
	base, ext := pcr/300, pcr%300
	copy(p[6:], []byte{byte(base >> 25), byte(base >> 17), byte(base >> 9), byte(base >> 1), byte(base<<7) | 0x7E | byte(ext>>8), byte(ext)})
}

// broadcast is 20 s of a program of 50 ticks a second: a PCR each 40 ms, tables each 200 ms, a picture each 40 ms, sound each
// 80 ms. change sees each tick's part before it is sent; what it leaves is sent.
type broadcast struct {
	change func(ms int, p *part)
	after  func(b *tsBuilder, ms int) // adds to what is sent
	alter  func(ms int, data []byte) []byte
	silent func(ms int) bool // nothing is sent
	held   func(ms int) bool // what is sent waits
}

// part says what one tick brings.
type part struct {
	pat, pmt, pcr, video, audio bool
	clock                       int64
	flags                       byte // of the PCR's adaptation field
	noPTS                       bool
}

func (c broadcast) run(d *Demuxer) {
	b := newBuilder()
	for ms := 0; ms < 20_000; ms += 20 {
		if c.silent != nil && c.silent(ms) {
			continue
		}
		p := part{
			pat: ms%200 == 0, pmt: ms%200 == 0, pcr: ms%40 == 0, video: ms%40 == 0, audio: ms%80 == 0,
			clock: int64(ms) * pcrHz / 1000,
		}
		if c.change != nil {
			c.change(ms, &p)
		}
		if c.held == nil || ms == 0 || !c.held(ms-20) {
			b.data = b.data[:0]
		}
		if p.pat {
			b.section(patPID, patSection(0, 0, 0, programAt{1, 0x1000}))
		}
		if p.pmt {
			b.section(0x1000, pmtSection(1, 0, 0x100, streamAt{streamType: 0x1B, pid: 0x100}, streamAt{streamType: 4, pid: 0x101}))
		}
		if p.pcr {
			b.pcrPacket(0x100, p.clock, p.flags)
		}
		pts := int64(ms) * 90
		if p.noPTS {
			pts = noTime
		}
		if p.video {
			b.payload(0x100, pesUnit(0xE0, pts, noTime, false, cat(delimiter(), paramSets(false), sliceOf{nal: 0x65, size: 50}.bytes())))
		}
		if p.audio {
			b.payload(0x101, pesUnit(0xC0, pts, noTime, true, cat(mp2(1), mp2(2))))
		}
		if c.after != nil {
			c.after(b, ms)
		}
		if c.held != nil && c.held(ms) {
			continue
		}
		data := b.data
		if c.alter != nil {
			data = c.alter(ms, slices.Clone(data))
		}
		d.SetNow(time.Duration(ms) * time.Millisecond)
		d.Write(data)
	}
}

// scramble sets transport_scrambling_control of each packet of the PID.
func scramble(data []byte, pid uint16) []byte {
	for p := range slices.Chunk(data, PacketSize) {
		if uint16(p[1]&0x1F)<<8|uint16(p[2]) == pid {
			p[3] |= 0x80
		}
	}
	return data
}

func TestTR101290(t *testing.T) {
	between := func(ms, from, to int) bool { return ms >= from && ms < to }
	sdt := table(0x42, 1, 0, 0, 0, make([]byte, 300))
	eit := table(0x4E, 1, 0, 0, 0, make([]byte, 3000))
	ca := table(catTable, 1, 0, 0, 0, nil)
	bad := func(s []byte) []byte { s = slices.Clone(s); s[len(s)-5] ^= 1; return s }
	at := func(when int, do func(b *tsBuilder)) func(*tsBuilder, int) {
		return func(b *tsBuilder, ms int) {
			if ms == when {
				do(b)
			}
		}
	}
	for _, c := range []struct {
		name string
		broadcast
		want   TR101290
		ignore []string // fields that the fault raises too
	}{
		{name: "nothing is wrong"},
		{name: "the process was starved for 0.9 s", broadcast: broadcast{held: func(ms int) bool { return between(ms, 5000, 5900) }}},
		{name: "one sync byte is wrong", broadcast: broadcast{alter: func(ms int, data []byte) []byte {
			if ms == 6000 {
				data[2*PacketSize] = 0x46
			}
			return data
		}}, want: TR101290{SyncByteError: 1}, ignore: []string{"ContinuityCountError"}},
		{name: "the sync byte of the last packet of a datagram is wrong", broadcast: broadcast{alter: func(ms int, data []byte) []byte {
			if ms == 6000 {
				data[len(data)-PacketSize] = 0x46
			}
			return data
		}}, want: TR101290{SyncByteError: 1}, ignore: []string{"ContinuityCountError"}},
		{name: "two sync bytes in a row are wrong", broadcast: broadcast{alter: func(ms int, data []byte) []byte {
			if ms == 6000 {
				data[2*PacketSize], data[3*PacketSize] = 0x46, 0
			}
			return data
		}}, want: TR101290{SyncByteError: 1, TSSyncLoss: 1}, ignore: []string{"ContinuityCountError"}},
		{name: "bytes are missing", broadcast: broadcast{alter: func(ms int, data []byte) []byte {
			if ms == 6000 {
				return slices.Delete(data, 300, 310)
			}
			return data
		}}, want: TR101290{SyncByteError: 1, TSSyncLoss: 1}, ignore: []string{"ContinuityCountError"}},
		{name: "no PAT for 0.6 s", broadcast: broadcast{change: func(ms int, p *part) { p.pat = p.pat && !between(ms, 5000, 5400) }},
			want: TR101290{PATError2: 1}},
		{name: "no PAT for 0.4 s", broadcast: broadcast{change: func(ms int, p *part) { p.pat = p.pat && !between(ms, 5000, 5200) }}},
		{name: "no PAT for 2 s", broadcast: broadcast{change: func(ms int, p *part) { p.pat = p.pat && !between(ms, 5000, 6800) }},
			want: TR101290{PATError2: 3}},
		{name: "another table on PID 0", broadcast: broadcast{after: at(6000, func(b *tsBuilder) { b.section(patPID, sdt) })},
			want: TR101290{PATError2: 1}},
		{name: "a scrambled PAT", broadcast: broadcast{alter: func(ms int, data []byte) []byte {
			if ms == 6000 {
				return scramble(data, patPID)
			}
			return data
		}}, want: TR101290{PATError2: 1}, ignore: []string{"CATError"}},
		{name: "no PMT for 0.6 s", broadcast: broadcast{change: func(ms int, p *part) { p.pmt = p.pmt && !between(ms, 5000, 5400) }},
			want: TR101290{PMTError2: 1}},
		{name: "a scrambled PMT", broadcast: broadcast{alter: func(ms int, data []byte) []byte {
			if ms == 6000 {
				return scramble(data, 0x1000)
			}
			return data
		}}, want: TR101290{PMTError2: 1}, ignore: []string{"CATError"}},
		{name: "a lost packet", broadcast: broadcast{after: at(6000, func(b *tsBuilder) { b.counter[0x101]++ })},
			want: TR101290{ContinuityCountError: 1}},
		{name: "a packet twice, and one three times", broadcast: broadcast{alter: func(ms int, data []byte) []byte {
			switch ms {
			case 6000:
				return cat(data, data[len(data)-PacketSize:])
			case 8000:
				return cat(data, data[len(data)-PacketSize:], data[len(data)-PacketSize:])
			}
			return data
		}}, want: TR101290{ContinuityCountError: 1}},
		{name: "no sound for 6 s", broadcast: broadcast{change: func(ms int, p *part) { p.audio = p.audio && !between(ms, 5000, 11_000) }},
			want: TR101290{PIDError: 1, PTSError: 8}},
		{name: "transport_error_indicator", broadcast: broadcast{alter: func(ms int, data []byte) []byte {
			if ms == 6000 {
				data[len(data)-PacketSize+1] |= 0x80
			}
			return data
		}}, want: TR101290{TransportError: 1}},
		{name: "CRC of PAT, SDT and EIT", broadcast: broadcast{after: func(b *tsBuilder, ms int) {
			if ms%500 == 0 {
				b.section(sdtPID, sdt)
				b.section(eitPID, eit)
			}
			switch ms {
			case 6000:
				b.section(patPID, bad(patSection(0, 0, 0, programAt{1, 0x1000})))
			case 6020:
				b.section(sdtPID, bad(sdt))
			case 6040:
				b.section(eitPID, bad(eit))
			case 6060:
				b.section(sdtPID, bad(table(0x80, 1, 0, 0, 0, nil))) // of a table that the standard does not name
			}
		}}, want: TR101290{CRCError: 3}},
		{name: "a PCR is left out", broadcast: broadcast{change: func(ms int, p *part) { p.pcr = p.pcr && ms != 6000 }}},
		{name: "two PCRs are left out", broadcast: broadcast{change: func(ms int, p *part) { p.pcr = p.pcr && !between(ms, 6000, 6080) }},
			want: TR101290{PCRRepetitionError: 1, PCRDiscontinuityIndicatorError: 1}},
		{name: "no PCR for 0.6 s", broadcast: broadcast{change: func(ms int, p *part) { p.pcr = p.pcr && !between(ms, 6000, 6560) }},
			want: TR101290{PCRRepetitionError: 4, PCRDiscontinuityIndicatorError: 1}},
		{name: "the clock jumps back", broadcast: broadcast{change: func(ms int, p *part) {
			if ms >= 6000 {
				p.clock -= pcrHz
			}
		}}, want: TR101290{PCRDiscontinuityIndicatorError: 1}},
		{name: "the clock jumps back, and says so", broadcast: broadcast{change: func(ms int, p *part) {
			if ms >= 6000 {
				p.clock -= pcrHz
			}
			if ms == 6000 {
				p.flags = 0x80
			}
		}}},
		{name: "the clock wraps", broadcast: broadcast{change: func(_ int, p *part) {
			p.clock = (p.clock + pcrWrap - 5*pcrHz) % pcrWrap
		}}},
		{name: "no PTS for 0.8 s", broadcast: broadcast{change: func(ms int, p *part) { p.noPTS = between(ms, 6000, 6800) }},
			want: TR101290{PTSError: 2}},
		{name: "scrambled without a CAT", broadcast: broadcast{alter: func(ms int, data []byte) []byte {
			if ms >= 2000 {
				return scramble(data, 0x101)
			}
			return data
		}}, want: TR101290{CATError: 1}, ignore: []string{"PTSError"}},
		{name: "scrambled with a CAT", broadcast: broadcast{
			after: func(b *tsBuilder, ms int) {
				if ms%500 == 0 {
					b.section(catPID, ca)
				}
			},
			alter: func(ms int, data []byte) []byte {
				if ms >= 2000 {
					return scramble(data, 0x101)
				}
				return data
			}}, ignore: []string{"PTSError"}},
		{name: "another table on PID 1", broadcast: broadcast{after: at(6000, func(b *tsBuilder) { b.section(catPID, sdt) })},
			want: TR101290{CATError: 1}},
		{name: "nothing at all for 3 s", broadcast: broadcast{silent: func(ms int) bool { return between(ms, 5000, 8000) }},
			want: TR101290{PATError2: 1, PMTError2: 1, PTSError: 2, PCRRepetitionError: 1, PCRDiscontinuityIndicatorError: 1}},
	} {
		d := NewDemuxer(discard{}, Options{})
		c.run(d)
		s := d.Stats()
		got := reflect.ValueOf(&s.TR101290).Elem()
		for _, f := range c.ignore {
			got.FieldByName(f).SetUint(0)
		}
		if s.TR101290 != c.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, s.TR101290, c.want)
		}
	}
}

// What is counted of a PID is counted with that PID.
func TestTR101290PerPID(t *testing.T) {
	d := NewDemuxer(discard{}, Options{})
	broadcast{
		change: func(ms int, p *part) { p.audio = p.audio && ms < 10_000 },
		alter: func(ms int, data []byte) []byte {
			switch ms {
			case 4000:
				data[len(data)-PacketSize+1] |= 0x80
			case 6000:
				return scramble(data, 0x101)
			}
			return data
		},
		after: func(b *tsBuilder, ms int) {
			if ms == 8000 {
				s := table(0x42, 1, 0, 0, 0, nil)
				s[9] ^= 1
				b.section(sdtPID, s)
			}
		},
	}.run(d)
	for _, p := range d.Stats().PIDs {
		got := []uint64{p.TransportErrors, min(p.Scrambled, 1), p.CRCErrors, p.PIDErrors, min(p.PTSErrors, 1)}
		want := []uint64{0, 0, 0, 0, 0}
		switch p.PID {
		case 0x101:
			want = []uint64{1, 1, 0, 1, 1}
		case sdtPID:
			want[2] = 1
		}
		if !slices.Equal(got, want) {
			t.Errorf("PID %d: %d, want %d", p.PID, got, want)
		}
	}
}
