package index

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"golang.org/x/sys/unix"
)

// What cannot be written while the index is opened is an error, and no end of the process: manifest, directory, all. It can be
// opened when that is over.
func TestOpenThatFails(t *testing.T) {
	for n, more := 1, true; more; n++ {
		fs, at := vfs.NewMem(), 0
		faulty := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasPrefix(op.Path, "/index") {
				if at++; at == n {
					return unix.EIO
				}
			}
			return nil
		}))
		ignore := func(error) {}
		db, err := Open("/index", faulty, quiet, ignore, ignore, func(int) { t.Errorf("operation %d: the process would end", n) })
		if more = at >= n; err == nil {
			_ = db.Close() // it may be the operation that fails
		} else if !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "open index /index") {
			t.Errorf("operation %d: %v", n, err)
		}
		db, err = Open("/index", fs, quiet, ignore, ignore, func(int) {})
		if err != nil {
			t.Fatalf("operation %d, opened again: %v", n, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
