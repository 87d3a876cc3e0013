package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// Found says which streams a source has. They are durable and in force when it returns; a stream of the config's own with the
// same name stays what it is. Errors: errs.ErrConfigInvalid.
func (f *File) Found(addr string, found []streamconf.Found) (Snapshot, error) {
	f.changing.Lock()
	defer f.changing.Unlock()
	now := f.Current()
	src, ok := now.Config.Source(addr)
	if !ok {
		return now, fmt.Errorf("%w: there is no source %q", errs.ErrConfigInvalid, addr)
	}
	if len(found) > streamconf.MaxFound {
		return now, fmt.Errorf("%w: source %s is said to have %d streams; %d are allowed", errs.ErrConfigInvalid, addr, len(found), streamconf.MaxFound)
	}
	found = slices.Clone(found)
	slices.SortFunc(found, func(a, b streamconf.Found) int { return strings.Compare(a.Name, b.Name) })
	for i, x := range found {
		if err := streamconf.CheckFound(x); err != nil {
			return now, fmt.Errorf("%w: source %s: %w", errs.ErrConfigInvalid, addr, err)
		}
		if i > 0 && found[i-1].Name == x.Name {
			return now, fmt.Errorf("%w: source %s: stream %s is there twice", errs.ErrConfigInvalid, addr, x.Name)
		}
	}
	if slices.EqualFunc(src.Found, found, streamconf.Found.Equal) {
		return now, nil
	}
	all := map[string][]streamconf.Found{}
	maps.Copy(all, f.found)
	maps.DeleteFunc(all, func(a string, _ []streamconf.Found) bool { _, ok := now.Config.Source(a); return !ok })
	all[addr] = found
	if err := f.book.keepFound(all); err != nil {
		return now, fmt.Errorf("keep what source %s has: %w", addr, err)
	}
	f.found = all
	conf := now.Config.WithFound(all)
	if err := f.enter(conf, f.book.Edits, Change{Origin: FromSource, Author: addr}); err != nil {
		f.log.Error("config in force, but not in the history", "err", err)
		f.put(conf)
	}
	d := streamconf.Diff(now.Config, f.Current().Config)
	f.log.Info("a source has other streams", "source", addr, "found", len(found), "added", len(d.Added), "removed", len(d.Removed), "revision", f.Current().Revision)
	return f.Current(), nil
}

func (b *book) foundPath() string { return filepath.Join(b.dir, "sources.json") }

// keepFound remembers what sources have, for a start at which they are away.
func (b *book) keepFound(found map[string][]streamconf.Found) error {
	text, err := json.MarshalIndent(found, "", "  ")
	if err != nil {
		return err
	}
	if err := vfs.MakeDir(b.fs, b.dir); err != nil {
		return err
	}
	return vfs.Replace(b.fs, b.foundPath(), append(text, '\n'))
}

// keptFound gives what sources had, without what cannot be.
func (b *book) keptFound() (map[string][]streamconf.Found, error) {
	found := map[string][]streamconf.Found{}
	text, err := vfs.ReadFile(b.fs, b.foundPath(), maxSaved)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &found)
	}
	if err != nil {
		return map[string][]streamconf.Found{}, fmt.Errorf("read %s: %w", b.foundPath(), err)
	}
	out := map[string][]streamconf.Found{}
	for addr, list := range found {
		if as, err := streamconf.ParsePeer(addr); err == nil {
			addr = as // it may have been kept in capitals
		}
		out[addr] = slices.DeleteFunc(list, func(x streamconf.Found) bool { return streamconf.CheckFound(x) != nil })
	}
	return out, nil
}
