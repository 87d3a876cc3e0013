package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// run is one run of Twinreel alone under a source of its own.
type run struct {
	result
	source time.Duration // CPU time of the source in the same window
	drops  uint64        // datagrams that the kernel dropped, as it counts them itself
	sent   sent
	damage error // recorded, but not whole
}

// runTwinreel records the clip from so many streams.
func runTwinreel(ctx context.Context, o options, clip string, streams int) (r run, err error) {
	err = inDir(func(dir string) error {
		ports, err := freePorts(streams)
		if err != nil {
			return err
		}
		s, err := startSource(ctx, clip, ports)
		if err != nil {
			return err
		}
		defer s.stop()
		o.during = func(measure func() error) error {
			before, err := s.usage()
			if err != nil {
				return err
			}
			if err := measure(); err != nil {
				return err
			}
			after, err := s.usage()
			if err != nil {
				return err
			}
			r.source = after.cpu - before.cpu
			r.drops, err = kernelDrops(ports)
			return err
		}
		r.result, err = benchTwinreel(ctx, o, dir, ports)
		if errors.Is(err, errDamaged) {
			r.damage, err = err, nil
		}
		if err != nil {
			return err
		}
		r.sent, err = s.end()
		return err
	})
	return r, err
}

// kernelDrops adds up what the kernel says that it dropped at the sockets bound to these ports.
func kernelDrops(ports []int) (sum uint64, err error) {
	ours := make(map[uint64]bool, len(ports))
	for _, p := range ports {
		ours[uint64(p)] = true
	}
	body, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		return 0, err
	}
	found := 0
	for i, line := range strings.Split(strings.TrimSpace(string(body)), "\n") {
		f := strings.Fields(line)
		if i == 0 || len(f) < 13 {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		if err != nil || !ours[port] {
			continue
		}
		n, err := strconv.ParseUint(f[12], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read /proc/net/udp: %w", err)
		}
		sum, found = sum+n, found+1
	}
	if found < len(ports) {
		return sum, fmt.Errorf("%d sockets are bound of %d", found, len(ports))
	}
	return sum, nil
}

// flat measures whether a stream costs the same however many there are. Their bit rate is low, so that a small machine
// has room for the most of them, and what a stream costs beside its bytes weighs the more.
func flat(ctx context.Context, o options, dir string) error {
	clip := filepath.Join(dir, "source.ts")
	bits, err := makeSource(ctx, clip, 500)
	if err != nil {
		return err
	}
	o.warmup, o.window = 14*time.Second, 16*time.Second
	fmt.Printf("\nstreams of %.2f Mbit/s, %s measured after %s\n", bits/1e6, o.window, o.warmup)
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "streams\tCPU ms a second for each stream\tof that of 10\tMB a stream\tring MB a stream\tkernel drops\tsource: CPU ms")
	var first float64
	for _, n := range []int{10, 50, 200} {
		r, err := runTwinreel(ctx, o, clip, n)
		if err != nil {
			return err
		}
		if r.damage != nil {
			return r.damage
		}
		per := float64(n) * o.window.Seconds()
		each := r.cpu.Seconds() * 1000 / per
		if first == 0 {
			first = each
		}
		fmt.Fprintf(w, "%d\t%.2f\t%.2fx\t%.1f\t%.1f\t%d\t%.2f\n", n, each, each/first,
			float64(r.rss)/1e6/float64(n), float64(r.ring)/1e6/float64(n), r.drops, r.source.Seconds()*1000/per)
	}
	return w.Flush()
}

// leastPace is how much of its bit rate the source must have sent for a run to count.
const leastPace = 0.97

// most finds how many streams this machine records whole and without a datagram dropped by the kernel: it doubles their
// number until one run fails, and halves the step between the last that went well and the first that did not.
func most(ctx context.Context, o options, dir string) error {
	clip := filepath.Join(dir, "source.ts")
	bits, err := makeSource(ctx, clip, o.bitrate)
	if err != nil {
		return err
	}
	o.warmup, o.window = 14*time.Second, 16*time.Second
	fmt.Printf("\nstreams of %.2f Mbit/s, %s after %s: how many are recorded whole, without a datagram dropped\n", bits/1e6, o.window, o.warmup)
	good, bad, starved := 0, 0, false
	for n := 20; n <= o.ceiling; {
		r, err := runTwinreel(ctx, o, clip, n)
		if err != nil {
			return err
		}
		gbits := bits * o.window.Seconds() * float64(n) / 1e9
		verdict := "all whole"
		switch {
		case r.drops > 0:
			verdict = fmt.Sprintf("the kernel dropped %d datagrams", r.drops)
		case r.damage != nil:
			verdict = r.damage.Error()
		case r.sent.Pace < leastPace || r.sent.Unsent > 0:
			starved = true
			verdict = fmt.Sprintf("the source had time for %.0f %%, and could not send %d datagrams", r.sent.Pace*100, r.sent.Unsent)
		}
		fmt.Printf("%d streams, %.2f Gbit/s: %s; CPU s per Gbit %.2f, source %.2f; MB a stream %.1f, ring %.1f\n",
			n, gbits/o.window.Seconds(), verdict, r.cpu.Seconds()/gbits, r.source.Seconds()/gbits,
			float64(r.rss)/1e6/float64(n), float64(r.ring)/1e6/float64(n))
		if verdict == "all whole" {
			good = n
		} else {
			bad = n
		}
		switch {
		case bad == 0:
			n *= 2
		case bad-good <= max(5, good/10):
			n = o.ceiling + 1
		default:
			n = (good + bad) / 2
		}
	}
	if starved {
		fmt.Printf("this machine records at least %d such streams; it had no time for a source of more\n", good)
		return nil
	}
	fmt.Printf("this machine records %d such streams\n", good)
	return nil
}
