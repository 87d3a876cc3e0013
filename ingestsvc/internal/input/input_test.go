package input

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/ingestsvc/internal/udp"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/tsplay"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// fakeDVR welcomes every producer, wants what it brings along, releases what is sealed, and gives the roles that the test
// wants.
type fakeDVR struct {
	dvrv1.UnimplementedRecordingServiceServer
	mu       sync.Mutex // protects the fields below
	calls    map[string]dvrv1.RecordingService_RecordServer
	hellos   []*dvrv1.Hello
	progress map[string]*dvrv1.Progress
	seals    map[string][]*dvrv1.Seal
	away     bool // it takes no call
}

func (d *fakeDVR) Record(stream dvrv1.RecordingService_RecordServer) error {
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	url := m.GetHello().GetInput()
	d.mu.Lock()
	if d.away {
		d.mu.Unlock()
		return status.Error(codes.Unavailable, "starting")
	}
	d.calls[url] = stream
	d.hellos = append(d.hellos, m.GetHello())
	d.mu.Unlock()
	if err := stream.Send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Welcome{Welcome: &dvrv1.Welcome{}}}); err != nil {
		return err
	}
	for _, o := range m.GetHello().GetRing() {
		want := &dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Want{Want: &dvrv1.Want{Seq: o.GetKey().GetSeq()}}}
		if err := stream.Send(want); err != nil {
			return err
		}
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if p := m.GetProgress(); p != nil {
			d.mu.Lock()
			d.progress[url] = p
			d.mu.Unlock()
		}
		if s := m.GetSeal(); s != nil {
			d.mu.Lock()
			d.seals[url] = append(d.seals[url], s)
			d.mu.Unlock()
			stream.Send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Release{
				Release: &dvrv1.Release{Seq: s.GetSeq(), Durable: true},
			}})
		}
	}
}

func (d *fakeDVR) setAway(away bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = away
}

func (d *fakeDVR) helloed() []*dvrv1.Hello {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.hellos)
}

func (d *fakeDVR) lastProgress(url string) *dvrv1.Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.progress[url]
}

func (d *fakeDVR) sealed(url string) []*dvrv1.Seal {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seals[url])
}

// node is a manager with fake sockets and a fake dvrsvc, in one synctest bubble.
type node struct {
	t *testing.T
	*Manager
	dvr   *fakeDVR
	epoch uint64

	mu      sync.Mutex // protects the fields below
	sockets map[uint16]*fakeSocket
	opened  map[uint16]int
	broken  map[uint16]error
}

// fakeSocket delivers what the test sends.
type fakeSocket struct {
	n       *node
	port    uint16
	batches chan [][]byte // nil batch: panic
	fail    chan error
}

func (s *fakeSocket) Run(ctx context.Context, clk clock.Clock, sink udp.Sink) error {
	tick := clk.NewTicker(udp.DrainInterval)
	defer tick.Stop()
	quiet := false // nothing came since the tick before
	for {
		select {
		case <-tick.C():
			if quiet {
				sink(clk.Mono(), nil, 0)
			}
			quiet = true
		case <-ctx.Done():
			return nil
		case err := <-s.fail:
			return err
		case b := <-s.batches:
			if b == nil {
				panic("planted")
			}
			quiet = false
			sink(clk.Mono(), b, 0)
		}
	}
}

func (s *fakeSocket) Buffer() (int, string) { return 1 << 20, "" }

func (s *fakeSocket) Close() error {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	delete(s.n.sockets, s.port)
	return nil
}

func (n *node) open(a udp.Address) (Receiver, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.opened[a.Port]++
	if err := n.broken[a.Port]; err != nil {
		return nil, err
	}
	if n.sockets[a.Port] != nil {
		return nil, udp.ErrInUse
	}
	n.sockets[a.Port] = &fakeSocket{n: n, port: a.Port, batches: make(chan [][]byte), fail: make(chan error)}
	return n.sockets[a.Port], nil
}

func inBubble(t *testing.T, test func(*node)) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{
			t: t, sockets: map[uint16]*fakeSocket{}, opened: map[uint16]int{}, broken: map[uint16]error{},
			dvr: &fakeDVR{
				calls:    map[string]dvrv1.RecordingService_RecordServer{},
				progress: map[string]*dvrv1.Progress{}, seals: map[string][]*dvrv1.Seal{},
			},
		}
		pipe := grpcx.NewPipe()
		srv, err := grpcx.NewServer(grpcx.ServerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		dvrv1.RegisterRecordingServiceServer(srv, n.dvr)
		go srv.Server.Serve(pipe.Listener())
		defer srv.Stop()
		conn, err := pipe.Dial(grpcx.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		n.Manager = NewManager(Deps{
			Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Node: "a", DVR: conn, RingBytes: 64 << 20, Open: n.open,
		})
		defer n.Close()
		test(n)
	})
}

// apply parses the inputs of one stream, one on a line, and applies them.
func (n *node) apply(inputs ...string) {
	n.t.Helper()
	n.applyTo("tv", inputs...)
}

func (n *node) applyTo(stream string, inputs ...string) {
	n.t.Helper()
	src := "stream " + stream + " {\n"
	for _, in := range inputs {
		src += "  input " + in + ";\n"
	}
	c, err := streamconf.Parse("test.conf", []byte(src+"  dvr d 1d;\n}\n"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.Apply(c)
	synctest.Wait()
}

func (n *node) role(url string, active bool) {
	n.t.Helper()
	n.epoch++
	n.dvr.mu.Lock()
	call := n.dvr.calls[url]
	n.dvr.mu.Unlock()
	err := call.Send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Role{
		Role: &dvrv1.Role{Epoch: n.epoch, Active: active},
	}})
	if err != nil {
		n.t.Fatal(err)
	}
	synctest.Wait()
}

// states gives the state of each input, in the order of the list.
func (n *node) states() string {
	var out []string
	for _, s := range n.List() {
		out = append(out, string(s.State))
	}
	return strings.Join(out, " ")
}

func (n *node) wantStates(want string) {
	n.t.Helper()
	synctest.Wait()
	if got := n.states(); got != want {
		n.t.Errorf("states %q, want %q", got, want)
	}
}

func (n *node) wantOpened(want map[uint16]int) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !maps.Equal(n.opened, want) {
		n.t.Errorf("sockets were opened %v times, want %v", n.opened, want)
	}
}

func (n *node) socket(port uint16) *fakeSocket {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sockets[port]
}

const (
	urlA = "udp://239.0.0.1:1001"
	urlB = "udp://239.0.0.2:1002"
	urlC = "udp://239.0.0.3:1003"
)

// I2.
func TestConfigChangeTouchesOnlyWhatChanged(t *testing.T) {
	inBubble(t, func(n *node) {
		n.apply(urlA, urlB)
		n.wantStates("standby standby")
		n.wantOpened(map[uint16]int{1001: 1, 1002: 1})
		a := n.dvr.helloed()[0].GetIncarnation()

		n.apply(urlA, urlC)
		n.wantOpened(map[uint16]int{1001: 1, 1002: 1, 1003: 1})
		if n.socket(1002) != nil {
			t.Error("the removed input still has its socket")
		}

		hellos := len(n.dvr.helloed())
		n.apply(urlC, urlA+" source_timeout=10s") // options and priorities alone
		n.wantOpened(map[uint16]int{1001: 1, 1002: 1, 1003: 1})
		again := n.dvr.helloed()[hellos:]
		if len(again) != 2 {
			t.Fatalf("%d calls were made anew, want 2: both priorities changed", len(again))
		}
		for _, h := range again {
			if h.GetInput() == urlA && (h.GetPriority() != 2 || h.GetIncarnation() != a) {
				t.Errorf("hello of the same input: %v, want priority 2 and incarnation %d", h, a)
			}
		}
	})
}

// I3.
func TestIncarnationGrows(t *testing.T) {
	inBubble(t, func(n *node) {
		n.apply(urlA)
		n.apply(urlB)
		time.Sleep(time.Second)
		n.apply(urlA)
		h := n.dvr.helloed()
		if len(h) != 3 || h[2].GetIncarnation() <= h[0].GetIncarnation() {
			t.Errorf("incarnations %d and %d", h[0].GetIncarnation(), h[len(h)-1].GetIncarnation())
		}
	})
}

func TestColdInputJoinsWhenActiveAndLeavesWhenNot(t *testing.T) {
	inBubble(t, func(n *node) {
		n.apply(urlA + " standby=cold")
		n.wantStates("cold")
		time.Sleep(time.Minute)
		n.wantOpened(map[uint16]int{})
		if p := n.dvr.lastProgress(urlA); p == nil || p.GetAlive() {
			t.Errorf("progress of a cold input: %v, want not alive", p)
		}
		n.role(urlA, true)
		n.wantStates("active")
		n.wantOpened(map[uint16]int{1001: 1})
		n.role(urlA, false)
		time.Sleep(leaveAfter - time.Second)
		n.wantStates("standby")
		time.Sleep(time.Second)
		n.wantStates("cold")
		if n.socket(1001) != nil {
			t.Error("the socket is still open")
		}
		n.role(urlA, true)
		n.wantOpened(map[uint16]int{1001: 2})
		n.apply(urlA) // hot from now on
		n.role(urlA, false)
		time.Sleep(time.Minute)
		n.wantStates("standby")
		n.wantOpened(map[uint16]int{1001: 2})
	})
}

// What was wrong with a source is none of an input that is not to receive from it.
func TestColdInputHasNoProblem(t *testing.T) {
	const legs = "rtp://239.0.0.1:1001+rtp://239.0.0.2:1002"
	for _, url := range []string{urlA, legs} {
		inBubble(t, func(n *node) {
			n.mu.Lock()
			n.broken[1001], n.broken[1002] = udp.ErrInUse, udp.ErrInUse
			n.mu.Unlock()
			n.apply(url + " standby=cold")
			if s := n.List()[0]; s.State != ColdState || s.Problem != "" {
				t.Errorf("%s: %s, problem %q", url, s.State, s.Problem)
			}
			url := n.List()[0].URL
			n.role(url, true)
			n.wantStates("failed")
			n.role(url, false)
			time.Sleep(lastReopen)
			synctest.Wait()
			if s := n.List()[0]; s.State != ColdState || s.Problem != "" {
				t.Errorf("%s after it was needed: %s, problem %q", url, s.State, s.Problem)
			}
		})
	}
}

// datagrams of a clip of 15.36 s, made once for the test.
func clip(t *testing.T) [][]byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clip.ts")
	err := tsplay.MakeClip(t.Context(), path, tsplay.ClipOptions{Length: 16 * tsplay.ClipGrain, Width: 160, Height: 90, VideoKbit: 100})
	if errors.Is(err, tsplay.ErrNoFFmpeg) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(slices.Chunk(data, 7*188))
}

// play sends datagrams of the clip, which has some 780, at about its pace to the socket of urlA.
func (n *node) play(datagrams [][]byte) {
	for _, d := range datagrams {
		n.socket(1001).batches <- [][]byte{d}
		time.Sleep(16 * tsplay.ClipGrain / 780)
	}
	synctest.Wait()
}

func TestMediaReachDVRAndTheRestIsHandedOverAtTheEnd(t *testing.T) {
	datagrams := clip(t)
	inBubble(t, func(n *node) {
		n.apply(urlA)
		n.role(urlA, true)
		half := len(datagrams) / 2
		n.play(datagrams[:half])
		n.play([][]byte{make([]byte, 7*188)}) // garbage
		n.play(datagrams[half:])
		s := n.List()[0]
		if s.State != Active || s.Problem != "" || s.Bytes == 0 || s.BitsPerSecond == 0 || s.Resyncs != 1 || len(s.Streams) < 2 {
			t.Errorf("status %+v", s)
		}
		if p := n.dvr.lastProgress(urlA); !p.GetAlive() || p.GetHeadTicks() == 0 || p.GetGaplessNanos() > int64(8*time.Second) {
			t.Errorf("progress %v, want alive and gapless for at most the second half", p)
		}
		before := len(n.dvr.sealed(urlA))
		if before == 0 {
			t.Error("nothing was sealed in 15 s")
		}
		begun := time.Now()
		n.Close()
		if d := time.Since(begun); d > time.Second {
			t.Errorf("the end took %v", d)
		}
		seals := n.dvr.sealed(urlA)
		if len(seals) != before+1 || !seals[before].GetInfo().GetEvidence().GetEndUncertain() {
			t.Errorf("%d segments sealed at the end, want the open one alone, with an uncertain end", len(seals)-before)
		}
	})
}
