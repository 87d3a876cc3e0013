// Package transfer carries plans out: it fetches what plan says from the peers and records it with the local dvrsvc as a
// backfill producer. Release is done; nothing else is remembered, and a restart plans anew. Of a copy whose bytes are here it
// brings what the peer knows, without the bytes.
//
// Invariants:
//
//	I1  Nothing reaches dvrsvc before the digest of all its bytes was found right. What came damaged is refused, counted
//	    and sought elsewhere, or later.
//	I2  A digest is fetched once at a time, whatever the plans say: in flight is decided here.
//	I3  At most max(2, limit x 200 ms / 1 MiB) copies are in flight, and never more bytes a second than the limit of
//	    this node or that of the peer, whichever is smaller. Live is not part of it, nor is evidence without bytes: of a
//	    stream, maxTold at once.
//	I4  A refusal is remembered, and forgotten again: nothing is given up for ever, and nothing is asked for in a loop.
//	    Nothing is fetched while dvrsvc does not take what is brought.
//	    A stream of which a peer sends nothing leaves the others their room.
//	I5  What was fetched of a copy before a cut, or before dvrsvc had no room for it, is not fetched again (but for what
//	    exceeds maxPartial).
//	I6  What another dvrsvc of the site has, because it recorded the stream before, is not fetched from a peer.
//	I7  Of a copy that is joined with those here (pkg/join) the join is recorded, and then it: dvrsvc says what stays. The same
//	    copies are not joined again for hereFor. One join is in memory at a time, with what the slots beside have of it where a cut was lost.
//
// Concurrency: Run plans; each fetch is a goroutine. What they share is under Transfer.mu.
//
// It does not decide what is worth fetching (plan) nor what is kept (dvrsvc).
package transfer
