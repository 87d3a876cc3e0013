package m4fclient

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// peer serves one segment as its script says.
type peer struct {
	m4fv1.UnimplementedM4FServiceServer
	mu      sync.Mutex
	offsets []uint64
	fetch   func(req *m4fv1.FetchRequest, send func(*m4fv1.FetchResponse) error) error
	ahead   time.Duration // its clock
}

func (p *peer) Hello(_ context.Context, req *m4fv1.HelloRequest) (*m4fv1.HelloResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &m4fv1.HelloResponse{
		Version: 1, Node: "b", Session: []byte("s"), UtcNanos: time.Now().Add(p.ahead).UnixNano(), Streams: req.GetStreams(),
	}, nil
}

func (p *peer) Fetch(req *m4fv1.FetchRequest, rpc grpc.ServerStreamingServer[m4fv1.FetchResponse]) error {
	p.mu.Lock()
	p.offsets = append(p.offsets, req.GetOffset())
	p.mu.Unlock()
	return p.fetch(req, rpc.Send)
}

func connected(t *testing.T, p *peer) *Session {
	t.Helper()
	lis := bufconn.Listen(1 << 16)
	srv := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	m4fv1.RegisterM4FServiceServer(srv, p)
	go srv.Serve(lis) //nolint:errcheck // ends with Stop
	t.Cleanup(srv.Stop)
	s, err := Connect(t.Context(), Config{
		Addr: "b", Node: "a", Key: func() auth.Key { return auth.Key{} }, StoreID: func() string { return "" }, Clock: clock.System{},
		Dial: func(string) (Conn, error) {
			return grpcx.Dial("passthrough:///b", grpcx.DialOptions{Extra: []grpc.DialOption{
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
			}})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// sample is a segment of two chunks.
func sample() (segment.Info, *dvrv1.Head, []byte) {
	data := make([]byte, 300_000)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	init := segment.Init{PID: 256, Data: []byte("moov")}
	init.Hash = segment.Sum(init.Data)
	table := crc32.MakeTable(crc32.Castagnoli)
	info := segment.Info{
		Start: timeline.Wrap, End: timeline.Wrap + 90000, Digest: segment.Sum(data), Bytes: uint64(len(data)), Format: 1,
		Tracks: []segment.Track{{PID: 256, Init: init.Hash}},
		Chunks: []segment.Chunk{
			{PID: 256, Size: 100_000, CRC: crc32.Checksum(data[:100_000], table)},
			{PID: 256, Offset: 100_000, Size: 200_000, CRC: crc32.Checksum(data[100_000:], table)},
		},
	}
	slot := segment.Slot{InitSet: segment.MakeInitSet(info.Tracks)}
	return info, &dvrv1.Head{Slot: segmentpb.Slot(slot), Info: segmentpb.Info(info), Inits: segmentpb.Inits([]segment.Init{init})}, data
}

// send sends data from an offset on, up to an end.
func send(head *dvrv1.Head, data []byte, from, to uint64, out func(*m4fv1.FetchResponse) error) error {
	if err := out(&m4fv1.FetchResponse{Head: head}); err != nil {
		return err
	}
	for ; from < to; from += 10_000 {
		if err := out(&m4fv1.FetchResponse{Offset: from, Data: data[from:min(from+10_000, to)]}); err != nil {
			return err
		}
	}
	return nil
}

// TestResume holds that nothing which came before a cut is fetched again.
func TestResume(t *testing.T) {
	info, head, data := sample()
	cuts := []uint64{0, 70_000, 120_000}
	p := &peer{}
	p.fetch = func(req *m4fv1.FetchRequest, out func(*m4fv1.FetchResponse) error) error {
		if len(cuts) == 0 {
			return send(head, data, req.GetOffset(), info.Bytes, out)
		}
		to := cuts[0]
		cuts = cuts[1:]
		if err := send(head, data, req.GetOffset(), to, out); err != nil {
			return err
		}
		return errors.New("cut")
	}
	s := connected(t, p)
	d := &Download{Stream: "tv", Digest: info.Digest}
	for range 3 {
		if err := d.Run(t.Context(), s); err == nil {
			t.Fatal("a cut fetch ended well")
		}
	}
	if err := d.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if want := []uint64{0, 0, 70_000, 120_000}; len(p.offsets) != 4 || [4]uint64(p.offsets) != [4]uint64(want) {
		t.Errorf("offsets %v, want %v", p.offsets, want)
	}
	if segment.Sum(d.Data) != info.Digest {
		t.Error("the bytes differ")
	}
}

// TestBadPeer holds I1: whatever a peer sends, what is not the segment that was asked for is refused and dropped.
func TestBadPeer(t *testing.T) {
	info, _, data := sample()
	for _, c := range []struct {
		name string
		do   func(head *dvrv1.Head, data []byte, out func(*m4fv1.FetchResponse) error) error
		want error
	}{
		{"a bit flipped", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			b[150_000] ^= 1
			return send(h, b, 0, info.Bytes, out)
		}, errs.ErrCorrupt},
		{"other bytes with their own checksum", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			b[150_000] ^= 1
			h.Info.Chunks[1].Crc32C = crc32.Checksum(b[100_000:], crc32.MakeTable(crc32.Castagnoli))
			return send(h, b, 0, info.Bytes, out)
		}, errs.ErrCorrupt},
		{"another segment", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			h.Info.Digest = make([]byte, 32)
			return send(h, b, 0, info.Bytes, out)
		}, errs.ErrCorrupt},
		{"a wrong chunk checksum", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			h.Info.Chunks[1].Crc32C++
			return send(h, b, 0, info.Bytes, out)
		}, errs.ErrCorrupt},
		{"chunks with holes", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			h.Info.Chunks[1].Offset++
			return send(h, b, 0, info.Bytes, out)
		}, errs.ErrInvalid},
		{"no chunks", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			h.Info.Chunks = nil
			return send(h, b, 0, info.Bytes, out)
		}, errs.ErrInvalid},
		{"2^63 bytes", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			h.Info.Bytes, h.Info.Chunks = 1<<63, nil
			return send(h, b, 0, 10, out)
		}, errs.ErrInvalid},
		{"other bytes than listed", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			h.Info.Bytes++
			h.Info.Chunks[1].Size++
			return send(h, b, 0, 10, out)
		}, errs.ErrCorrupt},
		{"no init data", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			h.Inits[0].Data = nil
			return send(h, b, 0, info.Bytes, out)
		}, errs.ErrInvalid},
		{"init of other bytes", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			h.Inits[0].Data = []byte("xxxx")
			return send(h, b, 0, info.Bytes, out)
		}, errs.ErrInvalid},
		{"data without head", func(_ *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			return out(&m4fv1.FetchResponse{Data: b[:10]})
		}, errs.ErrCorrupt},
		{"data twice", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			if err := send(h, b, 0, 20_000, out); err != nil {
				return err
			}
			return send(h, b, 10_000, info.Bytes, out)
		}, errs.ErrCorrupt},
		{"more than announced", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			if err := send(h, b, 0, info.Bytes, out); err != nil {
				return err
			}
			return out(&m4fv1.FetchResponse{Offset: info.Bytes, Data: []byte{1}})
		}, errs.ErrCorrupt},
		{"too little", func(h *dvrv1.Head, b []byte, out func(*m4fv1.FetchResponse) error) error {
			return send(h, b, 0, 20_000, out)
		}, io.ErrUnexpectedEOF},
		{"expired", func(_ *dvrv1.Head, _ []byte, out func(*m4fv1.FetchResponse) error) error {
			return out(&m4fv1.FetchResponse{NotHeld: "EXPIRED"})
		}, errs.ErrExpired},
		{"superseded", func(_ *dvrv1.Head, _ []byte, out func(*m4fv1.FetchResponse) error) error {
			return out(&m4fv1.FetchResponse{SupersededBy: make([]byte, 32)})
		}, errs.ErrSuperseded},
		{"a reason of the future", func(_ *dvrv1.Head, _ []byte, out func(*m4fv1.FetchResponse) error) error {
			return out(&m4fv1.FetchResponse{NotHeld: "EATEN"})
		}, errs.ErrUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &peer{fetch: func(_ *m4fv1.FetchRequest, out func(*m4fv1.FetchResponse) error) error {
				_, head, _ := sample()
				return c.do(head, append([]byte(nil), data...), out)
			}}
			d := &Download{Stream: "tv", Digest: info.Digest, Bytes: info.Bytes}
			err := d.Run(t.Context(), connected(t, p))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if errors.Is(err, errs.ErrCorrupt) && len(d.Data) > 0 {
				t.Error("damaged bytes were kept for a resumption")
			}
		})
	}
}

// tapped records which calls go over a connection.
type tapped struct {
	Conn
	name string
	mu   *sync.Mutex
	seen *[]string
}

func (c tapped) note(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.seen = append(*c.seen, c.name+method[strings.LastIndex(method, "/"):])
}

func (c tapped) Invoke(ctx context.Context, method string, req, reply any, opts ...grpc.CallOption) error {
	c.note(method)
	return c.Conn.Invoke(ctx, method, req, reply, opts...)
}

func (c tapped) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c.note(method)
	return c.Conn.NewStream(ctx, desc, method, opts...)
}

// TestThreeConnections holds interleaving 15: backfill never shares a connection with live or control.
func TestThreeConnections(t *testing.T) {
	p := &peer{fetch: func(_ *m4fv1.FetchRequest, out func(*m4fv1.FetchResponse) error) error {
		return out(&m4fv1.FetchResponse{NotHeld: "UNKNOWN"})
	}}
	s := connected(t, p)
	var mu sync.Mutex
	var seen []string
	for name, c := range map[string]*Conn{"control": &s.conns.control, "live": &s.conns.live, "backfill": &s.conns.backfill} {
		*c = tapped{*c, name, &mu, &seen}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.Rows(ctx, "tv")                                 //nolint:errcheck // only the way matters
	(&Download{Stream: "tv"}).Run(ctx, s)             //nolint:errcheck // as above
	(&Download{Stream: "tv", Live: true}).Run(ctx, s) //nolint:errcheck // as above
	s.Subscribe(ctx, "tv", nil, false)                //nolint:errcheck // as above
	want := []string{"control/Timelines", "backfill/Fetch", "live/Fetch", "live/Subscribe"}
	if !slices.Equal(seen, want) {
		t.Errorf("got %v, want %v", seen, want)
	}
}

// TestClockIsMeasuredAgain: a clock that was set right, here or there, is found with the next Hello.
func TestClockIsMeasuredAgain(t *testing.T) {
	p := &peer{ahead: time.Hour}
	s := connected(t, p)
	for _, want := range []time.Duration{time.Hour, 0} {
		p.mu.Lock()
		p.ahead = want
		p.mu.Unlock()
		if _, err := s.Terms(t.Context(), "tv of "+want.String()); err != nil {
			t.Fatal(err)
		}
		if got := s.Offset(); (got - want).Abs() > time.Minute {
			t.Errorf("the offset is %s, want %s", got, want)
		}
	}
	p.mu.Lock()
	p.ahead = time.Hour
	p.mu.Unlock()
	if err := s.Measure(t.Context()); err != nil || (s.Offset()-time.Hour).Abs() > time.Minute {
		t.Errorf("measured, the offset is %s, %v, want 1h", s.Offset(), err)
	}
}

// leapt is the machine's clock, which may be ahead of itself.
type leapt struct {
	clock.System
	ahead atomic.Int64
}

func (l *leapt) Now() time.Time { return l.System.Now().Add(time.Duration(l.ahead.Load())) }

// TestPeersClock: what the peer's clock shows is known by a clock of ours that nobody sets: a leap of ours must not confirm itself.
func TestPeersClock(t *testing.T) {
	p := &peer{ahead: time.Hour}
	s := connected(t, p)
	own := &leapt{}
	s.cfg.Clock = own
	if err := s.Measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	own.ahead.Store(int64(24 * time.Hour))
	if ahead := time.Until(s.Now()); (ahead - time.Hour).Abs() > time.Minute {
		t.Errorf("the peer, an hour ahead, is said to be %s ahead after ours leapt by a day", ahead)
	}
}

// TestThrottle: each byte is asked for once, in whatever pieces it comes; a limit that holds a piece up for longer than the peer
// may be silent ends nothing; and what the peer says of its own limit holds from then on.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		info, head, data := sample()
		p := &peer{fetch: func(req *m4fv1.FetchRequest, out func(*m4fv1.FetchResponse) error) error {
			if err := out(&m4fv1.FetchResponse{LimitBitsPerSecond: proto.Uint64(7)}); err != nil {
				return err
			}
			return send(head, data, req.GetOffset(), info.Bytes, out)
		}}
		s := connected(t, p)
		asked := 0
		d := &Download{Stream: "tv", Digest: info.Digest, Throttle: func(_ context.Context, n int) error {
			asked += n
			time.Sleep(stalled + time.Second)
			return nil
		}}
		if err := d.Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if asked != len(data) || s.Limit() != 7 {
			t.Errorf("%d bytes were asked for, want %d; the limit is %d", asked, len(data), s.Limit())
		}
		s.Close()
	})
}

// A port for the archive that nobody answers on costs what is fetched, and nothing of live, which has a port of its own.
func TestArchivePortThatIsShut(t *testing.T) {
	info, _, _, p := small()
	lis := bufconn.Listen(1 << 16)
	srv := grpc.NewServer()
	m4fv1.RegisterM4FServiceServer(srv, p)
	go srv.Serve(lis) //nolint:errcheck // ends with Stop
	defer srv.Stop()
	s, err := Connect(t.Context(), Config{
		Addr: "b", Archive: "shut", Node: "a", Key: func() auth.Key { return auth.Key{} }, StoreID: func() string { return "" }, Clock: clock.System{},
		Dial: func(addr string) (Conn, error) {
			return grpcx.Dial("passthrough:///"+addr, grpcx.DialOptions{Extra: []grpc.DialOption{
				grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
					if addr == "shut" {
						return nil, syscall.ECONNREFUSED
					}
					return lis.DialContext(ctx)
				}),
			}})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := &Download{Stream: "tv", Digest: info.Digest, Bytes: info.Bytes}
	if err := d.Run(t.Context(), s); status.Code(err) != codes.Unavailable {
		t.Errorf("fetched from a port that is shut: %v", err)
	}
	if s.Context().Err() != nil {
		t.Errorf("live has ended: %v", context.Cause(s.Context()))
	}
	d.Live = true
	if err := d.Run(t.Context(), s); err != nil {
		t.Errorf("over the live connection: %v", err)
	}
}

// A peer whose disk hangs is one that sends nothing, and not a call that somebody cancelled; its session goes on.
func TestPeerThatSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		info, head, data, p := small()
		end := make(chan struct{})
		p.fetch = func(_ *m4fv1.FetchRequest, out func(*m4fv1.FetchResponse) error) error {
			if err := out(&m4fv1.FetchResponse{Head: head}); err != nil {
				return err
			}
			if err := out(&m4fv1.FetchResponse{Data: data[:100]}); err != nil {
				return err
			}
			<-end
			return nil
		}
		s := connected(t, p)
		d := &Download{Stream: "tv", Digest: info.Digest, Bytes: info.Bytes}
		began := time.Now()
		if err := d.Run(t.Context(), s); !errors.Is(err, ErrStalled) || len(d.Data) != 100 {
			t.Errorf("after %s, with %d bytes: %v", time.Since(began), len(d.Data), err)
		}
		if s.Context().Err() != nil {
			t.Errorf("the session has ended: %v", context.Cause(s.Context()))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := d.Run(ctx, s); err == nil || errors.Is(err, ErrStalled) {
			t.Errorf("cancelled: %v", err)
		}
		close(end)
	})
}
