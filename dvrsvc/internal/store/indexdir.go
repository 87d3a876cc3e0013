package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
)

func (s *Store) indexPath() string { return filepath.Join(s.o.Path, metaDir, "index") }

// badPath is a file that says that the index is damaged and must be made anew.
func (s *Store) badPath() string { return s.indexPath() + ".bad" }

// openIndex opens the index, or an empty one where it is lost, damaged or of another store. fresh: rebuild it.
func (s *Store) openIndex() (fresh bool, err error) {
	path := s.indexPath()
	if err := s.roomToOpen(); err != nil {
		return false, pathError(s.o.Path, err)
	}
	if s.o.Rebuild {
		s.db, err = s.makeIndex()
		return true, err
	}
	if s.isIndexBad() {
		s.log.Error("index was found damaged, it is rebuilt from the data files", "path", path)
		s.db, err = s.makeIndex()
		return true, err
	}
	if err := s.indexFS.MkdirAll(path, 0o750); err != nil {
		return false, pathError(s.o.Path, err)
	}
	if err := s.syncIndexDirs(path); err != nil {
		return false, err
	}
	db, err := index.Open(path, s.indexFS, s.log, s.indexDamaged, s.indexFails, s.o.Exit)
	if err == nil {
		id, err := db.Store()
		if err == nil && slices.Equal(id, s.id[:]) {
			s.db = db
			return false, nil
		}
		s.log.Info("index is new or of another store, it is rebuilt from the data files", "path", path)
		if err := db.Close(); err != nil {
			s.log.Warn("index did not close", "path", path, "err", err)
		}
	} else if passing(err) {
		return false, err
	} else {
		s.log.Error("index cannot be read, it is rebuilt from the data files", "path", path, "err", err)
	}
	s.db, err = s.makeIndex()
	return true, err
}

// passing reports whether an error says nothing of the index: what is on disk is good, and will do when the machine has
// room, memory or descriptors again.
func passing(err error) bool {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EACCES, unix.EPERM, unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// makeIndex makes an empty index in the place of what is there.
func (s *Store) makeIndex() (*index.DB, error) {
	path := s.indexPath()
	if err := s.indexFS.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("remove index: %w", err)
	}
	if err := s.indexFS.MkdirAll(path, 0o750); err != nil {
		return nil, pathError(s.o.Path, err)
	}
	if err := s.syncIndexDirs(path); err != nil {
		return nil, err
	}
	return index.Open(path, s.indexFS, s.log, s.indexDamaged, s.indexFails, s.o.Exit)
}

// syncIndexDirs makes the way to the index durable; what is in it is the index's own affair.
func (s *Store) syncIndexDirs(path string) error {
	for p := filepath.Dir(path); len(p) >= len(s.o.Path); p = filepath.Dir(p) {
		d, err := s.indexFS.OpenDir(p)
		if err != nil {
			return fmt.Errorf("sync %s: %w", p, err)
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", p, err)
		}
	}
	return nil
}

// indexDamaged ends the process, after it has told the next start to make the index anew; Open does so itself.
func (s *Store) indexDamaged(cause error) {
	path := s.badPath()
	f, err := s.fs.Create(path)
	switch {
	case err == nil:
		err = errors.Join(f.Sync(), f.Close(), s.fs.SyncDir(filepath.Dir(path)))
	case errors.Is(err, fs.ErrExist):
		err = nil
	}
	if err != nil {
		s.log.Error("the next start cannot be told that the index is damaged", "path", path, "err", err)
	}
	if s.opened.Load() {
		s.log.Error("index is damaged, the process ends and the next one rebuilds it", "path", s.indexPath(), "err", cause)
		s.o.Exit(1)
	}
}

// indexFails is called when the index could not write a table: it tries again and again, and a start waits for it. It takes a
// fifth of the time between commits for each.
func (s *Store) indexFails(err error) {
	now := int64(s.clock.Mono())
	if said := s.indexSaid.Load(); said == nil || now-*said >= int64(sayEvery) {
		s.indexSaid.Store(&now)
		s.log.Error("the index cannot be written, it tries again: see to room, rights and health of its volume", "path", s.indexPath(), "err", err)
	}
	s.sleep(context.Background(), s.o.CommitEvery/5)
}

func (s *Store) isIndexBad() bool {
	f, err := s.fs.Open(s.badPath())
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// indexIsGood notes whose index it is, now that all is in it: until then the next start makes it anew.
func (s *Store) indexIsGood() error {
	if err := s.db.SetStore(s.id[:]); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	path := s.badPath()
	if err := s.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(path))
}
