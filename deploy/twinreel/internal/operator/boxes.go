package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/twinreel/twinreel/pkg/boxes"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// listed is what one dvrsvc says of its streams.
type listed struct {
	part    *part
	streams []*dvrv1.StreamSummary
	err     error
}

// of gives a stream of it, or nil.
func (l *listed) of(stream string) *dvrv1.StreamSummary {
	for _, s := range l.streams {
		if s.GetStream() == stream {
			return s
		}
	}
	return nil
}

// list asks every dvrsvc for its streams; an error when there is none.
func (s *Site) list(ctx context.Context) ([]listed, error) {
	parts, err := s.all(ctx, index)
	if err != nil {
		return nil, err
	}
	out := make([]listed, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, lookTimeout)
			defer cancel()
			m, err := dvrv1.NewIndexServiceClient(p.conn).ListStreams(ctx, &dvrv1.ListStreamsRequest{})
			out[i] = listed{p, m.GetStreams(), p.asked("list streams", err)}
		})
	}
	wg.Wait()
	return out, nil
}

// holders are the dvrsvc that have something of a stream, the one that records it first.
type holders struct {
	parts   []*part
	missing []string // what else may have something, and why it is not known
}

// holders finds who is to be asked of a stream, among those that have a service. Where nobody has the stream, any of them
// says so.
func (s *Site) holders(ctx context.Context, service, stream string) (*holders, error) {
	parts, err := s.all(ctx, service)
	if err != nil {
		return nil, err
	}
	h := &holders{}
	for _, p := range s.parts {
		if p.err != nil {
			h.missing = append(h.missing, p.err.Error())
		}
	}
	if len(parts) == 1 {
		h.parts = parts
		return h, nil
	}
	all, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	var others []*part
	for _, l := range all {
		st := l.of(stream)
		switch {
		case l.err != nil:
			h.missing = append(h.missing, l.err.Error())
		case st.GetConfigured():
			h.parts = append(h.parts, l.part)
		case st.GetSegments() > 0:
			others = append(others, l.part)
		}
	}
	if h.parts = append(h.parts, others...); len(h.parts) == 0 {
		h.parts = parts[:1]
	}
	return h, nil
}

// one is all of them as if they were one; who is left out of a list is missing.
func (h *holders) one() *part {
	if len(h.parts) == 1 {
		return h.parts[0]
	}
	var list []boxes.Box
	var addrs []string
	for _, p := range h.parts {
		list, addrs = append(list, boxes.Box{Name: p.addr, Conn: p.conn}), append(addrs, p.addr)
	}
	return &part{addr: strings.Join(addrs, ", "), conn: boxes.GatherTelling(func(box string, err error) {
		h.missing = append(h.missing, (&part{addr: box}).asked("list segments", err).Error())
	}, list...)}
}

// incomplete says what the answer lacks; it is no difference, as it may be none.
func (h *holders) incomplete() error {
	if len(h.missing) == 0 {
		return nil
	}
	return errors.New(strings.Join(h.missing, "; "))
}

// merge makes one list of streams out of those of several dvrsvc, and adds what the config has and nobody knows.
func (o *overview) merge(all []listed) {
	names := map[string]bool{}
	for _, l := range all {
		for _, s := range l.streams {
			names[s.GetStream()] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		o.streams = append(o.streams, o.stream(all, name))
	}
	for _, c := range o.config.GetStreams() {
		if c.GetDvr().GetPath() == "" || names[c.GetName()] {
			continue
		}
		problem := "no dvrsvc that was asked records it"
		if at := c.GetDvr().GetServer(); at != "" {
			problem += "; it belongs to " + at
		}
		o.streams = append(o.streams, &dvrv1.StreamSummary{Stream: c.GetName(), Configured: true, Problem: problem})
	}
	slices.SortStableFunc(o.streams, func(a, b *dvrv1.StreamSummary) int { return cmp.Compare(a.GetStream(), b.GetStream()) })
}

// stream is one of them, out of what each says of it.
func (o *overview) stream(all []listed, name string) *dvrv1.StreamSummary {
	var parts []*dvrv1.StreamSummary
	var recorded, kept, problems []string
	out := &dvrv1.StreamSummary{Stream: name}
	for i := range all {
		s, addr := all[i].of(name), all[i].part.addr
		if s == nil {
			continue
		}
		parts = append(parts, s)
		switch {
		case s.GetConfigured():
			if len(recorded) == 0 {
				out = s
			}
			recorded = append(recorded, addr)
			if p := s.GetProblem(); p != "" {
				problems = append(problems, p)
			}
		case s.GetSegments() > 0:
			kept = append(kept, addr)
		}
	}
	if len(all) > 1 {
		o.at[name] = slices.Concat(recorded, kept)
	}
	if len(parts) == 1 {
		return parts[0]
	}
	if len(recorded) > 1 {
		problems = append(problems, "it is recorded by "+strings.Join(recorded, " and by "))
	}
	for _, addr := range kept {
		if len(recorded) > 0 {
			problems = append(problems, fmt.Sprintf("part of its archive is at %s, which does not record it", addr))
		}
	}
	return boxes.Sum(out, parts, problems)
}
