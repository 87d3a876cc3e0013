// Package server is the gRPC face of this service for operators: ReplicationService. It translates and decides nothing.
//
// Invariant I1: what it says of a peer is of one moment: a status, a plan and a comparison may differ only by what
// happened between the calls.
package server
