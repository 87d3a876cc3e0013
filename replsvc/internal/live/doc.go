// Package live makes a producer of the local dvrsvc out of an m4f input: what ingestsvc is for a udp:// input, a [Relay]
// is for a stream of a peer.
//
// As active it subscribes to everything and hands chunks on as they come; as standby it carries offers only, and fetches
// what dvrsvc wants: the peer's dvrsvc is its ring. Messages of dvr.v1 pass through as they are, since M4F carries the
// very same ones; only numbers and slots are translated, and media is not touched.
//
// Invariants:
//
//	I1  A segment is handed on only from its Begin, in order, each chunk under the number that its Begin had. After any
//	    break (a new call, a new subscription, a role) the open segment is begun again.
//	I2  Begin of a segment waits for the Seal of the one before, for at most holdSeal: the peer tells a seal when it is
//	    durable there, which is after the next segment has begun, and the live tail here wants them in order.
//	I3  An offer stands until dvrsvc releases it, or until it is withdrawn because the peer no longer holds it.
//	I4  A feed without path, withheld, with our own node in its path, or silent for three beats is not alive.
//	    What the peer said counts when it came, not when the relay took it: a dvrsvc that is slow is no dead peer.
//	I5  On a takeover, what was offered and not sealed here is fetched and streamed before the live tail: nothing is
//	    left out between the last sealed segment and the open one.
//	I6  No segment begins before dvrsvc can know on which of its rows it is: its row is united, or Progress has told in this
//	    call where the peer's media is while that moved, or there is none under way.
//	I7  Of a subscription nothing is taken before it is certain of which of the peer's stores it is.
//
// Concurrency: one goroutine (Run) owns all state; others only receive from the peer, receive from dvrsvc, or fetch, and
// hand over to it. Status, Holds and Lags may be called from anywhere.
//
// It does not decide who is active, nor what is missing behind the live edge: dvrsvc and plan do.
package live
