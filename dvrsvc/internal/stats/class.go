package stats

import "time"

// Class says how long a segment took, measured by its own duration.
type Class uint8

// Classes of writes and reads.
const (
	Fast    Class = iota // less than half of its duration
	Slow                 // up to nine tenths of it
	Delayed              // longer
	Failed               // it came to nothing: an error of the disk, or of the bytes
	Skipped              // it was left out: no room to write it, or a reader that was too late for it

	classes
)

// ClassNames are the classes as they are shown, by Class.
var ClassNames = [classes]string{"fast", "slow", "delayed", "failed", "skipped"}

// ClassOf gives the class of a segment that took so long.
func ClassOf(took, duration time.Duration) Class {
	switch {
	case took < duration-took:
		return Fast
	case took <= duration/10*9+duration%10*9/10:
		return Slow
	}
	return Delayed
}

// Kind says why bytes were written.
type Kind uint8

// Kinds of writes.
const (
	Live      Kind = iota // as the live stream came
	Backfill              // later: from another site, or from the ring of a producer
	Rewritten             // again: of a file that failed or is damaged, or with better evidence
	Reclaimed             // again, so that what is dead around them goes

	kinds
)

// KindNames are the kinds as they are shown, by Kind.
var KindNames = [kinds]string{"live", "backfill", "rewritten", "reclaimed"}

// Purpose says why bytes are read.
type Purpose uint8

// Purposes of reads.
const (
	Play        Purpose = iota // for viewers, and whoever does not say
	Replication                // for other sites
	Scrub                      // to find rot
	Verify                     // because an operator asked for it
	Rewrite                    // to write them again, by a reclaim among others

	purposes
)

// PurposeNames are the purposes as they are shown, by Purpose.
var PurposeNames = [purposes]string{"play", "replication", "scrub", "verify", "rewrite"}

// Source says where bytes are read from.
type Source uint8

// Sources of reads.
const (
	Memory Source = iota // the live tail, or what is not on disk yet
	Disk                 // data files, which the system may have in memory

	sources
)

// SourceNames are the sources as they are shown, by Source.
var SourceNames = [sources]string{"memory", "disk"}

// Age says how old media is that is played from the archive.
type Age uint8

// Ages, since the end of the segment.
const (
	Hour   Age = iota // less than an hour
	Day               // less than a day
	TwoDay            // less than two days
	Week              // less than seven days
	Older

	ages
)

// AgeNames are the ages as they are shown, by Age.
var AgeNames = [ages]string{"hour", "day", "two_days", "week", "older"}

// AgeOf gives the age of media that ended so long ago.
func AgeOf(d time.Duration) Age {
	switch {
	case d < time.Hour:
		return Hour
	case d < 24*time.Hour:
		return Day
	case d < 48*time.Hour:
		return TwoDay
	case d < 7*24*time.Hour:
		return Week
	}
	return Older
}
