package input

import (
	"errors"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/ingestsvc/internal/udp"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

func TestWatch(t *testing.T) {
	const sec = time.Second
	prog := mpegts.Program{Streams: []mpegts.Stream{{PID: 256, Codec: mpegts.CodecH264}, {PID: 257, Codec: mpegts.CodecAAC}}}
	for _, c := range []struct {
		name    string
		options streamconf.Quality
		run     func(w *watch, at func(sec int) Fault) string
		want    string
	}{
		{"nothing is asked for", streamconf.Quality{}, func(_ *watch, at func(int) Fault) string {
			return string(at(100))
		}, ""},
		{"no picture ever", streamconf.Quality{VideoTimeout: 10 * sec}, func(w *watch, at func(int) Fault) string {
			w.unit(5*sec, false)
			return string(at(9)) + "," + string(at(10))
		}, ",no_video"},
		{"pictures stop, come back, and are good for 10 s", streamconf.Quality{VideoTimeout: 4 * sec}, func(w *watch, at func(int) Fault) string {
			out := ""
			for s := range 40 {
				if s < 5 || s >= 20 {
					w.unit(time.Duration(s)*sec, true)
				}
				if s == 7 || s == 8 || s == 19 || s == 28 || s == 29 {
					out += "," + string(at(s))
				} else {
					at(s)
				}
			}
			return out
		}, ",,no_video,no_video,no_video,"},
		{"no sound", streamconf.Quality{VideoTimeout: 4 * sec, AudioTimeout: 4 * sec}, func(w *watch, at func(int) Fault) string {
			w.unit(9*sec, true)
			return string(at(10))
		}, "no_audio"},
		{"scrambled", streamconf.Quality{VideoTimeout: 4 * sec}, func(w *watch, at func(int) Fault) string {
			w.unit(2*sec, true)
			w.hidden(5*sec, &mpegts.Stats{PIDs: []mpegts.PIDStats{{PID: 256, Scrambled: 9}}}, &prog)
			return string(at(10))
		}, "scrambled"},
		{"the sound alone is scrambled, pictures are gone", streamconf.Quality{VideoTimeout: 4 * sec}, func(w *watch, at func(int) Fault) string {
			w.hidden(5*sec, &mpegts.Stats{PIDs: []mpegts.PIDStats{{PID: 257, Scrambled: 9}}}, &prog)
			return string(at(10))
		}, "no_video"},
	} {
		w := newWatch(0)
		got := c.run(&w, func(s int) Fault { return w.judge(time.Duration(s)*sec, c.options, 0) })
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	w := newWatch(0)
	q := streamconf.Quality{MaxCCRate: 2}
	for i, step := range []struct {
		at     time.Duration
		errors uint64
		want   Fault
	}{{1 * sec, 20, ""}, {2 * sec, 21, ContinuityErrors}, {3 * sec, 0, ContinuityErrors}, {11 * sec, 0, ContinuityErrors}, {12 * sec, 0, ""}} {
		if got := w.judge(step.at, q, step.errors); got != step.want {
			t.Errorf("max_cc_rate, step %d: %q, want %q", i, got, step.want)
		}
	}
}

func TestLately(t *testing.T) {
	var l lately
	for s := range 100 {
		l.take(time.Duration(s)*time.Second+time.Millisecond, uint64(s)*3)
	}
	now := 99*time.Second + 2*time.Millisecond
	for _, c := range []struct {
		at   time.Duration
		n    int
		want uint64
	}{{now, 10, 30}, {now, 60, 180}, {now + 4*time.Second, 10, 18}, {now + time.Minute, 10, 0}, {now + time.Minute, 60, 0}} {
		if got := l.within(c.at, c.n); got != c.want {
			t.Errorf("at %v: %d in %d s, want %d", c.at, got, c.n, c.want)
		}
	}
	l.take(now+time.Hour, 400)
	if got := l.within(now+time.Hour, 60); got != 400-99*3 {
		t.Errorf("after an hour: %d", got)
	}
}

func TestPermit(t *testing.T) {
	const allow, deny = "/run/allow", "/run/deny"
	both := streamconf.Quality{AllowIf: allow, DenyIf: deny}
	broken := errors.New("planted")
	for _, c := range []struct {
		name   string
		q      streamconf.Quality
		files  map[string]string
		err    error // of every file
		before string
		want   string
	}{
		{"no files are named", streamconf.Quality{}, nil, nil, "", ""},
		{"none is there", both, nil, nil, "", ""},
		{"allowed", both, map[string]string{allow: "1\n", deny: "0\n"}, nil, "", ""},
		{"allow_if holds 0", both, map[string]string{allow: "0\n"}, nil, "", allow},
		{"allow_if is empty", both, map[string]string{allow: ""}, nil, "", ""},
		{"deny_if holds 1", both, map[string]string{allow: "1", deny: "1"}, nil, "", deny},
		{"deny_if is empty", both, map[string]string{deny: ""}, nil, "", deny},
		{"nothing can be read: as before, allowed", both, nil, broken, "", ""},
		{"nothing can be read: as before, denied", both, nil, broken, deny, deny},
	} {
		by, _, err := permit(c.q, func(path string) ([]byte, error) {
			if c.err != nil {
				return nil, c.err
			}
			if s, ok := c.files[path]; ok {
				return []byte(s), nil
			}
			return nil, fs.ErrNotExist
		}, c.before)
		if by != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: denied by %q, want %q; %v", c.name, by, c.want, err)
		}
	}
	if b, err := readSwitch("/dev/zero"); err == nil {
		t.Errorf("a device was read: %d bytes", len(b))
	}
}

// The file closes the socket within a second or so, the input says so to dvrsvc and in the list, and comes back.
func TestDeniedInputLeavesItsSource(t *testing.T) {
	inBubble(t, func(n *node) {
		var content atomic.Value
		content.Store("1")
		n.deps.ReadSwitch = func(string) ([]byte, error) { return []byte(content.Load().(string)), nil }
		n.apply(urlA + " allow_if=/run/allow")
		n.wantStates("standby")
		content.Store("0")
		time.Sleep(2 * time.Second)
		n.wantStates("denied")
		if n.socket(1001) != nil {
			t.Error("the socket is still open")
		}
		if p := n.dvr.lastProgress(urlA); p.GetAlive() || p.GetFault() != "denied" {
			t.Errorf("progress %v", p)
		}
		if s := n.List()[0]; s.Problem != "denied by /run/allow" || s.Fault != Denied {
			t.Errorf("problem %q, fault %q", s.Problem, s.Fault)
		}
		n.role(urlA, true) // whatever dvrsvc says
		time.Sleep(2 * time.Second)
		n.wantStates("denied")
		content.Store("1")
		time.Sleep(2 * time.Second)
		n.wantStates("active")
		n.wantOpened(map[uint16]int{1001: 2})
	})
}

// A file that is being written is empty for a moment: that moment costs no packet. One that stays empty means it.
func TestSwitchThatIsBeingWritten(t *testing.T) {
	inBubble(t, func(n *node) {
		var content atomic.Value
		content.Store("0")
		n.deps.ReadSwitch = func(string) ([]byte, error) { return []byte(content.Load().(string)), nil }
		n.apply(urlA + " deny_if=/run/deny")
		for range 3 {
			time.Sleep(700 * time.Millisecond)
			content.Store("")
			time.Sleep(600 * time.Millisecond) // one look
			content.Store("0")
			time.Sleep(1700 * time.Millisecond)
		}
		n.wantOpened(map[uint16]int{1001: 1})
		content.Store("")
		time.Sleep(3 * time.Second)
		n.wantStates("denied")
	})
}

// I1: a switch on a file system that hangs holds up neither its input, which is allowed until it says something else, nor a change of the
// config, which the others wait for, nor the end.
func TestSwitchThatHangs(t *testing.T) {
	inBubble(t, func(n *node) {
		stall := make(chan struct{})
		n.deps.ReadSwitch = func(string) ([]byte, error) { <-stall; return []byte("0"), nil }
		n.apply(urlA+" allow_if=/mnt/allow", urlB)
		time.Sleep(permitWait)
		n.wantStates("standby standby")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			n.Apply(&streamconf.Config{})
			n.Close()
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the config waits for a switch")
		}
		close(stall)
		<-ended
	})
}

// A switch that the config no longer names decides nothing, though it hangs: who takes it out does so to have the input back.
func TestSwitchThatHangsIsTakenOut(t *testing.T) {
	inBubble(t, func(n *node) {
		stall := make(chan struct{})
		defer close(stall)
		var hangs atomic.Bool
		n.deps.ReadSwitch = func(path string) ([]byte, error) {
			if path == "/run/allow" {
				return []byte("1"), nil
			}
			if hangs.Load() {
				<-stall
			}
			return []byte("0"), nil
		}
		n.apply(urlA+" allow_if=/mnt/allow", urlB+" allow_if=/mnt/allow")
		n.wantStates("denied denied")
		hangs.Store(true)
		time.Sleep(10 * time.Second)
		n.wantStates("denied denied")
		n.apply(urlA, urlB+" allow_if=/run/allow")
		time.Sleep(2 * permitEvery)
		n.wantStates("standby standby")
	})
}

// A fault is not over because the source was opened again, and what never comes is missed over many openings.
func TestFaultOutlivesReopening(t *testing.T) {
	q := streamconf.Quality{VideoTimeout: 20 * time.Second}
	w := newWatch(0)
	var now time.Duration
	for range 5 { // each time it is there for 5 s, and away for 3
		for range 5 {
			now += time.Second
			w.unit(now, false)
			w.judge(now, q, 0)
		}
		w = w.reopened(now, now+3*time.Second)
		now += 3 * time.Second
	}
	if got := w.judge(now, q, 0); got != NoVideo {
		t.Fatalf("25 s without a picture: fault %q", got)
	}
	w.unit(now, true)
	w = w.reopened(now, now+time.Hour)
	now += time.Hour
	if got := w.judge(now+time.Second, q, 0); got != NoVideo {
		t.Errorf("a second after it was opened again: fault %q", got)
	}
	w.unit(now+9*time.Second, true)
	if got := w.judge(now+goodFor, q, 0); got != "" {
		t.Errorf("good for %v: fault %q", goodFor, got)
	}
}

// A stream that loses its sound is shown and told as such, and so is damage; and both are over after a while.
func TestFaultIsTold(t *testing.T) {
	datagrams := clip(t)
	inBubble(t, func(n *node) {
		n.apply(urlA + " audio_timeout=2 max_cc_rate=1")
		half := len(datagrams) / 2
		n.play(datagrams[:half])
		if s := n.List()[0]; s.Fault != "" || s.Problem != "" {
			t.Fatalf("fault %q, problem %q", s.Fault, s.Problem)
		}
		n.play(withoutPID(withoutPID(datagrams[half:half+half/2], 257), 258)) // 3.8 s
		time.Sleep(time.Second)
		if s := n.List()[0]; s.Fault != NoAudio || !strings.HasPrefix(s.Problem, "no sound for ") {
			t.Errorf("fault %q, problem %q", s.Fault, s.Problem)
		}
		if p := n.dvr.lastProgress(urlA); p.GetFault() != "no_audio" || !p.GetAlive() {
			t.Errorf("progress %v", p)
		}
	})
	inBubble(t, func(n *node) {
		n.apply(urlA + " audio_timeout=2 max_cc_rate=1")
		var lossy [][]byte
		for i, d := range datagrams {
			if i%8 != 3 {
				lossy = append(lossy, d)
			}
		}
		n.play(lossy)
		s := n.List()[0]
		if s.Fault != ContinuityErrors || s.Quality.LostPackets == 0 || s.ErrorsLastMinute < 20 {
			t.Errorf("fault %q, %d packets lost, %d errors in a minute", s.Fault, s.Quality.LostPackets, s.ErrorsLastMinute)
		}
	})
}

// While the source of a faulty input is away its fault is not over: dvrsvc would take it for a good one, whose media moved a moment
// ago, and where all have a fault go from one to the next.
func TestFaultOutlivesTheSource(t *testing.T) {
	datagrams := clip(t)
	inBubble(t, func(n *node) {
		n.apply(urlA + " audio_timeout=2")
		half := len(datagrams) / 2
		n.play(datagrams[:half])
		n.play(withoutPID(withoutPID(datagrams[half:half+half/2], 257), 258)) // 3.8 s
		n.mu.Lock()
		n.broken[1001] = udp.ErrInUse
		n.mu.Unlock()
		n.socket(1001).fail <- errors.New("planted")
		time.Sleep(time.Second)
		synctest.Wait()
		if p := n.dvr.lastProgress(urlA); p.GetFault() != "no_audio" || !p.GetAlive() {
			t.Errorf("progress %v", p)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if p := n.dvr.lastProgress(urlA); p.GetFault() != "" || p.GetAlive() {
			t.Errorf("after a minute: progress %v", p)
		}
	})
}

// withoutPID turns the packets of a PID into null packets.
func withoutPID(datagrams [][]byte, pid uint16) [][]byte {
	var out [][]byte
	for _, d := range datagrams {
		d = append([]byte(nil), d...)
		for p := d; len(p) >= 188; p = p[188:] {
			if uint16(p[1]&0x1F)<<8|uint16(p[2]) == pid {
				p[1], p[2] = 0x1F, 0xFF
			}
		}
		out = append(out, d)
	}
	return out
}
