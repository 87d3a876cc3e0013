package store

import "golang.org/x/sys/unix"

const (
	errNotDir   = unix.ENOTDIR
	errReadOnly = unix.EROFS
	errIO       = unix.EIO
)

// kernelClockAgrees reports whether the kernel says that the wall clock is synchronised.
func kernelClockAgrees() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
