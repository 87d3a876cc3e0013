// Package stats counts what the storages of a process do: segments by how long they took, syncs, bytes, and reads by the age
// of what is read.
//
// Invariants:
//
//	I1  A live segment that was sealed counts once, in one class; so does a read.
//	I2  To count takes no lock that is held during I/O, and allocates nothing.
//
// Everything is safe for concurrent use. The counts are those of the process: they outlive a storage that fails and is opened
// again, and nothing else.
//
// It reads no clock: who counts gives the times, monotonic ones.
package stats
