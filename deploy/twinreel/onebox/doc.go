// Package onebox runs the four services in one process: the same code as in processes of their own, over gRPC in memory
// among themselves, with one gRPC port and one HTTP port to the outside.
//
// It owns the order in which they start and stop. Whatever a service may not do in a process of its own it may not do
// here: they meet at their protos alone. An end of one ends the process.
package onebox
