package operator

import (
	"context"
	"fmt"
	"strings"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// Status prints what is received, recorded and replicated. A service that does not answer is told, and the rest shown.
func (s *Site) Status(ctx context.Context) error {
	streams, err := dvrv1.NewIndexServiceClient(s.conn).ListStreams(ctx, &dvrv1.ListStreamsRequest{})
	if err != nil {
		return s.asked("list streams", err)
	}
	var problems []string
	note := func(what string, err error) {
		if err != nil {
			problems = append(problems, s.asked(what, err).Error())
		}
	}
	inputs, err := ingestv1.NewIngestServiceClient(s.conn).ListInputs(ctx, &ingestv1.ListInputsRequest{})
	note("list inputs", err)
	repl, err := replv1.NewReplicationServiceClient(s.conn).GetStatus(ctx, &replv1.GetStatusRequest{})
	note("get replication", err)

	if s.json {
		return s.printJSON(map[string]any{
			"node": repl.GetNode(), "streams": raws(streams.GetStreams()), "inputs": raws(inputs.GetInputs()),
			"peers": raws(repl.GetPeers()), "problems": problems,
		})
	}
	if n := repl.GetNode(); n != "" {
		s.printf("node %s\n", n)
	}
	for _, st := range streams.GetStreams() {
		s.printStream(st, inputs.GetInputs(), repl.GetPeers())
	}
	if len(streams.GetStreams()) == 0 {
		s.printf("no streams\n")
	}
	for _, p := range problems {
		s.printf("%s\n", p)
	}
	return nil
}

func (s *Site) printStream(st *dvrv1.StreamSummary, inputs []*ingestv1.Input, peers []*replv1.PeerStatus) {
	s.printf("\n%s", st.GetStream())
	if st.GetSegments() > 0 {
		s.printf("  %s to %s, %d segments, %s", clock(st.GetFirst()), clock(st.GetLast()), st.GetSegments(), size(st.GetBytes()))
	} else {
		s.printf("  nothing recorded yet")
	}
	if !st.GetConfigured() {
		s.printf(", not configured")
	}
	s.printf("\n")
	if p := st.GetProblem(); p != "" {
		s.printf("  problem: %s\n", p)
	}
	for _, in := range st.GetInputs() {
		s.printf("  input %d  %-8s %s", in.GetPriority(), inputState(in), in.GetInput())
		if len(in.GetPath()) > 0 {
			s.printf("  from %s", strings.Join(in.GetPath(), " > "))
		}
		if n := in.GetUnreleased(); n > 0 {
			s.printf("  %d offered", n)
		}
		s.printf("\n")
	}
	for _, in := range inputs {
		if in.GetStream() == st.GetStream() {
			s.printInput(in)
		}
	}
	for _, p := range peers {
		if p.GetStream() == st.GetStream() {
			s.printPeer(p)
		}
	}
}

func inputState(in *dvrv1.InputSummary) string {
	switch {
	case in.GetActive():
		return "active"
	case in.GetAlive():
		return "standby"
	}
	return "silent"
}

func (s *Site) printInput(in *ingestv1.Input) {
	s.printf("  socket   %-8s %s  %.2f Mbit/s, %d errors, %d dropped, ring %d segments of %s",
		in.GetState(), in.GetUrl(), float64(in.GetBitsPerSecond())/1e6,
		in.GetContinuityErrors()+in.GetTransportErrors(), in.GetKernelDrops(), in.GetRingSegments(), size(in.GetRingBytes()))
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
	s.printf("  peer     %-8s %s  %s", p.GetState(), name, Backlog(p))
	if p.GetCompared() != nil && p.GetInAgreement() {
		s.printf(", in agreement at %s", clock(p.GetCompared()))
	}
	if n := p.GetConflicts(); n > 0 {
		s.printf(", %d conflicts", n)
	}
	if x := p.GetProblem(); x != "" {
		s.printf(": %s", x)
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
