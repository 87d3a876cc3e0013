package mpegts

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// dress puts each packet of a stream on a longer stride: a time code before it, or parity behind it.
func dress(data []byte, stride int, r *rand.Rand) []byte {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	var out []byte
	for ; len(data) >= PacketSize; data = data[PacketSize:] {
		if stride == 192 {
			out = append(out, noise(4)...)
		}
		out = append(out, data[:PacketSize]...)
		if stride == 204 {
			out = append(out, noise(16)...)
		}
	}
	return out
}

func units(rec *recorder) []string {
	var out []string
	for _, u := range rec.units {
		out = append(out, fmt.Sprintf("%s %x", line(u), u.Data))
	}
	return out
}

// Time codes and parity change nothing, however the bytes come.
func TestLongPackets(t *testing.T) {
	data := clipData(t, clips()[0])[:800*PacketSize]
	want := units(demux(data, Options{}))
	for _, stride := range strides {
		for seed := range uint64(8) {
			r := rand.New(rand.NewPCG(seed, 3))
			dressed := dress(data, stride, r)
			rec := &recorder{}
			d := NewDemuxer(rec, Options{})
			if seed%2 == 0 { // a datagram a time
				for part := range slices.Chunk(dressed, 7*stride) {
					d.Write(part)
				}
			} else {
				writeRandomly(d, dressed, r)
			}
			d.Flush()
			s := d.Stats()
			if got := units(rec); !slices.Equal(got, want) {
				t.Errorf("stride %d, seed %d: %d units, want the %d of the bare stream", stride, seed, len(got), len(want))
			}
			before := 0
			if stride == 192 {
				before = 4 // nothing says yet that they are a time code
			}
			if s.PacketBytes != stride || s.SyncLosses != 0 || s.GarbageBytes != uint64(before) || s.Packets != 800 {
				t.Errorf("stride %d, seed %d: %d packets of %d bytes, %d losses of sync, %d bytes of garbage", stride, seed,
					s.Packets, s.PacketBytes, s.SyncLosses, s.GarbageBytes)
			}
		}
	}
}

// A stream of fewer packets than prove a grid is read at its end, on the stride that fits.
func TestShortLongPackets(t *testing.T) {
	b := newBuilder()
	b.program(0x1B)
	b.adaptation(0x100, 0, 0)
	for _, stride := range strides {
		dressed := dress(b.data, stride, rand.New(rand.NewPCG(1, 4)))
		rec := demux(dressed, Options{})
		if len(rec.programs) != 1 || rec.stats.Packets != 3 {
			t.Errorf("stride %d: %d programs in %d packets, want 1 in 3", stride, len(rec.programs), rec.stats.Packets)
		}
	}
}

// I1, I2: garbage, cut packets and changes of the stride are losses that are found again and counted.
func TestResynchronisation(t *testing.T) {
	data := clipData(t, clips()[0])[:600*PacketSize]
	clean := demux(data, Options{})
	known := byKey(t, clean.units)
	for _, stride := range strides {
		for seed := range uint64(30) {
			r := rand.New(rand.NewPCG(seed, 5))
			rec := &recorder{}
			d := NewDemuxer(rec, Options{})
			faults := 0
			now := stride
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 7*PacketSize)
				datagram := dress(rest[:n], now, r)
				rest = rest[n:]
				switch r.IntN(25) {
				case 0: // garbage before it
					d.Write(bytes.Repeat([]byte{byte(r.Uint32()), syncByte}, 1+r.IntN(200)))
					faults++
				case 1: // its end is missing
					datagram = datagram[:1+r.IntN(len(datagram)-1)]
					faults++
				case 2: // the sender changes
					now = strides[r.IntN(len(strides))]
				}
				d.Write(datagram)
			}
			d.Flush()
			rec.stats = d.Stats()
			checkLoss(t, fmt.Sprintf("stride %d, seed %d", stride, seed), clean, known, rec)
			if faults > 0 && rec.stats.SyncLosses == 0 {
				t.Errorf("stride %d, seed %d: %d faults, and no loss of sync was counted", stride, seed, faults)
			}
			if rec.stats.Packets < 300 {
				t.Errorf("stride %d, seed %d: only %d packets of 600 were found", stride, seed, rec.stats.Packets)
			}
		}
	}
}

// What the transport's sequence tells is a loss of all PIDs, with a reason of its own.
func TestSequenceLoss(t *testing.T) {
	b := newBuilder()
	b.program(0x04)
	audio := func(pts int64) {
		b.payload(0x100, pesUnit(0xC0, pts, noTime, true, cat(mp2(1), mp2(2), mp2(3))))
	}
	audio(0)
	at := len(b.data)
	audio(6480)
	rec := &recorder{}
	d := NewDemuxer(rec, Options{})
	d.Write(b.data[:at])
	d.SequenceLoss(3)
	d.Write(b.data[at:])
	d.Flush()
	var got []string
	for _, u := range rec.units {
		got = append(got, line(u))
	}
	want := []string{"0: 384 bytes, 0/0, 1152@48000", "0: 384 bytes, 2160/2160, 1152@48000", "0: 384 bytes, 4320/4320, 1152@48000",
		"0: 384 bytes, 6480/6480, 1152@48000, lost 1000000", "0: 384 bytes, 8640/8640, 1152@48000", "0: 384 bytes, 10800/10800, 1152@48000"}
	if s := d.Stats(); !slices.Equal(got, want) || s.SequenceLosses != 3 || s.LostBefore != 1 {
		t.Errorf("got\n%q\nwant\n%q, stats %+v", got, want, s)
	}
}

// Only the PIDs that are asked for are of the program, and a program is found whatever others there are.
func TestSelection(t *testing.T) {
	b := newBuilder()
	b.section(patPID, patSection(0, 0, 0, programAt{1, 0x1000}, programAt{2, 0x1001}))
	b.section(0x1000, pmtSection(1, 0, 0x100, streamAt{streamType: 0x04, pid: 0x100}))
	b.section(0x1001, pmtSection(2, 0, 0x200, streamAt{streamType: 0x04, pid: 0x200}, streamAt{streamType: 0x04, pid: 0x201}))
	for _, pid := range []uint16{0x100, 0x200, 0x201} {
		b.payload(pid, pesUnit(0xC0, 0, noTime, true, cat(mp2(byte(pid>>4)), mp2(2), mp2(3))))
	}
	for _, c := range []struct {
		opts Options
		want string
	}{
		{Options{}, "[1 256]"},
		{Options{Program: 2}, "[2 512 513]"},
		{Options{Program: 2, PIDs: []uint16{0x201, 0x100}}, "[2 513]"},
		{Options{Program: 3}, "[]"},
		{Options{PIDs: []uint16{0x200}}, "[1]"},
	} {
		rec := demux(b.data, c.opts)
		var got []int
		for _, p := range rec.programs {
			got = append(got, int(p.Number))
			for _, s := range p.Streams {
				got = append(got, int(s.PID))
				if len(rec.of(s.PID)) == 0 {
					t.Errorf("%+v: nothing of PID %d", c.opts, s.PID)
				}
			}
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%+v: got %v, want %s", c.opts, got, c.want)
		}
	}
}
