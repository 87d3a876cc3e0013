// Package index is the segment index of a store: which copies the archive holds, where their bytes lie, and what is
// covered. It is derived from the data files and can be rebuilt from them at any time.
//
// It owns a Pebble database with, for each stream,
//
//	c  one compact row for each copy, by (timeline row, cell, init set, digest): all that ranges, block digests and
//	   retention need
//	i  one full row for each copy, by (digest, timeline row, cell, init set): its Info and where each chunk lies. A source
//	   that repeats itself with its clock set back gives one digest in several slots, each a copy of its own
//	b  one row for each block of 512 cells that holds anything: ranges, digest and sums of its compact rows
//	r  what became of a digest, by (digest, slot of the copy that contains it): the digest of that copy
//	f  one row for each data file: how far it is indexed, how many copies point into it
//	n  init segments by hash
//	d  when a copy that was deleted ended, by digest
//
// and the block rows in memory, so that ranges and digests over 30 days never touch the database.
//
// Invariants:
//
//	I1  A batch writes compact row, full row, file row and block row of a copy together: they never disagree.
//	I2  A block row is the function Summarize of the compact rows of its block, and memory equals the block rows.
//	I3  A commit is synced before it is seen in memory.
//
// Concurrency: one transaction at a time, which the store sees to; reads run beside it and see the state before or
// after it, never between.
//
// It decides nothing: which copy is presented, contained, expired or rotten is the store's business.
package index
