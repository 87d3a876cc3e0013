// Package configclient follows the stream config that the gateway serves, for the services that live by it.
//
// It owns the connection's retries and the copy of the last known config on disk, DIR/WATCHER.conf, in the language of
// package streamconf. It does not know what a config means to a service: that one gets each config with what changed.
//
// Invariants:
//   - I1: the caller's function sees configs in the order the gateway had them, each with its difference to the one it
//     saw before, and never two at a time.
//   - I2: while the gateway is away the last known config stays in force, over a restart of the service too.
//   - I3: what is on disk is a whole config, whenever the power goes.
//   - I4: a config that cannot be used changes nothing.
package configclient
