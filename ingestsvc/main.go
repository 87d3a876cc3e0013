// Command ingestsvc receives live MPEG-TS and brings it to dvrsvc as chunks and segments.
package main

import (
	"os"
	"runtime/debug"

	"github.com/twinreel/twinreel/ingestsvc/app"
	"github.com/twinreel/twinreel/pkg/service"
)

// gcPercent is how much garbage may gather beside what is live. Nearly all of that is media in the rings, which costs the
// collector little to go through, and at Go's 100 as much again would lie idle. With 10 streams of 10 Mbit/s 55 MB are
// live, 38 of them in rings, so at 25 it collects at 69 MB (go_memstats_next_gc_bytes); 12 was tried, and what was
// resident stayed the same. `make bench` prints it.
const gcPercent = 25

func main() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(service.Main(app.Spec()))
}
