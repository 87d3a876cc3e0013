// Package join makes of copies of one slot the copy that a cleaner reception would have made (FORMAT.md, "Joining copies").
//
// What a copy holds is, for each track, a row of intact samples and what is known of the gaps between two neighbours: a gap
// is closed where the copy knows that nothing belongs there, else open. An open gap may hold damaged samples. A join has the
// intact samples of all copies; a gap of it is open where it is open in all of them. Of damaged samples it has those in open
// gaps: where two are in one place the longer, then that of the smaller hash. From these samples the bytes are made anew by
// the rules of the packager.
//
// Invariants:
//
//	I1  The join is commutative, associative and idempotent: bytes and evidence depend on the set of copies alone. (Where
//	    three copies have damaged samples in one gap at times that were guessed apart, on the order too, but never an intact
//	    one; and reasons of what may be missing are not said again where a damaged sample before it says that it may, so they too. Of two
//	    evidences the smaller holds.)
//	I2  Each intact sample of a copy is in the join, or lies beyond a certain cut; then Result.Left says so.
//	I3  Where each access unit is intact in one of the copies, and each cut certain in one, the join is the copy of a
//	    recorder that lost nothing, to the byte, and whole.
//	I4  Nothing is chosen between intact samples that contradict each other, nor between whole copies: that is ErrConflict.
//	I5  What is lost in all copies of a track of pictures or sound is lost by packet, where they have packet runs of it: an access
//	    unit of which each packet came to one of them is intact in the join, as its packets alone give it, where it is certain that
//	    these follow each other (assemble.go), and so never wrongly. Where packets in one place are unlike, nothing that lies side by
//	    side with them is used; so where the newest of three copies brings such a one, what two of them have mended before
//	    is not unmade, and the order tells.
//	I7  Where a cut was lost, JoinBeside takes what copies of the slots beside have of the slot, and finds the cut anew where nothing that may have
//	    begun a segment before it can be missing. It is I1 to I5 with these copies given; of data what may be missing near such a cut depends on the
//	    order (of two evidences the smaller holds), and so does all where a copy begins early (source.early). What contradicts the copies of the slot is not used.
//	I6  No input makes it panic, or allocate more than in proportion to its length.
//
// It is pure: it reads no archive, and does not decide which copies are worth a join (replsvc) nor which stay (dvrsvc).
package join
