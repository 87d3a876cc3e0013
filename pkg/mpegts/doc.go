// Package mpegts turns MPEG transport stream packets (ISO/IEC 13818-1, here H.222.0) into access units.
//
// It owns everything between bytes from a socket and one coded picture or audio frame: packet sync, continuity, PSI,
// PES, and framing on the elementary stream; and it counts what ETSI TR 101 290 calls errors (tr101290.go). It knows no goroutine, socket or clock (SetNow tells the time); it does not unwrap the 33-bit
// clock, decide what a random access point is, or repair times: that is the packager's.
//
// Invariants:
//
//	I1  A loss is never hidden. When packets of a PID are known to be missing, the unit that was open is delivered
//	    with Damage, and the first unit that begins after the hole has Lost.
//	I2  A unit without Damage is byte-exact: every one of its packets was received, in order, and both its ends were
//	    seen. A unit whose beginning was not seen is not delivered.
//	I3  After a hole, and after joining at any packet, framing restarts at the start of a PES and at nothing that was
//	    remembered from before it, but for H.264 parameter sets, the frame rate of MPEG video, and a StreamMuxConfig of
//	    LATM, whose units are damaged until it comes again. So from there on two receivers deliver equal units.
//	I4  What is held is bounded whatever the input: a unit of MaxUnitBytes and 1 MiB of packets for each of MaxStreams, some 300 bytes for each PID,
//	    256 sections of a PAT, one section for each PID of tables, a PES header; at a constant rate 4 MiB between two PCRs.
//	I5  The steady state allocates nothing.
//
// Packets may begin 188, 192 or 204 bytes from each other: a time code before them (M2TS) and the parity of an outer code
// behind them are passed over. The distance is found with the packet grid, by five sync bytes, and again after each loss of
// it.
//
// When a unit is delivered: an audio frame when the next header stands where its length says, or when it ends with a PES
// of known length; the first one after a hole when two more follow. A picture cannot end itself, not even with a PES of
// known length, since the next PES may go on with it; it is delivered when the next access unit delimiter, parameter
// set, SEI or first slice begins, which is at the latest in the packet after its own last one. (Where fields come as
// pictures of their own, when the first slice of the next picture tells that it is not the second field. Of HEVC, whose
// parameter sets and SEI may stand between the slices of one picture, when a delimiter or a first slice does.)
//
// A unit of E-AC-3 cannot end itself either, since more substreams may follow: it is delivered when the next has begun, and
// the last one before a hole is damaged.
//
// Pictures of H.264 and MPEG video before the first parameter sets, or sequence header, are not delivered: whether they
// are frames or fields is not known, or when those without a time are. Nothing can be decoded, and so nothing is
// recorded, from before them.
//
// Data: a unit is a PES packet with its header, or a section. It is delivered when it ends. What is lost is told when it is
// found, by a unit without bytes, since the next one may be hours away.
//
// Where the rate of the multiplex is constant, packets wait for the next PCR (some 40 ms), so that a loss that no continuity
// counter shows is known before they are used (muxrate.go). Arrived is when they came.
//
// Packets: what came around a loss is kept and handed on (PacketHandler), so that it can be put together with what others have
// of it; a Reframer then frames that.
//
// Fields: of H.264 and MPEG video the two fields of a frame are one unit. Of HEVC each field is one.
//
// Times: a picture has those of the PES in which it is the first to begin. Further ones have none, but for MPEG video:
// there they are counted from the last one that had, as long as the group of pictures goes on and no field is repeated.
// So MPEG video is framed from a PES with a time on.
//
// Not for concurrent use.
package mpegts
