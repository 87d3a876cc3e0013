// Package scte35 reads splice_info_sections (ANSI/SCTE 35).
//
// It owns what a section says of splices and segments. It knows no stream, clock or service, and keeps no bytes but those
// it was given. What it does not read (schedules, private commands, descriptors other than segmentation) is in the raw
// section, which whoever wants it has.
//
// Invariants:
//
//	I1  What Parse accepts has a right CRC and ends where its lengths say.
//	I2  No input makes it panic, or allocate more than in proportion to its length.
//	I3  Of an encrypted section nothing is said but that it is one.
package scte35
