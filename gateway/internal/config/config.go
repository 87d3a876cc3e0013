// Package config follows the file of the stream config.
//
// It owns which config is in force. A file that is wrong changes nothing: what is wrong with it is kept beside the
// config in force and logged once. It does not serve anything: package server does.
//
// Invariants:
//   - I1: the config in force is that of one whole text that parsed without a problem.
//   - I2: a text counts once it has been read twice alike: a file that an editor is still writing is not taken, and an
//     empty one for the moment between truncation and writing would remove every stream.
//   - I3: a file that is gone or empty changes nothing. To have no streams, leave a comment in it.
//
// A File is safe for concurrent use; Run is for one goroutine.
package config

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// Poll is how often the file is read. Config files are small; reading one costs less than being wrong about its mtime.
const Poll = 500 * time.Millisecond

// Snapshot is the config in force. It is never changed.
type Snapshot struct {
	Config   *streamconf.Config
	Revision string              // of the config's meaning: another spelling has the same
	Problems streamconf.Problems // of a newer text that was refused
	Changed  <-chan struct{}     // closed when there is a newer snapshot
}

// File is a config file that is followed.
type File struct {
	path string
	clk  clock.Clock
	log  *slog.Logger

	mu      sync.Mutex // protects the fields below
	current Snapshot
	changed chan struct{}

	judged  []byte // the text that current comes from, or that was refused last
	pending []byte // read once, waits to be read alike again
	missing bool   // and it was said
}

// New follows the file at path. Nothing is in force before Load.
func New(path string, clk clock.Clock, log *slog.Logger) *File {
	return &File{path: path, clk: clk, log: log}
}

// Load reads the file for the first time. Its error has a line for each problem.
func (f *File) Load() error {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	conf, err := streamconf.Parse(f.path, text)
	if err != nil {
		return err
	}
	f.judged = text
	f.put(conf, nil)
	return nil
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
		if !f.missing {
			f.missing = true
			f.log.Warn("config file cannot be read, the config in force stays", "err", err)
		}
		return
	}
	f.missing = false
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
	var problems streamconf.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			f.log.Error("config refused, the config in force stays", "problem", p.String())
		}
		f.put(f.Current().Config, problems)
		return
	}
	before := f.Current()
	f.put(conf, nil)
	d := streamconf.Diff(before.Config, conf)
	f.log.Info("config changed", "revision", f.Current().Revision, "added", len(d.Added), "changed", len(d.Changed),
		"removed", len(d.Removed), "cluster_key_changed", d.ClusterKey)
}

func (f *File) put(conf *streamconf.Config, problems streamconf.Problems) {
	sum := sha256.Sum256([]byte(conf.Canonical()))
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.changed
	f.changed = make(chan struct{})
	f.current = Snapshot{Config: conf, Revision: hex.EncodeToString(sum[:8]), Problems: problems, Changed: f.changed}
	if old != nil {
		close(old)
	}
}
