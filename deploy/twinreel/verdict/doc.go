// Package verdict judges a run: what was sent, against what two sites hold of it.
//
// It owns the criterion. [Judge] is a pure function of what the witness saw and of the two archives, so that a test can
// take a segment away and see it fail. [Read] gets an archive through the API, hashes the bytes again, and takes them
// apart with a reader that is not ours (mp4ff).
//
// All sealed slots are compared by digest. The access units that are judged are those from the first unit that any of
// the two sites holds to the end of the last whole segment that any of them holds, track by track: what one site alone
// has is missing on the other, and a track that none of them has is lost. A unit is the same when PID, time and content
// are; one whose time alone differs by at most [MaxMoved] is counted apart. A stream that the witness cannot count is
// named as not judged. Before the window lies what was sent until the first random access point, behind it the segment
// that was open when the source stopped; when more than [MaxUnjudged] was sent there, the verdict is not good, however
// well the rest matches.
package verdict
