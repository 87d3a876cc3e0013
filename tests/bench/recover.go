package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	recoverStreams = 20
	recoverBefore  = 30 * time.Second // live without backfill
	recoverMargin  = 30 * time.Second
	recoverShort   = 60 * time.Second // of the run that is limited to less than would ever be done
	recoverLittle  = 2_000_000        // bits a second, there
)

// recovery has a site come back after an hour that its peer has recorded, while both record live: how long that takes, and what
// live notices of it; then the same with hardly any bandwidth.
func recovery(ctx context.Context, o options, dir string) error {
	replica, main := filepath.Join(dir, "replica"), filepath.Join(dir, "main")
	var addrs [2]string
	for i := range addrs {
		var err error
		if addrs[i], err = freeTCP(); err != nil {
			return err
		}
	}
	fmt.Printf("\nan hour of %d streams of %d Mbit/s that one site missed comes from the other, while both record live\n", recoverStreams, manyBitrate/1_000_000)
	b, err := startSite(ctx, o, replica, "replica", addrs[1], addrs[0], recoverStreams)
	if err != nil {
		return err
	}
	defer b.stop()
	if err := missed(ctx, b, o.hour); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "limit, Mbit/s\tbacklog, GB\ttook\tat most\tMbit/s\tlive: end to Release p50, p99 before\tmeanwhile\tlost")
	for i, limit := range []int64{recoverLittle, 200_000_000} {
		if err := os.RemoveAll(main); err != nil {
			return err
		}
		source, err := newSynthSource(manyBitrate, 2*recoverStreams)
		if err != nil {
			return err
		}
		source.unlike(byte(i))
		if err := recoverOnce(ctx, o, main, addrs, b, source, limit, w); err != nil {
			return err
		}
	}
	return w.Flush()
}

// missed records the media of a stretch of time that ends a while ago.
func missed(ctx context.Context, s *replSite, long time.Duration) error {
	began := time.Now().Add(-long - time.Minute)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := range recoverStreams {
		g.Go(func() error {
			own, err := newSynthSource(manyBitrate, 1) // one that all share keeps what the slowest has not taken
			if err != nil {
				return err
			}
			own.unlike(0xff)
			return recordPast(ctx, s.conns[0], own, benchStream(i), began, segmentsOf(long))
		})
	}
	return g.Wait()
}

// recoverOnce starts the site that was away, with a limit, and has both record live.
func recoverOnce(ctx context.Context, o options, dir string, addrs [2]string, b *replSite, source *synthSource, limit int64, w *tabwriter.Writer) error {
	want, err := stored(ctx, b)
	if err != nil {
		return err
	}
	t := &tally{}
	a, err := startSite(ctx, o, dir, "main", addrs[0], "", recoverStreams)
	if err != nil {
		return err
	}
	defer a.stop()
	var ps [2][]*synthProducer
	for i := range recoverStreams {
		for k := range ps {
			ps[k] = append(ps[k], &synthProducer{stream: benchStream(i), source: source, tally: t, paced: true, ring: manyRing, after: spread * time.Duration(i) / recoverStreams})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.Go(func() error {
		return b.record(ctx, ps[1], func(ctx context.Context) error { <-ctx.Done(); return nil })
	})
	g.Go(func() error {
		defer cancel()
		return a.record(ctx, ps[0], func(ctx context.Context) error {
			if err := wait(ctx, 10*time.Second); err != nil {
				return err
			}
			t.measure(true)
			if err := wait(ctx, recoverBefore); err != nil {
				return err
			}
			_, before, err := t.since()
			if err != nil {
				return err
			}
			base, err := stored(ctx, a)
			if err != nil {
				return err
			}
			began := time.Now()
			conf := siteConf(dir, recoverStreams, addrs[1]) + fmt.Sprintf("replication_speed %d;\n", limit)
			if err := os.WriteFile(a.conf, []byte(conf), 0o644); err != nil {
				return err
			}
			most := time.Duration(float64(want)*8/float64(limit)*float64(time.Second)) + recoverMargin
			var got int64
			for got < want && (limit != recoverLittle || time.Since(began) < recoverShort) {
				if err := wait(ctx, time.Second); err != nil {
					return err
				}
				now, err := stored(ctx, a)
				if err != nil {
					return err
				}
				live := int64(time.Since(began).Seconds() * recoverStreams * manyBitrate / 8)
				got = now - base - live
				if time.Since(began) > 2*most {
					return fmt.Errorf("%d of %d bytes after %s: %s", got, want, time.Since(began), a.repl.stderr.String())
				}
			}
			took := time.Since(began)
			_, during, err := t.since()
			if err != nil {
				return err
			}
			if strings.Contains(a.dvr.stderr.String(), "level=ERROR") {
				return fmt.Errorf("dvrsvc: %s", a.dvr.stderr.String())
			}
			round := func(times []time.Duration, q float64) time.Duration {
				return quantile(times, q).Round(time.Millisecond)
			}
			end := took.Round(time.Second).String()
			if got < want {
				end = "ended after " + end
			}
			fmt.Fprintf(w, "%d\t%.2f\t%s\t%s\t%.1f\t%s, %s\t%s, %s\t%d\n", limit/1_000_000, float64(want)/1e9, end, most.Round(time.Second),
				float64(got)*8/1e6/took.Seconds(), round(before, 0.5), round(before, 0.99), round(during, 0.5), round(during, 0.99), len(t.refused))
			return nil
		})
	})
	return g.Wait()
}
