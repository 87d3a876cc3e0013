package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// signal sends a signal to all processes of a site.
func (s *site) signal(sig syscall.Signal) {
	s.t.Helper()
	for _, name := range order {
		if err := s.svc[name].cmd.Process.Signal(sig); err != nil {
			s.t.Fatal(err)
		}
	}
}

// peerState waits until a site says of its peer that it is in a state, or that it is not.
func (s *site) peerState(within time.Duration, state string, is bool) {
	s.t.Helper()
	repl := s.replication(s.t)
	testkit.Eventually(s.t, within, fmt.Sprintf("%s says that its peer is %s: %t", s.node, state, is), func() error {
		m, err := repl.GetStatus(s.t.Context(), &replv1.GetStatusRequest{})
		if err != nil {
			return err
		}
		for _, p := range m.GetPeers() {
			if (p.GetState() == state) != is {
				return fmt.Errorf("it says %s: %s", p.GetState(), p.GetProblem())
			}
		}
		return nil
	})
}

// TestPeerStandsStill: fault 38. A peer whose processes stand still answers nothing and closes nothing: its kernel goes on acknowledging.
// The other site leaves its feed, records from its own source and says that the peer is gone; when the peer moves again both are alike.
func TestPeerStandsStill(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	waitSegments(t, p.main, 2)
	waitActive(t, p.replica, "m4f://")
	p.replica.peerState(20*time.Second, "connected", true)

	p.main.signal(syscall.SIGSTOP)
	stopped := time.Now()
	waitActive(t, p.replica, "udp://")
	if d := time.Since(stopped); d > 15*time.Second {
		t.Errorf("the replica left the feed after %v", d)
	}
	p.replica.peerState(40*time.Second, "connected", false)
	t.Logf("the replica knew after %v", time.Since(stopped).Round(100*time.Millisecond))
	waitSegments(t, p.replica, 2)

	p.main.signal(syscall.SIGCONT)
	p.replica.peerState(60*time.Second, "connected", true)
	waitActive(t, p.replica, "m4f://")
	waitSegments(t, p.main, 2)
	p.converge(t, 90*time.Second)
}

// TestPeerReadsNothing: fault 39. A peer whose replsvc stands still reads nothing of what it is sent. That costs the sender nothing: its own recording
// goes on, and its memory does not grow with what the peer has not read.
func TestPeerReadsNothing(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	waitSegments(t, p.main, 2)
	waitActive(t, p.replica, "m4f://")
	before := resident(t, p.main.svc["replsvc"])
	if err := p.replica.svc["replsvc"].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitSegments(t, p.main, 4)
	if grown := resident(t, p.main.svc["replsvc"]) - before; grown > 64<<20 {
		t.Errorf("replsvc has grown by %d bytes", grown)
	}
	if err := p.replica.svc["replsvc"].cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitActive(t, p.replica, "m4f://")
	waitSegments(t, p.replica, 1)
	p.converge(t, 90*time.Second)
}

// resident is the memory that a process has.
func resident(t *testing.T, v *service) (bytes int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var kB int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kB); n == 1 {
			return kB << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
