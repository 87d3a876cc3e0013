package configclient

import (
	"path/filepath"

	"github.com/twinreel/twinreel/pkg/vfs"
)

// maxCopy bounds what is read back.
const maxCopy = 8 << 20

func (w *watcher) path() string { return filepath.Join(w.Dir, w.Watcher+".conf") }

// store replaces the copy (I3).
func (w *watcher) store(text []byte) error {
	if err := vfs.MakeDir(w.FS, w.Dir); err != nil {
		return err
	}
	return vfs.Replace(w.FS, w.path(), text)
}

func (w *watcher) load() ([]byte, error) { return vfs.ReadFile(w.FS, w.path(), maxCopy) }
