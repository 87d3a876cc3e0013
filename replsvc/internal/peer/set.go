package peer

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/live"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
	"github.com/twinreel/twinreel/replsvc/internal/reconcile"
	"github.com/twinreel/twinreel/replsvc/internal/transfer"
)

const (
	// lookEvery is how often dvrsvc is asked whether its inputs are silent; storeSoon, which store it has while that is
	// not known.
	lookEvery = time.Second
	storeSoon = 100 * time.Millisecond
	// lookWithin is how long that may take: longer than the router waits for a dvrsvc that hangs.
	lookWithin = 5 * time.Second
	// rottenAgain is how long what is shut away waits for another look at first: one copy may have come back and another
	// one gone since. It doubles up to rottenRarely.
	rottenAgain  = 5 * time.Second
	rottenRarely = 10 * time.Minute
	// liveWindow is how far behind a peer's head the live edge can reach, beyond source_timeout.
	liveWindow = 30 * time.Second
)

// Config is what a Set needs.
type Config struct {
	Node        string
	Packaging   []byte
	Key         auth.Key    // where the stream config has none
	KeyWithheld func() bool // whether the stream config has one that is not known here; nil: no
	DVR         grpc.ClientConnInterface
	// Others reads what other dvrsvc of the site have of a stream; nil, or gives nil: nothing.
	Others func(ctx context.Context, stream string) grpc.ClientConnInterface
	Dial   func(addr string, tls bool) (m4fclient.Conn, error)
	// Report says which streams a source has.
	Report func(ctx context.Context, source string, found []streamconf.Found) error
	// Learned is called when there may be something new to plan.
	Learned func()
	// Rotten is called when a stream has copies here that have to be fetched again.
	Rotten func(stream string)
	Clock  clock.Clock
	Log    *slog.Logger
}

// Set is all links of this node.
type Set struct {
	cfg      Config
	local    *inventory.Local
	index    dvrv1.IndexServiceClient
	registry reconcile.Registry
	wg       sync.WaitGroup

	mu         sync.Mutex // protects the fields below
	conf       *streamconf.Config
	configured bool // conf has come
	links      map[name]*Link
	remotes    map[target]*remote
	sources    map[target]*Source
	silent     map[string]bool   // by stream
	rotten     map[string]rotten // by stream
	nobodys    auth.Key
	store      string

	incarnation atomic.Uint64 // of the newest producer
}

// rotten is how many copies of a stream dvrsvc has shut away, when that was last told, and how long it will do.
type rotten struct {
	copies     uint64
	told, wait time.Duration
}

// name names a link: the stream and the URL of the input.
type name struct{ stream, url string }

// remote is a peer that some links share.
type remote struct {
	peer  *m4fclient.Peer
	stop  context.CancelFunc
	users int
}

// target is where a remote is, and how it is reached. Inputs of the same target share its connections.
type target struct {
	addr, archive string // HOST:PORT, the other of the archive
	tls           bool
}

// targetOf is where a link goes; port is that of the archive, 0: the same.
func targetOf(m streamconf.M4F, port uint16) target {
	archive := m
	archive.Port = cmp.Or(port, m.Port)
	return target{m.Addr(), archive.Addr(), m.TLS}
}

// Link is one m4f input of one stream.
type Link struct {
	Stream string
	M4F    streamconf.M4F
	Peer   *m4fclient.Peer
	Relay  *live.Relay
	Recon  *reconcile.Reconciler
	sink   *transfer.Sink
	to     target
	stop   context.CancelFunc
	making chan struct{} // of the stream: see reconcile.Config
	terms  atomic.Pointer[terms]
}

// terms is what the config in force says of a link. All of it may change while the link stays, but for the port of the
// archive and the dvrsvc that records the stream: the one before may be gone, and never end its calls.
type terms struct {
	input streamconf.Input
	dvr   streamconf.DVR
}

// NewSet makes a set; Apply fills it.
func NewSet(cfg Config) *Set {
	return &Set{
		cfg: cfg, local: inventory.NewLocal(cfg.DVR), index: dvrv1.NewIndexServiceClient(cfg.DVR),
		registry: reconcile.NewDVR(cfg.DVR), conf: &streamconf.Config{}, nobodys: auth.NewKey(rand.Text()),
		links: map[name]*Link{}, remotes: map[target]*remote{}, sources: map[target]*Source{}, silent: map[string]bool{},
	}
}

var _ transfer.Sites = (*Set)(nil)

// Key is the cluster key in force. Where there is one that is not known here, it is one that nobody has: no key would let
// in anyone.
func (s *Set) Key() auth.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := auth.NewKey(string(s.conf.ClusterKey)); !k.IsZero() {
		return k
	}
	if s.cfg.Key.IsZero() && s.cfg.KeyWithheld != nil && s.cfg.KeyWithheld() {
		return s.nobodys
	}
	return s.cfg.Key
}

// StoreID is what tells this node from another of its name, raw bytes; empty while it is not known. It is the id of one of
// our stores, and stays for as long as this process runs, whatever becomes of that store: what is known of an archive goes
// by the store that its rows are of.
func (s *Set) StoreID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store
}

// stores reports whether there is a stream, so that there is a store.
func (s *Set) stores() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conf.Streams) > 0
}

// Local is our own archive.
func (s *Set) Local() inventory.Archive { return s.local }

// Registry is where united rows are kept.
func (s *Set) Registry() reconcile.Registry { return s.registry }

// confirmClock tells dvrsvc what a peer's clock shows.
func (s *Set) confirmClock(ctx context.Context, stream string, now time.Time) error {
	_, err := dvrv1.NewMaintenanceServiceClient(s.cfg.DVR).ConfirmClock(ctx, &dvrv1.ConfirmClockRequest{Stream: stream, Now: timestamppb.New(now)})
	if err != nil {
		return fmt.Errorf("confirm the clock for %s: %w", stream, rpcerr.FromStatus(err))
	}
	return nil
}

// Stream is a configured stream.
func (s *Set) Stream(name string) (streamconf.Stream, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conf.Stream(name)
}

// Names are the configured streams.
func (s *Set) Names() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.conf.Streams {
		out = append(out, st.Name)
	}
	return out
}

// Silent reports whether all inputs of a stream stand still.
func (s *Set) Silent(stream string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.silent[stream]
}

// Links are all links, by stream and priority.
func (s *Set) Links() []*Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Link, 0, len(s.links))
	for _, l := range s.links {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b *Link) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.priority(), b.priority()), cmp.Compare(a.URL(), b.URL()))
	})
	return out
}

// URL names the peer of the link.
func (l *Link) URL() string { return l.M4F.String() }

// LiveBehind is by how much the newest media that was heard of over the live connection is behind the peer's clock. false: nothing
// is heard, or its UTC is not known yet.
func (l *Link) LiveBehind() (time.Duration, bool) {
	head, heard := l.Relay.Head()
	known, ok := l.Recon.Known()
	if !heard || !ok {
		return 0, false
	}
	row, ok := known.Theirs[head.Row]
	now, connected := l.Peer.Now()
	if !ok || !connected {
		return 0, false
	}
	return now.Sub(row.UTC(timeline.Unwrap(head.T, row.AtTicks))), true
}

func (l *Link) priority() uint32 { return uint32(l.terms.Load().input.Priority) }

// follow takes what another config says. Of another archive, or of more of it, something else may be missing.
func (l *Link) follow(t terms) {
	if was := l.terms.Swap(&t); was.dvr != t.dvr {
		l.Recon.Changed()
	}
}

// Run watches dvrsvc until ctx ends, then ends all links.
func (s *Set) Run(ctx context.Context) {
	wait := s.cfg.Clock.NewTimer(0)
	defer wait.Stop()
	var lookAt time.Duration
	for {
		select {
		case <-wait.C():
		case <-ctx.Done():
			s.endAll()
			s.wg.Wait()
			return
		}
		if now := s.cfg.Clock.Mono(); now >= lookAt {
			s.look(ctx)
			lookAt = now + lookEvery
		}
		if s.lookStore(ctx); s.StoreID() == "" {
			wait.Reset(storeSoon)
		} else {
			wait.Reset(lookEvery)
		}
	}
}

// look asks which streams are silent, and have copies that are shut away. What is not known is not silent: then the live
// edge is left alone.
func (s *Set) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	m, err := s.index.ListStreams(ctx, &dvrv1.ListStreamsRequest{})
	silent := map[string]bool{}
	if err == nil {
		s.lookRotten(m.GetStreams())
		followed := map[string]bool{}
		for _, l := range s.Links() {
			followed[l.Stream] = true
		}
		for _, st := range m.GetStreams() {
			alive := slices.ContainsFunc(st.GetInputs(), func(in *dvrv1.InputSummary) bool { return in.GetAlive() })
			known := len(st.GetInputs()) > 0 || !followed[st.GetStream()] // else our own would be there: dvrsvc, or its disk, does not answer
			silent[st.GetStream()] = known && !alive
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = silent
}

// lookRotten has the archives of streams compared of which copies have rotted here: no peer tells that.
func (s *Set) lookRotten(streams []*dvrv1.StreamSummary) {
	for _, stream := range s.moreRotten(streams) {
		s.cfg.Rotten(stream)
		for _, l := range s.Links() {
			if l.Stream == stream {
				l.Recon.Changed()
			}
		}
	}
}

// moreRotten gives the streams of which other copies may be shut away than before, or still are after a while.
func (s *Set) moreRotten(streams []*dvrv1.StreamSummary) (out []string) {
	now := s.cfg.Clock.Mono()
	found := map[string]rotten{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range streams {
		n := st.GetQuarantined()
		if n == 0 {
			continue
		}
		is := s.rotten[st.GetStream()]
		switch {
		case is.copies != n:
			is = rotten{n, now, rottenAgain}
			out = append(out, st.GetStream())
		case now-is.told >= is.wait:
			is = rotten{n, now, min(2*is.wait, rottenRarely)}
			out = append(out, st.GetStream())
		}
		found[st.GetStream()] = is
	}
	s.rotten = found
	return out
}

// lookStore asks for a store until one is known: all storages at once, for one that hangs must not hide the others.
func (s *Set) lookStore(ctx context.Context) {
	s.mu.Lock()
	streams, known := s.conf.Streams, s.store != ""
	s.mu.Unlock()
	if known {
		return
	}
	type storage struct{ server, path string }
	var storages []storage
	in := map[storage][]string{}
	for _, st := range streams {
		at := storage{st.DVR.Server, st.DVR.Path}
		if in[at] == nil {
			storages = append(storages, at)
		}
		in[at] = append(in[at], st.Name)
	}
	ctx, found := context.WithTimeout(ctx, lookEvery)
	defer found()
	var wait sync.WaitGroup
	for _, at := range storages {
		wait.Go(func() {
			for _, name := range in[at] {
				if rows, err := s.local.Rows(ctx, name); err == nil {
					s.learnStore(rows.StoreID)
					found()
					return
				}
			}
		})
	}
	wait.Wait()
}

// learnStore takes the first store that is found.
func (s *Set) learnStore(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = cmp.Or(s.store, id)
}

// Apply makes the links what a config says. ctx is that of the service: links live until Apply without them, or its end.
func (s *Set) Apply(ctx context.Context, conf *streamconf.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conf, s.configured = conf, true
	wanted := map[name]terms{}
	for _, st := range conf.Streams {
		for _, in := range st.Inputs {
			if in.Kind == streamconf.KindM4F {
				wanted[name{st.Name, in.URL()}] = terms{in, st.DVR}
			}
		}
	}
	for n, l := range s.links {
		was := l.terms.Load().dvr
		if t, ok := wanted[n]; ok && t.dvr.Server == was.Server && t.dvr.ReplicationPort == was.ReplicationPort {
			l.follow(t)
			continue
		}
		delete(s.links, n)
		s.end(l)
	}
	for n, t := range wanted {
		if s.links[n] == nil {
			s.links[n] = s.start(ctx, n.stream, t)
		}
	}
	s.applySources(ctx)
}

// newIncarnation tells one producer from those before it, of this process and earlier ones: to dvrsvc a link that is begun anew is
// not the one before, and numbers what it brings anew.
func (s *Set) newIncarnation() uint64 {
	for {
		last := s.incarnation.Load()
		next := max(last+1, uint64(s.cfg.Clock.Now().UnixNano())) //nolint:gosec // after 1970
		if s.incarnation.CompareAndSwap(last, next) {
			return next
		}
	}
}

// start begins a link. s.mu is held.
func (s *Set) start(ctx context.Context, stream string, t terms) *Link {
	m, url := t.input.M4F, t.input.URL()
	log := s.cfg.Log.With("stream", stream)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	to := targetOf(m, t.dvr.ReplicationPort)
	l := &Link{Stream: stream, M4F: m, Peer: s.connect(ctx, to), to: to, stop: cancel, making: make(chan struct{}, 1)}
	for _, other := range s.links {
		if other.Stream == stream {
			l.making = other.making
		}
	}
	l.terms.Store(&t)
	l.Recon = reconcile.New(reconcile.Config{
		Stream: stream, PeerStream: m.Stream,
		Replicate: func() bool { return l.terms.Load().dvr.Replicate },
		Retention: func() time.Duration { return l.terms.Load().dvr.Retention },
		Packaging: s.cfg.Packaging, Peer: l.Peer, Local: s.local, Registry: s.registry, Making: l.making, ConfirmClock: s.confirmClock, Learned: s.cfg.Learned, Clock: s.cfg.Clock, Log: log,
	})
	l.Relay = live.New(live.Config{
		Stream: stream, Input: url, Priority: l.priority, PeerStream: m.Stream, Node: s.cfg.Node,
		Incarnation: s.newIncarnation, Packaging: s.cfg.Packaging, Peer: l.Peer, DVR: s.cfg.DVR,
		Binder: l.Recon, Clock: s.cfg.Clock, Log: log,
	})
	l.sink = transfer.NewSink(s.cfg.DVR, stream, url, l.priority, s.newIncarnation(), s.cfg.Packaging, s.cfg.Clock)
	s.wg.Go(func() { l.Relay.Run(ctx) })
	s.wg.Go(func() { l.Recon.Run(ctx) })
	return l
}

// end ends a link. s.mu is held.
func (s *Set) end(l *Link) {
	l.stop()
	l.sink.Close()
	s.disconnect(l.to)
}

// endAll ends all links. What the config says stays: a peer that calls meanwhile finds the streams that were here, and needs the key.
func (s *Set) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, l := range s.links {
		delete(s.links, n)
		s.end(l)
	}
	for to, x := range s.sources {
		delete(s.sources, to)
		s.endSource(to, x)
	}
}

// disconnect gives back what connect gave. s.mu is held.
func (s *Set) disconnect(to target) {
	if r := s.remotes[to]; r != nil {
		if r.users--; r.users == 0 {
			r.stop()
			delete(s.remotes, to)
		}
	}
}

// connect gives the connection to a peer. s.mu is held.
func (s *Set) connect(ctx context.Context, to target) *m4fclient.Peer {
	r := s.remotes[to]
	if r == nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r = &remote{peer: m4fclient.NewPeer(s.clientConfig(to)), stop: cancel}
		s.remotes[to] = r
		s.wg.Go(func() { r.peer.Run(ctx) })
	}
	r.users++
	return r.peer
}

// ClientConfig is how this node calls a peer.
func (s *Set) ClientConfig(m streamconf.M4F) m4fclient.Config { return s.clientConfig(targetOf(m, 0)) }

func (s *Set) clientConfig(to target) m4fclient.Config {
	return m4fclient.Config{
		Addr: to.addr, Archive: to.archive, Node: s.cfg.Node, Key: s.Key, StoreID: s.StoreID, Stores: s.stores,
		Dial: func(addr string) (m4fclient.Conn, error) { return s.cfg.Dial(addr, to.tls) }, Clock: s.cfg.Clock, Log: s.cfg.Log,
	}
}

// Streams implements transfer.Sites.
func (s *Set) Streams() []plan.Stream {
	var out []plan.Stream
	known := map[string][]knowledge{}
	links := s.Links()
	lags := slices.ContainsFunc(links, func(l *Link) bool { return l.Relay.Lags() }) // of any stream: they share the way
	for _, l := range links {
		n, conf := len(out), l.terms.Load()
		if n == 0 || out[n-1].Name != l.Stream {
			out = append(out, plan.Stream{
				Name: l.Stream, Replicate: conf.dvr.Replicate, Retention: conf.dvr.Retention,
				Silent: s.Silent(l.Stream), Paused: lags, LiveWindow: liveWindow + conf.input.SourceTimeout,
				Mine: map[segment.Slot][]inventory.Copy{}, Offered: map[segment.Digest]bool{},
			})
			n++
		}
		out[n-1].LiveWindow = max(out[n-1].LiveWindow, liveWindow+conf.input.SourceTimeout)
		if k, ok := l.Recon.Known(); ok {
			known[l.Stream] = append(known[l.Stream], knowledge{l.URL(), l.Relay.Holds, k})
		}
	}
	for i := range out {
		combine(&out[i], known[out[i].Name])
	}
	return out
}

// knowledge is what a link knows.
type knowledge struct {
	url   string
	holds func(segment.Digest) bool // offers a copy that dvrsvc has yet to answer
	reconcile.Knowledge
}

// combine adds what is known over the links of a stream. What is here is what was learned of it last, over whichever: what comparisons
// tell that are of before may be of a store that was replaced, or was deleted, locked or let expire meanwhile.
func combine(st *plan.Stream, known []knowledge) {
	if len(known) == 0 {
		return
	}
	byAge := slices.SortedStableFunc(slices.Values(known), func(a, b knowledge) int { return cmp.Compare(a.Began, b.Began) })
	st.Store = byAge[len(byAge)-1].Store
	for i := range byAge {
		k := &byAge[i]
		if k.Store != st.Store { // the next comparison sees it
			continue
		}
		st.LowWater, st.Locked, st.Deleted, st.Heads = k.LowWater, k.Locked, k.Deleted, k.MyHeads
		maps.Copy(st.Mine, k.Mine)
	}
	for i := range known {
		k := &known[i]
		if k.Store != st.Store {
			continue
		}
		st.Peers = append(st.Peers, plan.Peer{
			ID: k.url, Compared: k.Began, Retention: k.Retention, Slots: k.Slots, Heads: k.Heads, OnlyMissing: k.Otherwise, Withholds: k.Withheld,
		})
		for _, slot := range k.Slots {
			for _, c := range slot.Copies {
				if k.holds(c.Info.Digest) {
					st.Offered[c.Info.Digest] = true
				}
			}
		}
	}
}

// Route implements transfer.Sites.
func (s *Set) Route(stream, peer string) (transfer.Route, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[name{stream, peer}]
	if l == nil {
		return transfer.Route{}, false
	}
	r := transfer.Route{Peer: l.Peer, Stream: l.M4F.Stream, Sink: l.sink, Own: s.cfg.DVR}
	if s.cfg.Others != nil {
		r.Near = func(ctx context.Context) grpc.ClientConnInterface { return s.cfg.Others(ctx, stream) }
	}
	return r, true
}

// Compare implements transfer.Sites.
func (s *Set) Compare(stream, peer string) {
	s.mu.Lock()
	l := s.links[name{stream, peer}]
	s.mu.Unlock()
	if l != nil {
		l.Recon.Changed()
	}
}
