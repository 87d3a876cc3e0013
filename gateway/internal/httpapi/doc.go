// Package httpapi is the JSON API of the archive: which streams there are, what is recorded of them, and the recorded
// bytes as they are.
//
// It owns the paths below /api/v1/streams, and what package playback shares: how errors look over HTTP ([WriteError]), and
// that pages of any origin may read them ([AnyOrigin]). JSON is that of the protobuf messages. It keeps nothing and
// touches no byte of media.
package httpapi
