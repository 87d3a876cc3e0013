package configclient

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// maxCopy bounds what is read back.
const maxCopy = 8 << 20

func (w *watcher) path() string { return filepath.Join(w.Dir, w.Watcher+".conf") }

// store replaces the copy so that the old one or the new one is there, whenever the power goes (I3).
func (w *watcher) store(text []byte) error {
	if err := w.FS.MkdirAll(w.Dir); err != nil {
		return err
	}
	tmp := w.path() + ".tmp"
	if err := w.FS.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := w.FS.Create(tmp)
	if err != nil {
		return err
	}
	if _, err = f.Append([][]byte{text}); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := w.FS.Rename(tmp, w.path()); err != nil {
		return err
	}
	return w.FS.SyncDir(w.Dir)
}

func (w *watcher) load() ([]byte, error) {
	f, err := w.FS.Open(w.path())
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxCopy {
		return nil, fmt.Errorf("read %s: %d bytes are no config", w.path(), size)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); err != nil && (!errors.Is(err, io.EOF) || int64(n) != size) {
		return nil, fmt.Errorf("read %s: %w", w.path(), err)
	}
	return b, nil
}
