package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/grpcx"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// freeAddrs gives an address on loopback to each name.
func freeAddrs(names ...string) (map[string]string, error) {
	addr := map[string]string{}
	for _, name := range names {
		a, err := freeTCP()
		if err != nil {
			return nil, err
		}
		addr[name] = a
	}
	return addr, nil
}

func gatewayEnv(dir, conf string, addr map[string]string) []string {
	return []string{
		"GATEWAY_NODE=bench", "GATEWAY_CONFIG=" + conf, "GATEWAY_DATA=" + filepath.Join(dir, "gateway"),
		"GATEWAY_GRPC_LISTEN=" + addr["gateway"], "GATEWAY_HTTP_LISTEN=" + addr["gateway-http"], "GATEWAY_DVR_ADDR=" + addr["dvr"], "GATEWAY_REPL_ADDR=none",
	}
}

func dvrEnv(dir string, addr map[string]string) []string {
	return []string{
		"DVR_NODE=bench", "DVR_DATA=" + filepath.Join(dir, "dvr"), "DVR_GATEWAY_ADDR=" + addr["gateway"],
		"DVR_GRPC_LISTEN=" + addr["dvr"], "DVR_HTTP_LISTEN=" + addr["dvr-http"],
	}
}

// archive is a dvrsvc in a process of its own, with the gateway that tells it what to record.
type archive struct {
	gateway, dvr *process
	conf         string
	addr         map[string]string
	conns        []*grpc.ClientConn
}

// streamsAConn is how many streams share a connection: those of one ingestsvc.
const streamsAConn = 250

// benchConf is the config of streams that are kept in dir/media by a rule.
func benchConf(dir string, streams int, rule string) string {
	var conf strings.Builder
	for i := range streams {
		fmt.Fprintf(&conf, "stream %s {\n  input %s;\n  dvr %s %s;\n}\n", benchStream(i), synthInput, filepath.Join(dir, "media"), rule)
	}
	return conf.String()
}

func benchStream(i int) string { return fmt.Sprintf("bench%d", i) }

// startArchive starts dvrsvc with a config and, beside what it needs, env, and waits until it answers for each stream.
func startArchive(ctx context.Context, o options, dir, conf string, streams int, env ...string) (_ *archive, err error) {
	a := &archive{conf: filepath.Join(dir, "stream.conf")}
	defer func() {
		if err != nil {
			a.stop()
		}
	}()
	if err := os.WriteFile(a.conf, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	addr, err := freeAddrs("gateway", "gateway-http", "dvr", "dvr-http")
	if err != nil {
		return nil, err
	}
	a.addr = addr
	if a.gateway, err = start(ctx, gatewayEnv(dir, a.conf, addr), filepath.Join(o.bin, "gateway")); err != nil {
		return nil, err
	}
	if a.dvr, err = start(ctx, append(dvrEnv(dir, addr), env...), filepath.Join(o.bin, "dvrsvc")); err != nil {
		return nil, err
	}
	for range (streams + streamsAConn - 1) / streamsAConn {
		conn, err := grpcx.Dial(addr["dvr"], grpcx.DialOptions{Media: true})
		if err != nil {
			return nil, err
		}
		a.conns = append(a.conns, conn)
	}
	return a, a.ready(ctx, streams)
}

func (a *archive) stop() {
	for _, c := range a.conns {
		c.Close() //nolint:errcheck // the process ends
	}
	for _, p := range []*process{a.dvr, a.gateway} {
		if p != nil {
			p.stop()
		}
	}
}

// ready waits until every stream can be recorded.
func (a *archive) ready(ctx context.Context, streams int) error {
	client := dvrv1.NewIndexServiceClient(a.conns[0])
	for began := time.Now(); ; {
		n := 0
		list, err := client.ListStreams(ctx, &dvrv1.ListStreamsRequest{})
		for _, s := range list.GetStreams() {
			if s.GetConfigured() && s.GetProblem() == "no input is connected" {
				n++
			}
		}
		switch {
		case n >= streams:
			return nil
		case time.Since(began) > time.Minute:
			return fmt.Errorf("dvrsvc takes %d of %d streams after a minute: %w: %s", n, streams, cmp.Or(err, errors.New("not ready")), a.dvr.stderr.String())
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// record has producers record while f runs.
func (a *archive) record(ctx context.Context, ps []*synthProducer, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	for i, p := range ps {
		g.Go(func() error { return p.record(ctx, a.conns[i/streamsAConn%len(a.conns)]) })
	}
	g.Go(func() error {
		defer cancel()
		return f(ctx)
	})
	return g.Wait()
}

// quantile gives the time that so much of them took at most.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	times = slices.Sorted(slices.Values(times))
	return times[min(len(times)-1, int(q*float64(len(times))))]
}
