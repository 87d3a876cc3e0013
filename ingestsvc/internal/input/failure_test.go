package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/ingestsvc/internal/udp"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

func TestSocketThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	inBubble(t, func(n *node) {
		n.broken[1001] = udp.ErrInUse
		n.apply(urlA, urlB)
		n.wantStates("failed standby")
		if p := n.List()[0].Problem; !strings.Contains(p, "in use") {
			t.Errorf("problem %q does not say why", p)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		n.mu.Lock()
		before := n.opened[1001]
		n.mu.Unlock()
		time.Sleep(10 * lastReopen)
		n.wantOpened(map[uint16]int{1001: before + 10, 1002: 1})
		n.mu.Lock()
		n.broken[1001] = nil
		n.mu.Unlock()
		time.Sleep(lastReopen)
		n.wantStates("standby standby")

		n.mu.Lock()
		n.broken[1003] = udp.ErrInUse // by a process that is about to end
		n.mu.Unlock()
		n.apply(urlA, urlB, urlC)
		n.mu.Lock()
		n.broken[1003] = nil
		n.mu.Unlock()
		time.Sleep(firstReopen)
		n.wantStates("standby standby standby")
	})
}

// A port has one receiver: the input that goes makes room for the one that comes.
func TestRenamedStreamKeepsItsPort(t *testing.T) {
	inBubble(t, func(n *node) {
		n.applyTo("old", urlA)
		n.applyTo("new", urlA)
		n.wantStates("standby")
		n.wantOpened(map[uint16]int{1001: 2})
	})
}

// hung is a receiver that never comes back, as one that reads a file of a server that is gone.
type hung struct {
	Receiver
	until chan struct{}
}

func (h hung) Run(context.Context, clock.Clock, udp.Sink) error {
	<-h.until
	return nil
}

// I1: an input that does not end holds up the change of the config, and all that waits for it, for a moment.
func TestInputThatDoesNotEnd(t *testing.T) {
	inBubble(t, func(n *node) {
		until := make(chan struct{})
		n.deps.Open = func(a udp.Address) (Receiver, error) {
			r, err := n.open(a)
			if a.Port == 1001 {
				r = hung{r, until}
			}
			return r, err
		}
		n.apply(urlA, urlB)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			n.Apply(&streamconf.Config{})
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the config waits for an input that hangs")
		}
		close(until)
		<-ended
	})
}

// I1.
func TestPanicRestartsTheInputAlone(t *testing.T) {
	inBubble(t, func(n *node) {
		n.apply(urlA, urlB)
		b := n.socket(1002)
		n.socket(1001).batches <- [][]byte{bytes.Repeat(append([]byte{0x47, 0x81, 0, 0x10}, make([]byte, 184)...), 7)}
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			for n.List()[0].State != Failed {
				runtime.Gosched()
			}
		}()
		n.socket(1001).batches <- nil
		<-watched
		n.wantStates("failed standby")
		if n.socket(1002) != b {
			t.Error("the other input was touched")
		}
		time.Sleep(firstReopen)
		n.wantStates("standby standby")
		if s := n.List()[0]; s.Panics != 1 || s.TransportErrors != 7 {
			t.Errorf("%d panics and %d transport errors counted, want 1 and 7", s.Panics, s.TransportErrors)
		}
	})
}

// A source that comes and goes, and a program map that changes all the time, fill no log.
func TestLogIsBounded(t *testing.T) {
	var l limit
	lines := 0
	for i := range 36_000 { // an hour
		if l.allow(time.Duration(i) * 100 * time.Millisecond) {
			lines++
		}
	}
	if lines != 60*linesAMinute {
		t.Errorf("%d lines in an hour, want %d", lines, 60*linesAMinute)
	}
	var log bytes.Buffer
	deps := quietDeps(t)
	deps.Logger = slog.New(slog.NewTextHandler(&log, nil))
	p := newPipeline(New("s", streamconf.Input{Kind: streamconf.KindUDP}, 1, deps))
	for i := range 5000 {
		prog := mpegts.Program{Number: 1}
		for pid := range 30 {
			prog.Streams = append(prog.Streams, mpegts.Stream{PID: uint16(100 + 30*(i%50) + pid), StreamType: 0x90, Name: "x"})
		}
		(*watcher)(p).Program(prog)
		p.refuse(uint16(4000+i%100), fmt.Sprint(i))
	}
	if n := strings.Count(log.String(), "\n"); n == 0 || n > maxPIDs {
		t.Errorf("%d lines, want 1 to %d", n, maxPIDs)
	}
}

// A loss before the first picture of a run says nothing of how far the media are: the input was alive, and still is.
func TestLossAtTheBeginningOfARun(t *testing.T) {
	in := New("s", streamconf.Input{Kind: streamconf.KindUDP, SourceTimeout: 3 * time.Second}, 1, quietDeps(t))
	now := time.Minute
	in.meter.advance(now, 7, 1<<33, false)
	p := newPipeline(in)
	p.lost = true
	p.publish(now+time.Second, 1, 188, 0)
	if !in.meter.alive(now+time.Second, 3*time.Second) || in.meter.head != 1<<33 {
		t.Errorf("head %d, alive no more", in.meter.head)
	}
	p.stretch, p.head, p.moved = 8, 1<<33+100, true
	p.publish(now+2*time.Second, 1, 188, 0)
	if in.meter.head != 1<<33+100 || in.meter.gapless() != 0 || p.lost {
		t.Errorf("head %d, gapless %v, loss not told %v", in.meter.head, in.meter.gapless(), p.lost)
	}
}

// What is open when a run ends is handed over, whatever ended it.
func TestOpenSegmentOutlivesTheFailure(t *testing.T) {
	datagrams := clip(t)
	for name, fail := range map[string]func(*fakeSocket){
		"socket error": func(s *fakeSocket) { s.fail <- errors.New("planted") },
		"panic":        func(s *fakeSocket) { s.batches <- nil },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(n *node) {
				n.apply(urlA)
				n.role(urlA, true)
				n.play(datagrams)
				before := len(n.dvr.sealed(urlA))
				fail(n.socket(1001))
				time.Sleep(firstReopen)
				n.wantStates("active")
				seals := n.dvr.sealed(urlA)
				if len(seals) != before+1 || !seals[before].GetInfo().GetEvidence().GetEndUncertain() {
					t.Errorf("%d segments sealed at the failure, want the open one alone, with an uncertain end", len(seals)-before)
				}
				if held := n.List()[0].Ring; held.Bytes != 0 {
					t.Errorf("%d bytes are still in the ring", held.Bytes)
				}
			})
		})
	}
}

// At the end dvrsvc may be restarting too: it is waited for, but not where it never was.
func TestEndWaitsForDVR(t *testing.T) {
	datagrams := clip(t)
	inBubble(t, func(n *node) {
		n.apply(urlA)
		n.role(urlA, true)
		n.play(datagrams)
		before := len(n.dvr.sealed(urlA))
		n.dvr.setAway(true)
		n.apply(urlB, urlA) // with the new priority comes a new call
		n.wantStates("connecting connecting")
		time.AfterFunc(time.Second, func() { n.dvr.setAway(false) })
		n.Close()
		if got := len(n.dvr.sealed(urlA)); got != before+1 {
			t.Errorf("%d segments sealed at the end, want 1", got-before)
		}
	})
	inBubble(t, func(n *node) {
		n.dvr.setAway(true)
		n.apply(urlA)
		n.play(datagrams)
		begun := time.Now()
		n.Close()
		if d := time.Since(begun); d > drainAlone+time.Second/10 {
			t.Errorf("the end took %v without dvrsvc", d)
		}
	})
}

// The config has a stream recorded by another dvrsvc: the call is made anew, though the one before may hang and never end it. No packet
// is lost for it, and another stream is left alone.
func TestStreamGoesToAnotherServer(t *testing.T) {
	inBubble(t, func(n *node) {
		apply := func(server string) (hellos int) {
			t.Helper()
			before := len(n.dvr.helloed())
			c, err := streamconf.Parse("test.conf", []byte("dvr big { root d; server "+server+"; }\n"+
				"stream tv { input "+urlA+"; dvr @big 1d; }\nstream radio { input "+urlB+"; dvr d 1d; }\n"))
			if err != nil {
				t.Fatal(err)
			}
			n.Apply(c)
			synctest.Wait()
			for _, h := range n.dvr.helloed()[before:] {
				if before > 0 && h.GetStream() != "tv" {
					t.Errorf("the call of %s is made anew", h.GetStream())
				}
				hellos++
			}
			return hellos
		}
		apply("a:7002")
		if got := apply("a:7002"); got != 0 {
			t.Errorf("%d calls were made anew for nothing", got)
		}
		for _, server := range []string{"b:7002", "a:7002"} {
			if got := apply(server); got != 1 {
				t.Errorf("%d calls were made to %s, want 1", got, server)
			}
		}
		n.wantOpened(map[uint16]int{1001: 1, 1002: 1})
	})
}
