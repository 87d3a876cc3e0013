package input

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twinreel/twinreel/ingestsvc/internal/udp"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// source is what an input receives from, opened.
type source interface {
	// run gives what comes to the pipeline until ctx ends (nil) or there is no more.
	run(ctx context.Context, p *pipeline) error
	// buffer is the size of the receive buffer, and advice if it is small.
	buffer() (size int, advice string)
	Close() error
}

// openSource opens what the options name.
func (in *Input) openSource(ctx context.Context, options streamconf.Input) (source, error) {
	switch options.Kind {
	case streamconf.KindFile:
		return in.openFile(ctx, options.File)
	case streamconf.KindSRT:
		return in.openSRT(ctx, options.SRT)
	case streamconf.KindHTTP:
		return in.openHTTP(ctx, options.HTTP)
	}
	if options.Second != (streamconf.UDP{}) {
		return in.openLegs(options.Legs())
	}
	r, err := in.deps.Open(udp.AddressOf(options.UDP))
	if err != nil {
		return nil, err
	}
	return &oneLeg{in, r}, nil
}

// oneLeg is a socket.
type oneLeg struct {
	in *Input
	Receiver
}

func (s *oneLeg) run(ctx context.Context, p *pipeline) error {
	return s.Run(ctx, s.in.deps.Clock, p.take)
}
func (s *oneLeg) buffer() (int, string) { return s.Buffer() }

// twoLegs are two sockets that bring the same RTP packets. One of them may be away.
type twoLegs struct {
	in   *Input
	legs [2]legSocket
}

type legSocket struct {
	url    string
	addr   udp.Address
	socket Receiver // nil: not open
}

// openLegs opens both legs, and fails where both do.
func (in *Input) openLegs(legs []streamconf.UDP) (source, error) {
	s := &twoLegs{in: in}
	var failed error
	open := 0
	for i, u := range legs {
		l := &s.legs[i]
		l.url, l.addr = u.String(), udp.AddressOf(u)
		var err error
		l.socket, err = in.deps.Open(l.addr)
		if err != nil {
			failed, l.socket = err, nil
		} else {
			open++
		}
		in.setLegProblem(i, err)
	}
	if open == 0 {
		return nil, failed
	}
	return s, nil
}

func (s *twoLegs) buffer() (size int, advice string) {
	for _, l := range s.legs {
		if l.socket == nil {
			continue
		}
		n, a := l.socket.Buffer()
		if size == 0 || n < size {
			size = n
		}
		if a != "" {
			advice = a
		}
	}
	return size, advice
}

// run receives from each leg by itself. A panic of one is that of the run.
func (s *twoLegs) run(ctx context.Context, p *pipeline) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var panicked [2]any
	for i := range s.legs {
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					panicked[i] = fmt.Sprintf("%v\n%s", v, debug.Stack())
					stop()
				}
			}()
			s.runLeg(ctx, i, p)
		})
	}
	wg.Wait()
	for _, v := range panicked {
		if v != nil {
			panic(v)
		}
	}
	return nil
}

// runLeg keeps a leg open.
func (s *twoLegs) runLeg(ctx context.Context, i int, p *pipeline) {
	l := &s.legs[i]
	clk := s.in.deps.Clock
	for ctx.Err() == nil {
		var err error
		if l.socket == nil {
			if l.socket, err = s.in.deps.Open(l.addr); err != nil {
				l.socket = nil
			}
		}
		s.in.setLegProblem(i, err)
		if err == nil {
			err = l.socket.Run(ctx, clk, func(mono time.Duration, datagrams [][]byte, dropped uint32) {
				p.takeLeg(i, mono, datagrams, dropped)
			})
			if ctx.Err() != nil {
				return
			}
			err = errors.Join(err, l.socket.Close())
			l.socket = nil
			s.in.setLegProblem(i, err)
		}
		t := clk.NewTimer(lastReopen)
		select {
		case <-ctx.Done():
		case <-t.C():
		}
		t.Stop()
	}
}

func (s *twoLegs) Close() error {
	var err error
	for i := range s.legs {
		if l := &s.legs[i]; l.socket != nil {
			err = errors.Join(err, l.socket.Close())
			l.socket = nil
		}
	}
	return err
}

// setLegProblem notes why a leg is not open, or that it is.
func (in *Input) setLegProblem(leg int, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	in.mu.Lock()
	changed := in.legProblem[leg] != text
	in.legProblem[leg] = text
	in.mu.Unlock()
	if changed && err != nil {
		in.log.Error("a leg failed, retrying", "leg", leg+1, "error", err)
	}
}
