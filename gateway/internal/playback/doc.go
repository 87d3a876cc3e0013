// Package playback serves a window of the archive to players: as HLS with fMP4, and as one MP4 file.
//
// It owns the paths below /STREAM/ and the playlists. Media is what was recorded, track by track: the chunks of one
// track of one segment, gathered, with tfdt moved onto the timeline of the row (FORMAT.md, rule 1). Nothing is remuxed.
//
//	/STREAM/index.m3u8                            master playlist of live: the last minute, one rendition per track
//	/STREAM/index/PID.m3u8                        media playlist of one track
//	/STREAM/archive-FROM-DURATION.m3u8            master playlist of a window of the archive
//	/STREAM/archive-FROM-DURATION/PID.m3u8        media playlist of one track
//	/STREAM/archive-FROM-DURATION.mp4             all tracks in one file (package export)
//	/STREAM/init/HASH.mp4                         init segment of one track
//	/STREAM/segment/DIGEST/TURN/PID.m4s           one track of one segment
//
// FROM is Unix seconds or RFC 3339, DURATION seconds or "now"; the window is half-open, and what overlaps it is played
// whole.
//
// Invariants:
//
//	I1  Paths of media name bytes by their hash: the same path gives the same bytes for ever, on every window.
//	I2  What is missing is marked: EXT-X-GAP where the source's clock goes on, EXT-X-DISCONTINUITY where another
//	    timeline or configuration begins, and in every rendition at the same place.
//	I3  Only sealed segments are listed; a window that reaches into the future or to now has no end yet.
//	I4  A segment has the same number in each listing of such a window, though its head expires and its gaps are filled.
//
// Between requests it keeps how many discontinuities have left the windows that are being watched, and nothing else. It
// is safe for concurrent use.
package playback
