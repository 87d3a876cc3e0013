package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"
)

const (
	manyBitrate = 1_000_000
	manyWarmup  = 15 * time.Second // each stream has begun, and sealed two segments
	manyWindow  = 70 * time.Second // all that dvrsvc does each minute is in it
	manyAim     = time.Second
	manyRing    = 20 // far more than are ever held: a producer that waits would be late
)

// many records many streams at the pace of their media, and finds how many this machine takes with a p99 from the end of a
// segment to its release below a second.
func many(ctx context.Context, o options, _ string) error {
	fmt.Printf("\nstreams of %.0f Mbit/s at the pace of their media, begun over %s, %s after %s: from the end of a segment's media to its release\n",
		manyBitrate/1e6, spread, manyWindow, manyWarmup)
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "streams\tMB/s\tsegments\tp50\tp99\tmost\taim of p99\tCPU of dvrsvc\tMB a stream\tCPU of the producers")
	best := 0
	for _, n := range manySteps(o.many) {
		err := inDir(func(dir string) error {
			ok, err := manyStreams(ctx, o, dir, n, w)
			if ok {
				best = n
			}
			return err
		})
		if err != nil {
			return err
		}
		if best > 0 {
			break
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if best == o.many {
		fmt.Printf("%d streams are durable within %s\n", best, manyAim)
	} else {
		fmt.Printf("this machine keeps p99 under %s with %d of %d streams\n", manyAim, best, o.many)
	}
	return nil
}

// manySteps are the numbers of streams to try.
func manySteps(most int) (out []int) {
	for _, share := range []float64{1, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1} {
		out = append(out, max(1, int(share*float64(most))))
	}
	return out
}

func manyStreams(ctx context.Context, o options, dir string, n int, w *tabwriter.Writer) (ok bool, err error) {
	a, err := startArchive(ctx, o, dir, benchConf(dir, n, "7d"), n)
	if err != nil {
		return false, err
	}
	defer a.stop()
	source, err := newSynthSource(manyBitrate, n)
	if err != nil {
		return false, err
	}
	t := &tally{}
	var ps []*synthProducer
	for i := range n {
		ps = append(ps, &synthProducer{
			stream: benchStream(i), source: source, tally: t, paced: true, ring: manyRing, after: spread * time.Duration(i) / time.Duration(n),
		})
	}
	err = a.record(ctx, ps, func(ctx context.Context) error {
		if err := wait(ctx, manyWarmup); err != nil {
			return err
		}
		before, err := a.dvr.usage()
		if err != nil {
			return err
		}
		self, err := readUsage(os.Getpid())
		if err != nil {
			return err
		}
		began := time.Now()
		t.measure(true)
		if err := wait(ctx, manyWindow); err != nil {
			return err
		}
		bytes, times, err := t.since()
		if err != nil {
			return err
		}
		took := time.Since(began).Seconds()
		after, err := a.dvr.usage()
		if err != nil {
			return err
		}
		selfAfter, err := readUsage(os.Getpid())
		p99 := quantile(times, 0.99)
		// As many must have been released as were recorded.
		want := int(float64(n) * (took - 1) / synthDuration.Seconds())
		ok = p99 < manyAim && len(times) >= want*95/100
		round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
		fmt.Fprintf(w, "%d\t%.0f\t%d\t%s\t%s\t%s\t%s\t%.2f\t%.1f\t%.2f\n", n, float64(bytes)/1e6/took, len(times),
			round(quantile(times, 0.5)), round(p99), round(quantile(times, 1)), manyAim, (after.cpu-before.cpu).Seconds()/took,
			float64(after.rss+after.file)/1e6/float64(n), (selfAfter.cpu-self.cpu).Seconds()/took)
		return err
	})
	return ok, err
}
