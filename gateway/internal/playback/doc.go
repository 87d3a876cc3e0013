// Package playback serves a window of the archive to players: as HLS with fMP4, and as one MP4 file.
//
// It owns the paths below /STREAM/ and the playlists. Media is what was recorded, track by track: the chunks of one
// track of one segment, gathered, with tfdt moved onto the timeline of the row (FORMAT.md, rule 1). Nothing is remuxed; event
// messages (emsg) of what the segment's SCTE-35 and ID3 say stand before its pictures.
//
//	/STREAM/index.m3u8                            master playlist of live: the last minute, one rendition per track
//	/STREAM/index/PID.m3u8                        media playlist of one track
//	/STREAM/archive-FROM-DURATION.m3u8            master playlist of a window of the archive
//	/STREAM/archive-FROM-DURATION/PID.m3u8        media playlist of one track
//	/STREAM/archive-FROM-DURATION.mp4             all tracks in one file (package export)
//	/STREAM/archive-FROM-DURATION/PID-PAGE.m3u8   media playlist of a page of subtitles of a teletext track
//	/STREAM/init/HASH.mp4                         init segment of one track
//	/STREAM/segment/DIGEST/TURN/PID.m4s           one track of one segment
//	/STREAM/segment/DIGEST/TURN/PID-PAGE.vtt      a page of subtitles while it lasts; ?after= the digests before it
//
// FROM is Unix seconds or RFC 3339, DURATION seconds or "now"; the window is half-open, and what overlaps it is played
// whole.
//
// Invariants:
//
//	I1  Paths of media name bytes by their hash: the same path gives the same bytes for ever, on every window; or, when another copy
//	    has taken their place, leads to that one.
//	I2  What is missing is marked, in every rendition at the same place: EXT-X-GAP for each cell between two segments, and
//	    before the first one of a window that begins at a moment; EXT-X-DISCONTINUITY where another timeline or
//	    configuration begins. Longer than 6.6 h (maxMissing) it is marked within one timeline alone.
//	I3  Only sealed segments are listed; a window that reaches into the future or to now has no end yet. When it
//	    has, EXT-X-ENDLIST is new, and the gap before the first segment gone.
//	I4  A segment has the same numbers in each listing of such a window, and those of its head never decrease (RFC 8216,
//	    6.2.2): though the head expires, gaps are filled, what broke off is repaired, the encoder starts anew, and
//	    listings overtake one another. What comes to lie before all that was listed is left out, until nobody has asked
//	    for the window for five minutes; in the gap at the beginning of a window (I2) there is room for it.
//
// Media sequence numbers are counted in cells of UTC, and the gaps of a list are as many as its numbers want. So they come
// from the archive alone, and are the same after a restart and behind another gateway: but for a GOP that is longer than
// a cell, two configurations in one, two timelines that meet within two cells or years apart, and a UTC mapping that was
// corrected by a cell. Discontinuities can only be counted: they come from the archive alone as long as none has left
// the window, and a gateway that never listed those that have left counts from the head.
//
// For what does not come from the archive it keeps, between requests, the numbers that it gave in the windows that are
// being watched, and nothing else. It is safe for concurrent use.
package playback
