// Package config has the stream config: the file of the operator, and what was changed through the API since.
//
// It owns which config is in force. A file that is wrong changes nothing: what is wrong with it is kept beside the
// config in force and logged once. Changes by API are kept under DATA/config, stream by stream, and laid over the file;
// each change of either kind is written down there before it is in force. It does not serve anything: package server
// does.
//
// Invariants:
//   - I1: the config in force is one whole text that parsed without a problem: the file with the edits laid over it.
//   - I2: a text counts once it has been read twice alike: a file that an editor is still writing is not taken, and an
//     empty one for the moment between truncation and writing would remove every stream.
//   - I3: a file that is gone or empty changes nothing. To have no streams, leave a comment in it.
//   - I4: an edit holds until the file says something else of that stream than when it was edited, at a start or while
//     running: then the file wins, and log, history and snapshot say so. Neither overwrites the other silently.
//   - I5: an edit is taken only from who has seen the config that it changes.
//   - I6: a start comes up with what the file said when it was last good, and without edits that do not go with it, rather
//     than not at all; what is wrong is said for as long as it is.
//   - I7: what sources have (streamconf.Source) is laid under both: no stream of the file or of an edit gives way to it.
//
// A File is safe for concurrent use; Run is for one goroutine.
package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// Poll is how often the file is read. Config files are small; reading one costs less than being wrong about its mtime.
const Poll = 500 * time.Millisecond

// Snapshot is the config in force. It is never changed.
type Snapshot struct {
	Config   *streamconf.Config
	Revision string              // of the config's meaning: another spelling has the same
	Problems streamconf.Problems // of a newer text that was refused
	Edited   []string            // streams of which the API has the last word, by name
	Changed  <-chan struct{}     // closed when there is a newer snapshot
}

// File is a config file that is followed, with the edits.
type File struct {
	path string
	clk  clock.Clock
	log  *slog.Logger

	changing sync.Mutex         // held by who changes the config; taken before mu
	file     *streamconf.Config // what the file says, or said when it was last good
	book     book
	found    map[string][]streamconf.Found // what sources have, by HOST:PORT
	problems streamconf.Problems           // of a newer text of the file
	unfit    bool                          // that text is good, and does not go with an edit
	aside    map[string]streamconf.Problem // edits that were set aside at a start, by stream

	mu      sync.Mutex // protects the fields below
	current Snapshot
	changed chan struct{}

	judged  []byte      // the text that current comes from, or that was refused last
	pending []byte      // read once, waits to be read alike again
	unread  int         // so many times in a row it could not be read
	again   atomic.Bool // the edits have changed that judged did not go with
}

// New follows the file at path and keeps what the API changes under dir. Nothing is in force before Load.
func New(path, dir string, files vfs.FS, clk clock.Clock, log *slog.Logger) *File {
	return &File{path: path, clk: clk, log: log, book: book{fs: files, dir: dir}}
}

// Load reads the file, and the edits that still hold, for the first time. A file that is no good gives way to what it
// said when it last was: a recorder comes up after a power cut in the middle of an edit. Without that, the error has a
// line for each problem.
func (f *File) Load() error {
	f.changing.Lock()
	defer f.changing.Unlock()
	if err := f.book.load(); err != nil {
		return err
	}
	var err error
	if f.found, err = f.book.keptFound(); err != nil { // they are asked again
		f.log.Error("what sources have is not known until they say it again", "err", err)
	}
	text, err := os.ReadFile(f.path)
	switch {
	case err != nil:
		err = fmt.Errorf("read config: %w", err)
	case len(bytes.TrimSpace(text)) == 0:
		err = fmt.Errorf("read config: %s is empty; to have no streams, leave a comment in it", f.path)
	}
	var conf *streamconf.Config
	if err == nil {
		f.judged = text
		conf, err = streamconf.Parse(f.path, text)
	}
	if err != nil {
		var keptErr error
		if conf, keptErr = f.book.kept(f.path); keptErr != nil {
			return err
		}
		f.log.Error("config file refused, starting with what it said when it was last good", "err", err)
		f.problems = f.asProblems(err)
	}
	return f.take(conf, f.setAside(conf))
}

// setAside takes out the edits that do not go with the file, and gives the names of their streams.
func (f *File) setAside(file *streamconf.Config) (names []string) {
	if _, _, _, err := combine(file, f.book.Edits); err == nil {
		return nil
	}
	var misfits []*misfit
	f.book.Edits, misfits = fitting(file, f.book.Edits)
	f.aside = map[string]streamconf.Problem{}
	for _, m := range misfits {
		f.log.Error("a change by API is set aside, the file holds", "err", m)
		f.aside[m.stream] = streamconf.Problem{
			File: f.path, What: m.Error(), Do: "the change is set aside, and stays in the history; make it again",
		}
		names = append(names, m.stream)
	}
	return names
}

// asProblems is an error as the API tells it.
func (f *File) asProblems(err error) streamconf.Problems {
	if m := (*misfit)(nil); errors.As(err, &m) {
		return streamconf.Problems{{File: f.path, What: m.Error(), Do: "leave in the file what the stream needs, or change or delete the stream by API first"}}
	}
	var problems streamconf.Problems
	if errors.As(err, &problems) {
		return problems
	}
	return streamconf.Problems{{File: f.path, What: err.Error(), Do: "the config in force stays until the file can be read"}}
}

// take puts what the file says into force, with the edits that still hold; aside are those that were set aside. f.changing
// is held.
func (f *File) take(file *streamconf.Config, aside []string) error {
	conf, edits, overruled, err := combine(file, f.book.Edits)
	if err != nil {
		return err
	}
	conf = conf.WithFound(f.found)
	for _, name := range overruled {
		f.log.Warn("the file changed a stream that was changed by API, the file wins", "stream", name)
	}
	rekeyed := f.file != nil && f.file.ClusterKey != file.ClusterKey
	f.file = file
	if err := f.book.keep(f.path, file); err != nil {
		f.log.Error("config in force, but not kept for a start at which the file is no good", "err", err)
	}
	if len(edits) == len(f.book.Edits) && conf.Revision() == f.written() && !rekeyed {
		f.put(conf)
		return nil
	}
	if err := f.enter(conf, edits, Change{Origin: FromFile, Overruled: append(overruled, aside...)}); err != nil {
		// The file itself is the record: a full disk here keeps nobody from changing it.
		f.log.Error("config in force, but not in the history", "err", err)
		f.book.Edits = edits
		f.put(conf)
	}
	return nil
}

// written is the revision that the history ends with.
func (f *File) written() string {
	last, err := f.book.history(1)
	if err != nil || len(last) == 0 {
		return ""
	}
	return last[0].Revision
}

// Current is what is in force.
func (f *File) Current() Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

// Run follows the file until ctx ends.
func (f *File) Run(ctx context.Context) error {
	t := f.clk.NewTicker(Poll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C():
			f.look()
		}
	}
}

// look reads the file once.
func (f *File) look() {
	text, err := os.ReadFile(f.path)
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		err = fmt.Errorf("%s is empty", f.path)
	}
	if err != nil { // I3
		f.pending = nil
		if f.unread++; f.unread == 2 {
			f.judged = nil
			f.refuse(fmt.Errorf("the file cannot be read: %w", err))
		}
		return
	}
	f.unread = 0
	if f.again.Swap(false) {
		f.judged = nil
	}
	if bytes.Equal(text, f.judged) {
		f.pending = nil
		return
	}
	if f.pending == nil || !bytes.Equal(text, f.pending) { // I2
		f.pending = append([]byte{}, text...)
		return
	}
	f.judged, f.pending = f.pending, nil
	conf, err := streamconf.Parse(f.path, text)
	if err != nil {
		f.refuse(err)
		return
	}
	f.changing.Lock()
	defer f.changing.Unlock()
	before, problems, aside := f.Current(), f.problems, f.aside
	f.problems, f.aside, f.unfit = nil, nil, false
	if err := f.take(conf, nil); err != nil {
		f.problems, f.aside = problems, aside
		f.refused(err)
		f.unfit = true
		return
	}
	d := streamconf.Diff(before.Config, f.Current().Config)
	if d.Empty() {
		return // another spelling
	}
	f.log.Info("config changed", "revision", f.Current().Revision, "added", len(d.Added), "changed", len(d.Changed),
		"removed", len(d.Removed), "cluster_key_changed", d.ClusterKey, "replication_changed", d.Replication, "storages_changed", d.Storages)
}

func (f *File) refuse(err error) {
	f.changing.Lock()
	defer f.changing.Unlock()
	f.refused(err)
}

// refused says what is wrong with the file. f.changing is held.
func (f *File) refused(err error) {
	f.problems, f.unfit = f.asProblems(err), false
	for _, p := range f.problems {
		f.log.Error("config refused, the config in force stays", "problem", p.String())
	}
	f.put(f.Current().Config)
}

// put puts a config into force. f.changing is held.
func (f *File) put(conf *streamconf.Config) {
	var edited []string
	for _, e := range f.book.Edits {
		edited = append(edited, e.Stream)
	}
	slices.Sort(edited)
	problems := slices.Clone(f.problems)
	for _, name := range slices.Sorted(maps.Keys(f.aside)) {
		problems = append(problems, f.aside[name])
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.changed
	f.changed = make(chan struct{})
	f.current = Snapshot{Config: conf, Revision: conf.Revision(), Problems: problems, Edited: edited, Changed: f.changed}
	if old != nil {
		close(old)
	}
}
