package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// metaDir is where the store keeps what is not of one stream.
const metaDir = ".twinreel"

// Store is the archive under one dvr path. Its methods are safe for concurrent use.
type Store struct {
	o       Options
	fs      vfs.FS
	indexFS pebblevfs.FS // tells of a full disk
	clock   clock.Clock
	log     *slog.Logger
	lock    io.Closer
	id      [16]byte
	db      *index.DB
	closed  atomic.Bool
	room    room
	opened  atomic.Bool

	syncFailures, quarantined atomic.Uint64
	scrubbed                  scrubCounters
	reclaimed                 reclaimCounters
	commitBegan, commitTook   atomic.Int64          // monotonic nanoseconds; 0: none runs
	indexSaid                 atomic.Pointer[int64] // monotonic time at which it was said that the index fails
	hurry                     chan struct{}

	commitMu sync.Mutex // held by whoever changes the index; taken before any Stream.mu
	behind   bool       // a commit did not reach the index; commitMu protects it
	worked   bool       // the last commit had something to do; commitMu protects it
	rebuild  bool       // the index is being made anew; commitMu protects it, and Open

	mu    sync.Mutex // protects the fields below
	open  map[string]*Stream
	shut  map[string]error // streams whose directory the disk does not give, or nobody lets us use
	right *moment          // the wall clock was said to be right
	limit Limit            // of all streams together
}

var streamName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Exists reports whether a storage was opened under a path before.
func Exists(path string) bool {
	_, err := os.Stat(filepath.Join(path, metaDir))
	return err == nil
}

// Open takes the storage for this process, recovers what the last one left, and is ready to record.
// It locks PATH/.twinreel/lock: ErrInUse when another process holds it.
func Open(ctx context.Context, o Options) (*Store, error) {
	o.setDefaults()
	s := &Store{o: o, fs: o.FS, clock: o.Clock, log: o.Logger, open: map[string]*Stream{}, shut: map[string]error{}, hurry: make(chan struct{}, 1)}
	meta := filepath.Join(o.Path, metaDir)
	if err := vfs.MakeDir(s.fs, meta); err != nil {
		return nil, pathError(o.Path, err)
	}
	lock, err := s.fs.Lock(filepath.Join(meta, "lock"))
	if err != nil {
		return nil, pathError(o.Path, err)
	}
	s.lock = lock
	s.indexFS = pebblevfs.OnDiskFull(o.IndexFS, s.indexStarves)
	if err := s.recover(ctx, meta); err != nil {
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.IndexFS == nil {
		o.IndexFS = pebblevfs.Default
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CommitEvery == 0 {
		o.CommitEvery = 500 * time.Millisecond
	}
	if o.Stats == nil {
		o.Stats = stats.New()
	}
	if o.Rand == nil {
		o.Rand = func(b []byte) { _, _ = rand.Read(b) }
	}
	if o.ClockAgrees == nil {
		o.ClockAgrees = kernelClockAgrees
	}
	if o.Exit == nil {
		o.Exit = os.Exit
	}
}

// pathError makes one line that names the path and says what is wrong with it.
func pathError(path string, err error) error {
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return fmt.Errorf("open storage %s: %w", path, ErrInUse)
	case errors.Is(err, errNotDir):
		return fmt.Errorf("open storage %s: %w", path, ErrNotDirectory)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, errReadOnly):
		return fmt.Errorf("open storage %s: %w", path, ErrUnwritable)
	}
	return fmt.Errorf("open storage %s: %w", path, err)
}

// recover reads who the store is, opens its index, and each stream that has a directory.
func (s *Store) recover(ctx context.Context, meta string) error {
	if err := s.readID(meta); err != nil {
		return err
	}
	s.readOutages()
	fresh, err := s.openIndex()
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrIndex)
	}
	s.rebuild = fresh
	err = s.recoverStreams(ctx)
	if err != nil && !fresh && (index.Damaged(err) || s.isIndexBad()) {
		s.log.Error("index is damaged, it is rebuilt from the data files", "err", err)
		for _, st := range s.streams() {
			st.close()
		}
		clear(s.open)
		clear(s.shut)
		if err := s.db.Close(); err != nil {
			s.log.Warn("damaged index did not close", "err", err)
		}
		fresh, s.rebuild = true, true
		if s.db, err = s.makeIndex(); err != nil {
			return fmt.Errorf("%w: %w", err, ErrIndex)
		}
		err = s.recoverStreams(ctx)
	}
	if err == nil && fresh {
		err = s.indexIsGood()
	}
	s.rebuild = false
	if err == nil {
		s.tendBallast()
		s.opened.Store(true)
	}
	return err
}

func (s *Store) recoverStreams(ctx context.Context) error {
	entries, err := s.fs.ReadDir(s.o.Path)
	if err != nil {
		return fmt.Errorf("read storage %s: %w", s.o.Path, err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && streamName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	if err := s.surveyAll(ctx, names, func(name string, v *survey) error {
		st, err := s.openStream(name, v)
		if err == nil {
			s.show(st)
		}
		return s.setApart(name, err)
	}); err != nil {
		return err
	}
	if err := s.commit(); err != nil {
		return err
	}
	for _, st := range s.streams() {
		if err := s.setApart(st.name, st.complete()); err != nil {
			return err
		}
		st.lookForDeleted()
	}
	if len(s.open) == 0 && len(s.shut) > 0 {
		return fmt.Errorf("open storage %s: none of its streams can be read: %w", s.o.Path, errors.Join(slices.Collect(maps.Values(s.shut))...))
	}
	return nil
}

func (s *Store) show(st *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[st.name] = st
	delete(s.shut, st.name)
}

// setApart leaves out a stream whose own directory is what failed: that is no reason to record none of the others. Any other error
// is returned.
func (s *Store) setApart(name string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("open archive of %s: %w", name, err)
	if !ofDirectory(filepath.Join(s.o.Path, name), err) {
		return err
	}
	s.log.Error("archive of a stream cannot be opened, it is tried again", "stream", name, "err", err)
	if st := s.shown(name); st != nil {
		st.close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, name)
	s.shut[name] = err
	return nil
}

// ofDirectory reports whether it is a directory, or a file in it, that the disk does not give or nobody lets us use.
func ofDirectory(dir string, err error) bool {
	var at *fs.PathError
	if !errors.As(err, &at) || at.Path != dir && filepath.Dir(at.Path) != dir {
		return false
	}
	return diskFails(at) || errors.Is(at, fs.ErrPermission)
}

// tryApart opens what was left out, if that can be done by now.
func (s *Store) tryApart() {
	s.mu.Lock()
	names := slices.Sorted(maps.Keys(s.shut))
	s.mu.Unlock()
	for _, name := range names {
		if _, err := s.Stream(name); err == nil {
			s.log.Info("archive of a stream is open", "stream", name)
		}
	}
}

func (s *Store) readID(meta string) error {
	path := filepath.Join(meta, "store")
	b, err := readFile(s.fs, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.makeID(path)
	case err != nil && !diskFails(err):
		return fmt.Errorf("read %s: %w", path, err)
	}
	var f storeFile
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err == nil && f.Version > stateVersion {
		return fmt.Errorf("read %s: version %d is not known to this program", path, f.Version)
	}
	if err == nil {
		s.id, err = parseID(f.ID)
	}
	if err != nil { // the streams know it too
		s.log.Error("id of the store is damaged, it is made anew", "path", path, "err", err)
		return s.makeID(path)
	}
	return nil
}

// makeID takes the id from the state of a stream, if there is one, else a new one.
func (s *Store) makeID(path string) error {
	s.random(s.id[:])
	entries, err := s.fs.ReadDir(s.o.Path)
	if err != nil {
		return fmt.Errorf("read storage %s: %w", s.o.Path, err)
	}
	for _, e := range entries {
		if !e.IsDir() || !streamName.MatchString(e.Name()) {
			continue
		}
		b, err := readFile(s.fs, filepath.Join(s.o.Path, e.Name(), stateName))
		if err != nil {
			continue
		}
		if st, err := decodeState(b); err == nil {
			if id, err := parseID(st.Store); err == nil {
				s.id = id
				break
			}
		}
	}
	b, err := s.encodeID()
	if err != nil {
		return err
	}
	if err := vfs.Replace(s.fs, path, b); err != nil {
		return pathError(s.o.Path, err)
	}
	return s.fs.SyncDir(s.o.Path)
}

// encodeID is the content of PATH/.twinreel/store.
func (s *Store) encodeID() ([]byte, error) {
	b, err := json.Marshal(storeFile{Version: stateVersion, ID: hex.EncodeToString(s.id[:])})
	return append(b, '\n'), err
}

// Run commits every Options.CommitEvery, and beside that applies retention, scrubs and reclaims, until ctx ends; then it commits once
// more. Where a commit fails it returns: the store is to be closed and opened again, which finds in the data files what the
// index lacks.
func (s *Store) Run(ctx context.Context) error {
	beside, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer func() { stop(); work.Wait() }()
	work.Go(func() { s.retain(beside) })
	if s.o.ScrubRate > 0 {
		work.Go(func() { s.scrub(beside) })
	}
	if s.o.ReclaimRate > 0 {
		work.Go(func() { s.reclaim(beside) })
	}
	tick := s.clock.NewTicker(s.o.CommitEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.Commit(context.WithoutCancel(ctx))
		case <-tick.C():
		case <-s.hurry:
		}
		if err := s.Commit(ctx); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
}

// wrote brings the next commit forward when a file has gathered so much that its memory matters.
func (s *Store) wrote(w *dataFile) {
	if w.size-w.synced > 16<<20 {
		select {
		case s.hurry <- struct{}{}:
		default:
		}
	}
}

// ID is the random id of this store; a store that was wiped has another.
func (s *Store) ID() [16]byte { return s.id }

// IndexRowsRead counts the rows of the index that were read.
func (s *Store) IndexRowsRead() uint64 { return s.db.RowsRead() }

// SyncFailures counts the data files that could not be written or synced.
func (s *Store) SyncFailures() uint64 { return s.syncFailures.Load() }

// Quarantined counts the copies that were found rotten.
func (s *Store) Quarantined() uint64 { return s.quarantined.Load() }

// Names gives the streams that have an archive here, sorted.
func (s *Store) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.Collect(maps.Keys(s.open))
	return slices.Sorted(slices.Values(slices.AppendSeq(names, maps.Keys(s.shut))))
}

func (s *Store) streams() []*Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Stream, 0, len(s.open))
	for _, st := range s.open {
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b *Stream) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return out
}

// Stream opens the archive of a stream and makes it when there is none.
func (s *Store) Stream(name string) (*Stream, error) {
	if !streamName.MatchString(name) {
		return nil, fmt.Errorf("open archive of %q: %w", name, ErrStreamName)
	}
	if st := s.shown(name); st != nil {
		return st, nil
	}
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if st := s.shown(name); st != nil {
		return st, nil
	}
	st, err := s.openStream(name, nil)
	if err == nil {
		err = s.takeIn(st)
	}
	if err != nil {
		return nil, fmt.Errorf("open archive of %s: %w", name, err)
	}
	return st, nil
}

func (s *Store) shown(name string) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[name]
}

// Opened gives the archive of a stream that is open, and why it is not: it opens none, and waits for no disk.
func (s *Store) Opened(name string) (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.open[name]; st != nil {
		return st, nil
	}
	if err := s.shut[name]; err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("archive of %s: %w", name, errs.ErrStreamUnknown)
}

// takeIn does for a stream that is opened later what Open does for all. The caller holds commitMu.
func (s *Store) takeIn(st *Stream) error {
	var err error
	if len(st.files)+len(st.tails) > 0 { // it was recovered, and what was recorded again has to be durable
		err = s.commit(st)
	}
	if err == nil {
		err = st.complete()
	}
	if err != nil {
		st.close()
		return err
	}
	s.show(st)
	return nil
}

func (s *Store) random(b []byte) { s.o.Rand(b) }
