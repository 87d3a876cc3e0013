package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrLocked: another open file description holds the lock.
var ErrLocked = errors.New("the file is locked by another process")

// OS is the machine's file system.
type OS struct{}

var _ FS = OS{}

// Create implements FS.
func (OS) Create(path string) (File, error) {
	return openOS(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND)
}

// Open implements FS.
func (OS) Open(path string) (File, error) { return openOS(path, os.O_RDONLY) }

// OpenAppend implements FS.
func (OS) OpenAppend(path string) (File, error) { return openOS(path, os.O_RDWR|os.O_APPEND) }

func openOS(path string, flag int) (File, error) {
	f, err := os.OpenFile(path, flag, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// MkdirAll implements FS.
func (OS) MkdirAll(path string) error { return os.MkdirAll(path, 0o750) }

// ReadDir implements FS.
func (OS) ReadDir(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }

// Rename implements FS.
func (OS) Rename(oldPath, newPath string) error { return os.Rename(oldPath, newPath) }

// Remove implements FS.
func (OS) Remove(path string) error { return os.Remove(path) }

// SyncDir implements FS.
func (OS) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock implements FS with flock(2), which ends with the process that holds it.
func (OS) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &fs.PathError{Op: "lock", Path: path, Err: ErrLocked}
		}
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}

// Free implements FS; free counts what an unprivileged process may take.
func (OS) Free(path string) (free, total uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), nil
}

// Device gives the number of the device on which a path lies, or would lie.
func (OS) Device(path string) (uint64, error) {
	for {
		var s unix.Stat_t
		err := unix.Stat(path, &s)
		if up := filepath.Dir(path); errors.Is(err, unix.ENOENT) && up != path {
			path = up
			continue
		}
		if err != nil {
			return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		return uint64(s.Dev), nil //nolint:unconvert // it has other types elsewhere
	}
}

// Allocate implements FS with fallocate(2); where the file system has none it writes what does not compress.
func (OS) Allocate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	err = fallocate(f, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		if _, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), size); err == nil {
			err = f.Sync()
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func fallocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
		return nil
	}
}

type osFile struct{ *os.File }

// maxVectors is IOV_MAX of Linux.
const maxVectors = 1024

// Append hands the buffers to the kernel as they are, since joining them first would copy every byte of media.
func (f osFile) Append(bufs [][]byte) (int64, error) {
	left := slices.DeleteFunc(slices.Clone(bufs), func(b []byte) bool { return len(b) == 0 })
	var total int64
	for len(left) > 0 {
		n, err := f.writev(left[:min(len(left), maxVectors)])
		total += int64(n)
		if err != nil {
			return total, err
		}
		for len(left) > 0 && n >= len(left[0]) {
			n -= len(left[0])
			left = left[1:]
		}
		if n > 0 {
			left[0] = left[0][n:]
		}
	}
	return total, nil
}

func (f osFile) writev(vectors [][]byte) (n int, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var werr error
	err = c.Write(func(fd uintptr) bool {
		for {
			n, werr = unix.Writev(int(fd), vectors)
			if !errors.Is(werr, unix.EINTR) {
				return true
			}
		}
	})
	if err == nil && werr != nil {
		err = &fs.PathError{Op: "write", Path: f.Name(), Err: werr}
	}
	if err == nil && n == 0 {
		err = fmt.Errorf("write %s: %w", f.Name(), io.ErrShortWrite)
	}
	return max(n, 0), err
}

// StartSync uses sync_file_range(2).
func (f osFile) StartSync() error {
	err := unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ESPIPE) {
		return &fs.PathError{Op: "sync_file_range", Path: f.Name(), Err: err}
	}
	return nil
}

// Sync uses fdatasync: the length of a file that grew is synced too, its times need not be.
func (f osFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
		return nil
	}
}

func (f osFile) Size() (int64, error) {
	s, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return s.Size(), nil
}
