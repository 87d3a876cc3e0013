package tsplay

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
)

const (
	perDatagram = 7
	// tick is how often what is due is sent: at 10 Mbit/s about four datagrams a time.
	tick = 4 * time.Millisecond
	// maxLate is the most that is made good by sending faster. After a longer hold-up the source is simply later.
	maxLate = 200 * time.Millisecond
)

// Options say how a file is played.
type Options struct {
	// Loop plays the file over and over, with clocks that go on.
	Loop bool
	// PTSOffset is added to PTS, DTS and PCR, in ticks of 90 kHz modulo 2^33.
	PTSOffset int64
	// StartAt begins so far into the file.
	StartAt time.Duration
	// Clock paces; nil is the machine's.
	Clock clock.Clock
	// To takes each datagram with one Write. An error of one does not hold up the others: it is counted.
	To []io.Writer
}

// Stats counts since Run began.
type Stats struct {
	Datagrams   uint64
	Packets     uint64
	Units       map[uint16]uint64 // PES with a time that were begun, by PID: one to an access unit in a clip of ours
	Loops       uint64            // seams passed
	WriteErrors uint64
	LastError   error
	Holdups     uint64 // times when we were too late to catch up
}

// Player plays one file.
type Player struct {
	file *file
	opts Options
	stop chan struct{}
	once sync.Once

	mu    sync.Mutex // protects stats
	stats Stats
}

// Open reads the file once to learn its pace, and fails if it has none.
func Open(path string, opts Options) (*Player, error) {
	f, err := scan(path)
	if err != nil {
		return nil, fmt.Errorf("open transport stream: %w", err)
	}
	if opts.Clock == nil {
		opts.Clock = clock.System{}
	}
	return &Player{file: f, opts: opts, stop: make(chan struct{}), stats: Stats{Units: make(map[uint16]uint64)}}, nil
}

// Length is the playing time of the file.
func (p *Player) Length() time.Duration {
	return time.Duration(p.file.length) * time.Second / ticksPerSecond
}

// Stop ends Run. It may be called again, and before Run.
func (p *Player) Stop() { p.once.Do(func() { close(p.stop) }) }

// Stats returns the counts so far.
func (p *Player) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Units = make(map[uint16]uint64, len(p.stats.Units))
	for pid, n := range p.stats.Units {
		s.Units[pid] = n
	}
	return s
}

// Run plays until the end of the file, or with Loop until Stop or the end of the context; all of these are no error.
func (p *Player) Run(ctx context.Context) error {
	in, err := os.Open(p.file.path)
	if err != nil {
		return fmt.Errorf("play: %w", err)
	}
	defer in.Close()
	r := newReader(p.file, in, p.opts)
	if err := r.skip(p.opts.StartAt); err != nil {
		return fmt.Errorf("play %s: %w", p.file.path, err)
	}
	ticker := p.opts.Clock.NewTicker(tick)
	defer ticker.Stop()

	origin := p.opts.Clock.Mono() - p.opts.StartAt
	var d datagram
	for {
		more, err := r.fill(&d)
		if err != nil {
			return fmt.Errorf("play %s: %w", p.file.path, err)
		}
		if !more || !p.wait(ctx, ticker, origin+d.due) {
			return nil
		}
		if late := p.opts.Clock.Mono() - origin - d.due; late > maxLate {
			origin += late
			p.count(func(s *Stats) { s.Holdups++ })
		}
		p.send(&d)
	}
}

// wait returns when it is time, or false if playing is to end.
func (p *Player) wait(ctx context.Context, ticker clock.Ticker, until time.Duration) bool {
	for p.opts.Clock.Mono() < until {
		select {
		case <-ctx.Done():
			return false
		case <-p.stop:
			return false
		case <-ticker.C():
		}
	}
	select {
	case <-ctx.Done():
		return false
	case <-p.stop:
		return false
	default:
		return true
	}
}

func (p *Player) send(d *datagram) {
	var failed error
	for _, w := range p.opts.To {
		if _, err := w.Write(d.data); err != nil {
			failed = err
		}
	}
	p.count(func(s *Stats) {
		s.Datagrams++
		s.Packets += uint64(len(d.data) / packetSize)
		s.Loops = d.loops
		for _, pid := range d.units {
			s.Units[pid]++
		}
		if failed != nil {
			s.WriteErrors++
			s.LastError = failed
		}
	})
}

func (p *Player) count(f func(*Stats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.stats)
}
