// Package demo runs the three modes of replication for real on one machine: a source that plays to a multicast group on
// loopback, two sites as processes of their own, a kill, a restart, and a verdict.
//
// It owns the course of the run, what is shown of it, and the processes: all of them are ended, by their own id, when
// Run returns, and the kernel ends them if this process dies first. The criterion is package verdict's; what was sent is
// counted by package witness.
//
// Every wait is bounded; a run that meets a bound ends with an error, and never with a good verdict.
package demo
