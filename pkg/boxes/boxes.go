// Package boxes finds the dvrsvc of a stream where a site has several: the stream config says which server has it.
//
// A [Router] is a connection to all of them at once, so whoever talks to dvrsvc need not know that there is more than one.
//
//   - What records goes to the box that the config names; so does all that speaks of timeline rows, slots and block digests
//     (they are of one store), and the live tail.
//   - What reads the archive (GetRanges, FindGaps, ListSegments, ListEvents, Locate, ReadSegment, ReadInit) is answered from every box
//     that has something of the stream: after dvr @A became dvr @B, or after the stream left the config, what A has is
//     still found. The box that records has the word where two have the same moment ([Gather]).
//   - ListStreams is asked of all, and says of a stream what of it is elsewhere, and who does not answer.
//
// Invariants:
//
//	I1  With one dvrsvc a call goes straight to it.
//	I2  A box is asked for what it has, as its ListStreams said at most a minute ago: a stream that is on one box alone costs
//	    one call. What it said counts while it is away.
//	I3  A box that is away holds nobody up for longer than a few seconds, once; the one that records a stream, which is asked
//	    all the same, what is listed of that stream for two seconds each time, and no segment that another one has. It is told
//	    in the log, by ListStreams, and by GetRanges and FindGaps of the streams of which it has something; and what no other
//	    has of these is an error, as it may have that.
//
// A Router is safe for concurrent use. Moving an archive from one box to another is not its business.
package boxes

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// Options of New.
type Options struct {
	Own    grpc.ClientConnInterface  // for streams that name no server
	Conns  *grpcx.Conns              // to the others
	Config func() *streamconf.Config // in force at each call; nil: none yet
	Clock  clock.Clock               // nil: that of the machine
	Logger *slog.Logger              // nil: none
}

// Router is a connection to every dvrsvc of a site.
type Router struct {
	o Options

	mu     sync.Mutex // protects the fields below
	boxes  map[string]grpc.ClientConnInterface
	known  *knowledge // nil: nobody was asked yet
	asking chan struct{}
}

var _ grpc.ClientConnInterface = (*Router)(nil)

// New routes by what the config gives at each call.
func New(o Options) *Router {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Router{o: o, boxes: map[string]grpc.ClientConnInterface{}}
}

// box gives the connection to a server; empty: the site's own.
func (r *Router) box(server string) (grpc.ClientConnInterface, error) {
	if server == "" {
		return r.o.Own, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.boxes[server]; c != nil {
		return c, nil
	}
	c, err := r.o.Conns.To(server, nil, true)
	if err != nil {
		return nil, fmt.Errorf("reach dvrsvc %s: %w", server, err)
	}
	r.boxes[server] = c
	return c, nil
}

// called is a server for people.
func called(server string) string { return cmp.Or(server, "of this site") }

// stream gives the name in a message.
func stream(message any) string {
	switch m := message.(type) {
	case *dvrv1.RecordRequest:
		return m.GetHello().GetStream()
	case interface{ GetStream() string }:
		return m.GetStream()
	}
	return ""
}

// server gives the box that records a stream; false: the config does not have it.
func (r *Router) server(stream string) (string, bool) {
	if c := r.o.Config(); c != nil {
		if s, ok := c.Stream(stream); ok {
			return s.DVR.Server, true
		}
	}
	return "", false
}

// of gives the connection for a call whose first message it is told.
func (r *Router) of(ctx context.Context, method string, message any) (grpc.ClientConnInterface, error) {
	name := stream(message)
	server, configured := r.server(name)
	if !configured && !records(method) || gathers(method) {
		return r.holders(ctx, name)
	}
	return r.box(server)
}

// records reports whether a method brings something.
func records(method string) bool {
	return method == dvrv1.RecordingService_Record_FullMethodName || method == dvrv1.RecordingService_BindTimeline_FullMethodName
}

// Invoke implements grpc.ClientConnInterface.
func (r *Router) Invoke(ctx context.Context, method string, req, reply any, opts ...grpc.CallOption) error {
	if !r.several() {
		return r.o.Own.Invoke(ctx, method, req, reply, opts...)
	}
	if list, ok := reply.(*dvrv1.ListStreamsResponse); ok {
		return r.listStreams(ctx, list)
	}
	c, err := r.of(ctx, method, req)
	if err != nil {
		return err
	}
	return c.Invoke(ctx, method, req, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (r *Router) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if !r.several() {
		return r.o.Own.NewStream(ctx, desc, method, opts...)
	}
	return grpcx.Deferred(ctx, func(first any) (grpc.ClientStream, error) {
		c, err := r.of(ctx, method, first)
		if err != nil {
			return nil, err
		}
		return c.NewStream(ctx, desc, method, opts...)
	}), nil
}

// several reports whether the site has more than its own dvrsvc.
func (r *Router) several() bool { return len(r.servers()) > 0 }

// servers gives the servers of the config, without the site's own. A storage that no stream names any more counts.
func (r *Router) servers() []string {
	all := map[string]bool{}
	if c := r.o.Config(); c != nil {
		for _, s := range c.Storages {
			all[s.Server] = true
		}
		for _, s := range c.Streams {
			all[s.DVR.Server] = true
		}
	}
	delete(all, "")
	return slices.Sorted(maps.Keys(all))
}

// Others reads what boxes have of a stream that another one records; nil: nothing, or none of them answers.
func (r *Router) Others(ctx context.Context, stream string) grpc.ClientConnInterface {
	server, configured := r.server(stream)
	if !r.several() || !configured {
		return nil
	}
	g := &gathered{failed: r.failed}
	for _, h := range r.knowledge(ctx, stream).of(stream) {
		if h.server == server || h.away != nil {
			continue
		}
		if c, err := r.box(h.server); err == nil {
			g.list = append(g.list, Box{Name: called(h.server), Conn: c})
		}
	}
	if len(g.list) == 0 {
		return nil
	}
	return g
}

// holders gives what reads the archive of a stream: the box that records it first, then those that have something of it.
func (r *Router) holders(ctx context.Context, stream string) (grpc.ClientConnInterface, error) {
	g := &gathered{failed: r.failed}
	add := func(server string) error {
		c, err := r.box(server)
		if err == nil {
			g.list = append(g.list, Box{Name: called(server), Conn: c})
		}
		return err
	}
	server, configured := r.server(stream)
	k := r.knowledge(ctx, stream)
	if configured {
		if err := add(server); err != nil {
			return nil, err
		}
		g.list[0].away = k.away[server] != nil
	}
	for _, h := range k.of(stream) {
		switch {
		case configured && h.server == server:
		case h.away != nil:
			g.missing = append(g.missing, fmt.Sprintf("dvrsvc %s: %v", called(h.server), h.away))
		default:
			if err := add(h.server); err != nil {
				return nil, err
			}
		}
	}
	if len(g.list) == 0 { // it is unknown, or all that has it is away
		if len(g.missing) > 0 {
			return nil, fmt.Errorf("%w: %s", errs.ErrNotReady, g.missing[0])
		}
		if err := add(server); err != nil {
			return nil, err
		}
	}
	if len(g.list) == 1 && len(g.missing) == 0 {
		return g.list[0].Conn, nil
	}
	return g, nil
}
