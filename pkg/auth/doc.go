// Package auth proves the cluster key between two nodes: HMAC-SHA-256 over what a call is and to whom it goes.
//
// The key never travels. A proof binds the gRPC method, both node ids, what the server made up for this caller (a nonce
// for the call that opens a session, the session afterwards) and the SHA-256 of the request: of a unary call's body, of
// the first message of a stream. So a proof seen on the wire serves for that very request to that very server only.
// It does not hide or protect what is sent, nor the answers: on a plain connection media can be read and altered on the
// way; TLS prevents that, and digests find what was altered.
//
// Within a site, [Guard] lets pass what only reads and demands a proof of what changes something; [Proving] gives it.
//
// Between sites, [Gate] is the side of the server, [Credentials] that of the caller. A gate without a key lets everyone
// in (loopback); with a key it refuses whoever cannot prove it, before the handler sees the request. The caller demands a proof in
// turn ([Welcome], [CheckWelcome]), so that a key on one side only is refused whichever side has it.
//
// Invariants:
//
//	I1  No message, metadata, error or log record contains the key or anything from which it can be tried faster than
//	    by guessing.
//	I2  Proofs are compared in constant time.
//	I3  A caller without a valid proof costs the gate no memory: a nonce is remembered by nobody, and sessions are
//	    opened only for those who proved the key, or where there is none.
//	I4  The number of sessions is bounded; the one that was idle longest goes first.
//
// Gate is safe for concurrent use; Key, Claim and Credentials are values.
//
// It does not decide which nodes may talk to each other: that is the business of the service behind the gate.
package auth
