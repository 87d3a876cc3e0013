// Package aac reads what AAC says of itself: AudioSpecificConfig, and the multiplex that carries it in LATM (ISO/IEC
// 14496-3, 1.6.2.1 and 1.7.3).
//
// It owns what both the demuxer, which has to take frames out of LATM and to count their samples, and the init segment,
// which has to describe them, need to know. It decodes nothing, keeps nothing, and reads whatever bytes it gets with
// distrust; every function is pure.
//
// Invariants:
//
//	I1  A configuration that is accepted has a rate, 960 or 1024 samples a frame, and not more than MaxConfig bytes.
//	I2  Nothing is read beyond the bytes that were given, and a frame lies within them.
package aac
