package input

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	srt "github.com/datarhei/gosrt"
	"github.com/datarhei/gosrt/circular"
	"github.com/datarhei/gosrt/packet"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/testkit"
)

const phrase = "hunter2_hunter2_"

// overUDP is what a clean reception of bare packets seals.
func overUDP(t *testing.T, datagrams [][]byte) []string {
	t.Helper()
	port := testkit.FreePort(t)
	s := newSite(t)
	urls := s.apply(fmt.Sprintf("udp://127.0.0.1:%d", port))
	to := out(t, port)
	pace(datagrams, func(_ int, d []byte) { to.Write(d) })
	return s.end(urls)[0]
}

func (s *site) wantProblem(want string) {
	s.t.Helper()
	testkit.Eventually(s.t, 15*time.Second, "the input says what is wrong", func() error {
		if x := s.List()[0]; !strings.Contains(x.Problem, want) {
			return fmt.Errorf("%s, problem %q, want %q", x.State, x.Problem, want)
		}
		return nil
	})
}

func (s *site) configure(input string) string {
	s.t.Helper()
	c, err := streamconf.Parse("t", fmt.Appendf(nil, "stream s { input %s; dvr d 1d; }", input))
	if err != nil {
		s.t.Fatal(err)
	}
	s.Apply(c)
	return c.Streams[0].Inputs[0].URL()
}

func (s *site) wantSealed(url string, want []string) {
	s.t.Helper()
	time.Sleep(500 * time.Millisecond) // more than the latency
	if got := s.end([]string{url})[0]; !slices.Equal(got, want) {
		s.t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// We wait, and a sender calls: with another stream id, without and with a wrong passphrase it is refused, and a second one
// too. What is recorded is what a socket would have brought.
func TestSRTListener(t *testing.T) {
	datagrams := clip(t)
	want := overUDP(t, datagrams)
	port := testkit.FreePort(t)
	s := newSite(t)
	var log bytes.Buffer
	s.deps.Logger = slog.New(slog.NewTextHandler(&log, nil))
	url := s.configure(fmt.Sprintf("srt://127.0.0.1:%d?mode=listener&streamid=%%23tv&passphrase=%s", port, phrase))
	if strings.Contains(url, "hunter2") {
		t.Errorf("the URL %s has the passphrase", url)
	}
	s.activate(url)
	call := func(id, pass string) (srt.Conn, error) {
		c := srt.DefaultConfig()
		c.StreamId, c.Passphrase = id, pass
		return srt.Dial("srt", fmt.Sprintf("127.0.0.1:%d", port), c)
	}
	testkit.Eventually(t, 5*time.Second, "the port is open", func() error {
		c, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return errors.New("it is free")
		}
		return nil
	})
	for _, bad := range [][2]string{{"#other", phrase}, {"#tv", ""}, {"#tv", "another passphrase"}} {
		if c, err := call(bad[0], bad[1]); err == nil {
			c.Close()
			t.Errorf("%v was let in", bad)
		}
	}
	sender, err := call("#tv", phrase)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := call("#tv", phrase); err == nil {
		c.Close()
		t.Error("a second sender was let in")
	}
	pace(datagrams, func(_ int, d []byte) { sender.Write(d) })
	testkit.Eventually(t, 5*time.Second, "all has come", func() error {
		if x := s.List()[0]; x.SequenceLosses != 0 || x.Bytes != uint64(188*7*(len(datagrams)-1)+len(datagrams[len(datagrams)-1])) {
			return fmt.Errorf("%d bytes, %d missing", x.Bytes, x.SequenceLosses)
		}
		return nil
	})
	s.wantSealed(url, want)
	sender.Close()
	if strings.Contains(log.String(), "hunter2") {
		t.Error("the passphrase is in the log")
	}
}

// We call: nobody is there, then one to whom our passphrase is wrong; with the right one we call at once, and again when
// the sender goes.
func TestSRTCaller(t *testing.T) {
	datagrams := clip(t)
	want := overUDP(t, datagrams)
	port := testkit.FreePort(t)
	s := newSite(t)
	url := s.configure(fmt.Sprintf("srt://127.0.0.1:%d?latency=200 passphrase=hunter2_another", port))
	s.wantProblem("nobody answers")
	listener, err := srt.Listen("srt", fmt.Sprintf("127.0.0.1:%d", port), srt.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	take := func(once bool) srt.Conn {
		for {
			r, err := listener.Accept2()
			if err != nil {
				t.Error(err)
				return nil
			}
			if r.SetPassphrase(phrase) != nil {
				r.Reject(srt.REJ_BADSECRET)
				if once {
					return nil
				}
				continue
			}
			c, err := r.Accept()
			if err == nil {
				return c
			}
		}
	}
	take(true)
	s.wantProblem("the sender refuses the call")
	if p := s.List()[0].Problem; strings.Contains(p, "hunter2") {
		t.Errorf("problem %q shows the passphrase", p)
	}
	if again := s.configure(fmt.Sprintf("srt://127.0.0.1:%d?latency=200 passphrase=%s", port, phrase)); again != url {
		t.Errorf("another passphrase makes %s of %s", again, url)
	}
	sender := take(false)
	s.activate(url)
	time.Sleep(100 * time.Millisecond) // the role is taken
	pace(datagrams, func(_ int, d []byte) { sender.Write(d) })
	time.Sleep(500 * time.Millisecond)
	sender.Close()
	if again := take(false); again != nil {
		again.Close()
	}
	s.wantSealed(url, want)
}

// ffmpeg calls us.
func TestSRTFromFFmpeg(t *testing.T) {
	if out, err := exec.Command("ffmpeg", "-hide_banner", "-protocols").Output(); err != nil || !bytes.Contains(out, []byte("srt")) {
		t.Skip("no ffmpeg that speaks SRT")
	}
	path := clipFile(t, clip(t))
	port := testkit.FreePort(t)
	s := newSite(t)
	url := s.configure(fmt.Sprintf("srt://127.0.0.1:%d?mode=listener passphrase=%s", port, phrase))
	s.activate(url)
	time.Sleep(300 * time.Millisecond)
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-nostdin", "-re", "-i", path, "-map", "0", "-c", "copy", "-f", "mpegts",
		fmt.Sprintf("srt://127.0.0.1:%d?passphrase=%s&pkt_size=1316", port, phrase))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, text)
	}
	x := s.List()[0]
	s.Close()
	if len(s.dvr.sealed(url)) < 2 || x.SequenceLosses != 0 || x.ContinuityErrors != 0 {
		t.Errorf("%d segments, %d missing, %d continuity errors", len(s.dvr.sealed(url)), x.SequenceLosses, x.ContinuityErrors)
	}
}

// fakeConn hands on packets of these numbers.
type fakeConn struct {
	srt.Conn
	seqs []uint32
	data [][]byte
}

func (c *fakeConn) Close() error { return nil }

func (c *fakeConn) ReadPacket() (packet.Packet, error) {
	if len(c.seqs) == 0 {
		return nil, io.EOF
	}
	p := packet.NewPacket(nil)
	p.Header().PacketSequenceNumber = circular.New(c.seqs[0], packet.MAX_SEQUENCENUMBER)
	p.SetData(c.data[0])
	c.seqs, c.data = c.seqs[1:], c.data[1:]
	return p, nil
}

// What SRT gave up is missing, with its exact number, over the wrap too.
func TestSRTLoss(t *testing.T) {
	in := New("s", streamconf.Input{Kind: streamconf.KindSRT}, 1, quietDeps(t))
	p := newPipeline(in)
	data := make([][]byte, 4)
	for i := range data {
		data[i] = make([]byte, 188)
	}
	s := &srtSource{in: in}
	err := s.read(t.Context(), &fakeConn{seqs: []uint32{1<<31 - 3, 1<<31 - 2, 2, 3}, data: data}, p)
	if !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
	p.close()
	if got := p.counted.sequenceLosses; got != 3 {
		t.Errorf("%d missing, want 3", got)
	}
}

// A sender that is not there is asked for again and again, and that costs nothing that stays.
// Whether somebody is there does not hang on what the wall clock says.
func TestKnockWithAWrongClock(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
			c.WriteTo(b[:n], from)
		}
	}()
	if err := knock(t.Context(), clock.Shifted{By: -time.Hour}, c.LocalAddr().String()); err != nil {
		t.Error(err)
	}
}

func TestSRTStep(t *testing.T) {
	for _, c := range []struct{ next, seq, missing, after uint32 }{
		{5, 5, 0, 6}, {5, 8, 3, 9}, {sequenceMask, sequenceMask, 0, 0}, {sequenceMask, 1, 2, 2}, {5, 4, 0, 5}, {2, sequenceMask, 0, 2},
	} {
		if missing, after := srtStep(c.next, c.seq); missing != c.missing || after != c.after {
			t.Errorf("%d where %d is next: %d are missing, %d is next, want %d and %d", c.seq, c.next, missing, after, c.missing, c.after)
		}
	}
}

func TestSRTNobodyThere(t *testing.T) {
	in := New("s", streamconf.Input{Kind: streamconf.KindSRT}, 1, quietDeps(t))
	o := streamconf.SRT{Host: "127.0.0.1", Port: uint16(testkit.FreePort(t))}
	before := runtime.NumGoroutine()
	for range 3 {
		if _, err := in.openSRT(t.Context(), o); !errors.Is(err, errNoAnswer) {
			t.Fatalf("got %v", err)
		}
	}
	testkit.Eventually(t, 5*time.Second, "no goroutine stays", func() error {
		if n := runtime.NumGoroutine(); n > before {
			return fmt.Errorf("%d goroutines, %d before", n, before)
		}
		return nil
	})
	if _, err := in.openSRT(t.Context(), streamconf.SRT{Host: "127.0.0.1", Port: 1, Passphrase: streamconf.Masked}); err != errWithheld {
		t.Errorf("got %v", err)
	}
}
