// Package udp receives datagrams in batches: unicast, or a multicast group on a chosen interface.
//
// It owns the sockets and what the kernel says of them. It does not look into a datagram: packets are pkg/mpegts's.
//
// A goroutine that wakes for each datagram is most of the cost of receiving. So the socket is left alone and drained on
// a tick, 64 datagrams to a system call; its buffer must hold what comes in between, and is made as large as allowed.
//
// Invariants:
//
//	I1  Datagrams are handed on in the order in which the socket took them.
//	I2  What the kernel dropped is told with the first datagram that it took after that, before any later one.
//	I3  A multicast receiver gets its own group alone, and only from the interface on which it joined; several
//	    processes may share a group and port. With sources it gets what these send, and nothing else (IGMPv3, MLDv2).
//	    A membership goes with its interface, unsaid: a group that is silent for 10 s is left and joined again, then more and
//	    more rarely, and where that fails the socket does.
//	I4  Within a process, receivers of one address share its socket: each has all that came since its Open, in order. One
//	    that is slow or stands still loses its own, and is told; the others do not notice.
//	I5  What is kept for a receiver that does not come for it is bounded.
//
// Run is for one goroutine; Close and Stats for any. Linux only; IPv4 and IPv6.
package udp
