package m4fclient

import (
	"context"
	"errors"
	"hash/crc32"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// wire is what comes from a peer, and what happens to the n-th byte of it once it is armed.
type wire struct {
	net.Conn
	left *atomic.Int64 // until then; 0: nothing happens
	hurt func(*byte) bool
}

// Read gives what comes up to the byte, and does what is to be done with it.
func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	for {
		left := w.left.Load()
		if left == 0 || n == 0 {
			return n, err
		}
		if !w.left.CompareAndSwap(left, max(0, left-int64(n))) {
			continue
		}
		if left <= int64(n) && !w.hurt(&b[left-1]) {
			w.Close()
			return int(left - 1), syscall.ECONNRESET
		}
		return n, err
	}
}

// over connects to a peer by a wire.
func over(t *testing.T, p *peer, left *atomic.Int64, hurt func(*byte) bool) *Session {
	t.Helper()
	lis := bufconn.Listen(1 << 16)
	srv := grpc.NewServer()
	m4fv1.RegisterM4FServiceServer(srv, p)
	go srv.Serve(lis) //nolint:errcheck // ends with Stop
	s, err := Connect(t.Context(), Config{
		Addr: "b", Node: "a", Key: func() auth.Key { return auth.Key{} }, StoreID: func() string { return "" }, Clock: clock.System{},
		Dial: func(string) (Conn, error) {
			return grpcx.Dial("passthrough:///b", grpcx.DialOptions{Extra: []grpc.DialOption{
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					c, err := lis.DialContext(ctx)
					return &wire{c, left, hurt}, err
				}),
			}})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); srv.Stop() })
	return s
}

// small is a segment of two chunks of 300 and 500 bytes, which a peer sends in pieces of 100.
func small() (segment.Info, *dvrv1.Head, []byte, *peer) {
	info, head, data := sample()
	data = data[:800]
	table := crc32.MakeTable(crc32.Castagnoli)
	info.Bytes, info.Digest = uint64(len(data)), segment.Sum(data)
	for i, c := range [][2]int{{0, 300}, {300, 800}} {
		piece := data[c[0]:c[1]]
		info.Chunks[i].Offset, info.Chunks[i].Size, info.Chunks[i].CRC = uint64(c[0]), uint32(len(piece)), crc32.Checksum(piece, table)
		h := head.Info.Chunks[i]
		h.Offset, h.Size, h.Crc32C = uint64(c[0]), uint32(len(piece)), crc32.Checksum(piece, table)
	}
	head.Info.Bytes, head.Info.Digest = info.Bytes, info.Digest[:]
	p := &peer{}
	p.fetch = func(req *m4fv1.FetchRequest, out func(*m4fv1.FetchResponse) error) error {
		if err := out(&m4fv1.FetchResponse{Head: head}); err != nil {
			return err
		}
		for at := req.GetOffset(); at < info.Bytes; at += 100 {
			if err := out(&m4fv1.FetchResponse{Offset: at, Data: data[at:min(at+100, info.Bytes)]}); err != nil {
				return err
			}
		}
		return nil
	}
	return info, head, data, p
}

// TestCutAtEveryByte: fault 40. A connection that is reset at any byte of a fetch costs what was on its way: the fetch goes on behind
// the last byte that came, and ends with the segment.
func TestCutAtEveryByte(t *testing.T) {
	cuts, resumed := 0, 0
	for n := int64(1); ; n++ {
		whole := false
		synctest.Test(t, func(t *testing.T) {
			info, _, _, p := small()
			var left atomic.Int64
			s := over(t, p, &left, func(*byte) bool { return false })
			d := &Download{Stream: "tv", Digest: info.Digest, Bytes: info.Bytes}
			left.Store(n)
			if err := d.Run(t.Context(), s); err == nil && left.Load() > 0 {
				whole = true
			}
			kept := len(d.Data)
			left.Store(0)
			if len(d.Data) > 0 && len(d.Data) < int(info.Bytes) {
				resumed++
			}
			if !d.Complete() { // as after a redial
				if err := d.Run(t.Context(), over(t, p, &left, nil)); err != nil {
					t.Errorf("cut at byte %d: then %v", n, err)
				}
			}
			if segment.Sum(d.Data) != info.Digest {
				t.Errorf("cut at byte %d: %d bytes of another digest", n, len(d.Data))
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if last := p.offsets[len(p.offsets)-1]; kept < int(info.Bytes) && last != uint64(kept) {
				t.Errorf("cut at byte %d: %d bytes had come, and it went on at %v", n, kept, p.offsets)
			}
		})
		if t.Failed() {
			return
		}
		if whole {
			break
		}
		cuts++
	}
	t.Logf("%d cuts, %d of them in the middle of the segment", cuts, resumed)
	if cuts < 900 || resumed < 500 {
		t.Error("too few to be every byte of it")
	}
}

// TestFlipAtEveryByte: fault 41. Whichever byte of a fetch is another one when it comes, no other segment than the one that was asked for is
// taken, and the next fetch gives it.
func TestFlipAtEveryByte(t *testing.T) {
	flips, refused := 0, 0
	for n := int64(1); ; n++ {
		whole := false
		synctest.Test(t, func(t *testing.T) {
			info, _, data, p := small()
			var left atomic.Int64
			s := over(t, p, &left, func(b *byte) bool { *b ^= 1 << (n % 8); return true })
			d := &Download{Stream: "tv", Digest: info.Digest, Bytes: info.Bytes}
			left.Store(n)
			err := d.Run(t.Context(), s)
			switch whole = err == nil && left.Load() > 0; {
			case err == nil && !slices.Equal(d.Data, data):
				t.Errorf("byte %d flipped: other bytes were taken", n)
			case errors.Is(err, errs.ErrCorrupt):
				refused++
				if len(d.Data) > 0 {
					t.Errorf("byte %d flipped: what was refused is kept", n)
				}
			}
			left.Store(0)
			if err != nil {
				if err := d.Run(t.Context(), over(t, p, &left, nil)); err != nil {
					t.Errorf("byte %d flipped: then %v", n, err)
				}
				if segment.Sum(d.Data) != info.Digest {
					t.Errorf("byte %d flipped: then %d bytes of another digest", n, len(d.Data))
				}
			}
		})
		if t.Failed() {
			return
		}
		if whole {
			break
		}
		flips++
	}
	t.Logf("%d bytes flipped, %d times the copy was refused as damaged", flips, refused)
	if flips < 900 || refused < 500 {
		t.Error("too few to be every byte of it")
	}
}

// TestGoneWhileItIsSent: fault 43. A peer that drops a segment while it sends it says so, and nothing of it is kept.
func TestGoneWhileItIsSent(t *testing.T) {
	info, head, data, p := small()
	p.fetch = func(_ *m4fv1.FetchRequest, out func(*m4fv1.FetchResponse) error) error {
		if err := out(&m4fv1.FetchResponse{Head: head}); err != nil {
			return err
		}
		if err := out(&m4fv1.FetchResponse{Data: data[:100]}); err != nil {
			return err
		}
		return out(&m4fv1.FetchResponse{NotHeld: "EXPIRED"})
	}
	d := &Download{Stream: "tv", Digest: info.Digest, Bytes: info.Bytes}
	if err := d.Run(t.Context(), connected(t, p)); !errors.Is(err, errs.ErrExpired) {
		t.Errorf("got %v, want %v", err, errs.ErrExpired)
	}
}
