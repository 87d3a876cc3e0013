package operator

import (
	"fmt"
	"strings"
	"time"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
	nodev1 "github.com/twinreel/twinreel/proto/twinreel/node/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

func (o *overview) print() {
	s := o.site
	s.printf("site %s\n", o.name())
	for _, p := range s.parts {
		switch {
		case p.err != nil:
			s.printf("  %v\n", p.err)
		case len(p.running) == 0 && p.known:
			s.printf("  %s  %s: %s\n", p.addr, strings.Join(p.programs, ", "), p.health)
		}
		for _, r := range p.running {
			s.printf("  %s  %s %s: %s\n", p.addr, r.GetName(), r.GetVersion(), condition(r))
		}
	}
	for _, p := range o.refused {
		s.printf("  config refused, the one in force stays: line %d, column %d: %s\n", p.GetLine(), p.GetColumn(), p.GetMessage())
	}
	for _, d := range o.disks {
		s.printStorage(d)
	}
	for _, x := range o.sources {
		s.printf("  source %s  %s, %d streams\n", x.GetAddress(), x.GetState(), len(x.GetStreams()))
		if n := x.GetNamedAlike(); len(n) > 0 {
			s.printf("    another stream here has the name, and stays: %s\n", strings.Join(n, ", "))
		}
		if n := x.GetLeftOut(); len(n) > 0 {
			s.printf("    not taken, too many or not allowed: %s\n", plain(strings.Join(n, ", ")))
		}
		if p := x.GetProblem(); p != "" {
			s.printf("    problem: %s\n", plain(p))
		}
	}
	for _, st := range o.streams {
		o.printStream(st)
	}
	if len(o.streams) == 0 && o.listed {
		s.printf("  no streams\n")
	}
	for _, p := range o.unasked {
		s.printf("  %s\n", p)
	}
	s.printf("\n")
}

// condition says in a few words whether a service works.
func condition(r *nodev1.Service) string {
	out := "ready"
	if why := r.GetNotReady(); why != "" {
		out = "not ready: " + why
	}
	if rev := r.GetConfigRevision(); rev != "" {
		out += ", config " + rev
	}
	if p := r.GetProblem(); p != "" {
		out += ": " + plain(p)
	}
	return out
}

func (o *overview) printStream(st *dvrv1.StreamSummary) {
	s := o.site
	s.printf("\n%s", st.GetStream())
	if st.GetSegments() > 0 {
		s.printf("  %s to %s, %d segments, %s", clock(st.GetFirst()), clock(st.GetLast()), st.GetSegments(), size(st.GetBytes()))
	} else {
		s.printf("  nothing recorded%s yet", o.where(st.GetStream()))
	}
	if !st.GetConfigured() {
		s.printf(", not configured")
	}
	if n := st.GetLocks(); n > 0 {
		s.printf(", %d locked", n)
	}
	if n := st.GetQuarantined(); n > 0 {
		s.printf(", %d rotten", n)
	}
	if at := o.at[st.GetStream()]; len(at) > 0 {
		s.printf(", at %s", strings.Join(at, ", "))
	}
	s.printf("\n")
	if p := st.GetProblem(); p != "" {
		s.printf("  problem: %s\n", p)
	}
	for _, in := range st.GetInputs() {
		s.printf("  input %d  %-8s %s", in.GetPriority(), InputState(in, st.GetStream(), o.inputs, o.peers), in.GetInput())
		if len(in.GetPath()) > 0 {
			s.printf("  from %s", strings.Join(in.GetPath(), " > "))
		}
		if n := in.GetUnreleased(); n > 0 {
			s.printf("  %d offered", n)
		}
		s.printf("\n")
	}
	for _, in := range o.inputs {
		if in.GetStream() == st.GetStream() {
			s.printInput(in)
		}
	}
	for _, p := range o.peers {
		if p.GetStream() == st.GetStream() {
			s.printPeer(p)
		}
	}
}

// where is the path of a stream: after a change of it, what was recorded before lies elsewhere.
func (o *overview) where(stream string) string {
	for _, c := range o.config.GetStreams() {
		if c.GetName() == stream && c.GetDvr().GetPath() != "" {
			return " in " + c.GetDvr().GetPath()
		}
	}
	return ""
}

// InputState says in a word what an input does. dvrsvc knows whether its media moves; why it does not, those know who
// bring it: a cold standby waits to be needed, a peer withholds what came from here.
func InputState(in *dvrv1.InputSummary, stream string, inputs []*ingestv1.Input, peers []*replv1.PeerStatus) string {
	switch {
	case in.GetActive():
		return "active"
	case in.GetFault() == "denied":
		return "denied"
	case in.GetFault() != "":
		return "faulty"
	case in.GetAlive():
		return "standby"
	}
	for _, i := range inputs {
		if i.GetStream() == stream && i.GetUrl() == in.GetInput() && (i.GetState() == "cold" || i.GetState() == "failed") {
			return i.GetState()
		}
	}
	for _, p := range peers {
		if p.GetStream() != stream || p.GetUrl() != in.GetInput() {
			continue
		}
		switch {
		case p.GetState() == "connecting":
			return "away"
		case p.GetState() != "connected":
			return p.GetState()
		case p.GetLive() == "withheld":
			return "standby"
		}
	}
	return "silent"
}

func (s *Site) printInput(in *ingestv1.Input) {
	s.printf("  socket   %-8s %s  %.2f Mbit/s, %d errors, %d dropped, ring %d segments of %s",
		in.GetState(), in.GetUrl(), float64(in.GetBitsPerSecond())/1e6,
		in.GetContinuityErrors()+in.GetTransportErrors(), in.GetKernelDrops(), in.GetRingSegments(), size(in.GetRingBytes()))
	for _, e := range in.GetElementaryStreams() {
		if e.GetRole() != "" {
			s.printf(", PID %d %s", e.GetPid(), plain(strings.TrimSpace(e.GetLanguage()+" "+e.GetRole())))
		}
	}
	if p := in.GetProblem(); p != "" {
		s.printf(": %s", p)
	}
	s.printf("\n")
}

func (s *Site) printPeer(p *replv1.PeerStatus) {
	name := p.GetPeerNode()
	if name == "" {
		name = p.GetUrl()
	}
	s.printf("  peer     %-8s %s", p.GetState(), name)
	if p.GetState() == "connected" || p.GetBacklogSlots() > 0 { // else what it has is not known
		s.printf("  %s", Backlog(p))
	}
	if p.LiveBehindNanos != nil {
		s.printf(", live %.1f s behind", time.Duration(p.GetLiveBehindNanos()).Seconds())
	}
	if p.GetPaused() {
		s.printf(", paused")
	}
	if p.GetCompared() != nil && p.GetInAgreement() {
		s.printf(", in agreement at %s", clock(p.GetCompared()))
	}
	if n := p.GetJoinedSegments(); n > 0 {
		s.printf(", %d joined", n)
	}
	if n := p.GetMendedUnits(); n > 0 {
		s.printf(", %d access units mended by packet", n)
	}
	if n := p.GetConflicts(); n > 0 {
		s.printf(", %d conflicts", n)
	}
	if n := p.GetJoinConflicts(); n > 0 {
		s.printf(", %d times copies contradicted each other", n)
	}
	if x := p.GetProblem(); x != "" {
		s.printf(": %s", plain(x))
	}
	s.printf("\n")
}

// Backlog says in words what is still to be fetched from a peer.
func Backlog(p *replv1.PeerStatus) string {
	if p.GetBacklogSlots() == 0 {
		return fmt.Sprintf("nothing to fetch, %d fetched", p.GetFetchedSegments())
	}
	out := fmt.Sprintf("%d segments to fetch (%s, %s)", p.GetBacklogSlots(), seconds(p.GetBacklogTicks()), size(p.GetBacklogBytes()))
	if r := p.GetBytesPerSecond(); r > 0 {
		out += fmt.Sprintf(" at %.1f Mbit/s", float64(r)*8/1e6)
	}
	if eta := p.GetEtaSeconds(); eta >= 0 {
		out += fmt.Sprintf(", %d s left", eta)
	}
	return out
}
