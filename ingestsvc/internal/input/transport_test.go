package input

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/ingestsvc/internal/udp"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// site is a manager on real sockets, with a fake dvrsvc. A clip is sent in a few seconds: nothing that is recorded depends
// on when it came.
type site struct {
	t *testing.T
	*Manager
	dvr *fakeDVR
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dvr: &fakeDVR{
		calls: map[string]dvrv1.RecordingService_RecordServer{}, progress: map[string]*dvrv1.Progress{}, seals: map[string][]*dvrv1.Seal{},
	}}
	pipe := grpcx.NewPipe()
	srv, err := grpcx.NewServer(grpcx.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dvrv1.RegisterRecordingServiceServer(srv, s.dvr)
	go srv.Server.Serve(pipe.Listener())
	t.Cleanup(srv.Stop)
	conn, err := pipe.Dial(grpcx.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	sockets := udp.NewSockets()
	s.Manager = NewManager(Deps{
		Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Node: "a", DVR: conn, RingBytes: 64 << 20,
		Open: func(a udp.Address) (Receiver, error) { return sockets.Open(a) },
	})
	t.Cleanup(s.Close)
	return s
}

// apply configures streams s0, s1 and so on, with an input each, and returns the canonical URLs.
func (s *site) apply(inputs ...string) []string {
	s.t.Helper()
	src := ""
	for i, in := range inputs {
		src += fmt.Sprintf("stream s%d { input %s; dvr d 1d; }\n", i, in)
	}
	c, err := streamconf.Parse("test.conf", []byte(src))
	if err != nil {
		s.t.Fatal(err)
	}
	s.Apply(c)
	var urls []string
	for _, st := range c.Streams {
		urls = append(urls, st.Inputs[0].URL())
	}
	testkit.Eventually(s.t, 10*time.Second, "the inputs are open", func() error {
		for _, x := range s.List() {
			if x.State != Standby && x.State != Active {
				return fmt.Errorf("%s is %s: %s", x.URL, x.State, x.Problem)
			}
		}
		return nil
	})
	for _, u := range urls {
		s.activate(u)
	}
	return urls
}

// activate makes an input active: what it seals is sent along.
func (s *site) activate(url string) {
	s.t.Helper()
	testkit.Eventually(s.t, 10*time.Second, "the input has called", func() error {
		s.dvr.mu.Lock()
		defer s.dvr.mu.Unlock()
		call := s.dvr.calls[url]
		if call == nil {
			return fmt.Errorf("no call of %s", url)
		}
		return call.Send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Role{Role: &dvrv1.Role{Epoch: 1, Active: true}}})
	})
}

// end closes the inputs, and returns what was sealed of each: evidence and digest.
func (s *site) end(urls []string) [][]string {
	s.t.Helper()
	s.Close()
	var all [][]string
	for _, u := range urls {
		var list []string
		for _, x := range s.dvr.sealed(u) {
			e := x.GetInfo().GetEvidence()
			list = append(list, fmt.Sprintf("%x %v %v", x.GetInfo().GetDigest(), e.GetFaulty(), e.GetMissing()))
		}
		all = append(all, list)
	}
	return all
}

func out(t *testing.T, port int) net.Conn {
	t.Helper()
	c, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// pace sends so that a receiver that drains each 20 ms keeps up with any buffer.
func pace(datagrams [][]byte, send func(i int, d []byte)) {
	for i, d := range datagrams {
		send(i, d)
		if i%16 == 15 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	time.Sleep(200 * time.Millisecond)
}

func inRTPPacket(seq uint16, payload []byte) []byte {
	b := []byte{0x80, 33}
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, uint32(seq)*3)
	b = binary.BigEndian.AppendUint32(b, 0xABCD)
	return append(b, payload...)
}

// shuffle moves packets by up to 6 places, and repeats some.
func shuffle(r *rand.Rand, datagrams [][]byte) [][]byte {
	type at struct {
		key int
		b   []byte
	}
	var list []at
	for i, d := range datagrams {
		key := i
		if i > 0 {
			key += r.IntN(7)
		}
		list = append(list, at{key, d})
		if r.IntN(10) == 0 {
			list = append(list, at{key + 1, d})
		}
	}
	slices.SortStableFunc(list, func(a, b at) int { return a.key - b.key })
	var out [][]byte
	for _, x := range list {
		out = append(out, x.b)
	}
	return out
}

// A sender of RTP that has nothing to send for a moment keeps its place with packets without payload. They are no loss,
// whether the URL says that it is RTP or what comes does.
func TestRTPWithoutPayload(t *testing.T) {
	null := bytes.Repeat(append([]byte{0x47, 0x1F, 0xFF, 0x10}, make([]byte, 184)...), 7)
	for _, url := range []string{urlA, "rtp" + urlA[len("udp"):]} {
		inBubble(t, func(n *node) {
			n.apply(url)
			var datagrams [][]byte
			for i := range 200 {
				payload := null
				if i%10 == 5 {
					payload = nil
				}
				datagrams = append(datagrams, inRTPPacket(uint16(i), payload))
			}
			n.play(datagrams)
			time.Sleep(2 * time.Second)
			if s := n.List()[0]; !s.RTP || s.SequenceLosses != 0 || s.ForeignDatagrams != 0 {
				t.Errorf("%s: RTP %v, %d lost, %d foreign", url, s.RTP, s.SequenceLosses, s.ForeignDatagrams)
			}
		})
	}
}

// RTP that was reordered and repeated, over the wrap, time codes and parity:
// what is recorded is what a clean reception of bare packets records, to the byte.
func TestTransportsRecordTheSame(t *testing.T) {
	datagrams := clip(t)
	var packets [][]byte
	for i, d := range datagrams {
		packets = append(packets, inRTPPacket(uint16(65000+i), d))
	}
	ports := make([]int, 6)
	for i := range ports {
		ports[i] = testkit.FreePort(t)
	}
	s := newSite(t)
	urls := s.apply(
		fmt.Sprintf("udp://127.0.0.1:%d", ports[0]),
		fmt.Sprintf("udp://127.0.0.1:%d", ports[1]), // RTP, by what comes
		fmt.Sprintf("rtp://127.0.0.1:%d", ports[2]),
		fmt.Sprintf("udp://127.0.0.1:%d", ports[3]), // 192 bytes
		fmt.Sprintf("udp://127.0.0.1:%d", ports[4]), // 204 bytes
		fmt.Sprintf("rtp://127.0.0.1:%d", ports[5]), // loses one
	)
	long := func(d []byte, before, behind int) []byte {
		var out []byte
		for p := range slices.Chunk(d, 188) {
			out = append(append(append(out, make([]byte, before)...), p...), make([]byte, behind)...)
		}
		return out
	}
	var to []net.Conn
	for _, p := range ports {
		to = append(to, out(t, p))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for burst := range slices.Chunk(packets, 16) { // what belongs together is not torn apart by the sleep, however long that takes
		for _, d := range shuffle(r, burst) {
			to[1].Write(d)
			to[2].Write(d)
		}
		time.Sleep(20 * time.Millisecond)
	}
	const lost = 300
	pace(datagrams, func(i int, d []byte) {
		to[0].Write(d)
		to[3].Write(long(d, 4, 0))
		to[4].Write(long(d, 0, 16))
		if i != lost {
			to[5].Write(packets[i])
		}
	})
	time.Sleep(1200 * time.Millisecond) // the counts are read each second, with what comes
	list := s.List()
	got := s.end(urls)
	if len(got[0]) < 2 {
		t.Fatalf("%d segments of the bare stream", len(got[0]))
	}
	for i, name := range []string{"bare", "RTP by what comes", "RTP", "192", "204"} {
		if !slices.Equal(got[i], got[0]) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got[i], "\n"), strings.Join(got[0], "\n"))
		}
	}
	if slices.Equal(got[5], got[0]) {
		t.Error("a lost packet shows nowhere")
	}
	sequence := false
	for _, x := range s.dvr.sealed(urls[5]) {
		for _, f := range x.GetInfo().GetEvidence().GetFaulty() {
			sequence = sequence || segment.Reason(f.GetReasons())&segment.ReasonSequence != 0
		}
	}
	if !sequence {
		t.Error("no sample is known to be damaged by the sequence")
	}
	by := map[string]Status{}
	for _, x := range append(list, s.List()...) {
		by[x.URL] = x
	}
	if x := by[urls[1]]; !x.RTP || x.SequenceLosses != 0 || x.ReorderedPackets == 0 || len(x.Legs) != 1 || x.Legs[0].Duplicates == 0 {
		t.Errorf("RTP by what comes: %+v", x)
	}
	if x := by[urls[3]]; x.PacketBytes != 192 || x.RTP {
		t.Errorf("192: %+v", x)
	}
	if x := by[urls[4]]; x.PacketBytes != 204 || x.Resyncs != 0 {
		t.Errorf("204: %+v", x)
	}
	if x := by[urls[5]]; x.SequenceLosses != 1 || x.Legs[0].Lost != 1 {
		t.Errorf("RTP that lost one: %d missing, legs %+v", x.SequenceLosses, x.Legs)
	}
}

// Two legs that lose half of the packets each, and never the same, record what was sent; where one dies, the other goes
// on; where both lose a packet, that one alone is missing.
func TestTwoLegs(t *testing.T) {
	datagrams := clip(t)
	a, b, c := testkit.FreePort(t), testkit.FreePort(t), testkit.FreePort(t)
	s := newSite(t)
	urls := s.apply(fmt.Sprintf("udp://127.0.0.1:%d", c), fmt.Sprintf("rtp://127.0.0.1:%d+rtp://127.0.0.1:%d", a, b))
	bare, one, two := out(t, c), out(t, a), out(t, b)
	const behind = 10
	one.Write(inRTPPacket(0, datagrams[0])) // which leg is read first is open, and with it where the recording begins
	time.Sleep(100 * time.Millisecond)
	pace(datagrams, func(i int, d []byte) {
		bare.Write(d)
		if i%2 == 0 && i < 500 {
			one.Write(inRTPPacket(uint16(i), d))
		}
		if j := i - behind; j >= 0 && (j%2 == 1 || j > 480) {
			two.Write(inRTPPacket(uint16(j), datagrams[j]))
		}
	})
	time.Sleep(1500 * time.Millisecond)
	for j := len(datagrams) - behind; j < len(datagrams); j++ {
		two.Write(inRTPPacket(uint16(j), datagrams[j]))
	}
	testkit.Eventually(t, 10*time.Second, "one leg is silent", func() error {
		x := s.List()[1]
		if len(x.Legs) != 2 || x.Legs[0].Alive || !x.Legs[1].Alive || x.Legs[0].Lost < 100 || x.Legs[1].Lost < 200 {
			return fmt.Errorf("legs %+v", x.Legs)
		}
		if x.SequenceLosses != 0 || !strings.Contains(x.Problem, "leg 1 brings nothing") {
			return fmt.Errorf("%d missing, problem %q", x.SequenceLosses, x.Problem)
		}
		return nil
	})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(s.Manager))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	alive := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "twinreel_ingestsvc_leg_alive" {
				alive[m.GetLabel()[1].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	if len(alive) != 2 || alive["1"] != 0 || alive["2"] != 1 {
		t.Errorf("legs alive by the metrics: %v", alive)
	}
	time.Sleep(100 * time.Millisecond)
	got := s.end(urls)
	if len(got[0]) < 2 || !slices.Equal(got[1], got[0]) {
		t.Errorf("two legs:\n%s\nwant\n%s", strings.Join(got[1], "\n"), strings.Join(got[0], "\n"))
	}
}

// A leg that brings another stream is told from one that brings nothing.
func TestLegWithAnotherStream(t *testing.T) {
	c, err := streamconf.Parse("t", []byte("stream s { input rtp://127.0.0.1:1+rtp://127.0.0.1:2; dvr d 1d; }"))
	if err != nil {
		t.Fatal(err)
	}
	datagrams, deps := clip(t), quietDeps(t)
	synctest.Test(t, func(t *testing.T) {
		in := New("s", c.Streams[0].Inputs[0], 1, deps)
		p := newPipeline(in)
		in.pipe = p
		problem := func(other bool) string {
			for i, d := range datagrams[:300] {
				mono := deps.Clock.Mono()
				p.takeLeg(0, mono, [][]byte{inRTPPacket(uint16(i), d)}, 0)
				if other {
					p.takeLeg(1, mono, [][]byte{inRTPPacket(uint16(i+30000), d)}, 0)
				}
				time.Sleep(16 * tsplay.ClipGrain / 780)
			}
			return in.legs(deps.Clock.Mono(), &p.counted)[1].trouble(2)
		}
		if got := problem(false); got != "leg 2 brings nothing" {
			t.Errorf("a silent leg: %q", got)
		}
		in.pipe = newPipeline(in)
		p = in.pipe
		if got := problem(true); got != "leg 2 brings another stream, or brings it too late" {
			t.Errorf("a leg with another stream: %q", got)
		}
	})
}

// mux joins two programs to a multiplex: the clip as program 1, and again with PIDs 0x400 higher as program 2.
func mux(datagrams [][]byte) [][]byte {
	var out []byte
	counter := byte(0)
	seen := false
	for _, d := range datagrams {
		for p := range slices.Chunk(d, 188) {
			pid := binary.BigEndian.Uint16(p[1:]) & 0x1FFF
			if pid == 0 { // ours has both
				out = append(out, pat(counter)...)
				counter++
				seen = true
				continue
			}
			if !seen || pid == 0x11 {
				continue
			}
			second := slices.Clone(p)
			binary.BigEndian.PutUint16(second[1:], binary.BigEndian.Uint16(p[1:])+0x400)
			if pid == 0x1000 {
				movePMT(second)
			}
			out = append(append(out, p...), second...)
		}
	}
	return slices.Collect(slices.Chunk(out, 7*188))
}

func crc(b []byte) uint32 {
	crc := ^uint32(0)
	for _, c := range b {
		crc ^= uint32(c) << 24
		for range 8 {
			carry := crc&0x8000_0000 != 0
			if crc <<= 1; carry {
				crc ^= 0x04C1_1DB7
			}
		}
	}
	return crc
}

func pat(counter byte) []byte {
	s := []byte{0, 0xB0, 17, 0, 1, 0xC1, 0, 0, 0, 1, 0xF0, 0x00, 0, 2, 0xF4, 0x00}
	s = binary.BigEndian.AppendUint32(s, crc(s))
	p := append([]byte{0x47, 0x40, 0, 0x10 | counter&0x0F, 0}, s...)
	for len(p) < 188 {
		p = append(p, 0xFF)
	}
	return p
}

// movePMT makes the PMT of program 1 that of program 2, with PIDs 0x400 higher.
func movePMT(p []byte) {
	s := p[5:]
	n := 3 + int(binary.BigEndian.Uint16(s[1:])&0xFFF)
	up := func(b []byte) { binary.BigEndian.PutUint16(b, binary.BigEndian.Uint16(b)+0x400) }
	s[4] = 2
	up(s[8:])
	for e := s[12+int(binary.BigEndian.Uint16(s[10:])&0xFFF) : n-4]; len(e) >= 5; e = e[5+int(binary.BigEndian.Uint16(e[3:])&0xFFF):] {
		up(e[1:])
	}
	binary.BigEndian.PutUint32(s[n-4:], crc(s[:n-4]))
}

// Several streams take their program out of one group, over one socket. One of them ends, another is broken, a third comes
// and goes: what the rest records is what was sent.
func TestProgramsOfOneGroup(t *testing.T) {
	datagrams := mux(clip(t))
	port := testkit.FreePort(t)
	group := fmt.Sprintf("udp://239.255.78.%d:%d/127.0.0.1", 1+port%250, port)
	s := newSite(t)
	inputs := []string{group, group + " program=1", group + "?program=2", group + "?program=2&pids=0x501", group + "?program=3"}
	urls := s.apply(inputs...)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	to := &net.UDPAddr{IP: net.IPv4(239, 255, 78, byte(1+port%250)), Port: port}
	if err := onLoopback(conn); err != nil {
		t.Fatal(err)
	}
	pace(datagrams, func(i int, d []byte) {
		if _, err := conn.WriteToUDP(d, to); err != nil {
			t.Fatal(err)
		}
		if i == len(datagrams)/2 {
			c, err := streamconf.Parse("t", []byte(fmt.Sprintf(`stream s1 { input %s program=1; dvr d 1d; } stream s2 { input %s?program=2; dvr d 1d; }
stream s3 { input %s?program=2&pids=0x501; dvr d 1d; } stream s4 { input %s?program=3; dvr d 1d; } stream new { input %s; dvr d 1d; }`, group, group, group, group, group)))
			if err != nil {
				t.Fatal(err)
			}
			s.Apply(c) // s0 goes, and another comes
		}
	})
	time.Sleep(1200 * time.Millisecond)
	list := s.List()
	got := s.end(urls)
	tracks := func(url string) (pids []int) {
		for _, x := range s.dvr.sealed(url) {
			for _, tr := range x.GetInfo().GetTracks() {
				pids = append(pids, int(tr.GetPid()))
			}
		}
		slices.Sort(pids)
		return slices.Compact(pids)
	}
	for i, want := range [][]int{1: {0x100, 0x101, 0x102}, 2: {0x500, 0x501, 0x502}, 3: {0x501}, 4: nil} {
		if i > 0 && !slices.Equal(tracks(urls[i]), want) {
			t.Errorf("%s: recorded PIDs %v, want %v", urls[i], tracks(urls[i]), want)
		}
	}
	for _, x := range list {
		switch {
		case x.Stream == "s4":
			if !strings.Contains(x.Problem, "there is no program 3") {
				t.Errorf("%s: problem %q", x.URL, x.Problem)
			}
		case x.ContinuityErrors != 0 || x.KernelDrops != 0:
			t.Errorf("%s of %s: %d continuity errors, %d drops", x.URL, x.Stream, x.ContinuityErrors, x.KernelDrops)
		}
	}
	// The whole segments in the middle, by their samples: program 2 is program 1 with other PIDs.
	if len(got[1]) < 3 || len(got[1]) != len(got[2]) {
		t.Errorf("%d and %d segments", len(got[1]), len(got[2]))
	}
	for _, u := range urls[1:3] {
		for i, x := range s.dvr.sealed(u) {
			if e := x.GetInfo().GetEvidence(); i+1 < len(got[1]) && len(e.GetFaulty())+len(e.GetMissing()) > 0 {
				t.Errorf("%s: segment %d has evidence %v", u, i, e)
			}
		}
	}
}

func onLoopback(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInet4Addr(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, [4]byte{127, 0, 0, 1})
	})
	return errors.Join(err, failed)
}
