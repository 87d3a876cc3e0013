// Package rtp puts MPEG-TS over RTP (RFC 3550, RFC 2250) back into the order in which it was sent, from one leg or from
// two that carry the same packets (SMPTE ST 2022-7).
//
// It owns the header, the order by sequence number, and what is missing by it. It opens no socket and reads no clock:
// each packet comes with the time at which it was received. It does not look into the payload but to tell RTP from bare
// packets (Looks).
//
// Invariants:
//
//	I1  Payloads are handed on in the order of the sequence numbers, each once. Whatever the order of arrival, as long as
//	    no packet comes later than Limits allow, the bytes are those of a clean reception.
//	I2  What is missing is told in its place, before the payload behind it, with the exact number of packets; 0 where
//	    nobody can know it: the sender began again.
//	I3  A second sender on the same address is never mixed in: another SSRC, or a sequence far off, is taken up only when
//	    the one before has fallen silent. Numbers within reach prove nothing: a leg is joined, or joined again after a step
//	    far ahead, when it brings the payloads that another leg brought with these numbers; a sender that takes over with
//	    numbers of the one before, or with a clock far from its, begins anew. Two legs that differ are told as a doubt (I2).
//	I4  A packet that any leg brought in time is not missing.
//	I5  What is held is bounded by packets, bytes and time. A packet that comes in order is never copied, and the steady
//	    state allocates nothing.
//
// Legs may be apart by Limits.Wait; beyond that the later one is no help. What a leg itself lost is counted 64 of its
// packets later, as it may only have been overtaken.
//
// Not for concurrent use.
package rtp
