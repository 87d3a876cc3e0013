package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// Stream is the stream of the demo.
const Stream = "example_stream"

// site is one of the two: a process, and what it says of itself.
type site struct {
	node string
	self string // program
	dir  string
	grpc string
	http string
	conf string

	proc *process
	conn *grpc.ClientConn
}

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

func (s *site) start() error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("start site %s: %w", s.node, err)
	}
	if err := os.WriteFile(s.file("stream.conf"), []byte(s.conf), 0o644); err != nil {
		return fmt.Errorf("start site %s: %w", s.node, err)
	}
	p, err := start("site "+s.node, s.file("log"), s.self, "run", "--config", s.file("stream.conf"),
		"--data", s.file("data"), "--http", s.http, "--grpc", s.grpc, "--node", s.node)
	if err != nil {
		return err
	}
	s.proc = p
	// A new connection: an old one may wait seconds before it tries again, which would be counted against the site.
	s.disconnect()
	s.conn, err = grpcx.Dial(s.grpc, grpcx.DialOptions{Media: true})
	return err
}

func (s *site) disconnect() {
	if s.conn != nil {
		s.conn.Close() //nolint:errcheck // nothing is under way
		s.conn = nil
	}
}

func (s *site) kill() {
	if s.proc != nil {
		s.proc.end(syscall.SIGKILL, time.Second)
		s.proc = nil
	}
	s.disconnect()
}

func (s *site) stop() {
	if s.proc != nil {
		s.proc.end(syscall.SIGTERM, 10*time.Second)
		s.proc = nil
	}
	s.disconnect()
}

// state is what a site says of itself at one moment.
type state struct {
	Up       bool
	Node     string
	PID      int
	Since    time.Time // when it came up
	Active   string    // URL of the active input
	Inputs   []input
	Segments []part // sealed, in order of time
	Backlog  uint64
	Fetching string // in words
	Problem  string
}

// input is one of a site's inputs, and what it does in a word.
type input struct {
	priority  uint32
	url, word string
}

// part is one segment of an archive, as the index lists it.
type part struct {
	ticks    timeline.Ticks // T
	digest   string
	from, to time.Time
	origin   string
	damaged  bool
}

// look asks a site. A site that does not answer is down.
func (s *site) look(ctx context.Context) state {
	st := state{Node: s.node}
	if s.proc == nil || s.conn == nil {
		return st
	}
	st.PID = s.proc.pid()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	index := dvrv1.NewIndexServiceClient(s.conn)
	list, err := index.ListStreams(ctx, &dvrv1.ListStreamsRequest{})
	if err != nil {
		return st
	}
	st.Up = true
	if st.Segments, err = segments(ctx, index); err != nil {
		st.Problem = err.Error()
	}
	repl, err := replv1.NewReplicationServiceClient(s.conn).GetStatus(ctx, &replv1.GetStatusRequest{Stream: Stream})
	if err == nil {
		st.peer(repl.GetPeers())
	}
	sockets, err := ingestv1.NewIngestServiceClient(s.conn).ListInputs(ctx, &ingestv1.ListInputsRequest{Stream: Stream})
	if err != nil {
		st.Problem = cmp.Or(st.Problem, err.Error())
	}
	for _, m := range list.GetStreams() {
		if m.GetStream() != Stream {
			continue
		}
		st.Active, st.Problem = m.GetActiveInput(), cmp.Or(st.Problem, m.GetProblem())
		for _, in := range m.GetInputs() {
			word := operator.InputState(in, Stream, sockets.GetInputs(), repl.GetPeers())
			st.Inputs = append(st.Inputs, input{in.GetPriority(), in.GetInput(), word})
		}
	}
	return st
}

// peer says in words what is replicated. Each site has one peer.
func (st *state) peer(peers []*replv1.PeerStatus) {
	for _, p := range peers {
		st.Backlog += p.GetBacklogSlots()
		switch name := cmp.Or(p.GetPeerNode(), "connected"); {
		case p.GetState() != "connected":
			st.Fetching = p.GetState()
		case p.GetCompared() == nil:
			st.Fetching = name + ": not compared yet"
		default:
			st.Fetching = name + ": " + operator.Backlog(p)
		}
	}
}

func segments(ctx context.Context, index dvrv1.IndexServiceClient) ([]part, error) {
	rpc, err := index.ListSegments(ctx, &dvrv1.ListSegmentsRequest{Stream: Stream})
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	var out []part
	for {
		m, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("list segments: %w", err)
		}
		g := m.GetSegment()
		out = append(out, part{
			ticks: timeline.Ticks(g.GetStartTicks()), digest: g.GetDigest(), from: g.GetStart().AsTime(), to: g.GetEnd().AsTime(),
			origin: g.GetOrigin(), damaged: g.GetDamagedTicks()+g.GetMissingTicks() > 0,
		})
	}
}

// onUDP says whether the active input of the site is its own receiver.
func (st *state) onUDP() bool { return strings.HasPrefix(st.Active, "udp://") }

func (st *state) onM4F() bool { return strings.HasPrefix(st.Active, "m4f://") }

// last is the start of the newest sealed segment.
func (st *state) last() (timeline.Ticks, bool) {
	if len(st.Segments) == 0 {
		return 0, false
	}
	return st.Segments[len(st.Segments)-1].ticks, true
}

// agree says whether two archives are identical up to the older of their newest segments, how many slots that are, and
// where the agreement ends.
func agree(a, b state) (slots int, to timeline.Ticks, ok bool) {
	lastA, okA := a.last()
	lastB, okB := b.last()
	if !okA || !okB {
		return 0, 0, false
	}
	to = min(lastA, timeline.Unwrap(lastB, lastA))
	digests := func(s state) map[timeline.Ticks]string {
		m := make(map[timeline.Ticks]string)
		for _, p := range s.Segments {
			if at := timeline.Unwrap(p.ticks, lastA); at <= to {
				m[at] = p.digest
			}
		}
		return m
	}
	da, db := digests(a), digests(b)
	if len(da) != len(db) {
		return len(da), to, false
	}
	for at, d := range da {
		if db[at] != d {
			return len(da), to, false
		}
	}
	return len(da), to, true
}
