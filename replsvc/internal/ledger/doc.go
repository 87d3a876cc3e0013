// Package ledger says hour by hour what of a stream should be here, what is, what peers repaired, and what is lost, with where it was
// lost: where peers have it this site alone lost it, and where all compared and none has it the loss was before all of them.
//
// Invariants:
//
//	I1  In each hour expected = clean + damaged + missing, and damaged + missing = pending + lost, to a tick for each cause.
//	I2  Upstream is said only of what every peer keeps the time of, and was compared on since: else it is not known.
//	I3  Make depends on its argument alone.
//
// It reads nothing: package server asks dvrsvc for ranges and gaps, and the comparisons for what peers have.
package ledger
