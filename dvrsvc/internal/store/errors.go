package store

import (
	"errors"
	"fmt"

	"github.com/twinreel/twinreel/pkg/errs"
)

// What cannot be done with a store, beside the outcomes that travel (package errs).
var (
	// ErrInUse: another process holds the storage.
	ErrInUse = errors.New("the storage is in use by another process")
	// ErrNotDirectory: fix the path in the config.
	ErrNotDirectory = errors.New("the storage path is not a directory")
	// ErrUnwritable: fix the permissions or the mount.
	ErrUnwritable = errors.New("the storage path cannot be written")
	// ErrIndex: see to the volume of PATH/.twinreel. Nothing else has to be done: where the index is lost it is made anew.
	ErrIndex = errors.New("the index cannot be opened, and the data files are as they were: see to room, rights and health of its volume; " +
		"the next try opens it, or makes it anew from the data files")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("the store is closed")
	// ErrStreamName: a stream's name must match [A-Za-z0-9_-]{1,64}.
	ErrStreamName = errors.New("a stream name has 1 to 64 of the characters A-Z a-z 0-9 _ -")
	// ErrCopyEnded: Append, Seal or Break on a copy that was sealed, broken or dropped.
	ErrCopyEnded = errors.New("the copy has already ended")
	// ErrCopyLost: the disk lost part of an open copy; it was broken off. Begin another.
	ErrCopyLost = errors.New("the open copy was lost to a storage fault")
	// ErrLocksFill: unlock ranges, or widen the limit. It is an errs.ErrFull.
	ErrLocksFill = fmt.Errorf("what is locked leaves no room within the limit: %w", errs.ErrFull)
)

// Unwrap gives the outcome as it travels.
func (e *SupersededError) Unwrap() error { return &errs.SupersededError{By: e.By.String()} }
