package mpegts

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// pictures writes PES of a picture each, whose lengths are off by so many bytes, and returns what is in them.
func (b *tsBuilder) pictures(off int, sizes ...int) (units [][]byte) {
	for i, size := range sizes {
		u := cat(delimiter(), paramSets(false), sliceOf{nal: 0x65, frameNum: uint32(i) & 15, size: size, fill: byte(i)}.bytes())
		pes := pesUnit(0xE0, int64(i)*3600, noTime, false, u)
		binary.BigEndian.PutUint16(pes[4:], uint16(len(pes)-6-off))
		b.payload(0x100, pes)
		units = append(units, u)
	}
	return units
}

func sizesOf(n int) (out []int) {
	for i := range n {
		out = append(out, 300+97*(i%7))
	}
	return out
}

// What multiplexers make of PES_packet_length: nothing is lost for it, and how they count is known after a few.
func TestLengthsThatAreOff(t *testing.T) {
	long := append([]int{70000}, append(sizesOf(20), 140000, 500, 500)...)
	for _, c := range []struct {
		name   string
		off    int
		sizes  []int
		faulty int // at the beginning, and none later
	}{
		{"right", 0, sizesOf(20), 0},
		{"right but for what needs 17 bits", 0, long, 0},
		{"one short", 1, sizesOf(20), lengthProof},
		{"one short, and more than 16 bits", 1, long, lengthProof},
		{"the six bytes before it counted", -6, sizesOf(20), lengthProof},
		{"header not counted", 8, sizesOf(20), lengthProof},
	} {
		b := newBuilder()
		b.program(0x1B)
		want := b.pictures(c.off, c.sizes...)
		got := demux(b.data, Options{}).of(0x100)
		if len(got) != len(want) {
			t.Errorf("%s: %d pictures, want %d", c.name, len(got), len(want))
			continue
		}
		for i, u := range got {
			if !bytes.Equal(u.Data, want[i]) {
				t.Errorf("%s: picture %d has %d bytes, want %d", c.name, i, len(u.Data), len(want[i]))
			}
			damaged := u.Damage == DamagePESLength
			if last := i == len(got)-1; !last && damaged != (i < c.faulty) || u.Damage&^DamagePESLength != 0 {
				t.Errorf("%s: picture %d: damage %x", c.name, i, u.Damage)
			}
		}
	}
}

// However a multiplexer counts, sixteen packets that are missing with the head of a PES among them show.
func TestHoleShowsInLengths(t *testing.T) {
	for _, off := range []int{0, 1, -6} {
		b := newBuilder()
		b.program(0x1B)
		b.pictures(off, sizesOf(20)...)
		first := len(b.data) / PacketSize
		var sizes []int
		for range 20 {
			sizes = append(sizes, 1500)
		}
		want := b.pictures(off, sizes...)
		for at := first + 9; at+16+20 < len(b.data)/PacketSize; at++ {
			ts := slices.Concat(b.data[:at*PacketSize], b.data[(at+16)*PacketSize:])
			units := demux(ts, Options{}).of(0x100)
			lost := false
			for _, u := range units[21:] {
				intact := u.Damage == 0
				if intact && !slices.ContainsFunc(want, func(w []byte) bool { return bytes.Equal(w, u.Data) }) {
					t.Fatalf("off by %d, a hole at %d: a picture of %d bytes that was never sent passes for intact", off, at, len(u.Data))
				}
				lost = lost || u.Lost || !intact
			}
			if !lost && b.data[at*PacketSize+1]&0x40 == 0 { // whole PES are missing where it begins with one
				t.Fatalf("off by %d: nothing tells of the hole at %d", off, at)
			}
		}
	}
}

// Several pictures in a PES that is too long: those that end beyond its length are not intact.
func TestPicturesBeyondTheLength(t *testing.T) {
	b := newBuilder()
	b.program(0x1B)
	b.pictures(0, sizesOf(3)...)
	one := cat(delimiter(), paramSets(false), sliceOf{nal: 0x65, size: 400}.bytes())
	pes := pesUnit(0xE0, 3*3600, noTime, false, cat(one, one, one))
	binary.BigEndian.PutUint16(pes[4:], uint16(len(pes)-6-len(one)-200))
	b.payload(0x100, pes)
	b.pictures(0, 300, 300)
	units := demux(b.data, Options{}).of(0x100)
	if len(units) < 6 || units[2].Damage != 0 || units[3].Damage != 0 || units[4].Damage != DamagePESLength || units[5].Damage != DamagePESLength {
		for _, u := range units {
			t.Error(line(u))
		}
	}
}

// A recorded stream whose lengths are one short, and wrap: every picture is there.
func TestRecordedLengthsThatAreOff(t *testing.T) {
	ts, err := os.ReadFile(filepath.Join(samplesDir(t), "tsduck+tsduck-test/input/test-072.ts"))
	if err != nil {
		t.Skip(err)
	}
	pictures := demux(ts, Options{}).of(0x65)
	faulty := 0
	for i, u := range pictures {
		if u.Damage != 0 && i < len(pictures)-1 { // the end of the last is not seen
			faulty++
			if i >= lengthProof {
				t.Errorf("picture %d: damage %x", i, u.Damage)
			}
		}
	}
	if len(pictures) != 300 || faulty != lengthProof {
		t.Errorf("%d pictures, %d of them faulty; want 300, %d", len(pictures), faulty, lengthProof)
	}
}
