package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/tsplay"
)

type playCommand struct {
	File      string   `arg:"" type:"existingfile" help:"Transport stream file."`
	URLs      []string `arg:"" name:"url" help:"udp://HOST:PORT, udp://GROUP:PORT/INTERFACE-IP or udp://INTERFACE@GROUP:PORT."`
	Loop      bool     `help:"Play over and over, with clocks that go on."`
	PTSOffset int64    `name:"pts-offset" placeholder:"TICKS" help:"Add to all times, in ticks of 90 kHz."`
}

func (c *playCommand) Run(ctx context.Context) error {
	to := make([]io.Writer, len(c.URLs))
	for i, url := range c.URLs {
		conn, err := tsplay.DialURL(url)
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // it is a datagram socket
		to[i] = conn
	}
	player, err := tsplay.Open(c.File, tsplay.Options{Loop: c.Loop, PTSOffset: c.PTSOffset, To: to})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "playing %s (%s) to %v\n", c.File, player.Length().Round(time.Millisecond), c.URLs)
	err = player.Run(ctx)
	s := player.Stats()
	fmt.Printf("sent %d datagrams, %d packets, %d times around\n", s.Datagrams, s.Packets, s.Loops)
	for _, pid := range slices.Sorted(maps.Keys(s.Units)) {
		fmt.Printf("PID %d: %d access units\n", pid, s.Units[pid])
	}
	if s.WriteErrors > 0 {
		fmt.Printf("%d datagrams could not be sent: %v\n", s.WriteErrors, s.LastError)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}
