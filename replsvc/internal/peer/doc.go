// Package peer holds together what belongs to each m4f input: the connection to the peer, the live relay, the comparison
// of archives and the backfill producer. [Set] follows the stream config and touches only what changed.
//
// Every m4f input is an archive source, whether it is the live one or not. Inputs that name the same HOST:PORT share one
// connection to it.
//
// Of a [Source] every stream is taken: it is asked each few seconds what it has, and the gateway, which owns the config, is told.
//
// Invariants:
//
//	I1  For each m4f input of each configured stream there is exactly one Link, from Apply of a config that has it to
//	    Apply of one that has not, or has its stream recorded by another dvrsvc. Options, retention and other inputs may
//	    change meanwhile: no feed is broken for them.
//	I2  A change of one stream disturbs no other.
//	I3  What a source has over this node is not taken: sites that take everything from each other multiply nothing, and a
//	    stream that the first of them drops goes from all. Its path of nodes is no longer than streamconf.MaxVia.
//
// Concurrency: everything may be called from anywhere; Apply from one goroutine at a time.
//
// It decides nothing: plan decides what to fetch, dvrsvc who is live.
package peer
