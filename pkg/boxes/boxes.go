// Package boxes finds the dvrsvc of a stream where a site has several: the stream config says which server has it.
//
// A [Router] is a connection to all of them at once. Each call goes to the box of the stream that its first message
// names, so whoever talks to dvrsvc need not know that there is more than one; the list of streams is asked of all.
//
// It keeps no state but connections, and is safe for concurrent use. What a box has of a stream that is configured
// elsewhere by now, it still shows; moving an archive from one box to another is not its business.
package boxes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/streamconf"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// Router is a connection to every dvrsvc of a site.
type Router struct {
	own    grpc.ClientConnInterface // for streams that name no server
	conns  *grpcx.Conns
	config func() *streamconf.Config // in force; nil: none yet

	mu    sync.Mutex // protects the field below
	boxes map[string]grpc.ClientConnInterface
}

var _ grpc.ClientConnInterface = (*Router)(nil)

// New routes by what config gives at each call. own is the dvrsvc of streams that name no server.
func New(own grpc.ClientConnInterface, conns *grpcx.Conns, config func() *streamconf.Config) *Router {
	return &Router{own: own, conns: conns, config: config, boxes: map[string]grpc.ClientConnInterface{}}
}

// box gives the connection to a server; empty: the site's own.
func (r *Router) box(server string) (grpc.ClientConnInterface, error) {
	if server == "" {
		return r.own, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.boxes[server]; c != nil {
		return c, nil
	}
	c, err := r.conns.To(server, nil, true)
	if err != nil {
		return nil, fmt.Errorf("reach dvrsvc %s: %w", server, err)
	}
	r.boxes[server] = c
	return c, nil
}

// of gives the connection for a message: to the box of the stream that it names.
func (r *Router) of(message any) (grpc.ClientConnInterface, error) {
	var name string
	switch m := message.(type) {
	case *dvrv1.RecordRequest:
		name = m.GetHello().GetStream()
	case interface{ GetStream() string }:
		name = m.GetStream()
	}
	return r.box(r.server(name))
}

func (r *Router) server(stream string) string {
	if c := r.config(); c != nil {
		if s, ok := c.Stream(stream); ok {
			return s.DVR.Server
		}
	}
	return ""
}

// Invoke implements grpc.ClientConnInterface.
func (r *Router) Invoke(ctx context.Context, method string, req, reply any, opts ...grpc.CallOption) error {
	if list, ok := reply.(*dvrv1.ListStreamsResponse); ok {
		return r.listStreams(ctx, list, opts...)
	}
	c, err := r.of(req)
	if err != nil {
		return err
	}
	return c.Invoke(ctx, method, req, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (r *Router) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if !r.several() {
		return r.own.NewStream(ctx, desc, method, opts...)
	}
	return grpcx.Deferred(ctx, func(first any) (grpc.ClientStream, error) {
		c, err := r.of(first)
		if err != nil {
			return nil, err
		}
		return c.NewStream(ctx, desc, method, opts...)
	}), nil
}

// several reports whether any stream is on a box of its own.
func (r *Router) several() bool { return len(r.servers()) > 0 }

// servers gives the servers of the config, without the site's own.
func (r *Router) servers() []string {
	all := map[string]bool{}
	if c := r.config(); c != nil {
		for _, s := range c.Streams {
			if s.DVR.Server != "" {
				all[s.DVR.Server] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// listStreams asks every box. Of a stream that more than one knows, the box that records it has the word. A box that is
// away leaves its streams with that as their problem.
func (r *Router) listStreams(ctx context.Context, reply *dvrv1.ListStreamsResponse, opts ...grpc.CallOption) error {
	servers := append([]string{""}, r.servers()...)
	answers, problems := make([]*dvrv1.ListStreamsResponse, len(servers)), make([]error, len(servers))
	var wait sync.WaitGroup
	for i, server := range servers {
		wait.Go(func() {
			c, err := r.box(server)
			if err == nil {
				answers[i], err = dvrv1.NewIndexServiceClient(c).ListStreams(ctx, &dvrv1.ListStreamsRequest{}, opts...)
			}
			problems[i] = err
		})
	}
	wait.Wait()
	if len(servers) == 1 || !slices.Contains(problems, nil) {
		if err := errors.Join(problems...); err != nil {
			return rpcerr.FromStatus(problems[0])
		}
	}
	by := map[string]*dvrv1.StreamSummary{}
	for i, server := range servers {
		for _, s := range answers[i].GetStreams() {
			if by[s.GetStream()] == nil || r.server(s.GetStream()) == server {
				by[s.GetStream()] = s
			}
		}
	}
	if c := r.config(); c != nil {
		for _, s := range c.Streams {
			if i := slices.Index(servers, s.DVR.Server); i >= 0 && problems[i] != nil {
				by[s.Name] = &dvrv1.StreamSummary{Stream: s.Name, Configured: true, Problem: fmt.Sprintf(
					"dvrsvc %s: %v", cmp.Or(s.DVR.Server, "of this site"), rpcerr.FromStatus(problems[i]))}
			}
		}
	}
	out := &dvrv1.ListStreamsResponse{}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		out.Streams = append(out.Streams, by[name])
	}
	proto.Reset(reply)
	proto.Merge(reply, out)
	return nil
}
