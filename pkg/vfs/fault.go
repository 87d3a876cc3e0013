package vfs

import (
	"errors"
	"io"
	"io/fs"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrInjected is what a Fault returns, but for reads: they meet EIO.
var ErrInjected = errors.New("an injected fault")

// Op names an operation to a Fault.
type Op string

// Operations that change something. Reads are not counted: what they meet depends on the place, see Unreadable.
const (
	OpCreate   Op = "create"
	OpMkdir    Op = "mkdir"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpSyncDir  Op = "syncdir"
	OpAppend   Op = "append"
	OpSync     Op = "sync"
	OpTruncate Op = "truncate"
	OpAllocate Op = "allocate"
)

// Fault passes operations on to FS until Fail says that one fails. Of a failing Append half is written; after a failing
// Sync on a Mem nothing of that file is made durable any more.
type Fault struct {
	FS
	// Fail is asked before each operation, with its number from 1. nil: nothing fails.
	Fail func(n int64, op Op, path string) bool
	// Unreadable gives an offset of a file that cannot be read, or -1. nil: everything can.
	Unreadable func(path string) int64

	count atomic.Int64
}

var _ FS = (*Fault)(nil)

// Count is how many operations there have been.
func (f *Fault) Count() int64 { return f.count.Load() }

// Fails counts an operation, also one of another file system that shares the fate of this one, and gives its error.
func (f *Fault) Fails(op Op, path string) error {
	if n := f.count.Add(1); f.Fail != nil && f.Fail(n, op, path) {
		return &fs.PathError{Op: string(op), Path: path, Err: ErrInjected}
	}
	return nil
}

// Create implements FS.
func (f *Fault) Create(path string) (File, error) {
	if err := f.Fails(OpCreate, path); err != nil {
		return nil, err
	}
	return f.wrap(path)(f.FS.Create(path))
}

// Open implements FS.
func (f *Fault) Open(path string) (File, error) { return f.wrap(path)(f.FS.Open(path)) }

// OpenAppend implements FS.
func (f *Fault) OpenAppend(path string) (File, error) { return f.wrap(path)(f.FS.OpenAppend(path)) }

func (f *Fault) wrap(path string) func(File, error) (File, error) {
	return func(file File, err error) (File, error) {
		if err != nil {
			return nil, err
		}
		return &faultFile{File: file, fault: f, path: path}, nil
	}
}

// MkdirAll implements FS.
func (f *Fault) MkdirAll(path string) error {
	if err := f.Fails(OpMkdir, path); err != nil {
		return err
	}
	return f.FS.MkdirAll(path)
}

// Rename implements FS.
func (f *Fault) Rename(oldPath, newPath string) error {
	if err := f.Fails(OpRename, newPath); err != nil {
		return err
	}
	return f.FS.Rename(oldPath, newPath)
}

// Remove implements FS.
func (f *Fault) Remove(path string) error {
	if err := f.Fails(OpRemove, path); err != nil {
		return err
	}
	return f.FS.Remove(path)
}

// SyncDir implements FS.
func (f *Fault) SyncDir(path string) error {
	if err := f.Fails(OpSyncDir, path); err != nil {
		return err
	}
	return f.FS.SyncDir(path)
}

// Allocate implements FS.
func (f *Fault) Allocate(path string, size int64) error {
	if err := f.Fails(OpAllocate, path); err != nil {
		return err
	}
	return f.FS.Allocate(path, size)
}

// Lock implements FS.
func (f *Fault) Lock(path string) (io.Closer, error) { return f.FS.Lock(path) }

type faultFile struct {
	File
	fault *Fault
	path  string
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if f.fault.Unreadable != nil {
		if bad := f.fault.Unreadable(f.path); bad >= off && bad < off+int64(len(p)) {
			n, _ := f.File.ReadAt(p[:bad-off], off)
			return n, &fs.PathError{Op: "read", Path: f.path, Err: unix.EIO}
		}
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) Append(bufs [][]byte) (int64, error) {
	if err := f.fault.Fails(OpAppend, f.path); err != nil {
		n, _ := f.File.Append(bufs[:len(bufs)/2])
		return n, err
	}
	return f.File.Append(bufs)
}

func (f *faultFile) Sync() error {
	if err := f.fault.Fails(OpSync, f.path); err != nil {
		if m, ok := f.File.(*memFile); ok {
			m.lose()
		}
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fault.Fails(OpTruncate, f.path); err != nil {
		return err
	}
	return f.File.Truncate(size)
}
