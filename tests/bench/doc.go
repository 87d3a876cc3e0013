// Bench measures what it costs to record live streams, and what the archive does under load, in parts:
//
//   - compare: Twinreel's ingest and archive as separate processes, the floor (receive in batches and append the raw TS to
//     a file), and ffmpeg (-c copy to fMP4 HLS), one after the other in one run, from one source over loopback;
//   - flat: what a stream costs of 10, 50 and 200;
//   - most: how many streams of the same bit rate as in compare are recorded whole without a datagram dropped by the kernel,
//     by doubling their number and then halving the step;
//   - durable: how fast a dvrsvc process takes segments over Record, each durable when it is released, of the rate of appends to
//     as many files that are synced as often, in turns;
//   - many: from the end of a segment's media to its release, with a thousand streams at the pace of their media, or how many of
//     them this machine keeps under a second;
//   - big: an archive of 5.3 million segments, twelve streams of 30 days: how long it takes to open, ranges of 30 days and
//     segments of an hour over gRPC, and what streams that are recorded notice when a day of it expires;
//   - backfill: how fast an empty site fetches an archive, of the rate of net/http's sendfile into synced files and of rsync,
//     in turns, and the CPU time of both ends;
//   - pair: what two sites that record the same streams say to each other, and how soon a segment is back that one lost.
//   - recovery: two sites that record live, of which one has an hour that the other lacks: how long it takes until that is back, what
//     live notices of it, and the same at hardly any rate.
//
// The last six have synthetic producers in this process: real chunks whose samples are noise.
//
// The source makes each datagram once and sends it to all streams by sendmmsg, to each at a time of its own. Its CPU time
// is no part of what is compared; flat and most print it beside.
//
// Only the ratios are worth quoting: the machines that run it are noisy. With -together all contenders run at the same
// time, so that the noise is the same for all; but then the processor hardly sleeps, and waking it costs less than on a
// machine of their own. It judges nothing and exits with 0 whenever it could measure.
package main
