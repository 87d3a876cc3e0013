package peer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

const (
	// askEvery is how often a source is asked what it has; most answers say that nothing has changed.
	askEvery = 5 * time.Second
	// maxToldLeftOut bounds the names that are told of what is left out.
	maxToldLeftOut = 20
)

// Source is a peer of which every stream is taken: it is asked what it has, and the gateway is told.
type Source struct {
	Addr string // HOST:PORT, as the config names it
	Peer *m4fclient.Peer
	set  *Set
	to   target
	stop context.CancelFunc

	mu      sync.Mutex // protects the fields below
	node    string     // of which offered is
	version []byte     // of offered
	offered []streamconf.Found
	leftOut []string
	problem error
	asked   time.Time
}

// SourceStatus is how it stands with a source.
type SourceStatus struct {
	Streams    []string // that are streams here
	NamedAlike []string // that are not, since another stream has their name
	LeftOut    []string // that are not, since they cannot be or are too many; the first ones
	Problem    error
	Asked      time.Time
}

// Sources are all sources, by address.
func (s *Set) Sources() (out []*Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.sources {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b *Source) int { return strings.Compare(a.Addr, b.Addr) })
	return out
}

// Offered are the streams of this node for peers that take all of it, by name; false: not known yet.
func (s *Set) Offered() ([]streamconf.Found, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.configured {
		return nil, false
	}
	var out []streamconf.Found
	for _, st := range s.conf.Streams {
		if !st.DVR.Pull {
			out = append(out, streamconf.Found{Name: st.Name, Via: st.Via})
		}
	}
	slices.SortFunc(out, func(a, b streamconf.Found) int { return strings.Compare(a.Name, b.Name) })
	return out, true
}

// applySources makes the sources what the config says. s.mu is held.
func (s *Set) applySources(ctx context.Context) {
	wanted := map[target]bool{}
	for _, src := range s.conf.Sources {
		to := targetOf(src.M4F, src.DVR.ReplicationPort)
		if wanted[to] = true; s.sources[to] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		x := &Source{Addr: src.Addr(), Peer: s.connect(ctx, to), set: s, to: to, stop: cancel}
		s.sources[to] = x
		s.wg.Go(func() { x.run(ctx) })
	}
	for to, x := range s.sources {
		if !wanted[to] {
			delete(s.sources, to)
			s.endSource(to, x)
		}
	}
}

// endSource ends a source. s.mu is held.
func (s *Set) endSource(to target, x *Source) {
	x.stop()
	s.disconnect(to)
}

// Status is how it stands.
func (x *Source) Status() SourceStatus {
	x.set.mu.Lock()
	conf := x.set.conf
	x.set.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	st := SourceStatus{LeftOut: slices.Clone(x.leftOut), Problem: x.problem, Asked: x.asked}
	var over []string
	st.Streams, st.NamedAlike, over = conf.Taken(x.Addr)
	st.LeftOut = append(st.LeftOut, over...)
	st.LeftOut = st.LeftOut[:min(len(st.LeftOut), maxToldLeftOut)]
	return st
}

func (x *Source) run(ctx context.Context) {
	t := x.set.cfg.Clock.NewTicker(askEvery)
	defer t.Stop()
	last := ""
	for {
		session, err := x.Peer.Session(ctx)
		if err != nil {
			return
		}
		err = x.ask(ctx, session)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != last {
			x.set.cfg.Log.Warn("streams of a source are not known", "source", x.Addr, "err", err)
			last = err.Error()
		}
		x.mu.Lock()
		x.problem = err
		x.mu.Unlock()
		select {
		case <-t.C():
		case <-ctx.Done():
			return
		}
	}
}

// errOld is why a peer of an earlier version can be no source.
var errOld = errors.New("the peer is of a version that does not say which streams it has")

// ask asks once, and tells the gateway what is not in the config yet.
func (x *Source) ask(ctx context.Context, session *m4fclient.Session) error {
	ctx, cancel := context.WithTimeout(ctx, 2*askEvery)
	defer cancel()
	x.mu.Lock()
	version := x.version
	if x.node != session.Node { // over another one the same streams have come another way
		version = nil
	}
	x.mu.Unlock()
	o, unchanged, err := session.Streams(ctx, version)
	switch {
	case status.Code(err) == codes.Unimplemented:
		return errOld
	case err != nil:
		return err
	}
	x.mu.Lock()
	x.asked = x.set.cfg.Clock.Now()
	if !unchanged {
		x.node, x.version = session.Node, o.Version
		x.offered, x.leftOut = choose(o.Streams, x.set.cfg.Node)
	}
	offered := x.offered
	x.mu.Unlock()
	x.set.mu.Lock()
	src, ok := x.set.conf.Source(x.Addr)
	x.set.mu.Unlock()
	if !ok || slices.EqualFunc(src.Found, offered, streamconf.Found.Equal) {
		return nil
	}
	return x.set.cfg.Report(ctx, x.Addr, offered)
}

// choose gives what can be taken of what a peer has, by name, and the names of what cannot. What comes over this node is neither:
// two nodes that take everything from each other would keep for ever what neither has.
func choose(all []streamconf.Found, node string) (take []streamconf.Found, leftOut []string) {
	seen := map[string]bool{}
	for _, f := range all {
		switch {
		case slices.Contains(f.Via, node) || seen[f.Name]:
			continue
		case streamconf.CheckFound(f) != nil || len(take) == streamconf.MaxFound:
			if len(leftOut) < maxToldLeftOut {
				leftOut = append(leftOut, f.Name[:min(len(f.Name), 80)])
			}
			continue
		}
		seen[f.Name] = true
		take = append(take, f)
	}
	slices.SortFunc(take, func(a, b streamconf.Found) int { return strings.Compare(a.Name, b.Name) })
	return take, leftOut
}
