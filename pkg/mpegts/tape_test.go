package mpegts

import (
	"fmt"
	"testing"
)

// kept takes what is kept of losses, and nothing else.
type kept struct {
	got []string
}

func (k *kept) Program(Program)        {}
func (k *kept) AccessUnit(*AccessUnit) {}
func (k *kept) Packets(p *Packets) {
	for _, r := range p.Runs {
		text := fmt.Sprintf("%d:", r.DTS)
		for _, x := range r.Packets {
			text += fmt.Sprintf(" %d", x.At)
		}
		k.got = append(k.got, text)
	}
}

// TestTapeIsBounded holds I4: a PES without an end is not kept, and what comes behind it is.
func TestTapeIsBounded(t *testing.T) {
	k := &kept{}
	tp := &tape{h: k, pid: 256, video: true}
	start := []byte{0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1, 9}
	n := uint8(0)
	put := func(b []byte, start bool) {
		tp.packet(n&0x0F, b, start, place{n: -1})
		n++
	}
	for _, size := range []int{1, 184} {
		put(start, true)
		for range 3 * maxTapePackets {
			put(make([]byte, size), false)
			if len(tp.buf) > maxTapeBytes+PacketSize || len(tp.packets) > maxTapePackets+1 {
				t.Fatalf("%d bytes in %d packets are held", len(tp.buf), len(tp.packets))
			}
		}
		tp.lose(0)
		put(start, true)
		tp.settle()
		if len(k.got) > 0 {
			t.Errorf("kept %q", k.got)
		}
		tp.forget()
	}
	put(start, true)
	n += 3
	tp.lose(0)
	put([]byte{1}, false)
	put(start, true)
	tp.settle()
	if want := "[0: 0 4 0: 0]"; fmt.Sprint(k.got) != want {
		t.Errorf("kept %v, want %s", k.got, want)
	}
}

// count counts units that lack nothing.
type count struct{ intact, damaged int }

func (c *count) Program(Program) {}
func (c *count) AccessUnit(u *AccessUnit) {
	if u.Damage != 0 {
		c.damaged++
		return
	}
	c.intact++
}

// TestReframerEnds: what is complete where the packets end is as intact as before a hole. A unit of E-AC-3 is when the next one begins.
func TestReframerEnds(t *testing.T) {
	c := &count{}
	r := NewReframer(Stream{PID: 256, Codec: CodecEAC3}, c)
	const frames, size = 4, 400
	var b []byte
	for range frames {
		b = append(b, syncframe{code: 3, size: size, fill: 7}.bytes()...)
	}
	r.Packet(pesUnit(0xBD, 9000, noTime, true, b[:len(b)-size/2]), true)
	if r.End(); c.intact != frames-1 || c.damaged != 1 {
		t.Errorf("%d units are intact and %d are damaged, want %d and 1", c.intact, c.damaged, frames-1)
	}
}

// TestTapeBefore: of datagrams before the first packet that is held nobody says that they had none of the PID.
func TestTapeBefore(t *testing.T) {
	tp := &tape{h: &kept{}, pid: 256, video: true, sender: 1}
	start := []byte{0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1, 9}
	tp.packet(0, []byte{1}, false, place{datagram: 6, run: 6})
	tp.packet(1, start, true, place{datagram: 7, run: 7})
	if got := tp.packets[0].before; got != 0 {
		t.Errorf("%d datagrams are said to have none", got)
	}
}
