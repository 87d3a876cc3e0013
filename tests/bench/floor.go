package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sync/errgroup"
)

const (
	floorBatch  = 64
	floorTick   = 20 * time.Millisecond
	floorBuffer = 8 << 20
	floorAppend = 900_000
)

// runFloor receives each port in batches on a tick and appends the raw TS to one file a port: the least that any
// recorder has to do. It ends with ctx.
func runFloor(ctx context.Context, ports []int, dir string) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, port := range ports {
		g.Go(func() error { return floorPort(ctx, port, filepath.Join(dir, fmt.Sprintf("%d.ts", port))) })
	}
	return g.Wait()
}

func floorPort(ctx context.Context, port int, path string) error {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return fmt.Errorf("listen on port %d: %w", port, err)
	}
	defer conn.Close() //nolint:errcheck // the process ends
	if err := conn.SetReadBuffer(floorBuffer); err != nil {
		return fmt.Errorf("set the receive buffer of port %d: %w", port, err)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()

	pc := ipv4.NewPacketConn(conn)
	msgs := make([]ipv4.Message, floorBatch)
	for i := range msgs {
		msgs[i].Buffers = [][]byte{make([]byte, 1500)}
	}
	out := make([]byte, 0, floorAppend+floorBatch*1500)
	tick := time.NewTicker(floorTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			_, err := f.Write(out)
			return err
		case <-tick.C:
		}
		for {
			n, err := pc.ReadBatch(msgs, dontWait)
			if err != nil || n == 0 {
				break
			}
			for _, m := range msgs[:n] {
				out = append(out, m.Buffers[0][:m.N]...)
			}
			if len(out) >= floorAppend {
				if _, err := f.Write(out); err != nil {
					return err
				}
				out = out[:0]
			}
			if n < floorBatch {
				break
			}
		}
	}
}
