package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/twinreel/twinreel/pkg/vfs"
)

// errNotMounted: mount the disk. Where an empty one is to take its place, the directory PATH/.twinreel says so.
var errNotMounted = errors.New("it is empty, and on another disk than before: is it not mounted? Where it is to begin anew, make the directory .twinreel in it")

// mountsVersion is that of DATA/run/storages.
const mountsVersion = 1

// mounts remembers on which device each storage lay. A path that lies on another one and has no storage is that of a mount which is
// missing: what is recorded there would fill the disk below, and be hidden when the mount comes. A file system that knows no devices has none.
type mounts struct {
	fs   vfs.FS
	path string // of the file in which it is kept

	mu sync.Mutex // held while the file is read and written
}

type mountFile struct {
	Version int               `json:"version"`
	Devices map[string]uint64 `json:"devices"` // by path
}

func (m *mounts) device(path string) (uint64, bool) {
	d, ok := m.fs.(interface {
		Device(path string) (uint64, error)
	})
	if !ok {
		return 0, false
	}
	n, err := d.Device(path)
	return n, err == nil
}

// read gives what is remembered; it is advice: what cannot be read is not known.
func (m *mounts) read() mountFile {
	var f mountFile
	b, err := vfs.ReadFile(m.fs, m.path, 1<<20)
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil || f.Version != mountsVersion || f.Devices == nil {
		return mountFile{mountsVersion, map[string]uint64{}}
	}
	return f
}

// check refuses a path that has lost its mount. Errors: errNotMounted.
func (m *mounts) check(path string) error {
	m.mu.Lock()
	before, known := m.read().Devices[path]
	m.mu.Unlock()
	now, ok := m.device(path)
	if !known || !ok || now == before {
		return nil
	}
	if _, err := m.fs.ReadDir(filepath.Join(path, ".twinreel")); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("open storage %s: %w", path, errNotMounted)
}

// note remembers where a storage lies that was opened.
func (m *mounts) note(path string) error {
	now, ok := m.device(path)
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.read()
	if before, known := f.Devices[path]; !ok || known && before == now {
		return nil
	}
	f.Devices[path] = now
	b, err := json.Marshal(f)
	if err == nil {
		err = vfs.MakeDir(m.fs, filepath.Dir(m.path))
	}
	if err == nil {
		err = vfs.Replace(m.fs, m.path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("note where %s lies: %w", path, err)
	}
	return nil
}
