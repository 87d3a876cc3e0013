// Package teletext reads the subtitles of EBU teletext (ETSI EN 300 706) as DVB carries it (EN 300 472), and writes them as
// WebVTT.
//
// It owns which characters a page shows and when. It knows no service, file, clock or goroutine; a Decoder is for one page
// of one stream, and not for concurrent use.
//
// Read are: pages with their boxes, erasure, rows of double height, the Latin sets with their national options, Cyrillic and
// Greek ones, and packets X/26 (accents and characters of G2), X/28 and M/29 (which sets). Colours, flashing, mosaics, and
// where on the picture a row stands are not: WebVTT gets lines of text. Hebrew and Arabic are in the order of the picture there,
// from left to right; such pages give nothing.
//
// Invariants:
//
//	I1  No input makes it panic, or hold more than a page.
//	I2  What is shown follows from the data alone: fed in pieces or at once, a page is the same.
//	I3  A byte with wrong parity is shown as U+FFFD, and never as another character; an address that cannot be corrected
//	    costs its packet alone.
package teletext
