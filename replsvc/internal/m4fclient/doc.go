// Package m4fclient is the caller's side of M4F: it keeps a session with one peer open and offers what can be asked over
// it, in the types of the inner packages.
//
// A [Peer] dials, says Hello, and dials again with jitter when the session fails; a [Session] is one such connection, in
// truth three: control, live and backfill, so that backfill waiting in a send buffer delays neither live nor a
// comparison. Whoever notices that a session is dead (an error, three beats missing) fails it for all; not so where the archive has a
// port of its own and does not answer there.
//
// Invariants:
//
//	I1  What a Session returns was checked: sizes, ranges, digests, checksums (package inventory, [Download]).
//	I2  A session belongs to one node and one store. When either changes there is a new session, and what was known
//	    through the old one is void.
//	I3  A peer that refuses us is asked again slowly, one that cannot be reached quickly, and each distinct problem is
//	    logged once, not at each attempt.
//
// Peer and Session are safe for concurrent use; Download and Subscription belong to one goroutine.
//
// It does not decide what to ask: live, reconcile and transfer do.
package m4fclient
