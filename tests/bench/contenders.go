package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// measure waits out the warm-up and gives what the processes used in the window, and their memory at its end.
func measure(ctx context.Context, o options, ps []*process) (result, error) {
	if err := wait(ctx, o.warmup); err != nil {
		return result{}, err
	}
	before, err := total(ps)
	if err != nil {
		return result{}, err
	}
	window := func() error { return wait(ctx, o.window) }
	if o.during != nil {
		err = o.during(window)
	} else {
		err = window()
	}
	if err != nil {
		return result{}, err
	}
	after, err := total(ps)
	if err != nil {
		return result{}, err
	}
	return result{cpu: after.cpu - before.cpu, rss: after.rss, file: after.file}, nil
}

func total(ps []*process) (usage, error) {
	var sum usage
	for _, p := range ps {
		u, err := p.usage()
		if err != nil {
			return sum, err
		}
		sum.cpu += u.cpu
		sum.rss += u.rss
		sum.file += u.file
	}
	return sum, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func stopAll(ps []*process) {
	for _, p := range ps {
		p.stop()
	}
}

func benchFloor(ctx context.Context, o options, dir string, ports []int) (result, error) {
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	p, err := start(ctx, []string{floorEnv + "=" + dir}, self, portArgs(ports)...)
	if err != nil {
		return result{}, err
	}
	defer p.stop()
	return measure(ctx, o, []*process{p})
}

func benchFFmpeg(ctx context.Context, o options, dir string, ports []int) (result, error) {
	var ps []*process
	defer func() { stopAll(ps) }()
	for _, port := range ports {
		base := filepath.Join(dir, strconv.Itoa(port))
		p, err := start(ctx, nil, "ffmpeg", "-v", "error", "-y", "-nostdin",
			"-i", fmt.Sprintf("udp://127.0.0.1:%d?fifo_size=100000&buffer_size=8388608", port),
			"-map", "0", "-c", "copy", "-bsf:a:0", "aac_adtstoasc", "-f", "hls", "-hls_segment_type", "fmp4",
			"-hls_time", "6", "-hls_list_size", "0", "-hls_fmp4_init_filename", fmt.Sprintf("%d.init.mp4", port),
			base+".m3u8")
		if err != nil {
			return result{}, err
		}
		ps = append(ps, p)
	}
	return measure(ctx, o, ps)
}

func benchTwinreel(ctx context.Context, o options, dir string, ports []int) (result, error) {
	var conf strings.Builder
	for i, port := range ports {
		fmt.Fprintf(&conf, "stream bench%d {\n  input udp://127.0.0.1:%d;\n  dvr %s 1d;\n}\n", i, port, filepath.Join(dir, "media"))
	}
	file := filepath.Join(dir, "stream.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o644); err != nil {
		return result{}, err
	}
	addr, err := freeAddrs("gateway", "gateway-http", "dvr", "dvr-http", "ingest", "ingest-http")
	if err != nil {
		return result{}, err
	}
	var ps []*process
	defer func() { stopAll(ps) }()
	for _, s := range []struct {
		bin string
		env []string
	}{
		{"gateway", gatewayEnv(dir, file, addr)},
		{"dvrsvc", dvrEnv(dir, addr)},
		{"ingestsvc", []string{
			"INGEST_NODE=bench", "INGEST_DATA=" + filepath.Join(dir, "ingest"), "INGEST_GATEWAY_ADDR=" + addr["gateway"],
			"INGEST_DVR_ADDR=" + addr["dvr"], "INGEST_GRPC_LISTEN=" + addr["ingest"], "INGEST_HTTP_LISTEN=" + addr["ingest-http"],
		}},
	} {
		p, err := start(ctx, s.env, filepath.Join(o.bin, s.bin))
		if err != nil {
			return result{}, err
		}
		ps = append(ps, p)
	}
	recorders := ps[1:] // the gateway only tells them what to record
	r, err := measure(ctx, o, recorders)
	if err != nil {
		return r, err
	}
	if r.ring, err = ringBytes(ctx, addr["ingest-http"]); err != nil {
		return r, err
	}
	r.rss -= r.ring
	return r, checkRecorded(ctx, o, len(ports), addr["gateway-http"])
}

// ringBytes adds up the ring gauges of ingestsvc.
func ringBytes(ctx context.Context, addr string) (int64, error) {
	body, err := get(ctx, "http://"+addr+"/metrics")
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(string(body)) {
		if !strings.HasPrefix(line, "twinreel_ingestsvc_ring_bytes") {
			continue
		}
		f := strings.Fields(line)
		v, err := strconv.ParseFloat(f[len(f)-1], 64)
		if err != nil {
			return 0, fmt.Errorf("read %q: %w", line, err)
		}
		sum += v
	}
	return int64(sum), nil
}

// errDamaged: the recorder could not keep up, or did not work.
var errDamaged = errors.New("not recorded whole")

// checkRecorded refuses to report figures of a recorder that did not record.
func checkRecorded(ctx context.Context, o options, streams int, addr string) error {
	for i := range streams {
		body, err := get(ctx, fmt.Sprintf("http://%s/api/v1/streams/bench%d/ranges", addr, i))
		if err != nil {
			return err
		}
		var got struct {
			Ranges []struct {
				From, To time.Time
				State    string
			}
		}
		if err := json.Unmarshal(body, &got); err != nil {
			return fmt.Errorf("read ranges: %w", err)
		}
		var covered time.Duration
		for _, r := range got.Ranges {
			covered += r.To.Sub(r.From)
			if strings.HasSuffix(r.State, "DAMAGED") {
				return fmt.Errorf("stream bench%d is %w from %s to %s", i, errDamaged, r.From, r.To)
			}
		}
		if len(got.Ranges) > 1 {
			return fmt.Errorf("stream bench%d is %w: it has %d ranges", i, errDamaged, len(got.Ranges))
		}
		if want := o.window - 10*time.Second; covered < want {
			return fmt.Errorf("stream bench%d is %w: it has %s recorded, want at least %s", i, errDamaged, covered, want)
		}
	}
	return nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return body, err
}
