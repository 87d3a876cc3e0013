package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/streamconfpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

const (
	streamConf = "stream tv {\n input udp://239.0.0.1:1234;\n input m4f://main:7000/tv;\n dvr archive 3d;\n}\n"
	udpInput   = "udp://239.0.0.1:1234"
	m4fInput   = "m4f://main:7000/tv"

	frameTicks    = 1920 // of AAC at 48 kHz
	framesPerCell = 274  // not less than a cell
	pid           = 256

	// pace is how much faster than the machine's the clocks of these tests run.
	pace = 20
)

// fastClock is the machine's clock, running fast, so that a test can wait for segments.
type fastClock struct{ clock.System }

func (c fastClock) Now() time.Time { return time.Unix(1_800_000_000, 0).UTC().Add(c.Mono()) }

func (c fastClock) Mono() time.Duration { return pace * c.System.Mono() }

func (c fastClock) NewTimer(d time.Duration) clock.Timer { return c.System.NewTimer(d / pace) }

func (c fastClock) NewTicker(d time.Duration) clock.Ticker { return c.System.NewTicker(d / pace) }

// source says where the media of a test is now: segment 0 begins when it is made.
type source struct{ began time.Duration }

func newSource() source { return source{began: fastClock{}.Mono()} }

func (s source) head() timeline.Ticks {
	return segmentStart(0) + timeline.FromDuration(fastClock{}.Mono()-s.began)
}

func segmentStart(k int) timeline.Ticks {
	return timeline.Wrap + 1000*timeline.CellTicks + timeline.Ticks(k)*framesPerCell*frameTicks
}

// play lets producers tell how far the media has come until it has come to the end of a segment.
func (s source) play(until timeline.Ticks, ps ...*producer) {
	for {
		head := s.head()
		for _, p := range ps {
			p.progress(min(head, until), p.path...)
		}
		if head >= until {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// goOn lets a producer tell how far the media has come until stop is called; meanwhile it is the only one to use it.
func (s source) goOn(p *producer) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(10 * time.Millisecond):
				p.progress(s.head(), p.path...)
			}
		}
	}()
	return func() { close(end); <-ended }
}

// gateway serves one config for ever.
type gateway struct {
	gatewayv1.UnimplementedConfigServiceServer
	text string
}

func (g gateway) Watch(_ *gatewayv1.WatchRequest, rpc grpc.ServerStreamingServer[gatewayv1.WatchResponse]) error {
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

// serve runs a server with what register adds, and gives a connection to it.
func serve(t *testing.T, register func(*grpcx.Server)) *grpc.ClientConn {
	t.Helper()
	srv, err := grpcx.NewServer(grpcx.ServerOptions{Media: true})
	if err != nil {
		t.Fatal(err)
	}
	register(srv)
	pipe := grpcx.NewPipe()
	conn, err := pipe.Dial(grpcx.DialOptions{Media: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, pipe.Listener()) }()
	t.Cleanup(func() { conn.Close(); cancel(); <-done })
	return conn
}

// served is a dvrsvc that runs.
type served struct {
	app  *App
	conn *grpc.ClientConn
	stop func()
}

func start(t *testing.T, dir string) *served {
	t.Helper()
	return startOf(t, dir, streamConf)
}

// startOf runs a dvrsvc with a config, for the storages that box names.
func startOf(t *testing.T, dir, text string, box ...string) *served {
	t.Helper()
	return startWith(t, dir, text, Deps{}, box...)
}

// startWith is startOf with something of the machine's in another way.
func startWith(t *testing.T, dir, text string, deps Deps, box ...string) *served {
	t.Helper()
	gw := serve(t, func(s *grpcx.Server) { gatewayv1.RegisterConfigServiceServer(s, gateway{text: text}) })
	cfg := Default()
	cfg.Data, cfg.Node, cfg.Box = dir, "here", box
	deps.Gateway, deps.Logger = gw, slog.New(slog.NewTextHandler(t.Output(), nil))
	if deps.Clock == nil {
		deps.Clock = fastClock{}
	}
	a, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	conn := serve(t, func(s *grpcx.Server) { a.Register(s) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stopped := false
	s := &served{app: a, conn: conn, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}}
	t.Cleanup(s.stop)
	return s
}

// made is a segment of real chunks: one AAC track, as long as a cell.
type made struct {
	begin  *dvrv1.Begin
	chunks []*dvrv1.Chunk
	info   segment.Info
	data   []byte
}

func makeSegment(t *testing.T, seq uint64, k int, path ...string) *made {
	t.Helper()
	data, codec, err := fmp4.AACInit(pid, "eng", fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	init := segment.Init{PID: pid, Hash: segment.Sum(data), Data: data}
	start := segmentStart(k)
	frames := framesPerCell
	m := &made{info: segment.Info{Start: start, End: segmentStart(k + 1), Independent: true, Path: path, Format: segment.Format}}
	for from := 0; from < frames; {
		at := start + timeline.Ticks(from*frameTicks)
		var samples []fmp4.Sample
		var payload []byte
		for ; from < frames && (start+timeline.Ticks(from*frameTicks))>>15 == at>>15; from++ {
			frame := bytes.Repeat(fmt.Appendf(nil, "%d.%d ", k, from), 100)
			samples = append(samples, fmp4.Sample{Duration: frameTicks, Size: uint32(len(frame)), Flags: fmp4.FlagsSync})
			payload = append(payload, frame...)
		}
		b := fmp4.AppendChunk(nil, fmp4.Audio, pid, at, samples, payload)
		crc := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
		m.chunks = append(m.chunks, &dvrv1.Chunk{
			Seq: seq, Pid: pid, ChunkCell: uint32(at >> 15), TfdtOffset: fmp4.TfdtOffset, Crc32C: crc, Size: uint32(len(b)), Data: b,
		})
		m.info.Chunks = append(m.info.Chunks, segment.Chunk{
			PID: pid, Cell: uint32(at >> 15), Offset: uint64(len(m.data)), Size: uint32(len(b)), CRC: crc, TfdtOffset: fmp4.TfdtOffset,
		})
		m.data = append(m.data, b...)
	}
	m.info.Digest, m.info.Bytes = segment.Sum(m.data), uint64(len(m.data))
	m.info.Tracks = []segment.Track{{
		PID: pid, Codec: codec, Language: "eng", Init: init.Hash, Start: start, End: m.info.End,
		Samples: uint32(frames), Bytes: uint64(len(m.data)),
	}}
	m.begin = &dvrv1.Begin{
		Key:   segmentpb.Key(segment.Key{Seq: seq, Start: start, InitSet: segment.MakeInitSet(m.info.Tracks)}),
		Inits: segmentpb.Inits([]segment.Init{init}), Path: path, Tracks: segmentpb.Tracks(m.info.Tracks), Independent: true,
	}
	return m
}

// producer is a Record call.
type producer struct {
	t    *testing.T
	path []string
	rpc  grpc.BidiStreamingClient[dvrv1.RecordRequest, dvrv1.RecordResponse]
	in   chan *dvrv1.RecordResponse
	kept []*dvrv1.RecordResponse // that nobody has asked for yet
}

func record(t *testing.T, conn grpc.ClientConnInterface, input, path string, ring ...*made) *producer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	for {
		rpc, err := dvrv1.NewRecordingServiceClient(conn).Record(ctx)
		if err != nil {
			t.Fatal(err)
		}
		hello := &dvrv1.Hello{Stream: "tv", Input: input, Incarnation: 1, Kind: dvrv1.Kind_KIND_LIVE, Format: segment.Format}
		for _, m := range ring {
			hello.Ring = append(hello.Ring, &dvrv1.Offer{Key: m.begin.GetKey(), Info: segmentpb.Info(m.info)})
		}
		if err := rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: hello}}); err != nil {
			t.Fatal(err)
		}
		m, err := rpc.Recv()
		if errors.Is(err, errs.ErrStreamUnknown) || errors.Is(err, errs.ErrNotReady) { // it is starting
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil || m.GetWelcome() == nil {
			t.Fatalf("got %v, %v; want Welcome", m, err)
		}
		p := &producer{t: t, path: []string{path}, rpc: rpc, in: make(chan *dvrv1.RecordResponse, 256)}
		go func() {
			defer close(p.in)
			for {
				m, err := rpc.Recv()
				if err != nil {
					return
				}
				p.in <- m
			}
		}()
		return p
	}
}

func (p *producer) send(m *dvrv1.RecordRequest) {
	p.t.Helper()
	if err := p.rpc.Send(m); err != nil {
		p.t.Fatal(err)
	}
}

func (p *producer) progress(head timeline.Ticks, path ...string) {
	p.send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Progress{Progress: &dvrv1.Progress{
		HeadTicks: int64(head), Path: path, Alive: true, GaplessNanos: int64(time.Hour),
	}}})
}

func (p *producer) stream(m *made, chunks int) {
	p.send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Begin{Begin: m.begin}})
	for _, c := range m.chunks[:chunks] {
		p.send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Chunk{Chunk: c}})
	}
	if chunks == len(m.chunks) {
		p.send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Seal{
			Seal: &dvrv1.Seal{Seq: m.begin.GetKey().GetSeq(), Info: segmentpb.Info(m.info)},
		}})
	}
}

// until gives the first message that is wanted.
func (p *producer) until(what string, want func(*dvrv1.RecordResponse) bool) *dvrv1.RecordResponse {
	p.t.Helper()
	if i := slices.IndexFunc(p.kept, want); i >= 0 {
		m := p.kept[i]
		p.kept = slices.Delete(p.kept, i, i+1)
		return m
	}
	late := time.After(20 * time.Second)
	for {
		select {
		case m, ok := <-p.in:
			if !ok {
				p.t.Fatalf("the call ended before %s", what)
			}
			if want(m) {
				return m
			}
			p.kept = append(p.kept, m)
		case <-late:
			p.t.Fatalf("no %s", what)
		}
	}
}

func (p *producer) active() {
	p.t.Helper()
	p.until("active role", func(m *dvrv1.RecordResponse) bool { return m.GetRole().GetActive() })
}

func (p *producer) released(m *made) *dvrv1.Slot {
	p.t.Helper()
	seq := m.begin.GetKey().GetSeq()
	got := p.until(fmt.Sprintf("release of %d", seq), func(m *dvrv1.RecordResponse) bool {
		return m.GetRelease().GetSeq() == seq
	})
	if !got.GetRelease().GetDurable() {
		p.t.Fatalf("segment %d is refused: %s", seq, got.GetRelease().GetReason())
	}
	return got.GetRelease().GetSlot()
}

// The whole of dvrsvc over gRPC, with a real store: what is released is there, under its digest, by every way of reading,
// and after a restart; and it is not stored a second time.
func TestRecordAndRead(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	p := record(t, s.conn, udpInput, "here")
	var ms []*made
	for k := range 4 {
		ms = append(ms, makeSegment(t, uint64(k+1), k, "here"))
	}
	src := newSource()
	src.play(ms[0].info.Start+9000, p)
	p.active()
	tail := follow(t, s.conn)
	var slots []*dvrv1.Slot
	for _, m := range ms[:3] {
		src.play(m.info.End, p)
		p.stream(m, len(m.chunks))
		slots = append(slots, p.released(m))
	}
	p.stream(ms[3], 5)
	still := src.goOn(p) // or a check that takes its time would find the source silent, and the open segment broken off
	tail.want(ms[0], ms[1], ms[2])
	checkArchive(t, s, ms[:3], slots)
	checkStatistics(t, s, 3, 3)
	checkOpen(t, s, ms[3], 5)
	still()

	s.stop()
	again := start(t, dir)
	p = record(t, again.conn, udpInput, "here", ms[2])
	src.play(src.head()+9000, p)
	p.active()
	p.released(ms[2])
	src.play(ms[3].info.End, p)
	p.stream(ms[3], len(ms[3].chunks))
	slots = append(slots, p.released(ms[3]))
	if !bytes.Equal(slots[3].GetTimeline(), slots[0].GetTimeline()) {
		t.Error("a restart began another timeline")
	}
	checkArchive(t, again, ms, slots)
	checkStatistics(t, again, uint64(len(ms)), 1)
}

// What came through a peer counts as replicated.
func TestReplicated(t *testing.T) {
	s := start(t, t.TempDir())
	p := record(t, s.conn, m4fInput, "main")
	src := newSource()
	m := makeSegment(t, 1, 0, "main")
	src.play(m.info.Start+9000, p)
	p.active()
	src.play(m.info.End, p)
	p.stream(m, len(m.chunks))
	p.released(m)
	r, err := dvrv1.NewIndexServiceClient(s.conn).GetRanges(t.Context(), &dvrv1.GetRangesRequest{Stream: "tv"})
	if err != nil || len(r.GetRanges()) != 1 || r.GetRanges()[0].GetReplicatedTicks() != int64(m.info.End-m.info.Start) {
		t.Errorf("%v, %v", r, err)
	}
}

// A second producer takes over in the middle of a segment, over real connections.
func TestTakeover(t *testing.T) {
	s := start(t, t.TempDir())
	p1, p2 := record(t, s.conn, udpInput, "here"), record(t, s.conn, m4fInput, "there")
	a, b := makeSegment(t, 1, 0, "here"), makeSegment(t, 2, 1, "here")
	src := newSource()
	src.play(a.info.Start+9000, p1, p2)
	p1.active()
	tail := follow(t, s.conn)
	src.play(a.info.End, p1, p2)
	p1.stream(a, len(a.chunks))
	slots := []*dvrv1.Slot{p1.released(a)}
	p1.stream(b, 7)
	src.play(src.head()+9000, p1, p2)
	if err := p1.rpc.CloseSend(); err != nil {
		t.Fatal(err)
	}
	src.play(src.head()+2*timeline.TicksPerSecond, p2)
	p2.active()
	theirs := makeSegment(t, 2, 1, "there")
	p2.stream(theirs, len(theirs.chunks))
	slots = append(slots, p2.released(theirs))
	tail.want(a, b)
	checkArchive(t, s, []*made{a, b}, slots)
	checkStatistics(t, s, 2, 2)
}

// A storage that another process holds: one clear line, shown in the summary, and dvrsvc lives.
func TestStorageInUse(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	record(t, first.conn, udpInput, "here")
	second := start(t, dir)
	index := dvrv1.NewIndexServiceClient(second.conn)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		l, err := index.ListStreams(t.Context(), &dvrv1.ListStreamsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if len(l.GetStreams()) == 1 && strings.Contains(l.GetStreams()[0].GetProblem(), "in use") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the problem is not shown: %v", l)
		}
	}
	if _, err := index.GetRanges(t.Context(), &dvrv1.GetRangesRequest{Stream: "tv"}); !errors.Is(err, errs.ErrNotReady) {
		t.Errorf("GetRanges: %v", err)
	}
	first.stop()
	record(t, second.conn, udpInput, "here") // it opens as soon as the other is gone
}

// boxOf is a dvrsvc with a config of its own.
func boxOf(t *testing.T, text string, names ...string) *served {
	t.Helper()
	return startOf(t, t.TempDir(), text, names...)
}

// ready waits until what Ready says has a text; empty: until it is ready.
func (s *served) ready(t *testing.T, want string) {
	t.Helper()
	got := "ready"
	for range 500 {
		err := s.app.Ready()
		if want == "" && err == nil || want != "" && err != nil && strings.Contains(err.Error(), want) {
			return
		}
		if got = "ready"; err != nil {
			got = err.Error()
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("it says %q, want %q", got, want)
}

// Two storages of one server are both recorded there, by the dvrsvc that has both names.
func TestBoxOfSeveralStorages(t *testing.T) {
	text := `dvr one { root one; server 127.0.0.1:7002; }
dvr two { root two; server 127.0.0.1:7002; }
dvr three { root three; server 127.0.0.1:7003; }
stream a { input udp://:1; dvr @one 1h; }
stream b { input udp://:2; dvr @two 1h; }
stream c { input udp://:3; dvr @three 1h; }
stream d { input udp://:4; dvr own 1h; }`
	for _, tc := range []struct {
		names   []string
		streams []string
		problem string // of following the config
	}{
		{[]string{"one", "two"}, []string{"a", "b"}, ""},
		{[]string{"two", "tree"}, []string{"b"}, "DVR_BOX: tree is no storage of the stream config"},
		{nil, []string{"d"}, ""},
	} {
		s := boxOf(t, text, tc.names...)
		s.ready(t, "")
		l, err := dvrv1.NewIndexServiceClient(s.conn).ListStreams(t.Context(), &dvrv1.ListStreamsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range l.GetStreams() {
			got = append(got, x.GetStream())
		}
		if !slices.Equal(got, tc.streams) {
			t.Errorf("box of %q records %q, want %q", tc.names, got, tc.streams)
		}
		if _, problem := s.app.Config(); problem != tc.problem {
			t.Errorf("box of %q has the problem %q, want %q", tc.names, problem, tc.problem)
		}
	}
}

// A box that records nothing because of its name says so and is not ready.
func TestBoxOfNoStorage(t *testing.T) {
	text := "dvr one { root one; server 127.0.0.1:7002; }\ndvr here { root two; }\nstream a { input udp://:1; dvr @one 1h; }"
	boxOf(t, text, "own").ready(t, "DVR_BOX: own is no storage of the stream config")
	boxOf(t, text, "here").ready(t, "DVR_BOX: here has no server in the stream config")
	boxOf(t, text, "one").ready(t, "")
}

// A storage that fails stops no other stream; where none is left, the service is not ready.
func TestReadyIsWhatHasAStorage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	text := "stream a { input udp://:1; dvr file/a 1h; }\n"
	startOf(t, dir, text).ready(t, "no storage can be used")
	startOf(t, dir, text+"stream b { input udp://:2; dvr b 1h; }\n").ready(t, "")
	startOf(t, dir, "").ready(t, "")
}

// The archive in a storage of this box is served when no stream of the config is there any more.
func TestStorageWithoutStreamsIsServed(t *testing.T) {
	dir := t.TempDir()
	storages := "dvr one { root one; server 127.0.0.1:7002; }\ndvr two { root two; server 127.0.0.1:7003; }\n"
	s := startOf(t, dir, storages+"stream tv { input "+udpInput+"; dvr @one 1h; }", "one")
	src := newSource()
	m := makeSegment(t, 1, 0, "here")
	p := record(t, s.conn, udpInput, "here")
	src.play(m.info.Start+9000, p)
	p.active()
	src.play(m.info.End, p)
	p.stream(m, len(m.chunks))
	p.released(m)
	s.stop()

	moved := storages + "stream tv { input " + udpInput + "; dvr @two 1h; }"
	s = startOf(t, dir, moved, "one")
	s.until(t, "the archive is served", func(index dvrv1.IndexServiceClient) bool {
		r, _ := index.GetRanges(t.Context(), &dvrv1.GetRangesRequest{Stream: "tv"})
		return len(r.GetRanges()) == 1
	})
	s.stop()

	// To another storage of the same dvrsvc: there it is not read, and that is told.
	s = startOf(t, dir, moved, "one", "two")
	p = record(t, s.conn, udpInput, "here")
	newSource().play(segmentStart(0)+9000, p)
	s.until(t, "that part is elsewhere is told", func(index dvrv1.IndexServiceClient) bool {
		p.progress(segmentStart(1), "here")
		l, _ := index.ListStreams(t.Context(), &dvrv1.ListStreamsRequest{})
		return len(l.GetStreams()) == 1 && strings.Contains(l.GetStreams()[0].GetProblem(), "part of its archive is in "+filepath.Join(dir, "one"))
	})
}

// until waits for what the index is to say.
func (s *served) until(t *testing.T, what string, check func(dvrv1.IndexServiceClient) bool) {
	t.Helper()
	for range 500 {
		if check(dvrv1.NewIndexServiceClient(s.conn)) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("not within 5 s: %s", what)
}

func checkArchive(t *testing.T, s *served, ms []*made, slots []*dvrv1.Slot) {
	t.Helper()
	ctx := t.Context()
	index := dvrv1.NewIndexServiceClient(s.conn)
	l, err := index.ListStreams(ctx, &dvrv1.ListStreamsRequest{})
	if err != nil || len(l.GetStreams()) != 1 || l.GetStreams()[0].GetSegments() != uint64(len(ms)) {
		t.Errorf("ListStreams: %v, %v", l, err)
	}
	r, err := index.GetRanges(ctx, &dvrv1.GetRangesRequest{Stream: "tv"})
	if err != nil || len(r.GetRanges()) != 1 || r.GetRanges()[0].GetState() != dvrv1.Range_INTACT {
		t.Errorf("GetRanges: %v, %v", r, err)
	}
	rpc, err := index.ListSegments(ctx, &dvrv1.ListSegmentsRequest{Stream: "tv", IncludeUnpresented: true})
	if err != nil {
		t.Fatal(err)
	}
	read := archive.New(s.conn, "tv")
	for i, m := range ms {
		got, err := rpc.Recv()
		if err != nil {
			t.Fatalf("ListSegments: %v", err)
		}
		seg := got.GetSegment()
		if seg.GetDigest() != m.info.Digest.String() || !seg.GetPresented() || !seg.GetWhole() || seg.GetOrigin() == "" {
			t.Errorf("segment %d: %v", i, seg)
		}
		if _, b, err := read.ReadDigest(ctx, m.info.Digest); err != nil || !bytes.Equal(b, m.data) {
			t.Errorf("segment %d: %d bytes, %v", i, len(b), err)
		}
		w := httptest.NewRecorder()
		s.app.HTTPHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/streams/tv/segments/"+seg.GetDigest(), nil))
		if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), m.data) {
			t.Errorf("segment %d over HTTP: %d, %d bytes", i, w.Code, w.Body.Len())
		}
		w = httptest.NewRecorder()
		s.app.HTTPHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/streams/tv/init/"+seg.GetTracks()[0].GetInitHash(), nil))
		if w.Code != http.StatusOK || segment.Sum(w.Body.Bytes()) != m.info.Tracks[0].Init {
			t.Errorf("init of segment %d over HTTP: %d", i, w.Code)
		}
		if _, err := read.ReadInit(ctx, m.info.Tracks[0].Init); err != nil {
			t.Error(err)
		}
		if slots[i].GetCell() != seg.GetCell() {
			t.Errorf("segment %d is in cell %d, released in %d", i, seg.GetCell(), slots[i].GetCell())
		}
	}
	if m, err := rpc.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("one more segment: %v, %v", m, err)
	}
	rows, err := index.ListTimelines(ctx, &dvrv1.ListTimelinesRequest{Stream: "tv"})
	if err != nil || len(rows.GetTimelines()) != 1 || len(rows.GetTimelines()[0].GetSamples()) == 0 {
		t.Errorf("ListTimelines: %v, %v", rows, err)
	}
	bare, err := index.ListTimelines(ctx, &dvrv1.ListTimelinesRequest{Stream: "tv", WithoutSamples: true})
	if err != nil || len(bare.GetTimelines()) != 1 || len(bare.GetTimelines()[0].GetSamples()) != 0 || bare.GetTimelines()[0].GetLastTicks() == 0 {
		t.Errorf("ListTimelines without samples: %v, %v", bare, err)
	}
	use, err := dvrv1.NewMaintenanceServiceClient(s.conn).GetUse(ctx, &dvrv1.GetUseRequest{})
	if us := use.GetStorages(); err != nil || len(us) != 1 || us[0].GetDataBytes() == 0 || us[0].GetFreeBytes() == 0 || us[0].GetForecast() != "unknown" ||
		len(us[0].GetStreams()) != 1 || us[0].GetStreams()[0].GetStream() != "tv" || us[0].GetStreams()[0].GetOldestNanos() == 0 {
		t.Errorf("GetUse: %v, %v", use, err)
	}
	v, err := dvrv1.NewMaintenanceServiceClient(s.conn).Verify(ctx, &dvrv1.VerifyRequest{Stream: "tv"})
	if err != nil {
		t.Fatal(err)
	}
	if total, err := v.Recv(); err != nil || total.GetBad() != 0 || total.GetCopies() != uint64(len(ms)) {
		t.Errorf("Verify: %v, %v", total, err)
	}
	if _, err := index.GetRanges(ctx, &dvrv1.GetRangesRequest{Stream: "nothing"}); !errors.Is(err, errs.ErrStreamUnknown) {
		t.Errorf("an unknown stream: %v", err)
	}
}

// checkStatistics checks what was counted of n segments that were read by two ways each, of which live ones were recorded by this process.
func checkStatistics(t *testing.T, s *served, n, live uint64) {
	t.Helper()
	m, err := dvrv1.NewMaintenanceServiceClient(s.conn).GetStatistics(t.Context(), &dvrv1.GetStatisticsRequest{Stream: "tv"})
	if err != nil || len(m.GetStorages()) != 1 || len(m.GetStorages()[0].GetStreams()) != 1 {
		t.Fatalf("GetStatistics: %v, %v", m, err)
	}
	x := m.GetStorages()[0]
	c := x.GetStreams()[0]
	w, r := c.GetWritten(), c.GetReadDisk()
	if w.GetFast()+w.GetSlow()+w.GetDelayed() != live || w.GetFailed()+w.GetSkipped() > 0 || r.GetFast() != 2*n || c.GetPlayed()[0].GetReads() != 2*n {
		t.Errorf("GetStatistics of %d segments: %v", n, c)
	}
	for _, y := range x.GetSyncs() {
		if y.GetCount() == 0 || y.GetSumMicros() == 0 || y.GetLongestMicros() == 0 {
			t.Errorf("syncs: %v", y)
		}
	}
	other, err := dvrv1.NewMaintenanceServiceClient(s.conn).GetStatistics(t.Context(), &dvrv1.GetStatisticsRequest{Stream: "other"})
	if err != nil || len(other.GetStorages()[0].GetStreams()) != 0 || other.GetStorages()[0].GetTotal().GetWritten().GetFast() != w.GetFast() {
		t.Errorf("GetStatistics of another stream: %v, %v", other, err)
	}
}

// checkOpen checks that the durable part of the open segment can be located and read.
func checkOpen(t *testing.T, s *served, m *made, chunks int) {
	t.Helper()
	var want int
	for _, c := range m.chunks[:chunks] {
		want += len(c.GetData())
	}
	read := archive.New(s.conn, "tv")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		for seg, err := range read.Locate(t.Context(), archive.Range{}) {
			if err != nil {
				t.Fatal(err)
			}
			if !seg.Open {
				continue
			}
			_, b, err := read.Read(t.Context(), seg)
			if err != nil || !bytes.HasPrefix(m.data, b) {
				t.Fatalf("the open part: %d bytes, %v", len(b), err)
			}
			if len(b) == want {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the open part cannot be located")
		}
	}
}

// reader collects the chunks of the tail.
type reader struct {
	t   *testing.T
	rpc grpc.ServerStreamingClient[dvrv1.TailResponse]
}

func follow(t *testing.T, conn grpc.ClientConnInterface) *reader {
	t.Helper()
	rpc, err := dvrv1.NewSegmentServiceClient(conn).Tail(t.Context(), &dvrv1.TailRequest{Stream: "tv"})
	if err != nil {
		t.Fatal(err)
	}
	return &reader{t: t, rpc: rpc}
}

// want reads until the last of the segments is sealed, and checks that each chunk came once, in order.
func (r *reader) want(ms ...*made) {
	r.t.Helper()
	var want, got []byte
	for _, m := range ms {
		want = append(want, m.data...)
	}
	for {
		e, err := r.rpc.Recv()
		if err != nil {
			r.t.Fatal(err)
		}
		if c := e.GetChunk(); c != nil && len(got) < len(want) {
			got = append(got, c.GetData()...)
		}
		last := ms[len(ms)-1]
		if seal := e.GetSeal(); seal != nil && bytes.Equal(seal.GetSeal().GetInfo().GetDigest(), last.info.Digest[:]) {
			if seal.GetSeal().GetSeq() == 0 {
				r.t.Error("the last segment was not streamed as it is")
			}
			break
		}
	}
	if !bytes.Equal(got, want) {
		r.t.Errorf("the tail gave %d bytes, want %d", len(got), len(want))
	}
}
