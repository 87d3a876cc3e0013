package app

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/twinreel/twinreel/pkg/vfs"
)

// twoDisks is a file system in which a test says which paths are on a disk of their own.
type twoDisks struct {
	vfs.OS
	other string
}

// Device says on which disk a path lies.
func (d *twoDisks) Device(path string) (uint64, error) {
	if path == d.other {
		return 2, nil
	}
	return 1, nil
}

// TestMissingMount starts where the disk of a storage is not mounted: nothing is recorded on the disk below, until it is, or somebody says
// that the storage begins anew.
func TestMissingMount(t *testing.T) {
	dir := t.TempDir()
	path, away := filepath.Join(dir, "archive"), filepath.Join(dir, "away")
	disk := &twoDisks{other: path}
	cfg := Default()
	cfg.Data = filepath.Join(dir, "data")
	open := func() error {
		a, err := New(cfg, Deps{Disk: Disk{FS: disk}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := a.open(t.Context(), path)
		if err != nil {
			return err
		}
		return s.Close()
	}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := open(); err != nil {
			t.Fatal(err)
		}
	}
	move(path, away)
	disk.other = ""
	for _, what := range []string{"no directory", "an empty one"} {
		if err := open(); !errors.Is(err, errNotMounted) {
			t.Errorf("%s: %v", what, err)
		}
		if left, _ := os.ReadDir(path); len(left) > 0 {
			t.Errorf("%s: %v is made on the disk below", what, left)
		}
		if err := os.MkdirAll(path, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	disk.other = path
	if err := open(); err != nil {
		t.Errorf("an empty disk in the same place: %v", err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	move(away, path)
	disk.other = ""
	if err := open(); err != nil {
		t.Errorf("a storage that was moved to another disk: %v", err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	disk.other = path
	if err := open(); !errors.Is(err, errNotMounted) {
		t.Errorf("an empty disk in the place of another one: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(path, ".twinreel"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := open(); err != nil {
		t.Errorf("told to begin anew: %v", err)
	}
}
