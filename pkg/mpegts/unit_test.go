package mpegts

import (
	"slices"
	"testing"
	"time"
)

// A unit that grows beyond the limit is cut short and says so; what follows is whole.
func TestUnitLimit(t *testing.T) {
	b := newBuilder()
	b.program(0x1B)
	head := cat(delimiter(), paramSets(false))
	b.payload(0x100, pesUnit(0xE0, 0, noTime, false, cat(head, sliceOf{nal: 0x65, size: 5000, fill: 3}.bytes())))
	b.payload(0x100, pesUnit(0xE0, 3600, noTime, false, cat(head, sliceOf{nal: 0x65, size: 500}.bytes())))
	b.payload(0x100, pesUnit(0xE0, 7200, noTime, false, head))
	rec := demux(b.data, Options{MaxUnitBytes: 2000})
	if len(rec.units) < 2 || rec.units[0].Damage != DamageSyntax || len(rec.units[0].Data) > 2000+PacketSize ||
		!rec.units[1].Lost || rec.units[1].Damage != 0 || len(rec.units[1].Data) != len(head)+508 {
		for _, u := range rec.units {
			t.Error(line(u))
		}
	}
}

// A unit came when its beginning did, however long after that it is known to be complete.
func TestArrival(t *testing.T) {
	b := newBuilder()
	b.program(0x1B)
	for i, size := range []int{50, 500, 50} {
		picture := sliceOf{nal: 0x65, frameNum: uint32(i), size: size}.bytes()
		b.payload(0x100, pesUnit(0xE0, int64(i)*3600, noTime, false, cat(delimiter(), paramSets(false), picture)))
	}
	rec := &recorder{}
	d := NewDemuxer(rec, Options{})
	for i := 0; i < len(b.data); i += PacketSize {
		d.SetNow(time.Duration(i / PacketSize))
		d.Write(b.data[i : i+PacketSize])
	}
	d.SetNow(time.Hour)
	d.Flush()
	var got []time.Duration
	for _, u := range rec.units {
		got = append(got, u.Arrived)
	}
	// Nothing is used before the fifth packet proves the grid; the second picture fills packets 3 to 5.
	if want := []time.Duration{4, 4, 6}; !slices.Equal(got, want) {
		t.Errorf("arrived at %v, want %v", got, want)
	}
}

// What one long picture needed is given back.
func TestLongUnitIsGivenBack(t *testing.T) {
	d := NewDemuxer(discard{}, Options{})
	play := func(pictures, size int) {
		b := newBuilder()
		b.program(0x1B)
		for i := range pictures {
			picture := sliceOf{nal: 0x65, frameNum: uint32(i), size: size}.bytes()
			b.payload(0x100, pesUnit(0xE0, int64(i)*3600, noTime, false, cat(delimiter(), paramSets(false), picture)))
		}
		d.Write(b.data)
	}
	play(3, 1<<20)
	play(2*giveBackEvery, 1000)
	if room := cap(d.pids[0x100].stream.framer.(*h264Framer).buf); room > 4000 {
		t.Errorf("%d bytes of room", room)
	}
}
