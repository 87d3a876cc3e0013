// Package fmp4 has the box layout of FORMAT.md: init segments, chunks, and the movie box composed of several tracks.
//
// It owns which bytes stand around the samples, and reads them back with distrust. It does not decide where a chunk or
// a segment begins (ingestsvc/internal/packager) nor where its bytes are kept (dvrsvc/internal/store). It knows no
// goroutine, clock, socket or file; every function is pure and safe for concurrent use on its own arguments.
//
// The boxes are written here and not by a library: their bytes go into hashes by which two sites recognise each other,
// so no upgrade of a dependency may move one of them.
//
// Invariants:
//
//	I1  An init segment is a function of PID, codec configuration (of data, its entry in the program map) and language alone.
//	I2  A chunk is a function of its samples alone: every field is there always, and none is optional.
//	I3  What ParseChunk accepts, AppendChunk writes again to the byte but for the sequence number of mfhd, which stays that
//	    of T when the decode time was patched. Everything else is an error.
//	I4  No input makes a parser panic, or allocate more than in proportion to its length.
package fmp4
