// Package witness counts what a source really sent: a third receiver at the socket, beside the two sites.
//
// It owns a framing of its own. It shares nothing with pkg/mpegts and pkg/fmp4, so that a mistake of theirs cannot hide
// itself in the count: transport packets, PSI, PES and the units of H.264, AAC (ADTS) and MPEG audio are read here from
// the standards again, as plainly as possible. It is not made for speed or for damaged streams: when it misses a packet
// itself it says so ([Log.Missed]), and a verdict built on it is void.
//
// A unit is known by PID, decode time and a hash of its elementary stream bytes, as far as those survive the way into
// an MP4: of H.264 the NAL units without start codes, delimiters and filler, of AAC the frame without its ADTS header.
//
// A Witness is safe for concurrent use. What it keeps grows with the stream (about 50 bytes a unit): it is for runs of
// minutes.
package witness
