// Package limit is how fast backfill may go, and whether: of the server, of each peer and of each stream, as the
// environment, the stream config and operators say it, by the time of the day.
//
// Invariants:
//
//	I1  Over any stretch of time no more is granted under a limit than it allows in that time, and a burst: what it allows
//	    in 200 ms, at least 64 KiB. What was granted comes in pieces of at most 1 MiB for each fetch under way.
//	I2  A limit that changes, by whomever or by the time of the day, holds within half a second, for waits that have begun too.
//	I3  Streams that wait for one limit share it evenly, whatever the number of their fetches, and so do the peers of a stream.
//	    Who comes back to wait is owed 1 MiB at most.
//	I4  What an operator has set or paused holds until it is taken back, over a restart too, or the call that set it failed.
//
// A peer or a stream without a limit of its own has that of the server. Live is never asked to wait.
//
// Concurrency: all of it is safe for concurrent use. There are no goroutines: who waits also grants.
package limit
