// Package inventory says what an archive holds of a stream: rows of the timeline, block digests, slots and copies. It
// reads one archive, ours or a peer's, through [Archive]; [Local] is the one of our own dvrsvc.
//
// It stores nothing and compares nothing: reconcile does.
//
// Invariant I1: what a message says is checked before it becomes one of these types, since a peer may say anything:
// rows and slots that cannot exist are an error, and so is more of them than was asked for.
package inventory
