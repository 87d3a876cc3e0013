package app

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/twinreel/twinreel/dvrsvc/internal/recorder"
	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// box is what of a config is this dvrsvc's.
type box struct {
	streams []recorder.Config      // to record
	kept    map[string]store.Limit // paths of all storages with an archive, and what may lie under each
	missing []string               // names of DVR_BOX that give nothing, and why
	empty   bool                   // none of them gives anything
}

// problem says what is wrong with DVR_BOX, or nothing.
func (b *box) problem() string {
	if len(b.missing) == 0 {
		return ""
	}
	return "DVR_BOX: " + strings.Join(b.missing, "; ")
}

// boxIn gives what of c is ours: the streams of the storages that DVR_BOX names, or those of no server. What the storages
// hold of streams that are recorded elsewhere by now, or nowhere, is served all the same.
func (a *App) boxIn(c *streamconf.Config) *box {
	b := &box{kept: map[string]store.Limit{}}
	for _, s := range c.Storages {
		if path := a.path(s.Root); a.ours(s.Server, s.Name) && store.Exists(path) {
			b.kept[path] = a.storageLimit(c, path)
		}
	}
	for _, name := range a.cfg.Box {
		switch i := slices.IndexFunc(c.Storages, func(s streamconf.Storage) bool { return s.Name == name }); {
		case i < 0:
			b.missing = append(b.missing, name+" is no storage of the stream config")
		case c.Storages[i].Server == "":
			b.missing = append(b.missing, name+" has no server in the stream config")
		}
	}
	b.empty = len(b.missing) > 0 && len(b.missing) == len(a.cfg.Box)
	for _, s := range c.Streams {
		if s.DVR.Path == "" || !a.ours(s.DVR.Server, s.DVR.Storage) {
			continue // another box records it
		}
		r := recorder.Config{Name: s.Name, Path: a.path(s.DVR.Path), Retention: store.Rule{
			Age: s.DVR.Retention, Limit: limit(s.DVR.Limit), Storage: a.storageLimit(c, a.path(s.DVR.Path)),
		}}
		for _, in := range s.Inputs {
			r.Inputs = append(r.Inputs, recorder.Input{
				URL: in.URL(), Priority: in.Priority, SourceTimeout: in.SourceTimeout, Peer: in.Kind == streamconf.KindM4F,
				Cold: in.Standby == streamconf.Cold,
			})
		}
		b.streams = append(b.streams, r)
	}
	return b
}

// ours reports whether a storage is of this dvrsvc.
func (a *App) ours(server, storage string) bool {
	if server == "" {
		return len(a.cfg.Box) == 0
	}
	return slices.Contains(a.cfg.Box, storage)
}

// path is absolute; a relative one is under the data directory.
func (a *App) path(path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.cfg.Data, path)
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return filepath.Clean(path)
}

func limit(l streamconf.Limit) store.Limit {
	return store.Limit{Bytes: uint64(l.Bytes), Percent: uint8(l.Percent)}
}

// storageLimit is what may lie under a path: of storages that share it the smaller numbers.
func (a *App) storageLimit(c *streamconf.Config, path string) store.Limit {
	var out store.Limit
	for _, s := range c.Storages {
		if !a.ours(s.Server, s.Name) || a.path(s.Root) != path {
			continue
		}
		l := limit(s.Limit)
		if l.Bytes > 0 && (out.Bytes == 0 || l.Bytes < out.Bytes) {
			out.Bytes = l.Bytes
		}
		if l.Percent > 0 && (out.Percent == 0 || l.Percent < out.Percent) {
			out.Percent = l.Percent
		}
	}
	return out
}
