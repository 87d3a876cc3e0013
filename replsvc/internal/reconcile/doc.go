// Package reconcile compares the archive of a stream with a peer's, and keeps what it learned of the peer for the plan.
//
// A comparison costs little where little differs: rows of the timeline are united first, then one digest for each block
// of 50 minutes is compared, and only the slots of blocks that differ are listed. The newest blocks have no digest
// yet, so their slots are compared always: after an outage the last cells behind the head are found at once. A block that
// differs and yields nothing, neither a copy nor what the peer knows of ours, is not listed again until it changes, or one beside it, so that
// all others have their turn.
//
// Two rows are one timeline when a whole segment of each has the same T and the same bytes; while none is shared, when
// their UTC agrees to within five seconds after the measured clock offset is taken off, less than a turn lies between
// them, and what both hold of the same cells does not contradict. dvrsvc keeps the result (BindTimeline); a row of the
// peer's that is none of ours gets a row here, so that its segments can be stored, where we are to keep any of them.
//
// Invariants:
//
//	I1  What is known of a peer dies with its store id, with ours, with the session it was learned over, and where the peer
//	    tells us nothing any more (`readers`); and what a row of its is bound to, with our row, where anything of it is wanted.
//	I2  A wrong clock never unites rows whose contents contradict, and never divides rows that share a segment.
//	I3  Nothing is written to the archive here but bindings of rows.
//
// Concurrency: one goroutine (Run) per stream and peer compares; the rest may be called from anywhere.
//
// It does not decide what to fetch (plan) and fetches nothing (transfer).
package reconcile
