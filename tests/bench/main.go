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
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"
)

// floorEnv makes the binary run the floor as a child of itself, so that it is accounted like the others.
const floorEnv = "TWINREEL_BENCH_FLOOR"

type options struct {
	bin     string
	streams int
	warmup  time.Duration
	window  time.Duration
	bitrate int // kbit/s of the video
}

// result is one row of the report.
type result struct {
	name  string
	cpu   time.Duration
	rss   int64 // bytes over all streams, without the ring
	ring  int64 // bytes over all streams
	gbits float64
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if dir := os.Getenv(floorEnv); dir != "" {
		exit(floorChild(ctx, dir, os.Args[1:]))
	}
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "directory of the built binaries")
	flag.IntVar(&o.streams, "streams", 10, "how many streams")
	flag.DurationVar(&o.warmup, "warmup", 10*time.Second, "time before the measured window of each contender")
	flag.DurationVar(&o.window, "window", 30*time.Second, "measured window of each contender")
	flag.IntVar(&o.bitrate, "bitrate", 9200, "video bit rate of the source, kbit/s")
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
	ports := make([]int, len(args))
	for i, a := range args {
		var err error
		if ports[i], err = strconv.Atoi(a); err != nil {
			return fmt.Errorf("read port: %w", err)
		}
	}
	return runFloor(ctx, ports, dir)
}

func bench(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "twinreel-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	clip := filepath.Join(dir, "source.ts")
	bits, err := makeSource(ctx, clip, o.bitrate)
	if err != nil {
		return err
	}
	fmt.Printf("%d streams of %.2f Mbit/s over UDP on loopback, %s measured after %s, one contender after the other\n",
		o.streams, bits/1e6, o.window, o.warmup)

	ports, err := freePorts(o.streams)
	if err != nil {
		return err
	}
	args := []string{"play", clip}
	for _, p := range ports {
		args = append(args, fmt.Sprintf("udp://127.0.0.1:%d", p))
	}
	source, err := start(ctx, nil, filepath.Join(o.bin, "twinreel"), append(args, "--loop")...)
	if err != nil {
		return err
	}
	defer source.stop()

	gbits := bits * o.window.Seconds() * float64(o.streams) / 1e9
	var results []result
	for _, c := range []struct {
		name string
		run  func(context.Context, options, string, []int) (result, error)
	}{
		{"floor: receive in batches, append raw TS", benchFloor},
		{"ffmpeg -c copy to fMP4 HLS", benchFFmpeg},
		{"twinreel: ingestsvc + dvrsvc, durable", benchTwinreel},
	} {
		sub := filepath.Join(dir, strconv.Itoa(len(results)))
		if err := os.Mkdir(sub, 0o755); err != nil {
			return err
		}
		r, err := c.run(ctx, o, sub, ports)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if _, err := source.usage(); err != nil {
			return err
		}
		r.name, r.gbits = c.name, gbits
		results = append(results, r)
		_ = os.RemoveAll(sub) // the next contender may need the room
	}
	report(results, o.streams)
	return nil
}

func report(results []result, streams int) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "contender\tCPU s per Gbit\tof the floor\tMB a stream\tring MB a stream")
	for _, r := range results {
		per := r.cpu.Seconds() / r.gbits
		floor := results[0].cpu.Seconds() / results[0].gbits
		ring := "-"
		if r.ring > 0 {
			ring = fmt.Sprintf("%.1f", float64(r.ring)/1e6/float64(streams))
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.2fx\t%.1f\t%s\n", r.name, per, per/floor, float64(r.rss)/1e6/float64(streams), ring)
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
