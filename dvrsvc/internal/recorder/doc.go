// Package recorder decides what is recorded: it names the slots of segments, chooses which producer feeds the live
// tail, and answers offers. It is the only judge of that, and keeps nothing durable beside what the store holds.
//
// Invariants:
//
//	I1  A segment is released only when a durable copy here contains it (R1). "Contained" is the store's word.
//	I2  The live tail is strictly increasing in (slot, chunk cell, track) (R5), over any number of takeovers.
//	I3  The bytes of one copy come from one producer's segment: another goes on with an open copy only while its chunks
//	    are the same, else the open copy is broken off and a new one begins.
//	I4  Who is active decides only who feeds the live tail. A seal from anyone is accepted; so nothing is lost by a wrong
//	    choice, and no choice needs to be durable or fenced.
//	I5  A timeline row is durable before a slot of it is named to anyone.
//	I6  Neither the name of a slot nor a timeline's UTC depends on a jump of the local clock: places are predicted with
//	    the monotonic clock, and UTC is slewed; set right at once on a row that began when nobody
//	    could say whether the clock is right.
//
// A Stream is one state machine under one mutex. Calls of producers, the tick and what the store has settled enter it
// one after the other; the store's commit goroutine only posts, and slews and bindings are made durable outside the mutex:
// of all that waits for the disk, only the naming of a new timeline holds it. The decisions themselves, arbiter and namer,
// are pure.
// Each storage follows the config by itself: a disk that hangs holds up the streams in it, and no others.
// Followers of the live tail read a log of their own pace and never hold the stream up.
//
// It does not write files (store), speak gRPC (server), fetch from peers or know what a peer is beyond a path of node
// ids (replsvc).
package recorder
