package operator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"github.com/twinreel/twinreel/deploy/twinreel/internal/operator"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// serve puts services on a port of their own, as each of the four does.
func serve(t *testing.T, register ...func(grpc.ServiceRegistrar)) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	for _, r := range register {
		r(srv)
	}
	reflection.Register(srv)
	go srv.Serve(lis) //nolint:errcheck // ends with Stop
	t.Cleanup(srv.Stop)
	return lis.Addr().String()
}

// apart serves dvrsvc and replsvc each at an address.
func apart(t *testing.T, o *others) (dvr, repl string) {
	dvr = serve(t, func(r grpc.ServiceRegistrar) {
		dvrv1.RegisterIndexServiceServer(r, store())
		dvrv1.RegisterMaintenanceServiceServer(r, o)
	})
	return dvr, serve(t, func(r grpc.ServiceRegistrar) { replv1.RegisterReplicationServiceServer(r, o) })
}

func dial(t *testing.T, addrs string, out *bytes.Buffer, asJSON bool) *operator.Site {
	t.Helper()
	s, err := operator.Dial(addrs, operator.Access{}, out, asJSON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestServicesApart(t *testing.T) {
	o := &others{
		total:       &dvrv1.VerifyResponse{Copies: 2, Bytes: 3e6},
		comparisons: []*replv1.Comparison{{Url: "m4f://b", Slots: 2, Equal: 2}},
	}
	dvr, repl := apart(t, o)
	var out bytes.Buffer
	if err := dial(t, repl+", "+dvr, &out, false).Verify(t.Context(), "s", "m4f://b"); err != nil {
		t.Errorf("Verify with a peer at the addresses of both: %v", err)
	}
	err := dial(t, dvr, &out, false).Verify(t.Context(), "s", "m4f://b")
	if err == nil || errors.Is(err, operator.ErrDifference) || !strings.Contains(err.Error(), "has no replsvc; give the address") {
		t.Errorf("Verify with a peer at dvrsvc alone: %v", err)
	}
	if err := dial(t, dvr, &out, false).Verify(t.Context(), "s", ""); err != nil {
		t.Errorf("Verify at dvrsvc alone: %v", err)
	}
}

func TestPeerThatIsAwayIsToBlame(t *testing.T) {
	refused := `say hello: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp b:7000: refused"`
	o := &others{away: rpcerr.ToStatus(fmt.Errorf("compare s with m4f://b:7000/s: %w: %s", errs.ErrPeerUnreachable, refused))}
	dvr, repl := apart(t, o)
	err := dial(t, dvr+","+repl, &bytes.Buffer{}, false).Verify(t.Context(), "s", "m4f://b:7000/s")
	if want := "verify: compare s with m4f://b:7000/s: the peer cannot be reached: say hello: dial tcp b:7000: refused"; err == nil || err.Error() != want {
		t.Errorf("Verify: %v, want %s", err, want)
	}
}

func TestSiteWithKey(t *testing.T) {
	key := auth.NewKey("the key of this cluster")
	guard := auth.NewGuard(func() auth.Key { return key }, clock.System{})
	srv, err := grpcx.NewServer(grpcx.ServerOptions{
		Unary: []grpc.UnaryServerInterceptor{guard.Unary()}, Stream: []grpc.StreamServerInterceptor{guard.Stream()},
	})
	if err != nil {
		t.Fatal(err)
	}
	(&others{total: &dvrv1.VerifyResponse{Copies: 2}}).register(srv)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(t.Context(), lis) //nolint:errcheck // ends with the test
	for _, tc := range []struct {
		name string
		key  auth.Key
		ok   bool
	}{{"the key", key, true}, {"none", auth.Key{}, false}, {"another", auth.NewKey("the key of another one"), false}} {
		s, err := operator.Dial(lis.Addr().String(), operator.Access{Key: tc.key}, &bytes.Buffer{}, false)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		err = s.Verify(t.Context(), "s", "")
		if (err == nil) != tc.ok || !tc.ok && !strings.Contains(err.Error(), "--cluster-key-file") {
			t.Errorf("Verify with %s: %v", tc.name, err)
		}
	}
}

func TestStatus(t *testing.T) {
	all := func(o *others) string {
		return serve(t, o.register, func(r grpc.ServiceRegistrar) { dvrv1.RegisterIndexServiceServer(r, store()) })
	}
	dvr, _ := apart(t, &others{})
	empty := serve(t, (&others{}).register, func(r grpc.ServiceRegistrar) {
		s := store()
		s.Copies = nil
		dvrv1.RegisterIndexServiceServer(r, s)
	})
	refused := &others{refused: []*gatewayv1.Problem{{Line: 3, Column: 7, Message: "no such word; write dvr"}}}
	for _, tc := range []struct {
		name  string
		addrs []string
		says  []string
		bad   string // the error has it
		exit1 bool   // and it is a difference
	}{
		{"all in one", []string{all(&others{})}, []string{
			"site main\n", "dvrsvc, gateway, ingestsvc, replsvc", "input 1  active   udp://239.0.0.1:1234", "2 segments", "PID 258 deu visually-impaired, PID 259 commentary",
			"replica  3 segments to fetch (1s, 0.0 kB), 7 s left",
		}, "", false},
		{"a refused config", []string{all(refused)},
			[]string{"config refused, the one in force stays: line 3, column 7: no such word; write dvr"}, "main: the config file is refused", true},
		{"dvrsvc alone", []string{dvr}, []string{"dvrsvc: ", "2 segments"}, "ingestsvc, replsvc, gateway missing", false},
		{"nobody", []string{"127.0.0.1:1"}, []string{"127.0.0.1:1 does not answer"}, "127.0.0.1:1 does not answer", false},
		{"two sites, one of them away", []string{"127.0.0.1:1", all(&others{})}, []string{"site at 127.0.0.1:1", "site main"}, "127.0.0.1:1 does not answer", false},
		{"a path that is new", []string{empty}, []string{"nothing recorded in new yet"}, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			var sites []*operator.Site
			for _, a := range tc.addrs {
				sites = append(sites, dial(t, a, &out, false))
			}
			err := operator.Status(t.Context(), sites...)
			if (err != nil) != (tc.bad != "") || errors.Is(err, operator.ErrDifference) != tc.exit1 || err != nil && !strings.Contains(err.Error(), tc.bad) {
				t.Errorf("Status: %v, want %q", err, tc.bad)
			}
			for _, want := range tc.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it says\n%s\nwant %q in it", out.String(), want)
				}
			}
			if n := strings.Count(out.String()+"\n", "does not answer"); strings.Contains(tc.bad, "does not answer") && n != 1 {
				t.Errorf("it says %d times who does not answer, want once:\n%s", n, out.String())
			}
		})
	}
}

func TestStatusAsJSON(t *testing.T) {
	var out bytes.Buffer
	addr := serve(t, (&others{}).register, func(r grpc.ServiceRegistrar) { dvrv1.RegisterIndexServiceServer(r, store()) })
	if err := operator.Status(t.Context(), dial(t, addr, &out, true)); err != nil {
		t.Fatal(err)
	}
	var told struct {
		Sites []struct {
			Node           string
			Addresses      []struct{ Programs []string }
			Problems       *[]string
			ConfigProblems *[]any `json:"config_problems"`
		}
	}
	if err := json.Unmarshal(out.Bytes(), &told); err != nil {
		t.Fatal(err)
	}
	s := told.Sites
	if len(s) != 1 || s[0].Node != "main" || len(s[0].Addresses[0].Programs) != 4 || s[0].Problems == nil || s[0].ConfigProblems == nil {
		t.Errorf("it says %s", out.String())
	}
}

func TestInputState(t *testing.T) {
	udp, m4f := "udp://239.0.0.1:1234", "m4f://b:7000/s"
	sockets := func(state string) []*ingestv1.Input { return []*ingestv1.Input{{Stream: "s", Url: udp, State: state}} }
	peers := func(state, live string) []*replv1.PeerStatus {
		return []*replv1.PeerStatus{{Stream: "s", Url: m4f, State: state, Live: live}}
	}
	for _, tc := range []struct {
		in     *dvrv1.InputSummary
		inputs []*ingestv1.Input
		peers  []*replv1.PeerStatus
		want   string
	}{
		{&dvrv1.InputSummary{Input: udp, Alive: true, Active: true}, sockets("active"), nil, "active"},
		{&dvrv1.InputSummary{Input: udp, Alive: true}, sockets("standby"), nil, "standby"},
		{&dvrv1.InputSummary{Input: udp, Alive: true, Fault: "no_video"}, sockets("standby"), nil, "faulty"},
		{&dvrv1.InputSummary{Input: udp, Fault: "denied"}, sockets("denied"), nil, "denied"},
		{&dvrv1.InputSummary{Input: udp}, sockets("standby"), nil, "silent"},
		{&dvrv1.InputSummary{Input: udp}, sockets("cold"), nil, "cold"},
		{&dvrv1.InputSummary{Input: udp}, sockets("failed"), nil, "failed"},
		{&dvrv1.InputSummary{Input: m4f}, nil, peers("connected", "offers"), "silent"},
		{&dvrv1.InputSummary{Input: m4f}, nil, peers("connected", "withheld"), "standby"},
		{&dvrv1.InputSummary{Input: m4f}, nil, peers("connecting", ""), "away"},
		{&dvrv1.InputSummary{Input: m4f}, nil, peers("refused", ""), "refused"},
		{&dvrv1.InputSummary{Input: m4f}, nil, nil, "silent"},
	} {
		if got := operator.InputState(tc.in, "s", tc.inputs, tc.peers); got != tc.want {
			t.Errorf("InputState(%v, %v, %v) = %s, want %s", tc.in, tc.inputs, tc.peers, got, tc.want)
		}
	}
}

func TestPeerURL(t *testing.T) {
	for text, want := range map[string]string{
		"m4f://b:7000/s": "m4f://b:7000/s", "m4f://b": "m4f://b", "127.0.0.1:7900": "m4f://127.0.0.1:7900", "b/s": "m4f://b/s",
		"m4fs://b:7000/s": "m4fs://b:7000/s",
		"http://b":        "", "m4f://": "", "m4f://b:x": "",
	} {
		got, err := operator.PeerURL(text)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("PeerURL(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

// rotting is an archive with rotten copies.
type rotting struct{ *archivetest.Server }

func (r rotting) ListStreams(context.Context, *dvrv1.ListStreamsRequest) (*dvrv1.ListStreamsResponse, error) {
	return &dvrv1.ListStreamsResponse{Streams: []*dvrv1.StreamSummary{{Stream: "s", Segments: 2, Configured: true, Quarantined: 2}}}, nil
}

func TestStatusTellsWhatIsRotten(t *testing.T) {
	o := &others{}
	addr := serve(t, o.register, func(r grpc.ServiceRegistrar) { dvrv1.RegisterIndexServiceServer(r, rotting{store()}) })
	var out bytes.Buffer
	err := operator.Status(t.Context(), dial(t, addr, &out, false))
	if !errors.Is(err, operator.ErrDifference) || !strings.Contains(err.Error(), "2 copies are rotten") || !strings.Contains(out.String(), ", 2 rotten") {
		t.Errorf("%v: %s", err, &out)
	}
}
