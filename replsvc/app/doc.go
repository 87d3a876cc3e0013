// Package app wires replsvc: what it is made of, in which order it starts and stops. It has no logic of its own.
//
// In a process of its own Main listens and dials; in one box the process registers the services on its own server
// (Register, HTTPHandler), gives connections to the other services in Deps, and calls Run.
package app
