package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
)

// Set, they make the binary run a part of the measurement as a child of itself, so that it is accounted like the others.
const (
	floorEnv  = "TWINREEL_BENCH_FLOOR"
	sourceEnv = "TWINREEL_BENCH_SOURCE"
	httpEnv   = "TWINREEL_BENCH_HTTP"
)

type options struct {
	bin      string
	parts    string
	streams  int
	warmup   time.Duration
	window   time.Duration
	bitrate  int // kbit/s of the video
	ceiling  int
	durable  int // streams
	turns    int
	many     int // streams
	big      int // segments
	backfill int // MB

	hour          time.Duration
	durableWindow time.Duration
	ffmpeg        bool
	// together has all contenders work at the same time, so that what else the machine does is the same for all.
	together bool
	// during runs what is measured; nil: nothing else is to be measured with it.
	during func(measure func() error) error
}

// result is one row of the report.
type result struct {
	name  string
	cpu   time.Duration
	rss   int64 // bytes over all streams, without the ring and file
	file  int64 // bytes that are pages of the programs
	ring  int64 // bytes over all streams
	gbits float64
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if dir := os.Getenv(floorEnv); dir != "" {
		exit(floorChild(ctx, dir, os.Args[1:]))
	}
	if clip := os.Getenv(sourceEnv); clip != "" {
		exit(sourceChild(ctx, clip, os.Args[1:]))
	}
	if end := os.Getenv(httpEnv); end != "" {
		exit(httpChild(ctx, end, os.Args[1:]))
	}
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "directory of the built binaries; compare: or several, with commas")
	flag.StringVar(&o.parts, "parts", strings.Join(partNames(), ","), "which parts to measure")
	flag.IntVar(&o.streams, "streams", 10, "compare: how many streams")
	flag.DurationVar(&o.warmup, "warmup", 15*time.Second, "compare: time before the measured window of each contender")
	flag.DurationVar(&o.window, "window", 30*time.Second, "compare: measured window of each contender")
	flag.IntVar(&o.bitrate, "bitrate", 9200, "compare, most: video bit rate of the source, kbit/s")
	flag.IntVar(&o.ceiling, "ceiling", 320, "most: how many streams to try at most")
	flag.BoolVar(&o.ffmpeg, "ffmpeg", true, "compare: with ffmpeg")
	flag.BoolVar(&o.together, "together", false, "compare: all contenders at the same time, for a machine that has other work")
	flag.IntVar(&o.durable, "durable", 20, "durable: how many streams")
	flag.DurationVar(&o.durableWindow, "durable-window", 15*time.Second, "durable: measured window of each turn")
	flag.IntVar(&o.turns, "turns", 2, "durable: how often each has its turn")
	flag.IntVar(&o.many, "many", 1000, "many: how many streams to begin with")
	flag.IntVar(&o.big, "big", 5_339_000, "big: how many segments")
	flag.IntVar(&o.backfill, "backfill", 2000, "backfill: MB of the archive")
	flag.DurationVar(&o.hour, "hour", time.Hour, "recovery: how much was missed")
	flag.Parse()
	exit(bench(ctx, o))
}

func exit(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func floorChild(ctx context.Context, dir string, args []string) error {
	ports, err := parsePorts(args)
	if err != nil {
		return err
	}
	return runFloor(ctx, ports, dir)
}

func bench(ctx context.Context, o options) error {
	for name := range strings.SplitSeq(o.parts, ",") {
		i := slices.Index(partNames(), name)
		if i < 0 {
			return fmt.Errorf("part %q is none of %s", name, strings.Join(partNames(), ", "))
		}
		if err := inDir(func(dir string) error { return parts()[i].run(ctx, o, dir) }); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// part is what can be measured alone.
type part struct {
	name string
	run  func(ctx context.Context, o options, dir string) error
}

func parts() []part {
	return []part{{"compare", compare}, {"flat", flat}, {"most", most}, {"durable", durable}, {"many", many}, {"big", big}, {"backfill", backfill}, {"pair", pair}, {"recovery", recovery}}
}

func partNames() (names []string) {
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// inDir gives f a directory for as long as it runs.
func inDir(f func(dir string) error) error {
	dir, err := os.MkdirTemp("", "twinreel-bench-")
	if err != nil {
		return err
	}
	return errors.Join(f(dir), os.RemoveAll(dir))
}

const ffmpegName = "ffmpeg -c copy to fMP4 HLS"

// compare measures the contenders one after the other.
func compare(ctx context.Context, o options, dir string) error {
	clip := filepath.Join(dir, "source.ts")
	bits, err := makeSource(ctx, clip, o.bitrate)
	if err != nil {
		return err
	}
	how := "one contender after the other"
	if o.together {
		how = "all contenders at the same time"
	}
	fmt.Printf("%d streams of %.2f Mbit/s over UDP on loopback, %s measured after %s, %s\n",
		o.streams, bits/1e6, o.window, o.warmup, how)

	type contender struct {
		name  string
		run   func(context.Context, options, string, []int) (result, error)
		ports []int
	}
	contenders := []contender{{name: "floor: receive in batches, append raw TS", run: benchFloor}}
	if o.ffmpeg {
		contenders = append(contenders, contender{name: ffmpegName, run: benchFFmpeg})
	}
	bins := strings.Split(o.bin, ",")
	for _, bin := range bins {
		c := contender{name: "twinreel: ingestsvc + dvrsvc, durable"}
		if len(bins) > 1 {
			c.name += ", of " + bin
		}
		c.run = func(ctx context.Context, o options, dir string, ports []int) (result, error) {
			o.bin = bin
			return benchTwinreel(ctx, o, dir, ports)
		}
		contenders = append(contenders, c)
	}
	var apart [][]int
	for i := range contenders {
		if i > 0 && !o.together {
			contenders[i].ports = contenders[0].ports
			continue
		}
		if contenders[i].ports, err = freePorts(o.streams); err != nil {
			return err
		}
		apart = append(apart, contenders[i].ports)
	}
	var all []int // the source shifts them against each other in this order
	for i := range o.streams {
		for _, ports := range apart {
			all = append(all, ports[i])
		}
	}
	source, err := startSource(ctx, clip, all)
	if err != nil {
		return err
	}
	defer source.stop()

	gbits := bits * o.window.Seconds() * float64(o.streams) / 1e9
	results := make([]result, len(contenders))
	g, ctx := errgroup.WithContext(ctx)
	if !o.together {
		g.SetLimit(1)
	}
	for i, c := range contenders {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			sub := filepath.Join(dir, strconv.Itoa(i))
			if err := os.Mkdir(sub, 0o755); err != nil {
				return err
			}
			r, err := c.run(ctx, o, sub, c.ports)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			r.name, r.gbits = c.name, gbits
			results[i] = r
			return os.RemoveAll(sub) // the next contender may need the room
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if _, err := source.usage(); err != nil {
		return err
	}
	report(results, o.streams)
	return nil
}

func report(results []result, streams int) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "contender\tCPU s per Gbit\tof the floor\tof ffmpeg\tMB a stream\tring MB a stream\tprogram MB in all")
	for _, r := range results {
		per := r.cpu.Seconds() / r.gbits
		ring := "-"
		if r.ring > 0 {
			ring = fmt.Sprintf("%.1f", float64(r.ring)/1e6/float64(streams))
		}
		ofFFmpeg := "-"
		for _, f := range results {
			if f.name == ffmpegName {
				ofFFmpeg = fmt.Sprintf("%.2fx", r.cpu.Seconds()/f.cpu.Seconds())
			}
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.2fx\t%s\t%.1f\t%s\t%.0f\n", r.name, per,
			r.cpu.Seconds()/results[0].cpu.Seconds(), ofFFmpeg, float64(r.rss)/1e6/float64(streams), ring, float64(r.file)/1e6)
	}
	_ = w.Flush() // standard output; nothing to be done about it
}

// makeSource writes a clip of 1280x720 at 25 fps with noise that fills the bit rate, and two audio tracks. It returns the
// bits a second of the whole multiplex.
func makeSource(ctx context.Context, path string, kbit int) (float64, error) {
	const seconds = 19.2
	rate := strconv.Itoa(kbit) + "k"
	cmd := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-y",
		"-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25,noise=alls=20:allf=t",
		"-f", "lavfi", "-i", "sine=440:r=48000",
		"-map", "0", "-map", "1", "-map", "1", "-t", fmt.Sprint(seconds),
		"-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-b:v", rate, "-minrate", rate, "-maxrate", rate,
		"-bufsize", rate, "-x264-params", "nal-hrd=cbr",
		"-c:a:0", "aac", "-b:a:0", "128k", "-c:a:1", "mp2", "-b:a:1", "192k", "-f", "mpegts", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("make the source with ffmpeg: %w: %s", err, out)
	}
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return float64(st.Size()) * 8 / seconds, nil
}

// freePorts asks the kernel for n UDP ports and gives them back at once.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer c.Close()
		ports = append(ports, c.LocalAddr().(*net.UDPAddr).Port)
	}
	return ports, nil
}

// freeTCP gives one TCP address on loopback.
func freeTCP() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
