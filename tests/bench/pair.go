package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	pairStreams = 20
	pairWarmup  = 20 * time.Second
	pairWindow  = time.Minute
	pairAim     = 20_000 // bits a second of a stream
	repairAim   = 2 * time.Second
	lostEvery   = 4 // a segment of so many, in the second window
)

// pair has two sites record the same streams: what they say to each other while nothing differs, and how soon a segment is
// back that one of them lost.
func pair(ctx context.Context, o options, dir string) error {
	var addrs [2]string
	var wires [2]*wire
	for i := range addrs {
		var err error
		if addrs[i], err = freeTCP(); err != nil {
			return err
		}
		if wires[i], err = newWire(addrs[i]); err != nil {
			return err
		}
		defer wires[i].Close() //nolint:errcheck // a listener
	}
	source, err := newSynthSource(manyBitrate, 2*pairStreams)
	if err != nil {
		return err
	}
	t := &tally{}
	losing := &losses{back: map[string]time.Time{}}
	var sites [2]*replSite
	var producers [2][]*synthProducer
	began := time.Now().Add(15 * time.Second) // both sites are up by then
	for i, node := range []string{"main", "replica"} {
		s, err := startSite(ctx, o, filepath.Join(dir, node), node, addrs[i], wires[1-i].Addr().String(), pairStreams)
		if err != nil {
			return err
		}
		defer s.stop()
		sites[i] = s
		for k := range pairStreams {
			p := &synthProducer{stream: benchStream(k), source: source, tally: t, paced: true, ring: manyRing, after: spread * time.Duration(k) / pairStreams}
			if i == 0 {
				p.loses = losing.loses
			}
			producers[i] = append(producers[i], p)
		}
	}
	if err := wait(ctx, time.Until(began)); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for k := range pairStreams {
		g.Go(func() error { return losing.watch(ctx, sites, benchStream(k)) })
	}
	g.Go(func() error {
		return sites[1].record(ctx, producers[1], func(ctx context.Context) error { <-ctx.Done(); return nil })
	})
	g.Go(func() error {
		defer cancel()
		return sites[0].record(ctx, producers[0], func(ctx context.Context) error {
			if err := wait(ctx, pairWarmup); err != nil {
				return err
			}
			before := wires[0].bytes.Load() + wires[1].bytes.Load()
			if err := wait(ctx, pairWindow); err != nil {
				return err
			}
			said := wires[0].bytes.Load() + wires[1].bytes.Load() - before
			fmt.Printf("\ntwo sites record the same %d streams of %d Mbit/s, UDP first on both: %.1f kbit/s a stream on the wire, both ways (aim %.0f)\n",
				pairStreams, manyBitrate/1_000_000, float64(said)*8/1000/pairWindow.Seconds()/pairStreams, pairAim/1000.)
			losing.begin()
			return wait(ctx, pairWindow)
		})
	})
	if err := g.Wait(); err != nil {
		return err
	}
	times, open := losing.result()
	fmt.Printf("%d segments lost on one of them: durable there, after they are durable on the other, p50 %s, p99 %s, most %s (aim %s); %d not back at the end\n",
		len(times), quantile(times, 0.5).Round(time.Millisecond), quantile(times, 0.99).Round(time.Millisecond), quantile(times, 1).Round(time.Millisecond), repairAim, open)
	return nil
}

// losses has one site lose segments, and knows when each is durable on the other and when it is back.
type losses struct {
	mu   sync.Mutex // protects the fields below
	on   bool
	lost map[string]bool      // by stream and start
	have map[string]time.Time // durable on the other
	back map[string]time.Time // durable where it was lost
}

func (l *losses) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on, l.lost, l.have = true, map[string]bool{}, map[string]time.Time{}
}

func lossKey(stream string, start int64) string { return fmt.Sprint(stream, " ", start) }

// loses reports whether a segment of a stream does not come.
func (l *losses) loses(stream string, m *synthetic) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.on || m.seq%lostEvery != 0 {
		return false
	}
	l.lost[lossKey(stream, int64(m.start))] = true
	return true
}

// watch notes what becomes durable of a stream.
func (l *losses) watch(ctx context.Context, sites [2]*replSite, stream string) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range sites {
		g.Go(func() error {
			rpc, err := dvrv1.NewIndexServiceClient(s.conns[0]).WatchStream(ctx, &dvrv1.WatchStreamRequest{Stream: stream})
			for err == nil {
				var m *dvrv1.WatchStreamResponse
				if m, err = rpc.Recv(); err == nil && m.GetSegment() != nil {
					l.durable(i == 0, lossKey(stream, m.GetSegment().GetStartTicks()))
				}
			}
			if ctx.Err() == nil {
				return err
			}
			return nil // the time is over
		})
	}
	return g.Wait()
}

func (l *losses) durable(here bool, key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch now := time.Now(); {
	case !l.lost[key]:
	case here && l.back[key].IsZero():
		l.back[key] = now
	case !here && l.have[key].IsZero():
		l.have[key] = now
	}
}

// result gives how long each took, and how many are not back.
func (l *losses) result() (times []time.Duration, open int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, at := range l.have {
		if back := l.back[key]; !back.IsZero() {
			times = append(times, back.Sub(at))
		} else if time.Since(at) > repairAim {
			open++
		}
	}
	return times, open
}
