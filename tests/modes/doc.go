// Package modes tests the whole product: sites as processes with real sockets, files and clocks, a source that plays
// to them at its own pace, and the archives that come of it, read over the API and judged by ffmpeg.
//
// A site is this test binary run again (see site_test.go): so it can be killed, it has the race detector in it, and its
// wall clock can be shifted, for which the product's binaries have no flag.
package modes
