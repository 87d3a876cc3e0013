// Bench measures what it costs to record ten live streams: Twinreel's ingest and archive as separate processes, the
// floor (receive in batches and append the raw TS to a file), and ffmpeg (-c copy to fMP4 HLS), one after the other in
// one run, from one source over loopback.
//
// Only the ratios are worth quoting: the machines that run it are noisy. It judges nothing and exits with 0 whenever it
// could measure.
package main
