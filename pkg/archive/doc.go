// Package archive reads what a dvrsvc holds of a stream, over its gRPC services: what lies in a range, and the bytes.
//
// It owns the mapping between the messages of twinreel.dvr.v1 and the types of package segment for readers (playback,
// export, the operator's commands), so that generated types stop here. It stores and caches nothing.
//
// Invariants:
//
//	I1  Bytes that were handed out match: those of a sealed copy have its digest, those of an open one are as many as
//	    its chunk table says.
//	I2  A copy that was replaced between Locate and Read is found again by its slot ([Stream.Read]): a reader of a long
//	    range does not fail because the archive was repaired under it.
//
// A Stream is safe for concurrent use.
package archive
