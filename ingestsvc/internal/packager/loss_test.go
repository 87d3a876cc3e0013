package packager

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
)

// TestLossBelowTheDemuxer: each way in which packets are known to be lost or useless is evidence with its reason, in
// segments that then are not whole, and what is legal is none.
func TestLossBelowTheDemuxer(t *testing.T) {
	ts := source(t, clips[1])
	want := record(t, ts, 1316)
	packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
	// find gives the first packet with a full payload of the PID in the second half; start: one that begins a PES.
	find := func(pid uint16, start bool) int {
		for i := len(packets) / 2; ; i++ {
			if p := packets[i]; pidOf(p) == pid && (p[1]&0x40 != 0) == start && (start || p[3]&0x30 == 0x10) {
				return i
			}
		}
	}
	const video, audio = 256, 257
	changed := func(at int, do func(p []byte)) []byte {
		out := bytes.Clone(ts)
		do(out[at*mpegts.PacketSize : (at+1)*mpegts.PacketSize])
		return out
	}
	inserted := func(at int, p []byte) []byte {
		return slices.Insert(bytes.Clone(ts), (at+1)*mpegts.PacketSize, p...)
	}
	// renumbered adds to the counters of the PID from a packet on, which says so if announced.
	renumbered := func(pid uint16, from int, announced bool) []byte {
		out := bytes.Clone(ts)
		for i := from; i < len(packets); i++ {
			if p := out[i*mpegts.PacketSize:]; pidOf(p) == pid {
				p[3] = p[3]&0xF0 | (p[3]+5)&0x0F
			}
		}
		if announced {
			out[from*mpegts.PacketSize+5] |= 0x80
		}
		return out
	}
	adaptationOnly := func(at int, flags byte) []byte {
		p := bytes.Repeat([]byte{0xFF}, mpegts.PacketSize)
		copy(p, packets[at][:4])
		p[1] &^= 0x40
		p[3], p[4], p[5] = p[3]&0x0F|0x20, 183, flags
		return p
	}
	v, a, head := find(video, false), find(audio, false), find(video, true)
	for p := packets[head]; p[3]&0x20 == 0 || p[4] < 7 || p[5]&0x10 == 0 || p[1]&0x40 == 0 || pidOf(p) != video; p = packets[head] {
		head++ // one with a PCR
	}
	for _, c := range []struct {
		name string
		ts   []byte
		want segment.Reason // 0: as if nothing had happened
	}{
		{"a packet twice", inserted(v, packets[v]), 0},
		{"a packet twice, the second with another PCR", inserted(head, func() []byte {
			p := bytes.Clone(packets[head])
			p[10]++
			return p
		}()), 0},
		{"a packet three times", inserted(v, slices.Concat(packets[v], packets[v])), segment.ReasonContinuity},
		{"a packet without payload", inserted(v, adaptationOnly(v, 0)), 0},
		{"a packet without payload announces a jump", inserted(v, adaptationOnly(v, 0x80)), 0},
		{"a PES begins with another counter, announced", renumbered(video, head, true), 0},
		{"a PES begins with another counter", renumbered(video, head, false), segment.ReasonContinuity},
		{"another counter within a PES", renumbered(audio, a, false), segment.ReasonContinuity},
		{"a lost packet", slices.Delete(bytes.Clone(ts), v*mpegts.PacketSize, (v+1)*mpegts.PacketSize), segment.ReasonContinuity},
		{"transport_error_indicator", changed(v, func(p []byte) { p[1] |= 0x80 }), segment.ReasonTransport},
		{"a scrambled packet", changed(a, func(p []byte) { p[3] |= 0xC0 }), segment.ReasonScrambled},
		{"an impossible adaptation field", changed(head, func(p []byte) { p[4] = 184 }), segment.ReasonSyntax},
		{"PES_packet_length is short", changed(find(audio, true), func(p []byte) {
			b := p[4:]
			if p[3]&0x20 != 0 {
				b = p[5+p[4]:]
			}
			binary.BigEndian.PutUint16(b[4:], binary.BigEndian.Uint16(b[4:])-100)
		}), segment.ReasonPESLength},
		{"bytes are lost", slices.Delete(bytes.Clone(ts), v*mpegts.PacketSize+50, v*mpegts.PacketSize+60), segment.ReasonContinuity},
	} {
		got := record(t, c.ts, 1316)
		var reasons segment.Reason
		for _, s := range got.segs[:len(got.segs)-1] { // but for the end of the clip
			for _, f := range s.info.Evidence.Faulty {
				reasons |= f.Reason
			}
			for _, m := range s.info.Evidence.Missing {
				reasons |= m.Reason
			}
		}
		compare(t, want, got)
		if reasons&c.want != c.want || c.want == 0 && reasons != 0 {
			t.Errorf("%s: reasons %b, want %b", c.name, reasons, c.want)
		}
		if c.want == 0 {
			allWhole(t, c.name, got)
		}
	}

	r := &recorder{t: t}
	p := New(Options{}, r)
	d := mpegts.NewDemuxer(p, mpegts.Options{})
	d.Write(ts[:v*mpegts.PacketSize])
	d.KernelDrop(3)
	d.Write(ts[(v+20)*mpegts.PacketSize:])
	d.Flush()
	p.Flush()
	compare(t, want, r)
	found := slices.ContainsFunc(r.segs, func(s *recorded) bool {
		return slices.ContainsFunc(s.info.Evidence.Faulty, func(f segment.FaultySample) bool { return f.Reason&segment.ReasonReceive != 0 }) ||
			slices.ContainsFunc(s.info.Evidence.Missing, func(m segment.MissingSpan) bool { return m.Reason&segment.ReasonReceive != 0 })
	})
	if !found {
		t.Error("a kernel drop is no evidence")
	}
}

// TestHiddenLoss: I1 for bursts that no continuity counter shows, in a multiplex of constant rate.
func TestHiddenLoss(t *testing.T) {
	path := filepath.Join(t.TempDir(), "constant.ts")
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi", "-i",
		"testsrc2=s=320x180:r=25:d=40,noise=alls=10:allf=t", "-f", "lavfi", "-i", "sine=440:d=40:r=48000", "-c:v", "libx264",
		"-preset", "ultrafast", "-b:v", "900k", "-maxrate", "1M", "-bufsize", "300k", "-g", "50", "-bf", "2",
		"-c:a", "mp2", "-muxrate", "1800k", path)
	if cmd.Path == "" || cmd.Err != nil {
		t.Skip("ffmpeg is not installed")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ts, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := record(t, ts, 1316)
	allWhole(t, "nothing is lost", want)
	packets := len(ts) / mpegts.PacketSize
	rnd := testkit.Rand(t)
	bursts, lost := 0, 0
	for range 5000 {
		from := packets/2 + rnd.IntN(packets/3)
		counts := map[uint16]int{}
		odd, to := 0, 0
		for i := from; i < from+200; i++ {
			p := ts[i*mpegts.PacketSize:]
			if pid := pidOf(p); pid != 0x1FFF && p[3]&0x10 != 0 {
				if counts[pid]++; counts[pid]%16 == 1 {
					odd++
				} else if counts[pid]%16 == 0 {
					odd--
				}
				if odd == 0 {
					to = i + 1
					break
				}
			}
		}
		if to == 0 {
			continue
		}
		got := record(t, slices.Delete(bytes.Clone(ts), from*mpegts.PacketSize, to*mpegts.PacketSize), 1316)
		compare(t, want, got)
		for _, s := range got.segs {
			for _, f := range s.info.Evidence.Faulty {
				if f.Reason&segment.ReasonRate != 0 {
					lost++
					break
				}
			}
		}
		if bursts++; bursts == rounds(40) {
			break
		}
	}
	if bursts < rounds(40) || lost < bursts {
		t.Errorf("%d bursts, %d segments with evidence", bursts, lost)
	}
}
