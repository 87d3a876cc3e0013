// Package grpcx builds the gRPC servers and connections of every service, all alike: health, reflection, recovery,
// logs and metrics on the server, keepalive and backoff on the connection, the errors of package rpcerr on both, and
// the limits of both ends in one place so that they agree.
//
// A server can serve a TCP listener and a [Pipe] at once: that is how services in one process reach each other, by the
// same code as over a network.
//
// Invariants:
//   - I1: a client of this package is never cut off for its pings: the server's policy allows more than it sends.
//   - I2: neither end accepts a message of more than MaxMessage.
//   - I3: a panic in a handler ends that call with INTERNAL and nothing else.
//   - I4: the codec yields the bytes of proto.Marshal for every message; of one that is [Shared] it copies no media.
//   - I5: a message that is [Received] is what proto.Unmarshal gives, from any valid or invalid bytes; none of it lies in
//     a buffer of gRPC.
//
// Everything is safe for concurrent use. Who may call is not decided here but by the interceptors a service adds.
package grpcx
