// Package app wires ingestsvc: what its parts are given, in which order they start, and what the process serves.
//
// App is the service without listeners, for a process of its own (Serve) and for one that it shares with others.
package app
