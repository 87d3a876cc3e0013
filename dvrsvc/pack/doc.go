// Package pack carries a range of a stream from one store to another in a file: Write reads it from one dvrsvc, Read brings
// it to another, both over gRPC. The file is a sequence of data files (FORMAT.md, "Packs"); it is written and read
// without seeking, so a pipe will do.
//
// What crosses is what replication carries: every copy of every slot with its bytes, evidence, path and init segments, and
// the timelines with their UTC. It comes in as backfill does, and under the same rules.
//
// Invariants:
//
//	I1  Nothing of a segment is sent before all its bytes were found right.
//	I2  What is counted as stored, here or contained was released by dvrsvc as durable.
//	I3  Bytes that are here are not sent: a pack that is brought again writes nothing, which is how an interrupted one
//	    goes on.
//	I4  No more than window is held in memory, and one segment.
//
// It does not decide what is kept (dvrsvc), and knows no peers (replsvc), though it unites timelines by the same rules.
package pack
