package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
)

// Replace writes a small file so that a power cut at any moment leaves the old one or the new one.
func Replace(f FS, path string, data []byte) error {
	tmp := path + ".tmp"
	if err := f.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := f.Create(tmp)
	if err != nil {
		return err
	}
	if _, err = file.Append([][]byte{data}); err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := f.Rename(tmp, path); err != nil {
		return err
	}
	return f.SyncDir(filepath.Dir(path))
}

// MakeDir makes a directory with its parents, each durable in the one above it.
func MakeDir(f FS, path string) error {
	var fresh []string
	for p := filepath.Clean(path); ; p = filepath.Dir(p) {
		if _, err := f.ReadDir(p); !errors.Is(err, fs.ErrNotExist) {
			break // it is there; or it is something else, as MkdirAll says
		}
		fresh = append(fresh, p)
	}
	if err := f.MkdirAll(path); err != nil {
		return err
	}
	for _, p := range slices.Backward(fresh) {
		if err := f.SyncDir(filepath.Dir(p)); err != nil {
			return err
		}
	}
	return nil
}

// ReadFile reads a small file, of at most limit bytes.
func ReadFile(f FS, path string, limit int64) ([]byte, error) {
	file, err := f.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("read %s: %d bytes are too many", path, size)
	}
	b := make([]byte, size)
	if n, err := file.ReadAt(b, 0); err != nil && (!errors.Is(err, io.EOF) || int64(n) != size) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}
