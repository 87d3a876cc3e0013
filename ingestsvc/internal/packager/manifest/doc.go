// Package manifest has no code: its test runs every recorded stream of a manifest through demuxer and packager, and holds
// what comes out to what ffmpeg reads from the source. It is apart from the packager's own tests because ffmpeg decodes
// each of them twice.
package manifest
