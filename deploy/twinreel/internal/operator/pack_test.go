package operator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	"github.com/twinreel/twinreel/dvrsvc/app"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/streamconfpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// shelf is an archive with what a pack is made from.
type shelf struct {
	*archivetest.Server
	row timeline.Mapping
}

func (x shelf) ListTimelines(context.Context, *dvrv1.ListTimelinesRequest) (*dvrv1.ListTimelinesResponse, error) {
	first, last := x.Copies[0], x.Copies[len(x.Copies)-1]
	return &dvrv1.ListTimelinesResponse{StoreId: make([]byte, 16), Timelines: []*dvrv1.Timeline{{
		Id: first.Slot.Timeline[:], FirstTicks: int64(first.Info.Start), LastTicks: int64(last.Info.End),
		Mapping: []*dvrv1.TimelinePoint{{Ticks: int64(x.row[0].U), UtcNanos: x.row[0].UTC}},
	}}}, nil
}

func (x shelf) ListSlots(_ context.Context, m *dvrv1.ListSlotsRequest) (*dvrv1.ListSlotsResponse, error) {
	out := &dvrv1.ListSlotsResponse{}
	for _, c := range x.Copies {
		if b := c.Slot.Block(); b >= m.GetFromBlock() && b < m.GetToBlock() {
			out.Slots = append(out.Slots, &dvrv1.SlotCopies{Slot: segmentpb.Slot(c.Slot), Copies: []*dvrv1.CopySummary{{
				Digest: c.Info.Digest[:], StartTicks: int64(c.Info.Start), EndTicks: int64(c.Info.End), Bytes: c.Info.Bytes,
			}}})
		}
	}
	return out, nil
}

func (x shelf) ReadSegment(m *dvrv1.ReadSegmentRequest, out grpc.ServerStreamingServer[dvrv1.ReadSegmentResponse]) error {
	for _, c := range x.Copies {
		if !bytes.Equal(m.GetDigest(), c.Info.Digest[:]) {
			continue
		}
		head := &dvrv1.Head{Slot: segmentpb.Slot(c.Slot), Info: segmentpb.Info(c.Info)}
		for _, t := range c.Info.Tracks {
			in, err := x.ReadInit(out.Context(), &dvrv1.ReadInitRequest{Hash: t.Init[:]})
			if err != nil {
				return err
			}
			head.Inits = append(head.Inits, &dvrv1.Init{Pid: uint32(t.PID), Hash: t.Init[:], Data: in.GetData()})
		}
		return out.Send(&dvrv1.ReadSegmentResponse{Head: head, Data: c.Bytes})
	}
	return errs.ErrUnknown
}

// configured is a gateway that serves one config for ever.
type configured struct {
	gatewayv1.UnimplementedConfigServiceServer
	text string
}

func (g configured) Watch(_ *gatewayv1.WatchRequest, rpc grpc.ServerStreamingServer[gatewayv1.WatchResponse]) error {
	c, err := streamconf.Parse("test", []byte(g.text))
	if err != nil {
		return err
	}
	if err := rpc.Send(&gatewayv1.WatchResponse{Config: streamconfpb.ToProto(c, "1")}); err != nil {
		return err
	}
	<-rpc.Context().Done()
	return nil
}

// dvrsvc runs a real one with the stream s.
func dvrsvc(t *testing.T) *grpc.ClientConn {
	t.Helper()
	gw := serve(t, func(r grpc.ServiceRegistrar) {
		gatewayv1.RegisterConfigServiceServer(r, configured{text: "stream s { input udp://239.0.0.1:1234; dvr archive 3650d; }"})
	})
	conn, err := grpcx.Dial(gw, grpcx.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := app.Default()
	cfg.Data, cfg.Node = t.TempDir(), "there"
	a, err := app.New(cfg, app.Deps{Gateway: conn})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; conn.Close() })
	srv, err := grpcx.NewServer(grpcx.ServerOptions{Media: true})
	if err != nil {
		t.Fatal(err)
	}
	a.Register(srv)
	pipe := grpcx.NewPipe()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, pipe.Listener()) }()
	t.Cleanup(func() { cancel(); <-served })
	near, err := pipe.Dial(grpcx.DialOptions{Media: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	for {
		_, err := dvrv1.NewRecordingServiceClient(near).BindTimeline(ctx, &dvrv1.BindTimelineRequest{Stream: "s", PeerStoreId: make([]byte, 16), PeerTimeline: make([]byte, 16)})
		if err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return near
}

// A range goes from one site to another in a file or through a pipe; a second time it is there. What is torn says where, and
// nothing in the range is a difference.
func TestPackUnpack(t *testing.T) {
	utc := time.Now().Add(-time.Hour).Truncate(time.Second)
	x := shelf{&archivetest.Server{Name: "s"}, timeline.Mapping{{U: timeline.Wrap, UTC: utc.UnixNano()}}}
	for k := range 3 {
		x.Add(archivetest.Place{Start: timeline.Wrap + timeline.Ticks(k)*540000, Length: 540000, UTC: utc.Add(time.Duration(k) * 6 * time.Second)})
	}
	lis := serve(t, func(r grpc.ServiceRegistrar) {
		dvrv1.RegisterIndexServiceServer(r, x)
		dvrv1.RegisterSegmentServiceServer(r, x)
	})
	var out, piped bytes.Buffer
	from := dial(t, lis, &out, false)
	file := filepath.Join(t.TempDir(), "range")
	if err := from.Pack(t.Context(), "s", archive.Range{}, file, nil); err != nil || !strings.Contains(out.String(), ", 3 segments, ") {
		t.Fatalf("%v: %s", err, &out)
	}
	if err := from.Pack(t.Context(), "s", archive.Range{From: utc.Add(12 * time.Second)}, "-", &piped); err != nil || !strings.Contains(out.String(), ", 1 segments, ") {
		t.Fatalf("%v: %s", err, &out)
	}
	none := filepath.Join(t.TempDir(), "none")
	if err := from.Pack(t.Context(), "s", archive.Range{To: utc}, none, nil); !errors.Is(err, operator.ErrDifference) {
		t.Errorf("nothing in the range: %v", err)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("a file with nothing in it is there")
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	conn := dvrsvc(t)
	for _, c := range []struct {
		name   string
		in     []byte
		stream string
		bad    bool
		says   string
	}{
		{"a pipe", piped.Bytes(), "", false, "1 segments: 1 stored ("},
		{"a torn file", whole[:len(whole)/2], "s", true, "1 segments: 1 stored ("},
		{"the whole", whole, "s", false, "3 segments: 1 stored ("},
		{"the whole again", whole, "s", false, "3 segments: 0 stored (0.0 kB), 3 were there"},
		{"no pack", []byte("#EXTM3U"), "s", true, "no segment was brought"},
	} {
		out.Reset()
		err := operator.New(conn, &out, false).Unpack(t.Context(), c.stream, "-", bytes.NewReader(c.in))
		if errors.Is(err, operator.ErrDifference) != c.bad || (err != nil) != c.bad || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: %v: %swant %q", c.name, err, &out, c.says)
		}
		if c.name == "a torn file" && !strings.Contains(fmt.Sprint(err), "at byte ") {
			t.Errorf("%s: it is not said where: %v", c.name, err)
		}
	}
	out.Reset()
	err = operator.New(conn, &out, true).Unpack(t.Context(), "other", "-", bytes.NewReader(whole))
	var answer struct{ Segments uint64 }
	if err == nil || errors.Is(err, operator.ErrDifference) || json.Unmarshal(out.Bytes(), &answer) != nil || answer.Segments != 0 {
		t.Errorf("to a stream that is not there: %v: %s", err, &out)
	}
}
