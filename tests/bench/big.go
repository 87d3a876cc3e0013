package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	bigDays      = 30
	bigStreams   = 50 // recorded beside
	bigQueries   = 5000
	bigQueryAim  = time.Millisecond
	bigOpenAim   = time.Second
	bigCellNanos = (1 << 19) * int64(time.Second) / 90_000
)

// big opens an archive of months, asks for ranges of 30 days, and has a day of it expire while other streams are recorded.
func big(ctx context.Context, o options, dir string) error {
	media := filepath.Join(dir, "media")
	inStore, err := makeBig(ctx, o, media)
	if err != nil {
		return err
	}
	old := int((int64(o.big)*bigCellNanos + int64(bigDays*24*time.Hour) - 1) / int64(bigDays*24*time.Hour))
	days := float64(o.big) * float64(bigCellNanos) / float64(old) / float64(24*time.Hour)
	cold := "the page cache was dropped"
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0o200); err != nil {
		cold = "the page cache was not dropped, which takes root"
	}
	a, err := startArchive(ctx, o, dir, benchConf(dir, old+bigStreams, "40d"), old+bigStreams, "DVR_SCRUB_RATE=0", "DVR_RECLAIM_RATE=0")
	if err != nil {
		return err
	}
	defer a.stop()
	opened, err := openTime(a.dvr.stderr.String())
	if err != nil {
		return err
	}
	fmt.Printf("opened in %s (aim %s; %s)\n", opened.Round(time.Millisecond), bigOpenAim, cold)
	b := &bigArchive{archive: a, index: dvrv1.NewIndexServiceClient(a.conns[0]), old: old}
	if err := b.memory("when it was open"); err != nil {
		return err
	}
	if err := b.queries(ctx, days, inStore); err != nil {
		return err
	}
	if err := b.memory("after the queries"); err != nil {
		return err
	}
	if err := b.expire(ctx, dir, days); err != nil {
		return err
	}
	return b.memory("after a day expired")
}

// makeBig has the store's own test make the archive: its index is real, its data files are holes. It gives what that said of
// ranges: how many, p50, p99, most.
func makeBig(ctx context.Context, o options, media string) ([]string, error) {
	began := time.Now()
	cmd := exec.CommandContext(ctx, "go", "test", "-v", "-count=1", "-timeout=30m", "-run=^TestBig$", "./dvrsvc/internal/store")
	cmd.Env = append(os.Environ(), "TWINREEL_BIG="+strconv.Itoa(o.big), "TWINREEL_BIG_DIR="+media)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("make an archive of %d segments: %w: %s", o.big, err, bytes.TrimSpace(out))
	}
	_, said, _ := strings.Cut(string(out), "in the store: ")
	said, _, _ = strings.Cut(said, "\n")
	inStore := strings.Split(said, ", ")
	if len(inStore) != 4 {
		return nil, fmt.Errorf("the test that makes the archive says nothing of ranges: %s", bytes.TrimSpace(out))
	}
	inStore[0] = strings.TrimSuffix(inStore[0], " ranges")
	size := int64(0)
	err = filepath.WalkDir(filepath.Join(media, ".twinreel", "index"), func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	fmt.Printf("\nan archive of %d segments, at most %d days a stream (the index is real, the data files are holes), made in %s; its index: %.1f GB\n",
		o.big, bigDays, time.Since(began).Round(time.Second), float64(size)/1e9)
	return inStore, err
}

// openTime finds in the log of dvrsvc how long it took to open the storage.
func openTime(log string) (time.Duration, error) {
	for line := range strings.SplitSeq(log, "\n") {
		if _, rest, ok := strings.Cut(line, `msg="storage open"`); ok {
			if _, took, ok := strings.Cut(rest, " took="); ok {
				return time.ParseDuration(strings.Fields(took)[0])
			}
		}
	}
	return 0, fmt.Errorf("dvrsvc does not say how long it took to open the storage: %s", log)
}

// bigArchive is one with streams that are not recorded any more.
type bigArchive struct {
	*archive
	index dvrv1.IndexServiceClient
	old   int // how many
}

func (b *bigArchive) memory(when string) error {
	u, err := b.dvr.usage()
	fmt.Printf("memory of dvrsvc %s: %.0f MB\n", when, float64(u.rss+u.file)/1e6)
	return err
}

// queries asks one after the other over gRPC for ranges of 30 days, and for the segments of an hour.
func (b *bigArchive) queries(ctx context.Context, days float64, inStore []string) error {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range b.old { // what a stream is asked for the first time is read from the disk
		if _, err := b.index.GetRanges(ctx, &dvrv1.GetRangesRequest{Stream: benchStream(i)}); err != nil {
			return err
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "query\tresults\tp50\tp99\tmost\taim of p99")
	fmt.Fprintf(w, "ranges of 30 days, in the store\t%s\t%s\t%s\t%s\t%s\n", inStore[0], inStore[1], inStore[2], inStore[3], bigQueryAim)
	defer debug.SetGCPercent(debug.SetGCPercent(1000)) // the store is measured, not who asks
	now := time.Now()
	for _, q := range []struct {
		name string
		aim  string
		ask  func(stream string) (int, error)
	}{
		{"no range over gRPC: what a call costs", "", func(stream string) (int, error) {
			at := timestamppb.New(now.Add(time.Hour))
			r, err := b.index.GetRanges(ctx, &dvrv1.GetRangesRequest{Stream: stream, From: at, To: at})
			return len(r.GetRanges()), err
		}},
		{"ranges of 30 days over gRPC", bigQueryAim.String(), func(stream string) (int, error) {
			to := now.Add(-time.Duration(rnd.Int64N(int64(time.Hour))))
			r, err := b.index.GetRanges(ctx, &dvrv1.GetRangesRequest{
				Stream: stream, From: timestamppb.New(to.Add(-bigDays * 24 * time.Hour)), To: timestamppb.New(to),
			})
			return len(r.GetRanges()), err
		}},
		{"segments of an hour over gRPC", "", func(stream string) (int, error) {
			from := now.Add(-time.Duration(rnd.Float64() * (days*24 - 2) * float64(time.Hour))).Add(-time.Hour)
			list, err := b.index.ListSegments(ctx, &dvrv1.ListSegmentsRequest{
				Stream: stream, From: timestamppb.New(from), To: timestamppb.New(from.Add(time.Hour)),
			})
			n := 0
			for err == nil {
				if _, err = list.Recv(); err == nil {
					n++
				}
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return n, err
		}},
	} {
		var times []time.Duration
		results := 0
		for range bigQueries {
			began := time.Now()
			n, err := q.ask(benchStream(rnd.IntN(b.old)))
			if err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			times = append(times, time.Since(began))
			results += n
		}
		round := func(q float64) time.Duration { return quantile(times, q).Round(time.Microsecond) }
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", q.name, results/bigQueries, round(0.5), round(0.99), round(1), q.aim)
	}
	return w.Flush()
}

// segments counts those of the streams that are not recorded.
func (b *bigArchive) segments(ctx context.Context) (n uint64, err error) {
	list, err := b.index.ListStreams(ctx, &dvrv1.ListStreamsRequest{})
	for _, s := range list.GetStreams() {
		if i, err := strconv.Atoi(strings.TrimPrefix(s.GetStream(), "bench")); err == nil && i < b.old {
			n += s.GetSegments()
		}
	}
	return n, err
}

// expire records streams, first alone and then while a day of the others expires.
func (b *bigArchive) expire(ctx context.Context, dir string, days float64) error {
	source, err := newSynthSource(manyBitrate, bigStreams)
	if err != nil {
		return err
	}
	t := &tally{}
	var ps []*synthProducer
	for i := range bigStreams {
		ps = append(ps, &synthProducer{
			stream: benchStream(b.old + i), source: source, tally: t, paced: true, ring: manyRing, after: spread * time.Duration(i) / bigStreams,
		})
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "%d streams of %.0f Mbit/s are recorded meanwhile\ttook\texpired\tCPU of dvrsvc\tend to Release p50\tp99\tmost\n", bigStreams, manyBitrate/1e6)
	err = b.record(ctx, ps, func(ctx context.Context) error {
		if err := wait(ctx, manyWarmup); err != nil {
			return err
		}
		t.measure(true)
		row := func(name string, until func() (bool, error)) error {
			before, err := b.dvr.usage()
			if err != nil {
				return err
			}
			had, err := b.segments(ctx)
			if err != nil {
				return err
			}
			began := time.Now()
			for done := false; !done; {
				if err := wait(ctx, 100*time.Millisecond); err != nil {
					return err
				}
				if done, err = until(); err != nil {
					return err
				}
				if time.Since(began) > 10*time.Minute {
					return fmt.Errorf("%s: not over after ten minutes", name)
				}
			}
			took := time.Since(began)
			_, times, err := t.since()
			if err != nil {
				return err
			}
			after, err := b.dvr.usage()
			if err != nil {
				return err
			}
			has, err := b.segments(ctx)
			round := func(q float64) time.Duration { return quantile(times, q).Round(time.Millisecond) }
			fmt.Fprintf(w, "%s\t%s\t%d\t%.2f\t%s\t%s\t%s\n", name, took.Round(100*time.Millisecond), had-has, (after.cpu-before.cpu).Seconds()/took.Seconds(),
				round(0.5), round(0.99), round(1))
			return err
		}
		ends := time.Now().Add(40 * time.Second)
		if err := row("nothing expires", func() (bool, error) { return time.Now().After(ends), nil }); err != nil {
			return err
		}
		// A day of what there is, and what became too old meanwhile.
		rule := fmt.Sprintf("%dh", int((days-1)*24))
		if err := os.WriteFile(b.conf, []byte(benchConf(dir, b.old+bigStreams, rule)), 0o644); err != nil {
			return err
		}
		all, err := b.segments(ctx)
		if err != nil {
			return err
		}
		last, since := all, time.Now()
		return row("a day expires", func() (bool, error) {
			n, err := b.segments(ctx)
			if n != last {
				last, since = n, time.Now()
			}
			return n < all && time.Since(since) > 3*time.Second, err
		})
	})
	return errors.Join(err, w.Flush())
}
