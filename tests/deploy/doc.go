// Package deploy holds what is shipped beside the binaries to what the binaries are: systemd units, examples of
// environment files.
package deploy
