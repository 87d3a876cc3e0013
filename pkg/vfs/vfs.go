// Package vfs is the seam to the file system, as narrow as the archive needs it, so that tests can make any operation
// fail and can take away what was not synced.
//
// It has no opinion about what is stored. What a file system promises here is what ext4 and xfs were measured to do on
// a power cut: a name is durable only after SyncDir, bytes only after Sync, and after a failed Sync nothing that was
// written before is sure, however often Sync is repeated.
package vfs

import (
	"io"
	"io/fs"
)

// FS is a file system. Paths are absolute. Implementations are safe for concurrent use.
type FS interface {
	// Create makes a file for appending. It fails with fs.ErrExist where there is one.
	Create(path string) (File, error)
	// Open opens a file for reading.
	Open(path string) (File, error)
	// OpenAppend opens a file for reading and appending.
	OpenAppend(path string) (File, error)
	// MkdirAll makes a directory and its parents.
	MkdirAll(path string) error
	// ReadDir lists a directory by name.
	ReadDir(path string) ([]fs.DirEntry, error)
	// Rename replaces newPath.
	Rename(oldPath, newPath string) error
	// Remove removes a file.
	Remove(path string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(path string) error
	// Lock takes an exclusive lock on a file, made where there is none, without waiting. It fails with ErrLocked.
	Lock(path string) (io.Closer, error)
	// Free gives how many bytes can be written below path, and how many the file system has in all.
	Free(path string) (free, total uint64, err error)
	// Allocate makes a file of size bytes, in the place of one that is there, whose room nothing else can take. It is as
	// long as asked for or not there.
	Allocate(path string, size int64) error
}

// File is an open file. ReadAt may run beside everything else; the rest is for one goroutine at a time.
type File interface {
	io.ReaderAt
	io.Closer
	// Append writes bufs at the end, one after the other. n counts what was written also where it fails.
	Append(bufs [][]byte) (n int64, err error)
	// StartSync has the disk begin with what was written, and does not wait. It makes nothing durable.
	StartSync() error
	// Sync makes durable what was written before the call.
	Sync() error
	// Truncate cuts the file to size.
	Truncate(size int64) error
	// Size is the length.
	Size() (int64, error)
}
