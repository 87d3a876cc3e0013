// Package faults breaks real processes and real file systems under a synthetic producer, and counts what was lost of what
// had been released: nothing may be. An operator locks, unlocks and deletes ranges meanwhile: what was acknowledged holds.
//
// `make faults` runs all of it, `make faults FAULTS=short` what CI runs. How often each fault is made is TWINREEL_FAULTS (a
// count, default a few), its chance TWINREEL_SEED. The faults that need no process (each operation fails in turn, power cuts
// on a disk that tears, bit flips, a million random operations against a model) are tests of package store. What needs root and a mount (TestMount…: power cuts of a real ext4 and a real xfs,
// a full disk) is left out of the short run, and skips with the reason where a machine cannot. logs/ keeps what runs of the whole have printed.
package faults
