// Package httpapi is the JSON API of the archive: which streams there are, what is recorded of them, and the recorded
// bytes as they are.
//
// It owns the paths below /api/v1/streams and how errors look over HTTP ([WriteError], which package playback shares).
// JSON is that of the protobuf messages. It keeps nothing and touches no byte of media.
package httpapi
