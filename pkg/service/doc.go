// Package service runs one of the services as a process of its own: its variables, log, metrics, listeners, health that
// follows readiness, and an end in order. The services differ in what they build, and in nothing of this.
//
// Beside running, a binary knows three words: --help lists its variables, --version says what it is, and healthcheck
// asks the process that has the same variables whether it is ready (for container images, which have no shell).
//
// It holds no state. It does not decide what a service needs before it is ready: [App] says so.
package service
