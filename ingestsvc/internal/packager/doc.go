// Package packager turns access units into chunks and sealed segments, exactly as FORMAT.md says.
//
// It owns the cut, the unwrapping of the source clock, the order of bytes, and what is known against a segment. It knows
// no goroutine, socket, file or clock: access units go in by mpegts.Handler, each with the monotonic time at which it
// came, and what comes out goes to a Sink at once.
//
// Invariants:
//
//	I1  A segment whose evidence is empty has the same bytes on every recorder of the source, whenever that one joined,
//	    however the packets of different PIDs were interleaved (but those of data with those of the reference track), and
//	    whatever it lost before or after.
//	I2  A segment that lacks a sample, or whose cuts another recorder may have put elsewhere, has evidence; a lone packet of
//	    data that was lost is known with the next one (FORMAT.md).
//	I3  Segments come one after the other: Begin, Chunk..., Seal. Within one, chunks are ordered by cell, then PID.
//	I4  What waits is bounded whatever the input (Options.MaxPending and the constants beside it).
//	I5  The steady state allocates per chunk, which is the sink's to keep, and not per access unit.
//
// How it works: each track has a queue. The reference track's samples are given to a segment when they come, since the
// cut depends on nothing else (cutter). A sample of another track is given to one when the reference track's decode time
// has passed its presentation time: from then on no cut can come before it. So the order of arrival decides nothing.
// Units of data wait for the next access unit of the reference track, and then belong with the one before (sparse).
// Chunks leave the queues when every track is known to have nothing more that belongs before them.
//
// Packets around a loss wait until each segment that they may be of is sealed, and go with it (runs.go).
//
// It does not keep sealed segments (ingestsvc/internal/ring) and does not know which slot one fills (dvrsvc).
package packager
