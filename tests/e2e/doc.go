// Package e2e runs two sites as eight real processes and kills them. The binaries come from TWINREEL_BIN, which
// `make e2e` sets; what the archives then hold is asked over the same API that operators use.
//
// Sites built in one process, with shifted clocks and damaged sources, are tests/modes.
package e2e
