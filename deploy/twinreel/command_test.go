package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// commandVariable has the test binary be the command.
const commandVariable = "TWINREEL_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(commandVariable) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// command runs twinreel with arguments, as a process.
func command(t *testing.T, args ...string) (code int, out, complaint string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), commandVariable+"=yes")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// one is a site of which only what these commands ask answers.
type one struct {
	dvrv1.UnimplementedIndexServiceServer
	replv1.UnimplementedReplicationServiceServer
	streams     []*dvrv1.StreamSummary
	comparisons map[string][]*replv1.Comparison // by stream; none: it is not configured
	ledger      *replv1.GetLedgerResponse
	asked       []proto.Message
}

func (o *one) ListStreams(context.Context, *dvrv1.ListStreamsRequest) (*dvrv1.ListStreamsResponse, error) {
	return &dvrv1.ListStreamsResponse{Streams: o.streams}, nil
}

func (o *one) Compare(_ context.Context, m *replv1.CompareRequest) (*replv1.CompareResponse, error) {
	c, ok := o.comparisons[m.GetStream()]
	if !ok {
		return nil, rpcerr.ToStatus(errs.ErrStreamUnknown)
	}
	return &replv1.CompareResponse{Comparisons: c}, nil
}

func (o *one) GetLedger(_ context.Context, m *replv1.GetLedgerRequest) (*replv1.GetLedgerResponse, error) {
	o.asked = append(o.asked, m)
	return o.ledger, nil
}

func (o *one) serve(t *testing.T) (addr string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	dvrv1.RegisterIndexServiceServer(srv, o)
	replv1.RegisterReplicationServiceServer(srv, o)
	reflection.Register(srv)
	go srv.Serve(lis) //nolint:errcheck // ends with Stop
	t.Cleanup(srv.Stop)
	return lis.Addr().String()
}

var nine = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// ran is what came of a command.
type ran struct {
	name string
	args []string
	code int
	out  []string // each of them in what it prints
	says string   // in what it complains of
}

func (c ran) check(t *testing.T) {
	t.Helper()
	code, out, complaint := command(t, c.args...)
	if code != c.code || !strings.Contains(complaint, c.says) || c.says == "" && complaint != "" {
		t.Errorf("%s: exit status %d and %q, want %d and %q", c.name, code, complaint, c.code, c.says)
	}
	for _, want := range c.out {
		if !strings.Contains(out, want) {
			t.Errorf("%s: it prints\n%swant %q in it", c.name, out, want)
		}
	}
}

// TestLedger: what is lost or still to come is exit status 1, wrong usage and what cannot be asked 2.
func TestLedger(t *testing.T) {
	lost := &replv1.LedgerHour{
		Start: timestamppb.New(nine), ExpectedTicks: 900000, CleanTicks: 720000, DamagedTicks: 45000, MissingTicks: 135000,
		RepairedTicks: 90000, PendingTicks: 45000, LostUpstreamTicks: 45000, LostLocalTicks: 22500, LostUnknownTicks: 67500,
	}
	clean := &replv1.LedgerHour{Start: timestamppb.New(nine), ExpectedTicks: 900000, CleanTicks: 900000}
	bad := &one{ledger: &replv1.GetLedgerResponse{Hours: []*replv1.LedgerHour{lost}, Total: lost, Problems: []string{"a peer is away"}}}
	good := &one{ledger: &replv1.GetLedgerResponse{Hours: []*replv1.LedgerHour{clean}, Total: clean}}
	empty := &one{ledger: &replv1.GetLedgerResponse{Total: &replv1.LedgerHour{}}}
	atBad, atGood, atEmpty := bad.serve(t), good.serve(t), empty.serve(t)
	for _, c := range []ran{
		{
			"lost", []string{"ledger", "tv", "--grpc", atBad}, exitDifference, []string{
				"seconds                expected      clean    damaged    missing   repaired    to come   upstream      local    unknown\n",
				"2026-11-23T09:00Z         10.00       8.00       0.50       1.50       1.00       0.50       0.50       0.25       0.75\n",
				"total                     10.00       8.00       0.50       1.50       1.00       0.50       0.50       0.25       0.75\na peer is away\n",
			}, "1.5s are lost, 500ms are to come from peers",
		},
		{"clean", []string{"ledger", "tv", "--grpc", atGood}, exitGood, []string{"total                     10.00      10.00          -          -"}, ""},
		{"a part of it", []string{"ledger", "tv", "--grpc", atGood, "--from", "1763888400", "--to", "2026-11-23T10:00:00Z"}, exitGood, nil, ""},
		{"as JSON", []string{"ledger", "tv", "--grpc", atBad, "--json"}, exitDifference, []string{`"lostUpstreamTicks":`, `"45000"`, `"a peer is away"`}, "are lost"},
		{"nothing", []string{"ledger", "tv", "--grpc", atEmpty}, exitDifference, nil, "nothing should be here"},
		{"no stream", []string{"ledger", "--grpc", atGood}, exitTrouble, nil, "<stream>"},
		{"no time", []string{"ledger", "tv", "--grpc", atGood, "--from", "yesterday"}, exitTrouble, nil, "--from"},
		{"backwards", []string{"ledger", "tv", "--grpc", atGood, "--from", "20", "--to", "10"}, exitTrouble, nil, "not before"},
		{"nobody there", []string{"ledger", "tv", "--grpc", "127.0.0.1:1"}, exitTrouble, nil, "127.0.0.1:1"},
	} {
		c.check(t)
	}
	want := &replv1.GetLedgerRequest{Stream: "tv", From: &timestamppb.Timestamp{Seconds: 1763888400}, To: timestamppb.New(nine.Add(time.Hour))}
	if len(good.asked) != 2 || !proto.Equal(good.asked[1], want) {
		t.Errorf("it asked %v, want %v last", good.asked, want)
	}
}

// TestRetire: what is here alone, has no peer, or is not configured any more keeps a site from being taken away.
func TestRetire(t *testing.T) {
	all := []*dvrv1.StreamSummary{{Stream: "tv", Segments: 3}, {Stream: "radio", Segments: 5}, {Stream: "none"}, {Stream: "old", Segments: 7}}
	alone := &replv1.Difference{Start: timestamppb.New(nine), Here: []string{"ab"}, Kind: "missing_there"}
	there := &replv1.Difference{Start: timestamppb.New(nine), Here: []string{"ab"}, Kind: "differs", CoveredThere: true}
	bad := &one{streams: all, comparisons: map[string][]*replv1.Comparison{
		"tv": {{Slots: 3, Differences: []*replv1.Difference{alone}}}, "radio": {},
	}}
	good := &one{streams: all[:2], comparisons: map[string][]*replv1.Comparison{
		"tv": {{Slots: 3, Differences: []*replv1.Difference{there}}}, "radio": {{Slots: 5}},
	}}
	atBad, atGood := bad.serve(t), good.serve(t)
	for _, c := range []ran{
		{
			"all", []string{"retire", "--grpc", atBad}, exitDifference, []string{
				"tv  2026-11-23T09:00:00.000Z  here alone\ntv: 1 of 3 slots are here alone\n",
				"radio: 5 segments are here alone: it has no peer\n", "old: 7 segments are here alone: it is not configured",
			}, "not all that is here exists on another site",
		},
		{"all of it elsewhere", []string{"retire", "--grpc", atGood}, exitGood, []string{"tv: 3 slots, all of them elsewhere, too\nradio: 5 slots, all of them elsewhere, too\n"}, ""},
		{"one stream", []string{"retire", "radio", "--grpc", atGood}, exitGood, []string{"radio: 5 slots"}, ""},
		{"as JSON", []string{"retire", "tv", "--grpc", atBad, "--json"}, exitDifference, []string{`"alone"`, `"2026-11-23T09:00:00.000Z"`}, "not all"},
		{"nothing stored", []string{"retire", "none", "--grpc", atBad}, exitDifference, nil, "nothing of none is stored"},
		{"two streams", []string{"retire", "tv", "radio", "--grpc", atGood}, exitTrouble, nil, "radio"},
		{"nobody there", []string{"retire", "--grpc", "127.0.0.1:1"}, exitTrouble, nil, "127.0.0.1:1"},
	} {
		c.check(t)
	}
}
