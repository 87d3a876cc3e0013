// Package sim runs two to five sites in one process: the real replsvc and dvrsvc of each, over a network, disks and clocks that
// fail as a seed says. Time is that of a bubble (testing/synctest), so that minutes pass in a second; which goroutine goes first is
// not part of the seed.
//
// A run: sources with loss of their own on each site record, faults come at random, everything is healed, the sources
// end, and the archives have to become what invariants N1-N8 and R1-R7 say:
//
//	I1  What was released anywhere and outlived on a disk is on every site that did not delete it and can have it from there, intact
//	    (N1, N3, R1, R3).
//	I2  The sites hold the same copies (R6), each once (N5), with the bytes that they were made with (N6).
//	I3  What was deleted or has expired on a site does not come back to it (N8); nothing goes before its time (N1).
//	I4  Then nothing is fetched any more (no ping-pong, R7).
//	I5  Each storage passes its own check (R2, R4, N4).
//
// In one of three runs the clock of the source jumps once or twice, far, or by some cells ahead or back, as that of an encoder that
// begins anew. One site, or all, may keep a minute and a half of media or little more: then it expires while it is replicated. Clocks drift, step by
// up to two seconds, and by hours for a while. Not in the schedule: dvrsvc that starts while its clock, or that of a peer, is more than
// 5 s off where timelines say that the source is; nor does the source jump while a clock is. A timeline of its own begins then, there
// and on peers, or one with another time, which is not found again after a restart; and what is on both is there twice.
//
// The producer stands for ingestsvc, which has tests of its own; sockets, kernels and real disks are in tests/e2e and
// tests/faults.
package sim
