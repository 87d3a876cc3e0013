// Package export writes a range of an archive as one fragmented MP4.
//
// It owns the output timeline: which samples go in (all of every segment that overlaps the range, the durable part of
// the open one included), and at which time. The bytes of the chunks are those that were recorded; the 8 bytes of tfdt
// are the only ones that change (FORMAT.md, rule 1).
//
// Invariants:
//
//	I1  Within a timeline, samples are as far apart as on the source: a gap keeps its time, but where what another timeline
//	    has meanwhile takes longer.
//	I2  A later timeline follows by UTC, and never before the end of what is already written: no track goes back.
//	I3  Nothing is written for a range that cannot be written whole: an empty one ([ErrNothing]) and one in which a
//	    track changes its configuration ([ConfigurationError]) are refused before the first byte.
//
// The pages of subtitles of teletext can be had beside it as WebVTT, on the same timeline ([Export.WithText]).
//
// It does not cut to the frame, and it does not decode.
package export
