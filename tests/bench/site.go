package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// replSite is a site without an ingestsvc: gateway, dvrsvc and replsvc, each a process of its own.
type replSite struct {
	*archive
	repl *process
}

// siteConf is the config of streams that are kept in dir/media and replicated from a peer, where there is one.
func siteConf(dir string, streams int, peer string) string {
	var conf strings.Builder
	for i := range streams {
		from, rule := "", "7d"
		if peer != "" {
			from, rule = fmt.Sprintf("  input m4f://%s/%s;\n", peer, benchStream(i)), "7d replicate"
		}
		fmt.Fprintf(&conf, "stream %s {\n  input %s;\n%s  dvr %s %s;\n}\n", benchStream(i), synthInput, from, filepath.Join(dir, "media"), rule)
	}
	return conf.String()
}

// startSite starts a site of which peers ask at m4f.
func startSite(ctx context.Context, o options, dir, node, m4f, peer string, streams int) (*replSite, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	a, err := startArchive(ctx, o, dir, siteConf(dir, streams, peer), streams, "DVR_NODE="+node)
	if err != nil {
		return nil, err
	}
	s := &replSite{archive: a}
	http, err := freeTCP()
	if err == nil {
		s.repl, err = start(ctx, []string{
			"REPL_NODE=" + node, "REPL_DATA=" + filepath.Join(dir, "repl"), "REPL_GRPC_LISTEN=" + m4f, "REPL_HTTP_LISTEN=" + http,
			"REPL_GATEWAY_ADDR=" + a.addr["gateway"], "REPL_DVR_ADDR=" + a.addr["dvr"], "REPL_BACKFILL_LIMIT=0",
		}, filepath.Join(o.bin, "replsvc"))
	}
	if err != nil {
		a.stop()
		return nil, err
	}
	return s, nil
}

func (s *replSite) stop() {
	s.repl.stop()
	s.archive.stop()
}

// cpu is what dvrsvc and replsvc have used.
func (s *replSite) cpu() (time.Duration, error) {
	d, err := s.dvr.usage()
	if err != nil {
		return 0, err
	}
	r, err := s.repl.usage()
	return d.cpu + r.cpu, err
}

// wire passes connections on to another address and counts what goes through, both ways.
type wire struct {
	net.Listener
	bytes atomic.Int64
}

func newWire(to string) (*wire, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{Listener: l}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go w.pass(from, to)
		}
	}()
	return w, nil
}

func (w *wire) pass(from net.Conn, addr string) {
	defer from.Close() //nolint:errcheck // its end is what the other side sees
	to, err := net.Dial("tcp4", addr)
	if err != nil {
		return
	}
	defer to.Close() //nolint:errcheck // the same
	go func() {
		defer to.Close()                            //nolint:errcheck // the same
		_, _ = io.Copy(io.MultiWriter(to, w), from) // it ends when either side does
	}()
	_, _ = io.Copy(io.MultiWriter(from, w), to) // the same
}

// Write counts.
func (w *wire) Write(b []byte) (int, error) {
	w.bytes.Add(int64(len(b)))
	return len(b), nil
}
