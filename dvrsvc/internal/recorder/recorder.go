package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
)

// reopenEvery is how long a storage that cannot be opened, or failed, is left alone.
const reopenEvery = 3 * time.Second

// Options of New.
type Options struct {
	Node    string
	Clock   clock.Clock
	Logger  *slog.Logger
	Metrics *Metrics
	Stats   *stats.Set // what the storages do; nil: one of its own
	// Open opens the storage under a path, which counts what it does in Stats.
	Open func(ctx context.Context, path string) (*store.Store, error)
}

// Recorder runs the streams of the config, each in the storage of its path.
type Recorder struct {
	o       Options
	changed chan struct{} // capacity 1: there is something to reconcile

	mu       sync.Mutex // protects the fields below
	cfg      map[string]Config
	kept     map[string]store.Limit // paths that are open for their archive, and the limit of each
	applied  bool                   // a config has come
	storages map[string]*storage    // by path; one that was in the config stays, for its archive
	streams  map[string]*running
	stopped  bool
}

// storage is one dvr path.
type storage struct {
	path    string
	changed chan struct{}    // capacity 1: there may be something to reconcile
	store   *store.Store     // nil while it is not open
	problem error            // why it is not
	failed  map[string]error // why streams cannot be recorded in it, though it is
}

// problemOf says why a stream cannot be recorded in the storage, or nil. Recorder.mu is held.
func (s *storage) problemOf(name string) error {
	if s.problem != nil {
		return s.problem
	}
	return s.failed[name]
}

// running is a stream that is recorded.
type running struct {
	*Stream
	path   string
	cancel context.CancelFunc
	done   chan struct{}

	stopping sync.Once

	askMu sync.Mutex // protects asked
	asked *answer    // the last one that was asked for, or nil
}

// answer is what a stream says of itself. The fields are set once done is closed.
type answer struct {
	done    chan struct{}
	inputs  []InputState
	problem string
}

// ask asks a stream for its inputs and its problem, or joins whoever does: one that names a timeline answers when its disk does.
func (s *running) ask() *answer {
	s.askMu.Lock()
	defer s.askMu.Unlock()
	if a := s.asked; a != nil {
		select {
		case <-a.done:
		default:
			return a
		}
	}
	a := &answer{done: make(chan struct{})}
	s.asked = a
	go func() {
		defer close(a.done)
		a.inputs = s.Inputs()
		a.problem = s.Stream.problem(a.inputs)
	}()
	return a
}

// answerWait is how long the list waits for streams whose disk takes its time.
const answerWait = 500 * time.Millisecond

// noAnswer is the problem of a stream that has not answered in time.
const noAnswer = "its storage does not answer"

// New returns a recorder that records nothing until Run and Apply.
func New(o Options) *Recorder {
	if o.Stats == nil {
		o.Stats = &stats.Set{}
	}
	return &Recorder{
		o: o, changed: make(chan struct{}, 1),
		cfg: map[string]Config{}, storages: map[string]*storage{}, streams: map[string]*running{},
	}
}

// Apply takes a new config, and the paths of all storages whose archives are to be read, with their limits. It returns at once;
// only what differs is touched.
func (r *Recorder) Apply(cfgs []Config, kept map[string]store.Limit) {
	r.mu.Lock()
	r.kept, r.applied = kept, true
	r.cfg = make(map[string]Config, len(cfgs))
	for _, c := range cfgs {
		r.cfg[c.Name] = c
	}
	r.mu.Unlock()
	r.signal()
}

func (r *Recorder) signal() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Run records until ctx ends. Then producers are let go, what is open is sealed, and the storages are closed.
func (r *Recorder) Run(ctx context.Context) error {
	base := context.WithoutCancel(ctx)
	storeCtx, closeStores := context.WithCancel(base)
	defer closeStores()
	var stores, tending sync.WaitGroup
	for ctx.Err() == nil {
		r.pass(func(s *storage) {
			stores.Go(func() { r.keep(storeCtx, s) })
			tending.Go(func() { r.tend(ctx, s) })
		})
		select {
		case <-ctx.Done():
		case <-r.changed:
		}
	}
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	tending.Wait()
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.streams))
	r.mu.Unlock()
	for _, s := range all {
		r.stop(s, errs.ErrNotReady)
	}
	closeStores()
	stores.Wait()
	return nil
}

// pass opens the storages that are new, and has each look at what has changed.
func (r *Recorder) pass(open func(*storage)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	paths := slices.Collect(maps.Keys(r.kept))
	for _, c := range r.cfg {
		paths = append(paths, c.Path)
	}
	for _, path := range paths {
		if r.storages[path] == nil {
			st := &storage{path: path, changed: make(chan struct{}, 1), problem: errs.ErrNotReady}
			r.storages[path] = st
			open(st)
		}
	}
	for _, st := range r.storages {
		select {
		case st.changed <- struct{}{}:
		default:
		}
	}
}

// tend follows the config in a storage until ctx ends. Its disk may take its time: others are not held up.
func (r *Recorder) tend(ctx context.Context, s *storage) {
	again := r.o.Clock.NewTimer(reopenEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-again.C():
		}
		if again.Stop(); !r.reconcile(context.WithoutCancel(ctx), s.path) {
			again.Reset(reopenEvery)
		}
	}
}

// reconcile makes what runs in a storage what the config says, and reports whether it does. Only tend calls it.
func (r *Recorder) reconcile(ctx context.Context, path string) bool {
	gone := r.gone(path)
	for _, s := range gone {
		r.o.Logger.Info("stream is no longer recorded here", "stream", s.name, "path", s.path)
		r.stop(s, errs.ErrStreamUnknown)
	}
	if len(gone) > 0 {
		r.signal() // it may begin in another storage now
	}
	// All of it waits for the disk: not under mu, for other streams go on meanwhile.
	st, change, begin := r.due(path)
	for s, c := range change {
		s.configure(c)
	}
	failed := map[string]error{}
	for _, c := range begin {
		if err := r.start(ctx, st, c); err != nil && !errors.Is(err, store.ErrClosed) {
			failed[c.Name] = err
		}
	}
	r.fail(path, failed)
	for _, st := range r.left(path) {
		st.leave()
	}
	return len(failed) == 0
}

// fail notes which streams cannot be recorded in a storage, and says it once.
func (r *Recorder) fail(path string, failed map[string]error) {
	r.mu.Lock()
	before := r.storages[path].failed
	r.storages[path].failed = failed
	r.mu.Unlock()
	for name, err := range failed {
		if was := before[name]; was == nil || was.Error() != err.Error() {
			r.o.Logger.Error("stream cannot be recorded", "stream", name, "error", err, "retry", reopenEvery)
		}
	}
}

// gone gives the streams that are recorded in a storage, and are not to be.
func (r *Recorder) gone(path string) (gone []*running) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, s := range r.streams {
		if c, ok := r.cfg[name]; s.path == path && (!ok || c.Path != path) {
			gone = append(gone, s)
		}
	}
	return gone
}

// left is an archive in a storage in which the config has no such stream.
type left struct {
	*store.Stream
	storage store.Limit
}

// leave has it kept by the rule that it had last.
func (l left) leave() { l.Leave(l.storage) }

// left gives the archives in a storage of streams that are recorded elsewhere by now, or nowhere.
func (r *Recorder) left(path string) []left {
	r.mu.Lock()
	cfg, st, applied := r.cfg, r.storages[path].store, r.applied
	limit, known := r.kept[path]
	r.mu.Unlock()
	if st == nil || !applied {
		return nil
	}
	var out []left
	for _, name := range st.Names() {
		if c, ok := cfg[name]; ok && c.Path == path {
			continue
		}
		if a, err := st.Opened(name); err == nil {
			if !known {
				limit = a.StorageLimit()
			}
			out = append(out, left{a, limit})
		}
	}
	return out
}

// due tells which streams of a storage take a config and which begin, in its store.
func (r *Recorder) due(path string) (st *store.Store, change map[*running]Config, begin []Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st, change = r.storages[path].store, map[*running]Config{}
	for name, c := range r.cfg {
		s := r.streams[name]
		switch {
		case c.Path != path:
		case s != nil && s.path == path:
			change[s] = c
		case s == nil && st != nil:
			begin = append(begin, c)
		}
	}
	return st, change, begin
}

// start begins to record a stream.
func (r *Recorder) start(ctx context.Context, st *store.Store, c Config) error {
	a, err := st.Stream(c.Name)
	if err != nil {
		return fmt.Errorf("open archive of %s: %w", c.Name, err)
	}
	s := &running{
		Stream: newStream(r.o.Node, c, archive{a}, r.o.Clock, r.o.Logger, r.o.Metrics, r.o.Stats.Storage(c.Path).Stream(c.Name)),
		path:   c.Path, done: make(chan struct{}),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.storages[c.Path].store != st { // it failed meanwhile
		return store.ErrClosed
	}
	if r.streams[c.Name] != nil || r.cfg[c.Name].Path != c.Path { // the config has it elsewhere by now
		return nil
	}
	ctx, s.cancel = context.WithCancel(ctx)
	r.streams[c.Name] = s
	go func() {
		defer close(s.done)
		s.run(ctx)
	}()
	r.o.Logger.Info("stream is recorded", "stream", c.Name, "path", c.Path, "retention", c.Retention.Age, "limit", c.Retention.Limit, "storage_limit", c.Retention.Storage, "inputs", len(c.Inputs))
	return nil
}

// stop ends a stream, unless that is being done.
func (r *Recorder) stop(s *running, err error) {
	s.stopping.Do(func() {
		s.close(fmt.Errorf("record %s: %w", s.name, err))
		s.cancel()
		<-s.done
		r.o.Metrics.drop(s.name)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.streams, s.name)
	})
}

// keep opens a storage and runs it until ctx ends; where either fails it begins again.
func (r *Recorder) keep(ctx context.Context, s *storage) {
	said := ""
	for {
		began := r.o.Clock.Mono()
		st, err := r.o.Open(ctx, s.path)
		if err == nil {
			said = ""
			r.o.Logger.Info("storage open", "path", s.path, "store", fmt.Sprintf("%x", st.ID()), "streams", len(st.Names()),
				"took", r.o.Clock.Mono()-began, "clock_synchronised", st.ClockSynchronised())
			r.mu.Lock()
			s.store, s.problem = st, nil
			r.mu.Unlock()
			r.signal()
			err = r.runStore(ctx, s, st)
		}
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		s.problem = err
		r.mu.Unlock()
		if err.Error() != said {
			said = err.Error()
			r.o.Logger.Error("storage cannot be used", "path", s.path, "error", err, "retry", reopenEvery)
		}
		t := r.o.Clock.NewTimer(reopenEvery)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C():
		}
	}
}

// runStore runs a storage until ctx ends or it fails. Then what records to it is let go, so that producers hold their
// rings, and it is closed.
func (r *Recorder) runStore(ctx context.Context, s *storage, st *store.Store) error {
	err := st.Run(ctx)
	r.mu.Lock()
	s.store, s.problem = nil, err
	var gone []*running
	for _, x := range r.streams {
		if x.path == s.path {
			gone = append(gone, x)
		}
	}
	r.mu.Unlock()
	for _, x := range gone {
		r.stop(x, errs.ErrNotReady)
	}
	if err := st.Close(); err != nil {
		r.o.Logger.Error("storage could not be closed", "path", s.path, "error", err)
	}
	return err
}

// Ready says why nothing that the config names can be recorded, or nil: while any of its storages can be used.
func (r *Recorder) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	problem := errs.ErrNotReady
	for _, c := range r.cfg {
		st := r.storages[c.Path]
		if st != nil && st.store != nil {
			return nil
		}
		if st != nil && st.problem != nil {
			problem = st.problem
		}
	}
	if len(r.cfg) == 0 {
		return nil
	}
	return fmt.Errorf("no storage can be used: %w", problem)
}

// Stream gives a stream to record to. Errors: errs.ErrStreamUnknown, and errs.ErrNotReady while its storage is not open.
func (r *Recorder) Stream(name string) (*Stream, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[name]; s != nil && !r.stopped {
		return s.Stream, nil
	}
	c, ok := r.cfg[name]
	if !ok && !r.stopped {
		return nil, fmt.Errorf("stream %q: %w", name, errs.ErrStreamUnknown)
	}
	return nil, r.notReady(name, c)
}

// notReady says why a configured stream cannot be used. r.mu is held.
func (r *Recorder) notReady(name string, c Config) error {
	if st := r.storages[c.Path]; st != nil {
		if err := st.problemOf(name); err != nil {
			return fmt.Errorf("stream %q: %w: %w", name, errs.ErrNotReady, err)
		}
	}
	return fmt.Errorf("stream %q: %w", name, errs.ErrNotReady)
}

// Archive gives the archive of a stream to read, with the id of its store; of one that is not configured the newest. Errors as Stream.
func (r *Recorder) Archive(name string) (*store.Stream, [16]byte, error) {
	st, err := r.storeOf(name)
	if err != nil {
		return nil, [16]byte{}, err
	}
	a, err := st.Stream(name)
	return a, st.ID(), err
}

func (r *Recorder) storeOf(name string) (*store.Store, error) {
	if st, configured, err := r.configured(name); configured {
		return st, err
	}
	if st := lastIn(name, r.open()); st != nil {
		return st, nil
	}
	return nil, fmt.Errorf("stream %q: %w", name, errs.ErrStreamUnknown)
}

// configured gives the store that the config names for a stream, if it has the stream.
func (r *Recorder) configured(name string) (st *store.Store, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.cfg[name]
	if !ok {
		return nil, false, nil
	}
	if st := r.storages[c.Path]; st != nil && st.store != nil {
		return st.store, true, nil
	}
	return nil, true, r.notReady(name, c)
}

// lastIn gives the store in which a stream that the config does not have was recorded last, or nil.
func lastIn(name string, open map[string]*store.Store) *store.Store {
	var in []*store.Store
	for _, path := range slices.Sorted(maps.Keys(open)) {
		if slices.Contains(open[path].Names(), name) {
			in = append(in, open[path])
		}
	}
	switch len(in) {
	case 0:
		return nil
	case 1:
		return in[0]
	}
	return slices.MaxFunc(in, func(a, b *store.Store) int { return lastOf(a, name).Compare(lastOf(b, name)) })
}

func lastOf(st *store.Store, name string) (last time.Time) {
	if a, err := st.Opened(name); err == nil {
		last = a.Summary().Last
	}
	return last
}

// open gives the storages that are open, by path.
func (r *Recorder) open() map[string]*store.Store {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]*store.Store{}
	for path, st := range r.storages {
		if st.store != nil {
			out[path] = st.store
		}
	}
	return out
}

// Use gives what each open storage takes, by path.
func (r *Recorder) Use() (map[string]store.Use, error) {
	out := map[string]store.Use{}
	for path, st := range r.open() {
		u, err := st.Use()
		if err != nil {
			return nil, fmt.Errorf("look at storage %s: %w", path, err)
		}
		out[path] = u
	}
	return out, nil
}

// ConfirmClock tells the store of a stream, or each open one where none is named, what another clock shows, and gives by how
// much ours is ahead, and the streams of which age held something back. Errors: errs.ErrClockDiffers, errs.ErrStreamUnknown,
// errs.ErrNotReady.
func (r *Recorder) ConfirmClock(stream string, other time.Time) (ahead time.Duration, waited []string, err error) {
	stores := slices.Collect(maps.Values(r.open()))
	if stream != "" {
		st, err := r.storeOf(stream)
		if err != nil {
			return 0, nil, err
		}
		stores = []*store.Store{st}
	}
	if len(stores) == 0 { // nothing waits, and what is said of the clock is to be true
		ahead, err = store.ClockAhead(r.o.Clock.Now(), other)
		return ahead, nil, err
	}
	for _, st := range stores {
		waits := st.ClockInDoubt()
		if ahead, err = st.ConfirmClock(other); err != nil {
			return ahead, nil, err
		}
		waited = append(waited, waits...)
	}
	slices.Sort(waited)
	return ahead, waited, nil
}

// Stats is what every storage has done, by path.
func (r *Recorder) Stats() map[string]*stats.Storage { return r.o.Stats.All() }

// Status is a stream in a line.
type Status struct {
	Stream     string
	Configured bool
	Summary    store.Summary
	Inputs     []InputState
	Locks      int
	Problem    string // why nothing is recorded now
}

// List gives every stream that has an archive or is configured, by name.
func (r *Recorder) List() []Status {
	r.mu.Lock()
	all := map[string]*Status{}
	archives := map[string]*store.Store{}
	open := map[string]*store.Store{} // by path
	streams := maps.Clone(r.streams)
	for _, st := range r.storages {
		if st.store == nil {
			continue
		}
		open[st.path] = st.store
		for _, name := range st.store.Names() {
			all[name] = &Status{Stream: name}
		}
	}
	for name, c := range r.cfg {
		s := &Status{Stream: name, Configured: true}
		all[name] = s
		if st := r.storages[c.Path]; st != nil {
			archives[name] = st.store
			if err := st.problemOf(name); err != nil {
				s.Problem = err.Error()
			}
		}
	}
	r.mu.Unlock()
	answers := r.ask(streams)
	out := make([]Status, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		if !s.Configured {
			archives[name] = lastIn(name, open)
		}
		if st := archives[name]; st != nil {
			a, err := st.Opened(name)
			if err == nil {
				s.Summary, s.Locks = a.Summary(), len(a.Locks())
			} else if s.Problem == "" {
				s.Problem = err.Error()
			}
		}
		if a := answers[name]; a != nil {
			s.Inputs = a.inputs
			if s.Problem == "" {
				s.Problem = a.problem
			}
		}
		if s.Problem == "" && s.Configured {
			s.Problem = strayed(name, archives[name], open)
		}
		out = append(out, *s)
	}
	return out
}

// ask asks all streams at once. One whose disk hangs holds up nobody who wants to know of the others.
func (r *Recorder) ask(streams map[string]*running) map[string]*answer {
	asked := make(map[string]*answer, len(streams))
	for name, s := range streams {
		asked[name] = s.ask()
	}
	t := r.o.Clock.NewTimer(answerWait)
	defer t.Stop()
	late := false
	for name, a := range asked {
		if !late {
			select {
			case <-a.done:
			case <-t.C():
				late = true
			}
		}
		select {
		case <-a.done:
		default:
			asked[name] = &answer{problem: noAnswer}
		}
	}
	return asked
}

// strayed says where else a stream has an archive, which is not read: it is in the storage that the config names that a
// stream is looked for. Or nothing.
func strayed(name string, in *store.Store, open map[string]*store.Store) string {
	for _, path := range slices.Sorted(maps.Keys(open)) {
		st := open[path]
		if st == in || !slices.Contains(st.Names(), name) {
			continue
		}
		if a, err := st.Opened(name); err == nil && a.Summary().Segments > 0 {
			return fmt.Sprintf("part of its archive is in %s, where it is not looked for", path)
		}
	}
	return ""
}

// problem says why nothing is recorded now, or nothing.
func (s *Stream) problem(inputs []InputState) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(inputs) == 0:
		return "no input is connected"
	case !slices.ContainsFunc(inputs, func(in InputState) bool { return in.Alive }):
		return "no input has media"
	case s.full != nil: // as far as it is known: without media nobody asks
		return s.full.Error()
	}
	if i := slices.IndexFunc(inputs, func(in InputState) bool { return in.Active && in.Fault != "" }); i >= 0 {
		return fmt.Sprintf("the active input %s has a fault (%s), and no other input is better", inputs[i].Input, inputs[i].Fault)
	}
	return ""
}
