package tsplay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/pkg/mpegts"
)

// makeClip returns the path of a clip, or skips without ffmpeg.
func makeClip(t *testing.T, length time.Duration) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clip.ts")
	err := MakeClip(t.Context(), path, ClipOptions{Length: length, Width: 320, Height: 180, VideoKbit: 400})
	if errors.Is(err, ErrNoFFmpeg) {
		t.Skip("ffmpeg is not installed")
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// tape takes datagrams and when they came.
type tape struct {
	begin time.Time
	data  [][]byte
	at    []time.Duration
}

func (r *tape) Write(b []byte) (int, error) {
	if r.begin.IsZero() {
		r.begin = time.Now()
	}
	r.data = append(r.data, bytes.Clone(b))
	r.at = append(r.at, time.Since(r.begin))
	return len(b), nil
}

// play runs a player in a bubble for a while.
func play(t *testing.T, path string, o Options, d time.Duration) (*tape, *Player) {
	t.Helper()
	r := &tape{}
	o.To = append(o.To, r)
	var p *Player
	synctest.Test(t, func(t *testing.T) {
		var err error
		if p, err = Open(path, o); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
	})
	return r, p
}

// unitTimes keeps DTS, PTS and number of the units of each PID.
type unitTimes struct {
	t    *testing.T
	dts  map[uint16][]int64
	pts  map[uint16][]int64
	wide map[uint16]int // samples
	cut  map[uint16]int // the first unit of a PES that is too short
}

func (u *unitTimes) Program(mpegts.Program) {}
func (u *unitTimes) AccessUnit(a *mpegts.AccessUnit) {
	if a.Damage&^mpegts.DamagePESLength != 0 || a.Lost {
		u.t.Errorf("PID %d unit %d: damage %b, lost %v", a.PID, len(u.dts[a.PID]), a.Damage, a.Lost)
	}
	if _, was := u.cut[a.PID]; a.Damage&mpegts.DamagePESLength != 0 && !was {
		u.cut[a.PID] = len(u.dts[a.PID])
	}
	u.dts[a.PID] = append(u.dts[a.PID], a.DTS)
	u.pts[a.PID] = append(u.pts[a.PID], a.PTS)
	u.wide[a.PID] = a.Samples
}

func demux(t *testing.T, datagrams [][]byte) (*unitTimes, mpegts.Stats) {
	t.Helper()
	u := &unitTimes{t: t, dts: map[uint16][]int64{}, pts: map[uint16][]int64{}, wide: map[uint16]int{}, cut: map[uint16]int{}}
	d := mpegts.NewDemuxer(u, mpegts.Options{})
	for _, b := range datagrams {
		d.Write(b)
	}
	d.Flush()
	return u, d.Stats()
}

// I1, I2: two and a half loops are one stream without a seam, also over the wrap of the clock.
func TestLoopHasNoSeam(t *testing.T) {
	const length = 3840 * time.Millisecond
	path := makeClip(t, length)
	for _, c := range []struct {
		name   string
		offset int64
	}{
		{"as it is", 0},
		{"over the wrap", 1<<33 - 5*ticksPerSecond},
		{"half a turn", 1 << 32},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, p := play(t, path, Options{Loop: true, PTSOffset: c.offset}, length*5/2)
			if p.Length() != length {
				t.Fatalf("length %v, want %v", p.Length(), length)
			}
			u, s := demux(t, r.data)
			// It ends where the time is up, which may be within a PES of each track.
			if n := s.ContinuityErrors + s.SyntaxErrors + s.SectionErrors + s.GarbageBytes; n != 0 || s.PESErrors > 3 {
				t.Errorf("errors in the stream: %+v", s)
			}
			for pid, i := range u.cut {
				if i < len(u.dts[pid])-8 { // frames of sound in one PES
					t.Errorf("PID %d: unit %d of %d is of a PES that was cut off", pid, i, len(u.dts[pid]))
				}
			}
			steps := map[int]int64{0: 3600, 1024: 1920, 1152: 2160}
			if len(u.dts) != 3 {
				t.Fatalf("%d tracks, want 3", len(u.dts))
			}
			for pid, dts := range u.dts {
				step := steps[u.wide[pid]]
				for i := 1; i < len(dts); i++ {
					if got := (dts[i] - dts[i-1]) & (wrap - 1); got != step {
						t.Fatalf("PID %d: step of %d ticks before unit %d, want %d", pid, got, i, step)
					}
				}
				perLoop := int64(length/time.Millisecond) * 90 / step
				// What the clip has of the third loop by then depends on its interleaving: half, to 0.6 s.
				if n, want := int64(len(dts)), perLoop*5/2; n < want-54000/step || n > want+54000/step {
					t.Errorf("PID %d: %d units in 2.5 loops of %d", pid, n, perLoop)
				}
			}
			if got := p.Stats().Loops; got != 2 {
				t.Errorf("%d seams, want 2", got)
			}
		})
	}
}

// The clip: each track has exactly its frames, and a PES for each.
func TestClipIsWhole(t *testing.T) {
	path := makeClip(t, 0)
	r, p := play(t, path, Options{}, time.Hour)
	u, _ := demux(t, r.data)
	for pid, dts := range u.dts {
		want := map[int]int{0: 480, 1024: 900, 1152: 800}[u.wide[pid]]
		if len(dts) != want || p.Stats().Units[pid] != uint64(want) {
			t.Errorf("PID %d: %d units, %d counted, want %d", pid, len(dts), p.Stats().Units[pid], want)
		}
	}
	if p.Length() != 19200*time.Millisecond {
		t.Errorf("length %v", p.Length())
	}
}

// I1: without a loop and an offset, what is sent is the file.
func TestPlaysTheFile(t *testing.T) {
	path := makeClip(t, ClipGrain)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, p := play(t, path, Options{}, time.Hour)
	if got := bytes.Join(r.data, nil); !bytes.Equal(got, want) {
		t.Errorf("sent %d bytes that are not the %d of the file", len(got), len(want))
	}
	for i, d := range r.data[:len(r.data)-1] {
		if len(d) != perDatagram*packetSize {
			t.Fatalf("datagram %d has %d bytes", i, len(d))
		}
	}
	s := p.Stats()
	if s.Datagrams != uint64(len(r.data)) || s.Packets != uint64(len(want)/packetSize) {
		t.Errorf("stats %+v", s)
	}
}

// I3: datagrams leave with the PCR in them, within a tick, and the PCR's pace holds across the seam.
func TestPace(t *testing.T) {
	const length = 2 * ClipGrain
	path := makeClip(t, length)
	r, _ := play(t, path, Options{Loop: true}, 3*length)
	first, last := int64(-1), int64(0)
	var firstAt time.Duration
	for i, d := range r.data {
		for p := packet(d); len(p) > 0; p = p[packetSize:] {
			b := p.pcrField()
			if b == nil {
				continue
			}
			pcr := readPCR(b)
			if first < 0 {
				first, last, firstAt = pcr, pcr, r.at[i]
			}
			if gap := time.Duration((pcr - last) * 1000 / 27); gap < 0 || gap > 110*time.Millisecond {
				t.Fatalf("PCR steps by %v in datagram %d", gap, i)
			}
			last = pcr
			off := r.at[i] - firstAt - time.Duration((pcr-first)*1000/27)
			// Up to six packets wait for a datagram to be full.
			if off < -tick || off > 60*time.Millisecond {
				t.Fatalf("datagram %d leaves %v off its PCR", i, off)
			}
		}
		if i > 0 && r.at[i] < r.at[i-1] {
			t.Fatal("time goes back")
		}
	}
	if ran := time.Duration((last - first) * 1000 / 27); ran < 3*length-500*time.Millisecond {
		t.Errorf("the PCR ran %v in %v", ran, 3*length)
	}
}

func TestStartAtAndStop(t *testing.T) {
	path := makeClip(t, 2*ClipGrain)
	r, _ := play(t, path, Options{StartAt: ClipGrain}, time.Hour)
	if ran := r.at[len(r.at)-1]; ran < ClipGrain/2 || ran > ClipGrain*3/2 {
		t.Errorf("the second half took %v", ran)
	}
	p, err := Open(path, Options{Loop: true})
	if err != nil {
		t.Fatal(err)
	}
	p.Stop()
	p.Stop()
	if err := p.Run(t.Context()); err != nil || p.Stats().Datagrams != 0 {
		t.Errorf("a stopped player ran: %v, %+v", err, p.Stats())
	}
}

// failing is a destination that cannot be reached.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("down") }

func TestOneBadDestinationHoldsUpNobody(t *testing.T) {
	path := makeClip(t, ClipGrain)
	r, p := play(t, path, Options{To: []io.Writer{failing{}}}, time.Hour)
	s := p.Stats()
	if s.WriteErrors != s.Datagrams || s.LastError == nil || len(r.data) != int(s.Datagrams) {
		t.Errorf("stats %+v, %d datagrams received", s, len(r.data))
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	null := make([]byte, packetSize)
	null[0], null[1], null[2], null[3] = syncByte, 0x1F, 0xFF, 0x10
	for _, c := range []struct {
		path string
		want error
	}{
		{filepath.Join(dir, "missing.ts"), os.ErrNotExist},
		{write("empty.ts", nil), ErrNoClock},
		{write("text.ts", bytes.Repeat([]byte("not a stream "), 100)), ErrNotTS},
		{write("short.ts", null[:100]), ErrNotTS},
		{write("null.ts", bytes.Repeat(null, 10)), ErrNoClock},
	} {
		if _, err := Open(c.path, Options{}); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", filepath.Base(c.path), err, c.want)
		}
	}
}

func TestMakeClipErrors(t *testing.T) {
	if err := MakeClip(t.Context(), "x.ts", ClipOptions{Length: time.Second}); !errors.Is(err, ErrClipLength) {
		t.Errorf("got %v, want %v", err, ErrClipLength)
	}
	if err := MakeClip(t.Context(), "x.ts", ClipOptions{FFmpeg: "no-such-program"}); !errors.Is(err, ErrNoFFmpeg) {
		t.Errorf("got %v, want %v", err, ErrNoFFmpeg)
	}
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		return
	}
	if err := MakeClip(t.Context(), filepath.Join(t.TempDir(), "no", "x.ts"), ClipOptions{Length: ClipGrain}); err == nil {
		t.Error("a clip in a folder that does not exist was made")
	}
}

func TestParseDestination(t *testing.T) {
	addr := netip.MustParseAddrPort
	for _, c := range []struct {
		url  string
		want Destination
		bad  bool
	}{
		{url: "udp://127.0.0.1:5000", want: Destination{Addr: addr("127.0.0.1:5000")}},
		{url: "udp://localhost:5000", want: Destination{Addr: addr("127.0.0.1:5000")}},
		{url: "udp://239.0.0.1:1234", want: Destination{Addr: addr("239.0.0.1:1234")}},
		{url: "udp://239.0.0.1:1234/127.0.0.1", want: Destination{Addr: addr("239.0.0.1:1234"), InterfaceIP: netip.MustParseAddr("127.0.0.1")}},
		{url: "udp://lo@239.0.0.1:1234", want: Destination{Addr: addr("239.0.0.1:1234"), InterfaceName: "lo"}},
		{url: "udp://[::1]:5000", want: Destination{Addr: addr("[::1]:5000")}},
		{url: "udp://lo@[ff05::1]:1234", want: Destination{Addr: addr("[ff05::1]:1234"), InterfaceName: "lo"}},
		{url: "udp://[ff05::1]:1234/::1", want: Destination{Addr: addr("[ff05::1]:1234"), InterfaceIP: netip.MustParseAddr("::1")}},
		{url: "udp://lo@127.0.0.1:1234", bad: true},
		{url: "udp://239.0.0.1", bad: true},
		{url: "udp://239.0.0.1:0", bad: true},
		{url: "udp://239.0.0.1:1234/lo", bad: true},
		{url: "tcp://239.0.0.1:1234", bad: true},
		{url: "", bad: true},
	} {
		got, err := ParseDestination(c.url)
		if c.bad != errors.Is(err, ErrURL) || !c.bad && got != c.want {
			t.Errorf("%q: got %+v, %v", c.url, got, err)
		}
	}
}

func TestDialErrors(t *testing.T) {
	for _, url := range []string{"udp://239.0.0.1:1234/198.51.100.7", "udp://nosuch0@239.0.0.1:1234"} {
		if _, err := DialURL(url); !errors.Is(err, ErrNoInterface) {
			t.Errorf("%s: got %v, want %v", url, err, ErrNoInterface)
		}
	}
}

// A group's datagrams reach receivers on the interface that the URL names.
func TestDialReaches(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip("no interface lo")
	}
	group, err := net.ListenMulticastUDP("udp4", lo, &net.UDPAddr{IP: net.IPv4(239, 255, 77, 9)})
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	single, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer single.Close()
	port := func(c *net.UDPConn) int { return c.LocalAddr().(*net.UDPAddr).Port }
	for url, receiver := range map[string]*net.UDPConn{
		fmt.Sprintf("udp://239.255.77.9:%d/127.0.0.1", port(group)): group,
		fmt.Sprintf("udp://lo@239.255.77.9:%d", port(group)):        group,
		fmt.Sprintf("udp://127.0.0.1:%d", port(single)):             single,
	} {
		c, err := DialURL(url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(url)); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		b := make([]byte, 100)
		receiver.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := receiver.Read(b); err != nil || string(b[:n]) != url {
			t.Errorf("%s: received %q, %v", url, b[:n], err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The same over IPv6, as inputs take it. Not every machine has a route for a group, so of that the interface is looked at.
func TestDialIPv6(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip("no interface lo")
	}
	receiver, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skip("no IPv6: ", err)
	}
	defer receiver.Close()
	url := fmt.Sprintf("udp://[::1]:%d", receiver.LocalAddr().(*net.UDPAddr).Port)
	c, err := DialURL(url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(url)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	receiver.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := receiver.Read(b); err != nil || string(b[:n]) != url {
		t.Errorf("received %q, %v", b[:n], err)
	}
	for _, url := range []string{"udp://lo@[ff05::4:77]:1234", "udp://[ff05::4:77]:1234/::1"} {
		c, err := DialURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		defer c.Close()
		raw, err := c.conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var index int
		if e := raw.Control(func(fd uintptr) { index, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF) }); e != nil || err != nil || index != lo.Index {
			t.Errorf("%s: it leaves by interface %d, %v, %v; want %d", url, index, e, err, lo.Index)
		}
	}
}

// Any file is played or refused.
func TestSamples(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	samples := filepath.Join(wd, "..", "..", "..", "shared", "samples")
	if _, err := os.Stat(samples); err != nil {
		t.Skip("no recorded samples beside the repository")
	}
	played := 0
	err = filepath.WalkDir(samples, func(path string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".ts" {
			return err
		}
		f, err := scan(path)
		if err != nil {
			return nil
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		r := newReader(f, in, Options{Loop: true})
		var d datagram
		last := time.Duration(-1)
		for range 2*f.packets/perDatagram + 1 {
			if more, err := r.fill(&d); err != nil || !more {
				t.Errorf("%s: %v", path, err)
				break
			}
			if d.due < last {
				t.Errorf("%s: a datagram is due before the one ahead of it: %v, %v", path, d.due, last)
				break
			}
			last = d.due
		}
		played++
		return nil
	})
	if err != nil || played == 0 {
		t.Errorf("%d files played: %v", played, err)
	}
}
