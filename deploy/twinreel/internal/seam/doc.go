// Package seam cuts a transport stream so that it can be looped.
//
// The tracks of a file rarely end together: an encoder fills the last audio frame, or holds back the last pictures. Played
// over and over, the sound of one turn then overlaps the next or leaves a hole before it, which a recorder must note as
// what it is: times that step. [Trim] takes away at the end what keeps the tracks from having one length.
//
// It owns the choice of the place and the cut in the packets. Nothing but the end is touched, no byte is encoded again.
// Pictures are counted by PES, audio frames as package mpegts frames them; what it cannot frame stays as it is.
package seam
