// Package record is the client of RecordingService: it brings what the ring holds to dvrsvc until dvrsvc has released it.
//
// One Client per input, one call at a time. A call is stateless towards the next: Hello carries the ring, so whatever
// was sent, offered or half sent before a restart of either side is settled anew.
//
// Invariants:
//
//	I1  A segment leaves the ring by this package only after Release for it.
//	I2  Every sealed segment of the ring is announced in each call: in Hello, by Offer, or by being streamed to its Seal.
//	I3  While active, segments are streamed in order, each from its Begin; the open one chunk by chunk as it grows.
//	I4  A dvrsvc that is slow, away or hung never blocks the packet path: only this package's goroutine waits.
//
// Concurrency: Run owns the sending side of the call and decides what is sent; a second goroutine receives and hands
// over to it. The decisions themselves are in session, which does no I/O.
//
// It does not bound what is kept meanwhile (ring), nor decide who is active (dvrsvc).
package record
