// Package tsplay plays a transport stream file to UDP at its own pace, as a head end would: for demonstrations and
// tests, and for anyone who has a file and no source.
//
// It owns pace, loop and addressing. It reads packet headers, PES headers and PCR with its own few lines and shares
// nothing with pkg/mpegts, so that a fault in the one does not agree with the same fault in the other.
//
// Invariants:
//
//	I1  Each packet of the file is sent once a loop, in the file's order, seven to a datagram, also across the seam.
//	I2  Across the seam every clock goes on: PTS, DTS and PCR are advanced by the clip's length, and each PID's
//	    continuity counter by what the clip leaves it at. PTSOffset moves all of them alike, modulo 2^33.
//	I3  A datagram leaves at the time that its last packet has by the PCR; a hold-up is not made good in a burst.
//
// A loop is seamless if every track of the file has the same length, in whole frames: MakeClip makes such a file.
// Run is for one goroutine; Stop and Stats for any.
package tsplay
