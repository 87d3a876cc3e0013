// Package plan is the gap scheduler: a pure function from what is known to what to fetch, in which order, and for each
// copy that is left alone, why. When a gap is not filled, the answer is here: `twinreel` shows a plan with its reasons
// without carrying it out, and the tests of this package are tables of (state, plan).
//
// A copy of a peer's is a candidate when no slot of ours has its digest of the same moment, and what we hold in its slot and in those around
// it does not contain it ([Holdings.Wants], package segment). Evidence alone says so where the peer lacks some of these better copies: else the
// peer has compared them by their bytes and keeps it beside them, and dvrsvc is to judge it, once for each set of better copies. So is one whose digest is here, when the peer knows less
// against it: then dvrsvc is told that, and no byte is fetched. Where neither it nor any copy of its slot here is whole it is
// fetched to be joined with those (pkg/join), and several such copies that are all here already are joined as they are; where a cut was
// lost, with what is here of the slots beside, and so is one alone. A candidate is left alone while it is
//
//	in_flight         being fetched already, from whichever peer
//	paused            of a stream of which dvrsvc takes nothing now (it is away, starting, or full), any while live lags, or of
//	                  what an operator has paused
//	refused           refused a while ago: not held by the peer any more, damaged on the way, or not taken by dvrsvc
//	offered           held for us by our own live input of that peer, which dvrsvc has not answered yet
//	live_edge         not missing yet: nothing later of its timeline is durable here, and the inputs are alive (what is
//	                  only to be told does not wait for it)
//	beyond_retention  older than what we keep, or so close to it that it would be gone as soon as it came; what is
//	                  locked here is wanted however old it is
//	deleted           it lies wholly within a range that an operator deleted here
//	future            claimed to begin more than a minute from now: no retention would ever end it
//	not_replicated    of a stream without `replicate`
//	withheld          of a peer that takes media of the stream and gives none (its `replicate=pull`)
//
// Order: what is only to be told; then what the peer is about to expire, soonest first; then the newest. Streams take
// turns, and where several peers hold the same copy the one with the least against it is asked, or the one with the fewest
// fetches.
//
// Invariants:
//
//	I1  Plan depends on its argument alone, and does not change it.
//	I2  No digest of a stream is planned twice, nor is a join of the same copies, and none that is in flight.
//	I3  Nothing is planned that retention would not keep: backfill never evicts anything.
//	I4  The live edge is not a gap. But nothing is the live edge for longer than LiveWindow: an input that pretends to
//	    be alive delays a repair, it does not prevent it.
//	I5  When neither of two sites has a plan for what the other holds, both hold the same copies with the same evidence: of those that one
//	    alone holds the best would be wanted by the other, and kept (FORMAT.md, "Which copy stays"). How copies are joined is of no
//	    matter for that. It ends, since each copy that is kept is better than all that give way to it.
//
// It has no goroutines, reads no clock, and carries nothing out: transfer does.
package plan
