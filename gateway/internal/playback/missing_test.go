package playback_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/gateway/internal/playback"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/timeline"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// peers is a replsvc whose peers have what this site lacks.
type peers struct {
	replv1.UnimplementedReplicationServiceServer
	asked []*replv1.FetchRequest
	bring func() error
}

func (p *peers) Fetch(_ context.Context, req *replv1.FetchRequest) (*replv1.FetchResponse, error) {
	p.asked = append(p.asked, req)
	return &replv1.FetchResponse{}, p.bring()
}

// TestMissingIsBrought: who plays a window with a gap, or with a damaged segment, gets what other sites have of it, and waits once;
// a window that is whole, and live, ask for nothing.
func TestMissingIsBrought(t *testing.T) {
	place := func(cell int, damaged bool) archivetest.Place {
		from := timeline.Ticks(cell) * timeline.CellTicks
		return archivetest.Place{Row: 1, Start: timeline.Wrap + from, Length: timeline.CellTicks, UTC: at(from), Damaged: damaged}
	}
	for _, c := range []struct {
		name    string
		here    []archivetest.Place
		window  string
		fails   bool
		asked   int
		missing int // after that
	}{
		{"a gap", []archivetest.Place{place(0, false), place(1, false), place(3, false)}, "archive-%FROM-20", false, 1, 0},
		{"a gap, and nobody answers", []archivetest.Place{place(0, false), place(1, false), place(3, false)}, "archive-%FROM-20", true, 1, 1},
		{"its beginning", []archivetest.Place{place(1, false), place(2, false), place(3, false)}, "archive-%FROM-20", false, 1, 0},
		{"a damaged one", []archivetest.Place{place(0, false), place(1, true), place(2, false), place(3, false)}, "archive-%FROM-20", false, 1, 0},
		{"it is whole", []archivetest.Place{place(0, false), place(1, false), place(2, false), place(3, false)}, "archive-%FROM-20", false, 0, 0},
		{"live", []archivetest.Place{place(0, false), place(1, false), place(3, false)}, "index", false, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := &archivetest.Server{Name: "s"}
			for _, p := range c.here {
				srv.Add(p)
			}
			p := &peers{bring: func() error {
				if c.fails {
					return errs.ErrNotReady
				}
				srv.Copies = nil
				for cell := range 4 {
					srv.Add(place(cell, false))
				}
				return nil
			}}
			conn := srv.Dial(t, func(r grpc.ServiceRegistrar) { replv1.RegisterReplicationServiceServer(r, p) })
			now := at(4 * timeline.CellTicks)
			if c.window != "index" {
				now = at(100 * timeline.CellTicks)
			}
			h := httptest.NewServer(playback.New(conn, conn, fixed{now: now}, slog.New(slog.DiscardHandler)))
			t.Cleanup(h.Close)
			window := strings.ReplaceAll(c.window, "%FROM", strconv.FormatInt(at(0).Unix(), 10))
			for range 2 {
				list := string(get(t, h.URL+"/s/"+window+"/256.m3u8", 200))
				if got := strings.Count(list, "#EXT-X-GAP"); got != c.missing {
					t.Errorf("%d gaps, want %d:\n%s", got, c.missing, list)
				}
			}
			if len(p.asked) != c.asked {
				t.Fatalf("asked for %d times, want %d", len(p.asked), c.asked)
			}
			for _, req := range p.asked {
				if from := req.GetFrom().AsTime(); !from.Equal(at(0)) || req.GetTo().AsTime().Sub(from).Seconds() != 20 || req.GetStream() != "s" {
					t.Errorf("asked for %v", req)
				}
			}
		})
	}
}

// parted is a dvrsvc of several, of which that with the old archive of the stream is away.
type parted struct {
	grpc.ClientConnInterface
	brought bool // the window is on another one
}

func (p *parted) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if !p.brought {
		return nil, errs.ErrNotReady
	}
	return p.ClientConnInterface.NewStream(ctx, desc, method, opts...)
}

// TestMissingOfADVRThatIsAway: where that does not answer which may have a window, peers are asked as where nobody has it.
func TestMissingOfADVRThatIsAway(t *testing.T) {
	for _, kind := range []string{".m3u8", "/256.m3u8", ".mp4"} {
		srv := &archivetest.Server{Name: "s"}
		srv.Add(archivetest.Place{Row: 1, Start: timeline.Wrap, Length: timeline.CellTicks, UTC: at(0)})
		dvr := &parted{ClientConnInterface: srv.Dial(t)}
		p := &peers{bring: func() error { dvr.brought = true; return nil }}
		repl := srv.Dial(t, func(r grpc.ServiceRegistrar) { replv1.RegisterReplicationServiceServer(r, p) })
		h := httptest.NewServer(playback.New(dvr, repl, fixed{now: at(100 * timeline.CellTicks)}, slog.New(slog.DiscardHandler)))
		get(t, h.URL+"/s/archive-"+strconv.FormatInt(at(0).Unix(), 10)+"-5"+kind, 200)
		dvr.brought = false
		get(t, h.URL+"/s/archive-"+strconv.FormatInt(at(0).Unix(), 10)+"-5"+kind, 503)
		h.Close()
	}
}
