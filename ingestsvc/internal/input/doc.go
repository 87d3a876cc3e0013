// Package input runs the inputs of this node that are no peers: one pipeline each, from the socket to the ring, and beside
// it the record client that empties the ring.
//
// It owns the life of an input: opening and reopening its socket, joining only when needed (standby=cold), starting
// again after a panic, its state and counters for the API, and which inputs exist (Manager).
//
// Invariants:
//
//	I1  Whatever happens to one input, the others go on: no goroutine is shared on the packet path; of locks only that of a
//	    socket with several receivers, which is held for a system call and a copy; of buffers only those of the receivers,
//	    which nobody waits for.
//	I2  A config change restarts exactly the inputs whose URL is new or gone. New options of an input reach it while it
//	    runs, and cost no packet; but for those that are of the source itself (loop=, passphrase=), which is opened again.
//	    Where another dvrsvc records the stream, the call of the record client alone is made anew.
//	I3  Within a process the incarnation of an input made later is greater.
//	I4  What is recorded depends on what was sent alone: by which transport it came, in which order, over which leg and
//	    how long it was under way changes no byte.
//
// Concurrency: an Input has one goroutine for the packet path (the receiver's tick) and those of its record client.
// Everything else only reads its state under a mutex that the packet path takes once for each batch of datagrams.
//
// It does not look into packets (pkg/mpegts), order RTP (rtp), cut segments (packager) or speak to dvrsvc (record).
package input
