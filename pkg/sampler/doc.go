// Package sampler makes of an access unit the bytes of its sample, and of its headers the codec configuration (FORMAT.md,
// "Chunks" and "Init segments"). So the same access unit is the same sample wherever it is made: by the packager of what
// comes, and by a join of packets that were put together again.
//
// It knows nothing of times but their difference, and of no segment.
package sampler
