package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// edit is what was said of one stream through the API. It holds while the file says of that stream what it said then.
type edit struct {
	Stream string `json:"stream"`
	Text   string `json:"text,omitempty"` // its block in canonical form, passphrases too; empty: deleted
	Base   string `json:"base,omitempty"` // the file's block when the edit was made; empty: it had none
}

// block is what a config says of a stream, in canonical form; empty: nothing.
func block(c *streamconf.Config, name string) string {
	if s, ok := c.Stream(name); ok {
		return s.Canonical()
	}
	return ""
}

// combine lays edits over the file. An edit that the file has caught up with is dropped. Where the file has changed a
// stream since it was edited, the file wins (I4). The error is that of an edit which the file leaves no room for, a
// *misfit, or of the whole.
func combine(file *streamconf.Config, edits []edit) (c *streamconf.Config, kept []edit, overruled []string, err error) {
	for _, e := range edits {
		switch now := block(file, e.Stream); {
		case now == e.Text:
		case now != e.Base:
			overruled = append(overruled, e.Stream)
		default:
			kept = append(kept, e)
		}
	}
	c, err = overlay(file, kept)
	return c, kept, overruled, err
}

// misfit is an edit that does not go with the file: it names a storage that the file no longer has, for one.
type misfit struct {
	stream string
	err    error
}

func (m *misfit) Error() string {
	return fmt.Sprintf("stream %s, as it was changed by API: %v", m.stream, m.err)
}
func (m *misfit) Unwrap() error { return m.err }

// fitting leaves out the edits that do not go with the file.
func fitting(file *streamconf.Config, edits []edit) (fit []edit, misfits []*misfit) {
	for _, e := range edits {
		if _, err := overlay(file, append(fit, e)); err != nil {
			m := (*misfit)(nil)
			if !errors.As(err, &m) {
				m = &misfit{e.Stream, err}
			}
			misfits = append(misfits, m)
			continue
		}
		fit = append(fit, e)
	}
	return fit, misfits
}

// overlay is the file with edits in the place of what it says.
func overlay(file *streamconf.Config, edits []edit) (*streamconf.Config, error) {
	out := &streamconf.Config{ClusterKey: file.ClusterKey, Storages: file.Storages, Speed: file.Speed, Peers: file.Peers, Sources: file.Sources}
	by := map[string]edit{}
	for _, e := range edits {
		by[e.Stream] = e
	}
	text := func(e edit) error {
		if e.Text == "" {
			return nil
		}
		s, err := streamconf.ParseStream([]byte(e.Text), file.Storages)
		if err != nil {
			return &misfit{e.Stream, err}
		}
		out.Streams = append(out.Streams, s)
		return nil
	}
	for _, s := range file.Streams {
		e, edited := by[s.Name]
		delete(by, s.Name)
		if !edited {
			out.Streams = append(out.Streams, s)
		} else if err := text(e); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		if err := text(by[name]); err != nil {
			return nil, err
		}
	}
	return streamconf.Parse("config", []byte(out.Canonical()))
}

// saved is the file of the edits.
type saved struct {
	Version int    `json:"version"`
	Edits   []edit `json:"edits"`
	Next    uint64 `json:"next"` // number of the next change in the history
}

const (
	savedVersion = 1
	maxSaved     = 64 << 20
)

// book keeps edits and history under DATA/config.
type book struct {
	fs  vfs.FS
	dir string
	saved
}

func (b *book) editsPath() string { return filepath.Join(b.dir, "edits.json") }

func (b *book) changePath(n uint64) string {
	return filepath.Join(b.dir, "history", fmt.Sprintf("%08d.json", n))
}

// load reads what was saved; nothing is an empty book.
func (b *book) load() error {
	b.saved = saved{Version: savedVersion, Next: 1}
	text, err := vfs.ReadFile(b.fs, b.editsPath(), maxSaved)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &b.saved)
	}
	if err != nil {
		return fmt.Errorf("read edits: %w", err)
	}
	if b.Version != savedVersion {
		return fmt.Errorf("read edits: version %d of %s is not known to this program", b.Version, b.editsPath())
	}
	return nil
}

// save makes edits and the change that led to them durable, the change first: a number that was used twice after a
// crash is overwritten, since nobody was told of it.
func (b *book) save(edits []edit, c Change) error {
	next := saved{Version: savedVersion, Edits: edits, Next: b.Next + 1}
	change, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	state, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	if err := vfs.MakeDir(b.fs, filepath.Join(b.dir, "history")); err != nil {
		return err
	}
	if err := vfs.Replace(b.fs, b.changePath(c.Number), append(change, '\n')); err != nil {
		return err
	}
	if err := vfs.Replace(b.fs, b.editsPath(), append(state, '\n')); err != nil {
		return err
	}
	b.saved = next
	if c.Number > historyKept {
		_ = b.fs.Remove(b.changePath(c.Number - historyKept)) // the change is made: an old one that stays harms nobody
	}
	return nil
}

// good is the text of the file that was taken last, for a start at which the file is no good.
type good struct {
	Path string `json:"path"`
	Text string `json:"text"` // canonical
}

func (b *book) goodPath() string { return filepath.Join(b.dir, "good.json") }

// keep remembers a file that was taken.
func (b *book) keep(path string, file *streamconf.Config) error {
	text, err := json.MarshalIndent(good{Path: path, Text: file.Canonical()}, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if now, err := vfs.ReadFile(b.fs, b.goodPath(), maxSaved); err == nil && bytes.Equal(now, text) {
		return nil
	}
	if err := vfs.MakeDir(b.fs, b.dir); err != nil {
		return err
	}
	return vfs.Replace(b.fs, b.goodPath(), text)
}

// kept gives the last good text of the file at path. Error: fs.ErrNotExist.
func (b *book) kept(path string) (*streamconf.Config, error) {
	text, err := vfs.ReadFile(b.fs, b.goodPath(), maxSaved)
	if err != nil {
		return nil, err
	}
	var g good
	if err := json.Unmarshal(text, &g); err != nil {
		return nil, fmt.Errorf("read %s: %w", b.goodPath(), err)
	}
	if g.Path != path {
		return nil, fs.ErrNotExist
	}
	return streamconf.Parse(b.goodPath(), []byte(g.Text))
}

// history gives the newest changes, the newest first.
func (b *book) history(limit int) ([]Change, error) {
	var out []Change
	for n := b.Next - 1; n > 0 && len(out) < limit; n-- {
		text, err := vfs.ReadFile(b.fs, b.changePath(n), maxSaved)
		if errors.Is(err, fs.ErrNotExist) {
			break // older ones were let go
		}
		var c Change
		if err == nil {
			err = json.Unmarshal(text, &c)
		}
		if err != nil {
			return out, fmt.Errorf("read change %d: %w", n, err)
		}
		out = append(out, c)
	}
	return out, nil
}
