package config

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// historyKept is how many changes are kept.
const historyKept = 1000

// Where a change came from.
const (
	FromFile = "file"
	FromAPI  = "api"
	// FromSource: a source has other streams; Author is its HOST:PORT.
	FromSource = "source"
)

// Change is one change of the config, as it is kept.
type Change struct {
	Number    uint64    `json:"number"` // from 1
	Time      time.Time `json:"time"`
	Origin    string    `json:"origin"`
	Author    string    `json:"author,omitempty"`
	Comment   string    `json:"comment,omitempty"`
	Added     []string  `json:"added,omitempty"`
	Changed   []string  `json:"changed,omitempty"`
	Removed   []string  `json:"removed,omitempty"`
	Overruled []string  `json:"overruled,omitempty"` // streams whose edit gave way to the file
	Revision  string    `json:"revision"`
	Config    string    `json:"config"` // all of it, secrets masked
}

// Edit asks for a change of one stream.
type Edit struct {
	Stream   string // to delete; empty: the one of Text
	Text     string // its new block; empty: it is deleted
	Revision string // the config that the caller has seen; empty: the stream must be new
	Author   string
	Comment  string
	Check    bool // only say whether it could be done
}

// Apply carries out an edit. It is durable and in force when Apply returns. Errors: errs.ErrConfigInvalid with a line for
// each problem, errs.ErrConfigConflict when the config is not the one that the caller has seen, errs.ErrStreamUnknown.
func (f *File) Apply(e Edit) (Snapshot, streamconf.Stream, error) {
	f.changing.Lock()
	defer f.changing.Unlock()
	now := f.Current()
	var st streamconf.Stream
	name := e.Stream
	if e.Text != "" {
		var err error
		if st, err = streamconf.ParseStream([]byte(e.Text), f.file.Storages); err != nil {
			return now, st, fmt.Errorf("%w: %w", errs.ErrConfigInvalid, err)
		}
		if name != "" && name != st.Name {
			return now, st, fmt.Errorf("%w: the text is of stream %s, the request of %s", errs.ErrConfigInvalid, st.Name, name)
		}
		name = st.Name
	}
	switch was, exists := now.Config.Stream(name); {
	case e.Text == "" && !exists:
		return now, st, fmt.Errorf("delete stream %q: %w", name, errs.ErrStreamUnknown)
	case e.Text == "" && was.Source != "":
		return now, st, fmt.Errorf("%w: stream %s is of source %s; except it there", errs.ErrConfigInvalid, name, was.Source)
	case exists && e.Revision == "":
		return now, st, fmt.Errorf("stream %s exists, and the request names no revision that its author has seen; the one in force is %s: %w",
			name, now.Revision, errs.ErrConfigConflict)
	case e.Revision != "" && e.Revision != now.Revision:
		return now, st, fmt.Errorf("the request is for revision %s, in force is %s: %w", e.Revision, now.Revision, errs.ErrConfigConflict)
	}
	fresh := edit{Stream: name, Base: block(f.file, name)}
	if e.Text != "" {
		fresh.Text = st.Canonical()
	}
	edits := append(slices.DeleteFunc(slices.Clone(f.book.Edits), func(o edit) bool { return o.Stream == name }), fresh)
	conf, edits, _, err := combine(f.file, edits)
	if err != nil {
		return now, st, fmt.Errorf("%w: %w", errs.ErrConfigInvalid, err)
	}
	conf = conf.WithFound(f.found)
	if e.Check || conf.Equal(now.Config) {
		return now, st, nil
	}
	c := Change{Origin: FromAPI, Author: e.Author, Comment: e.Comment}
	aside := f.aside
	f.aside = maps.Clone(aside)
	delete(f.aside, name)
	if err := f.enter(conf, edits, c); err != nil {
		f.aside = aside
		return now, st, err
	}
	if f.unfit { // it may go with the file now
		f.again.Store(true)
	}
	f.log.Info("config changed by API", "stream", name, "deleted", e.Text == "", "author", e.Author, "revision", f.Current().Revision)
	return f.Current(), st, nil
}

// enter writes a change down and puts it into force. f.changing is held.
func (f *File) enter(conf *streamconf.Config, edits []edit, c Change) error {
	d := streamconf.Diff(f.Current().Config, conf)
	names := func(ss []streamconf.Stream) (out []string) {
		for _, s := range ss {
			out = append(out, s.Name)
		}
		return out
	}
	c.Number, c.Time, c.Revision, c.Config = f.book.Next, f.clk.Now().UTC(), conf.Revision(), conf.String()
	c.Added, c.Removed = names(d.Added), names(d.Removed)
	for _, x := range d.Changed {
		c.Changed = append(c.Changed, x.New.Name)
	}
	if err := f.book.save(edits, c); err != nil {
		return fmt.Errorf("keep the change of the config: %w", err)
	}
	f.put(conf)
	return nil
}

// History gives the newest changes, the newest first.
func (f *File) History(limit int) ([]Change, error) {
	f.changing.Lock()
	defer f.changing.Unlock()
	return f.book.history(limit)
}
