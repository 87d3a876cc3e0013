// Package store is the archive under one dvr path: data files that are the log, an index that is derived from them, and
// a small state file for each stream.
//
// It owns PATH/STREAM/ (data files and state) and PATH/.twinreel/ (lock, id, index), and decides which copies of a slot
// are kept, presented, replaced and expired. FORMAT.md, "Data files and index", has the bytes.
//
// Invariants:
//
//	I1  What done was told is kept is on disk, under its digest, synced in its data file and in the index (R1, R4).
//	I2  A copy leaves the index only by retention or DeleteRange, or when better copies, which are presented or of its slot, contain every
//	    intact sample of it (R3); its digest then leads to the copy that took its place.
//	I3  Presented copies share no media time on any track of a row (R2).
//	I4  After a sync or a write failed, nothing is written to that file any more, and nothing that was not durable
//	    before is acknowledged from it, by this process or a later one (failed.go).
//	I5  The index can be lost: Open makes the same one from data files and state.
//	I6  A copy that came live is never given up for want of room. Of the others a slot that takes one keeps the best, up
//	    to segment.MaxCopies in all; what is found on disk without the index stays until then.
//	I7  The same bytes at the same moment are kept once, whatever rows they are brought in; at another moment the source
//	    has repeated itself, and they are a copy of that slot, which lives and dies alone (FORMAT.md, "One digest in two
//	    slots").
//	I8  What has rotted is found by its reader or by the scrub, whichever comes first, and is not served by either: a copy
//	    is quarantined, a good copy in a damaged file is written anew, and so are state and id (scrub.go). What is still
//	    in the page cache is read from there: that is looked at on disk one round later.
//	I9  What touches a lock is not taken by retention, and is taken from peers however old it is (lock.go).
//	I10 What lies wholly within a tombstone is neither here nor taken, but what was recorded live there afterwards: the
//	    tombstone is durable before anything goes, and a start carries out what it says (tombstone.go).
//	I11 A data file that is written anew loses and doubles no copy, whenever the process or the power ends (reclaim.go).
//
// Concurrency: everything is safe for concurrent use, but a Copy belongs to one goroutine. Stream.mu guards what is on
// its way to disk and is never held during a sync (but for the rare rewriting of a failed file). Store.commitMu is held
// by whoever changes the index, Stream.stateMu by whoever changes the state; they are taken in this order, before any
// Stream.mu. Reads take neither for longer than a look at a map.
//
// It does not know producers, arbitration or the live tail (package recorder), nor messages (package server); it does
// not fetch what is missing (replsvc), and it does not join copies sample by sample.
package store
