package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	durableBitrate = 10_000_000
	durableRing    = 5 // segments of a stream that wait for their release
	durableWarmup  = 4 * time.Second
	durableAim     = 0.8
	syncEvery      = 500 * time.Millisecond
	syncAhead      = 16 << 20 // so much of a file that is not synced brings the next sync forward, in dvrsvc too
	rawBlock       = 1 << 20  // dvrsvc hands as much to the kernel at a time
)

// flow is what went to the disk in a window.
type flow struct {
	rate  float64 // MB/s
	cpu   float64 // s a GB
	from  float64 // the same, of the producers
	times []time.Duration
}

// durable compares how fast dvrsvc takes segments, each durable when it is released, with appends of as many bytes to as
// many files that are synced as often. They take turns, since the disk is not always as fast.
func durable(ctx context.Context, o options, dir string) error {
	size := durableBitrate / 8 * synthDuration.Seconds()
	fmt.Printf("\n%d streams, segments of %.1f MB as fast as they are released, %s after %s; raw: appends to as many files, synced as often; in turns\n",
		o.durable, size/1e6, o.durableWindow, durableWarmup)
	var raw, dvr flow
	for turn := range o.turns {
		for _, c := range []struct {
			name string
			run  func(context.Context, options, string) (flow, error)
			sum  *flow
		}{{"raw", rawAppends, &raw}, {"dvrsvc", durableArchive, &dvr}} {
			sub := filepath.Join(dir, c.name+strconv.Itoa(turn))
			if err := os.Mkdir(sub, 0o755); err != nil {
				return err
			}
			f, err := c.run(ctx, o, sub)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Printf("turn %d, %s: %.0f MB/s\n", turn+1, c.name, f.rate)
			c.sum.rate += f.rate / float64(o.turns)
			c.sum.cpu += f.cpu / float64(o.turns)
			c.sum.from += f.from / float64(o.turns)
			c.sum.times = append(c.sum.times, f.times...)
			if err := os.RemoveAll(sub); err != nil {
				return err
			}
			unix.Sync() // what the next one meets is its own
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "contender\tMB/s durable\tof raw\taim\tCPU s a GB\tof the producers\tSeal to Release p50\tp99")
	fmt.Fprintf(w, "raw appends, synced\t%.0f\t1\t\t%.2f\t\t\t\n", raw.rate, raw.cpu)
	fmt.Fprintf(w, "dvrsvc: Record to Release\t%.0f\t%.2f\t%.1f\t%.2f\t%.2f\t%s\t%s\n", dvr.rate, dvr.rate/raw.rate, durableAim, dvr.cpu, dvr.from,
		quantile(dvr.times, 0.5).Round(time.Millisecond), quantile(dvr.times, 0.99).Round(time.Millisecond))
	return w.Flush()
}

// durableArchive records from synthetic producers.
func durableArchive(ctx context.Context, o options, dir string) (f flow, err error) {
	a, err := startArchive(ctx, o, dir, benchConf(dir, o.durable, "7d"), o.durable)
	if err != nil {
		return f, err
	}
	defer a.stop()
	source, err := newSynthSource(durableBitrate, o.durable)
	if err != nil {
		return f, err
	}
	t := &tally{}
	var ps []*synthProducer
	for i := range o.durable {
		ps = append(ps, &synthProducer{stream: benchStream(i), source: source, tally: t, ring: durableRing})
	}
	err = a.record(ctx, ps, func(ctx context.Context) error {
		if err := wait(ctx, durableWarmup); err != nil {
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
		if err := wait(ctx, o.durableWindow); err != nil {
			return err
		}
		bytes, times, err := t.since()
		took := time.Since(began)
		if err != nil {
			return err
		}
		after, err := a.dvr.usage()
		if err != nil {
			return err
		}
		selfAfter, err := readUsage(os.Getpid())
		gb := float64(bytes) / 1e9
		f = flow{
			rate: gb * 1000 / took.Seconds(), cpu: (after.cpu - before.cpu).Seconds() / gb, from: (selfAfter.cpu - self.cpu).Seconds() / gb,
			times: times,
		}
		return err
	})
	return f, err
}

// rawFile is a file that is appended to.
type rawFile struct {
	f *os.File

	mu      sync.Mutex // protects the fields below
	written int64
	synced  int64
	room    *sync.Cond // synced has grown
	ended   bool
}

// rawAppends appends to files and syncs them as dvrsvc does.
func rawAppends(ctx context.Context, o options, dir string) (f flow, err error) {
	ahead := int64(durableRing * durableBitrate / 8 * synthDuration.Seconds())
	block := make([]byte, rawBlock)
	hurry := make(chan struct{}, 1)
	var files []*rawFile
	for i := range o.durable {
		file, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return f, err
		}
		defer file.Close()
		r := &rawFile{f: file}
		r.room = sync.NewCond(&r.mu)
		files = append(files, r)
	}
	durableBytes := func() (n int64) {
		for _, r := range files {
			r.mu.Lock()
			n += r.synced
			r.mu.Unlock()
		}
		return n
	}
	running, stop := context.WithCancel(ctx)
	g, running := errgroup.WithContext(running)
	for _, r := range files {
		g.Go(func() error { return r.fill(block, ahead, hurry) })
	}
	g.Go(func() error {
		defer func() {
			for _, r := range files {
				r.end()
			}
		}()
		tick := time.NewTicker(syncEvery)
		defer tick.Stop()
		for {
			select {
			case <-running.Done():
				return nil
			case <-tick.C:
			case <-hurry:
			}
			var syncs errgroup.Group
			for _, r := range files {
				syncs.Go(r.sync)
			}
			if err := syncs.Wait(); err != nil {
				return err
			}
		}
	})
	g.Go(func() error {
		defer stop()
		if err := wait(running, durableWarmup); err != nil {
			return err
		}
		before, err := readUsage(os.Getpid())
		if err != nil {
			return err
		}
		bytes, began := durableBytes(), time.Now()
		if err := wait(running, o.durableWindow); err != nil {
			return err
		}
		bytes = durableBytes() - bytes
		took := time.Since(began)
		after, err := readUsage(os.Getpid())
		f = flow{rate: float64(bytes) / 1e6 / took.Seconds(), cpu: (after.cpu - before.cpu).Seconds() / (float64(bytes) / 1e9)}
		return err
	})
	return f, g.Wait()
}

// fill appends, at most so much ahead of the last sync.
func (r *rawFile) fill(block []byte, ahead int64, hurry chan struct{}) error {
	for {
		r.mu.Lock()
		for r.written-r.synced >= ahead && !r.ended {
			r.room.Wait()
		}
		ended := r.ended
		r.mu.Unlock()
		if ended {
			return nil
		}
		if _, err := r.f.Write(block); err != nil {
			return err
		}
		r.mu.Lock()
		r.written += int64(len(block))
		early := r.written-r.synced > syncAhead
		r.mu.Unlock()
		if early {
			select {
			case hurry <- struct{}{}:
			default:
			}
		}
	}
}

func (r *rawFile) sync() error {
	r.mu.Lock()
	at := r.written
	r.mu.Unlock()
	if err := unix.Fdatasync(int(r.f.Fd())); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.synced = at
	r.room.Broadcast()
	return nil
}

func (r *rawFile) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.room.Broadcast()
}
