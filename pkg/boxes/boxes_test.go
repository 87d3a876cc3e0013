package boxes_test

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/boxes"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// dvr is a box that says its name.
type dvr struct {
	dvrv1.UnimplementedIndexServiceServer
	dvrv1.UnimplementedRecordingServiceServer
	name    string
	streams []string
}

func (d dvr) GetRanges(_ context.Context, r *dvrv1.GetRangesRequest) (*dvrv1.GetRangesResponse, error) {
	if !slices.Contains(d.streams, r.GetStream()) {
		return nil, errs.ErrStreamUnknown
	}
	return &dvrv1.GetRangesResponse{}, nil
}

func (d dvr) ListStreams(context.Context, *dvrv1.ListStreamsRequest) (*dvrv1.ListStreamsResponse, error) {
	m := &dvrv1.ListStreamsResponse{}
	for _, s := range d.streams {
		m.Streams = append(m.Streams, &dvrv1.StreamSummary{Stream: s, ActiveInput: d.name})
	}
	return m, nil
}

func (d dvr) Record(rpc grpc.BidiStreamingServer[dvrv1.RecordRequest, dvrv1.RecordResponse]) error {
	if _, err := rpc.Recv(); err != nil {
		return err
	}
	return rpc.Send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Welcome{Welcome: &dvrv1.Welcome{Node: d.name}}})
}

func serve(t *testing.T, d dvr) string {
	t.Helper()
	srv, err := grpcx.NewServer(grpcx.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dvrv1.RegisterIndexServiceServer(srv, d)
	dvrv1.RegisterRecordingServiceServer(srv, d)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(t.Context(), lis) //nolint:errcheck // ends with the test
	return lis.Addr().String()
}

func TestRouter(t *testing.T) {
	ours := serve(t, dvr{name: "own", streams: []string{"a", "moved"}})
	box := serve(t, dvr{name: "box", streams: []string{"b", "moved"}})
	text := strings.NewReplacer("BOX", box).Replace(`dvr box { root x; server BOX; }
dvr away { root x; server 127.0.0.1:1; }
stream a { input udp://:1; dvr d 1h; }
stream b { input udp://:2; dvr @box 1h; }
stream moved { input udp://:3; dvr @box 1h; }
stream c { input udp://:4; dvr @away 1h; }`)
	conf, err := streamconf.Parse("t", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	conns := &grpcx.Conns{}
	defer conns.Close() //nolint:errcheck // the test ends
	own, err := conns.To(ours, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	inForce := conf
	r := boxes.New(boxes.Options{Own: own, Conns: conns, Config: func() *streamconf.Config { return inForce }})

	for _, s := range []string{"a", "b", "moved"} {
		if _, err := dvrv1.NewIndexServiceClient(r).GetRanges(t.Context(), &dvrv1.GetRangesRequest{Stream: s}); err != nil {
			t.Errorf("ranges of %s: %v", s, err)
		}
	}
	for stream, want := range map[string]string{"a": "own", "b": "box"} {
		rpc, err := dvrv1.NewRecordingServiceClient(r).Record(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: &dvrv1.Hello{Stream: stream}}}); err != nil {
			t.Fatal(err)
		}
		if m, err := rpc.Recv(); err != nil || m.GetWelcome().GetNode() != want {
			t.Errorf("%s is recorded by %q, want %q: %v", stream, m.GetWelcome().GetNode(), want, err)
		}
		if _, err := rpc.Recv(); err != io.EOF {
			t.Errorf("end: %v", err)
		}
	}
	list, err := dvrv1.NewIndexServiceClient(r).ListStreams(t.Context(), &dvrv1.ListStreamsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list.GetStreams() {
		got = append(got, s.GetStream()+" "+s.GetActiveInput())
		if away := s.GetStream() == "c"; away != strings.Contains(s.GetProblem(), "127.0.0.1:1") {
			t.Errorf("problem of %s: %q", s.GetStream(), s.GetProblem())
		}
	}
	if want := []string{"a own", "b box", "c ", "moved box"}; !slices.Equal(got, want) {
		t.Errorf("streams %q, want %q", got, want)
	}

	inForce = nil // no config yet: everything is the site's own
	if _, err := dvrv1.NewIndexServiceClient(r).GetRanges(t.Context(), &dvrv1.GetRangesRequest{Stream: "a"}); err != nil {
		t.Error(err)
	}
}

// What is locked is told wherever it is: of a stream that moved, and of one that nobody records any more. A lock is on each that has the stream.
func TestSumOfLocks(t *testing.T) {
	part := func(locks uint32) *dvrv1.StreamSummary { return &dvrv1.StreamSummary{Stream: "tv", Locks: locks} }
	for _, c := range []struct {
		records *dvrv1.StreamSummary
		parts   []*dvrv1.StreamSummary
		want    uint32
	}{
		{part(0), []*dvrv1.StreamSummary{part(0), part(2)}, 2},
		{part(3), []*dvrv1.StreamSummary{part(3), part(2)}, 3},
		{&dvrv1.StreamSummary{Stream: "tv"}, []*dvrv1.StreamSummary{part(1)}, 1},
	} {
		if got := boxes.Sum(c.records, c.parts, nil).GetLocks(); got != c.want {
			t.Errorf("%d locked, want %d of %v", got, c.want, c.parts)
		}
	}
}
