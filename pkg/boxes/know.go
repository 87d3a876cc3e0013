package boxes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/pkg/rpcerr"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// What boxes said counts for freshFor, and for staleFor while they are asked anew.
const (
	freshFor = 5 * time.Second
	staleFor = time.Minute
)

// knowledge is what the boxes of a site said last.
type knowledge struct {
	at      time.Duration // monotonic
	servers []string      // the site's own first
	said    map[string][]*dvrv1.StreamSummary
	away    map[string]error // why a server did not answer; what it said before stays
}

// holder is a box that has something of a stream.
type holder struct {
	server string
	away   error
}

// of gives who has something of a stream.
func (k *knowledge) of(stream string) []holder {
	var out []holder
	for _, server := range k.servers {
		for _, s := range k.said[server] {
			if s.GetStream() == stream && s.GetSegments() > 0 {
				out = append(out, holder{server, k.away[server]})
			}
		}
	}
	return out
}

// knowledge gives what is known, and asks first where that is too old, or too little for a stream.
func (r *Router) knowledge(ctx context.Context, stream string) *knowledge {
	servers := append([]string{""}, r.servers()...)
	_, configured := r.server(stream)
	r.mu.Lock()
	k := r.known
	r.mu.Unlock()
	if k != nil && slices.Equal(k.servers, servers) {
		age := r.o.Clock.Mono() - k.at
		if age < freshFor {
			return k
		}
		if age < staleFor && (configured || len(k.of(stream)) > 0) {
			r.ask(ctx, servers)
			return k
		}
	}
	select {
	case <-r.ask(ctx, servers):
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		return &knowledge{}
	}
	return r.known
}

// ask has all boxes asked what they have, unless that is being done. The channel is closed when they were.
func (r *Router) ask(ctx context.Context, servers []string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asking != nil {
		return r.asking
	}
	done := make(chan struct{})
	r.asking = done
	go func() {
		k := r.survey(context.WithoutCancel(ctx), servers)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.learn(k)
		r.asking = nil
		close(done)
	}()
	return done
}

// survey asks each server for its streams.
func (r *Router) survey(ctx context.Context, servers []string) *knowledge {
	k := &knowledge{servers: servers, said: map[string][]*dvrv1.StreamSummary{}, away: map[string]error{}}
	var mu sync.Mutex // protects k
	var wait sync.WaitGroup
	for _, server := range servers {
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, otherWithin)
			defer cancel()
			var m *dvrv1.ListStreamsResponse
			c, err := r.box(server)
			if err == nil {
				m, err = dvrv1.NewIndexServiceClient(c).ListStreams(ctx, &dvrv1.ListStreamsRequest{})
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				k.away[server] = rpcerr.FromStatus(err)
				return
			}
			k.said[server] = m.GetStreams()
		})
	}
	wait.Wait()
	k.at = r.o.Clock.Mono()
	return k
}

// learn takes what the boxes said, keeps what those that are away said before, and logs what has changed. r.mu is held.
func (r *Router) learn(k *knowledge) {
	before := r.known
	if before == nil {
		before = &knowledge{}
	}
	for server, err := range k.away {
		k.said[server] = before.said[server]
		if before.away[server] == nil {
			r.o.Logger.Warn("dvrsvc does not answer: what it has is not shown", "server", called(server), "error", err)
		}
	}
	for server := range before.away {
		if k.away[server] == nil && slices.Contains(k.servers, server) {
			r.o.Logger.Info("dvrsvc answers again", "server", called(server))
		}
	}
	r.known = k
	was := r.strays(before)
	for at, s := range r.strays(k) {
		if _, told := was[at]; !told {
			r.o.Logger.Warn("stream has an archive on another dvrsvc than the one that records it", "stream", at.stream,
				"server", called(at.server), "segments", s.GetSegments(), "last", s.GetLast().AsTime())
		}
	}
}

// failed takes note of a box that did not answer, so that it is not waited for again until it does.
func (r *Router) failed(box string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		return
	}
	for _, server := range r.known.servers {
		if called(server) != box || r.known.away[server] != nil {
			continue
		}
		k := *r.known
		k.away = maps.Clone(k.away)
		k.away[server] = err
		r.o.Logger.Warn("dvrsvc does not answer: what it has is not shown", "server", box, "error", err)
		r.known = &k
	}
}

type place struct{ stream, server string }

// strays is what boxes have of streams that the config has elsewhere.
func (r *Router) strays(k *knowledge) map[place]*dvrv1.StreamSummary {
	out := map[place]*dvrv1.StreamSummary{}
	for server, list := range k.said {
		for _, s := range list {
			if at, ok := r.server(s.GetStream()); ok && at != server && s.GetSegments() > 0 {
				out[place{s.GetStream(), server}] = s
			}
		}
	}
	return out
}

// listStreams asks every box. Of a stream that more than one knows, the box that records it has the word on all but the
// archive, which is that of all. A box that is away leaves its streams with that as their problem.
func (r *Router) listStreams(ctx context.Context, reply *dvrv1.ListStreamsResponse) error {
	servers := append([]string{""}, r.servers()...)
	k := r.survey(ctx, servers)
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	r.learn(k)
	r.mu.Unlock()
	if len(k.away) == len(servers) {
		return errors.Join(slices.Collect(maps.Values(k.away))...)
	}
	by := map[string]*dvrv1.StreamSummary{}
	for _, name := range k.names(r) {
		by[name] = r.summary(k, name)
	}
	out := &dvrv1.ListStreamsResponse{}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		out.Streams = append(out.Streams, by[name])
	}
	proto.Reset(reply)
	proto.Merge(reply, out)
	return nil
}

// names gives every stream that a box has or the config names.
func (k *knowledge) names(r *Router) []string {
	var out []string
	for _, list := range k.said {
		for _, s := range list {
			out = append(out, s.GetStream())
		}
	}
	if c := r.o.Config(); c != nil {
		for _, s := range c.Streams {
			if s.DVR.Path != "" {
				out = append(out, s.Name)
			}
		}
	}
	return out
}

// summary is a stream in a line, out of what the boxes said of it.
func (r *Router) summary(k *knowledge, name string) *dvrv1.StreamSummary {
	server, configured := r.server(name)
	out := &dvrv1.StreamSummary{Stream: name}
	var parts []*dvrv1.StreamSummary
	var problems []string
	for _, at := range k.servers {
		i := slices.IndexFunc(k.said[at], func(s *dvrv1.StreamSummary) bool { return s.GetStream() == name })
		recorded := configured && at == server
		switch err := k.away[at]; {
		case err != nil && (recorded || i >= 0 && k.said[at][i].GetSegments() > 0):
			if recorded {
				out.Configured = true
			}
			problems = append(problems, fmt.Sprintf("dvrsvc %s: %v", called(at), err))
		case err == nil && recorded && i < 0:
			out.Configured = true
			problems = append(problems, fmt.Sprintf("dvrsvc %s does not record it; its DVR_BOX has to name the storage", called(at)))
		case err != nil || i < 0:
		case recorded:
			m := k.said[at][i]
			out = m
			if m.GetProblem() != "" {
				problems = append(problems, m.GetProblem())
			}
			parts = append(parts, m)
		default:
			parts = append(parts, k.said[at][i])
			if configured && k.said[at][i].GetSegments() > 0 {
				problems = append(problems, fmt.Sprintf("part of its archive is on dvrsvc %s, which does not record it", called(at)))
			}
		}
	}
	return Sum(out, parts, problems)
}

// Sum adds up what several boxes have of a stream, over what is said of it by the one that records it.
func Sum(out *dvrv1.StreamSummary, parts []*dvrv1.StreamSummary, problems []string) *dvrv1.StreamSummary {
	out = proto.CloneOf(out)
	out.First, out.Last, out.Segments, out.Bytes, out.Quarantined, out.Problem = nil, nil, 0, 0, 0, ""
	for _, p := range parts {
		if p.GetFirst() != nil && (out.First == nil || p.GetFirst().AsTime().Before(out.GetFirst().AsTime())) {
			out.First = p.GetFirst()
		}
		if p.GetLast() != nil && (out.Last == nil || p.GetLast().AsTime().After(out.GetLast().AsTime())) {
			out.Last = p.GetLast()
		}
		out.Segments += p.GetSegments()
		out.Bytes += p.GetBytes()
		out.Quarantined += p.GetQuarantined()
		out.Locks = max(out.GetLocks(), p.GetLocks()) // the same lock is on each
	}
	for _, p := range problems {
		out.Problem = cmp.Or(out.Problem, p)
		if out.Problem != p {
			out.Problem += "; " + p
		}
	}
	return out
}
