package operator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// others answers for the services that are not the archive.
type others struct {
	dvrv1.UnimplementedMaintenanceServiceServer
	replv1.UnimplementedReplicationServiceServer
	ingestv1.UnimplementedIngestServiceServer
	gatewayv1.UnimplementedConfigServiceServer
	configured  []*gatewayv1.Stream // nil: the stream s
	refused     []*gatewayv1.Problem
	away        error // what Compare says
	bad         []*dvrv1.VerifyResponse
	total       *dvrv1.VerifyResponse
	comparisons []*replv1.Comparison
}

func (o *others) register(r grpc.ServiceRegistrar) {
	dvrv1.RegisterMaintenanceServiceServer(r, o)
	replv1.RegisterReplicationServiceServer(r, o)
	ingestv1.RegisterIngestServiceServer(r, o)
	gatewayv1.RegisterConfigServiceServer(r, o)
}

func (o *others) ListInputs(context.Context, *ingestv1.ListInputsRequest) (*ingestv1.ListInputsResponse, error) {
	return &ingestv1.ListInputsResponse{Inputs: []*ingestv1.Input{{Stream: "s", Url: "udp://239.0.0.1:1234", State: "active", ElementaryStreams: []*ingestv1.ElementaryStream{
		{Pid: 257, Language: "deu"}, {Pid: 258, Language: "deu", Role: "visually-impaired"}, {Pid: 259, Role: "commentary"},
	}}}}, nil
}

func (o *others) List(context.Context, *gatewayv1.ListRequest) (*gatewayv1.ListResponse, error) {
	streams := o.configured
	if streams == nil {
		streams = []*gatewayv1.Stream{{Name: "s", Dvr: &gatewayv1.Dvr{Path: "new"}}}
	}
	return &gatewayv1.ListResponse{Config: &gatewayv1.Config{Streams: streams}, Problems: o.refused}, nil
}

func (o *others) Verify(_ *dvrv1.VerifyRequest, out grpc.ServerStreamingServer[dvrv1.VerifyResponse]) error {
	for _, m := range o.bad {
		if err := out.Send(m); err != nil {
			return err
		}
	}
	return out.Send(o.total)
}

func (o *others) Compare(context.Context, *replv1.CompareRequest) (*replv1.CompareResponse, error) {
	return &replv1.CompareResponse{Comparisons: o.comparisons}, o.away
}

func (o *others) GetStatus(context.Context, *replv1.GetStatusRequest) (*replv1.GetStatusResponse, error) {
	return &replv1.GetStatusResponse{Node: "main", Peers: []*replv1.PeerStatus{{
		Stream: "s", PeerNode: "replica", State: "connected", BacklogSlots: 3, BacklogTicks: 90000, EtaSeconds: 7,
	}}}, nil
}

var utc = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// store has two segments of 6 s with 6 s missing between.
func store() *archivetest.Server {
	srv := &archivetest.Server{Name: "s"}
	srv.Add(archivetest.Place{Start: timeline.Wrap, Length: 540000, UTC: utc})
	srv.Add(archivetest.Place{Start: timeline.Wrap + 2*540000, Length: 540000, UTC: utc.Add(12 * time.Second)})
	return srv
}

func TestVerify(t *testing.T) {
	good := &dvrv1.VerifyResponse{Copies: 2, Bytes: 3e6}
	for _, tc := range []struct {
		name string
		o    others
		peer string
		bad  bool
		says string
	}{
		{"good", others{total: good}, "", false, "2 copies, 3.0 MB read and hashed again: 0 bad"},
		{"bad copy", others{
			bad:   []*dvrv1.VerifyResponse{{Digest: "abcd", Problem: "its bytes do not match"}},
			total: &dvrv1.VerifyResponse{Copies: 2, Bad: 1},
		}, "", true, "abcd  its bytes do not match"},
		{"nothing stored", others{total: &dvrv1.VerifyResponse{}}, "", true, "0 copies"},
		{"equal to the peer", others{total: good, comparisons: []*replv1.Comparison{{Url: "m4f://b", Slots: 2, Equal: 2}}},
			"m4f://b", false, "m4f://b: 2 slots compared, 2 equal, 0 differ"},
		{"differs from the peer", others{total: good, comparisons: []*replv1.Comparison{{
			Url: "m4f://b", Slots: 2, Equal: 1, Differences: []*replv1.Difference{{There: []string{"ef01"}}},
		}}}, "m4f://b", true, "here nothing, there ef01"},
		{"nothing to compare", others{total: good, comparisons: []*replv1.Comparison{{Url: "m4f://b"}}}, "m4f://b", true, "0 slots compared"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			err := operator.New(store().Dial(t, tc.o.register), &out, false).Verify(t.Context(), "s", tc.peer)
			if got := errors.Is(err, operator.ErrDifference); got != tc.bad || (err != nil) != tc.bad {
				t.Errorf("Verify: %v, want a difference: %v", err, tc.bad)
			}
			if !strings.Contains(out.String(), tc.says) {
				t.Errorf("it says\n%s\nwant %q in it", out.String(), tc.says)
			}
		})
	}
}

func TestRanges(t *testing.T) {
	var out bytes.Buffer
	s := operator.New(store().Dial(t), &out, false)
	if err := s.Ranges(t.Context(), "s", archive.Range{}); !errors.Is(err, operator.ErrDifference) || !strings.Contains(err.Error(), "1 gaps") {
		t.Errorf("Ranges with a hole: %v, want ErrDifference", err)
	}
	want := "2026-11-23T09:00:00.000Z  2026-11-23T09:00:06.000Z          6s  intact\n" +
		"2026-11-23T09:00:06.000Z  2026-11-23T09:00:12.000Z          6s  missing: no_source\n" +
		"2026-11-23T09:00:12.000Z  2026-11-23T09:00:18.000Z          6s  intact\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if err := s.Ranges(t.Context(), "other", archive.Range{}); err == nil || errors.Is(err, operator.ErrDifference) {
		t.Errorf("Ranges of a stream that is not there: %v, want an error that is no difference", err)
	}
	if err := s.Ranges(t.Context(), "s", archive.Range{To: utc}); !errors.Is(err, operator.ErrDifference) {
		t.Errorf("Ranges before the beginning: %v, want ErrDifference", err)
	}
	whole := store()
	whole.Copies = whole.Copies[:1]
	if err := operator.New(whole.Dial(t), &out, false).Ranges(t.Context(), "s", archive.Range{}); err != nil {
		t.Errorf("Ranges without a hole: %v", err)
	}
}

func TestExportLeavesNoPartOfAFile(t *testing.T) {
	srv := store()
	var out bytes.Buffer
	s := operator.New(srv.Dial(t), &out, true)
	dir := t.TempDir()
	file := filepath.Join(dir, "out.mp4")
	if err := s.Export(t.Context(), "s", archive.Range{}, file, false); err != nil {
		t.Fatal(err)
	}
	var told struct {
		From, To       time.Time
		Segments, Gaps int
		Bytes          int64
	}
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &told); err != nil || told.Segments != 2 || told.Gaps != 1 || told.Bytes != st.Size() ||
		!told.To.Equal(utc.Add(18*time.Second)) {
		t.Errorf("it says %s, %v; the file has %d bytes", out.String(), err, st.Size())
	}
	if err := s.Export(t.Context(), "s", archive.Range{From: utc.Add(time.Hour)}, file+"2", false); !errors.Is(err, operator.ErrDifference) {
		t.Errorf("Export of nothing: %v, want ErrDifference", err)
	}
	srv.Copies[1].Bytes[100] ^= 1
	if err := s.Export(t.Context(), "s", archive.Range{}, file, false); err == nil {
		t.Error("Export of rotten bytes gave no error")
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 1 {
		t.Errorf("%d files are left, want the one that was whole", len(left))
	}
}

// TestExportToWhatIsNoFile: a pipe takes what is written and stays a pipe, and a directory is told before anything is read.
func TestExportToWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	srv := store()
	var out bytes.Buffer
	s := operator.New(srv.Dial(t), &out, false)
	file := filepath.Join(dir, "file")
	if err := s.Export(t.Context(), "s", archive.Range{}, file, false); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, done := make([]byte, len(want)), make(chan error, 1)
	go func() {
		_, err := io.ReadFull(in, got)
		done <- err
	}()
	if err := s.Export(t.Context(), "s", archive.Range{}, pipe, false); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(pipe); err != nil || st.Mode().Type() != os.ModeNamedPipe {
		t.Fatalf("the pipe is now %v, %v", st.Mode(), err)
	}
	if err := <-done; err != nil || !bytes.Equal(got, want) {
		t.Errorf("what came through the pipe is not what a file has: %v", err)
	}
	if err := s.Export(t.Context(), "s", archive.Range{}, dir, false); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("Export to a directory: %v", err)
	}
}
