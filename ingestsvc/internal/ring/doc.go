// Package ring holds in memory what one input has packaged and dvrsvc has not released: sealed segments, and the open
// one from its start.
//
// It is the seam between the packet path, which must never wait, and the record client, which waits for dvrsvc all the
// time.
//
// Invariants:
//
//	I1  A sealed segment leaves only by Release or by overrun, and every overrun is told through Withdrawals. What a
//	    broken run leaves open is sealed as far as it came.
//	I2  The bytes held never exceed the limit; the oldest sealed segments make room, then the open one itself.
//	I3  Sequence numbers of segments increase strictly over all writers, and stretches and runs from one writer to the next.
//	I4  Writing never blocks on a reader: the lock is held for a few field accesses, never during I/O.
//
// One writer at a time, any number of readers, all safe to use at once. A chunk's bytes are one slice from the packager
// to the socket of the record client; nobody changes them after they were written here.
//
// It does not decide what is sent when (record) nor what a segment is (packager).
package ring
