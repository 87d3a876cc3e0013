// Package m4fserver is the serving side of M4F: what peers may ask of this site. It keeps no media: everything is read
// from the local dvrsvc while it is sent.
//
// It owns the sessions of peers (who is connected under which node id and store), the guard against loops, and the
// limits on what peers may take for backfill.
//
// A path lists the nodes that stored a copy, the one that ingested it first; each server adds its own id when it sends.
// So a feed that names a subscriber has passed it, and is withheld from it, chunk by chunk: the path changes inside a
// subscription when the active input does.
//
// Invariants:
//
//	I1  No subscriber gets a chunk or a seal whose path contains one of its node ids, or that has no path. It is told
//	    Withheld instead, each second, so that it knows the difference from silence.
//	I2  Each second a subscriber hears something, whatever dvrsvc does.
//	I3  One node id, one store: two peers that are connected at once under one id are refused, the later one.
//	I4  Nothing here changes anything: every call is a read.
//
// Concurrency: each call is its own goroutine (a subscription has two more, to read the tail and the caller); what they
// share is under Server.mu.
package m4fserver
