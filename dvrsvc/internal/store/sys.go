package store

import (
	"errors"

	"golang.org/x/sys/unix"
)

const (
	errNotDir   = unix.ENOTDIR
	errReadOnly = unix.EROFS
	errIO       = unix.EIO
)

// diskFails reports whether the disk does not give what was asked for, or the file system says that it is damaged there.
func diskFails(err error) bool {
	return errors.Is(err, errIO) || errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EBADMSG)
}

// noRoom reports whether something could not be written since the disk has not a byte left.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// kernelClockAgrees reports whether the kernel says that the wall clock is synchronised.
func kernelClockAgrees() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
