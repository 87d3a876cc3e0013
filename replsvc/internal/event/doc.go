// Package event tells what becomes of replication: as a stream of events to whoever watches, and to a webhook.
//
// Invariants:
//
//	I1  Nobody who listens holds anything up: what he does not take is dropped, oldest first, and he is told how much.
//	I2  Numbers grow, over a restart too while the clock does.
//	I3  Lost is said of a gap only when every peer of the stream has been compared since, an hour after it ended or later,
//	    and had nothing that is not here. So it is late, and where replication is one-way it is not said.
//	I4  What fails again and again is told each ten seconds at most for a stream of a peer, with how often it did.
//
// Concurrency: Hub is safe for concurrent use; Webhook has one goroutine, in Run, and Watcher one more, which asks for gaps.
package event
