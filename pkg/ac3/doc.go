// Package ac3 reads the headers of AC-3 and E-AC-3 syncframes (ETSI TS 102 366, which is ATSC A/52).
//
// It owns what both the demuxer, which has to find and to count them, and the init segment, which has to describe them,
// need to know of a syncframe. It decodes nothing, keeps nothing, and reads whatever bytes it gets with distrust; every
// function is pure.
//
// Invariants:
//
//	I1  A header that is accepted has a size from MinFrame to MaxFrame, a rate and a number of blocks.
//	I2  Nothing is read beyond the bytes that were given.
package ac3
