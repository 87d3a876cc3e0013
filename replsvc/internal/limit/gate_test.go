package limit

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

const pieceBytes = 1 << 20

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// load has flows that always want more, and counts what they were granted by moment.
type load struct {
	t      *testing.T
	limits *Limits
	stop   context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup

	mu     sync.Mutex // protects the fields below
	came   []arrival
	failed map[Flow]error
}

type arrival struct {
	at    time.Time
	flow  Flow
	bytes int
}

func newLoad(t *testing.T, l *Limits) *load {
	ctx, stop := context.WithCancel(t.Context())
	return &load{t: t, limits: l, ctx: ctx, stop: stop, failed: map[Flow]error{}}
}

// add starts n fetches of a flow, in pieces.
func (l *load) add(f Flow, granted func() uint64, n, piece int) {
	for range n {
		l.wg.Go(func() {
			for {
				if err := l.limits.Wait(l.ctx, f, granted, piece); err != nil {
					l.mu.Lock()
					l.failed[f] = err
					l.mu.Unlock()
					return
				}
				l.mu.Lock()
				l.came = append(l.came, arrival{time.Now(), f, piece})
				l.mu.Unlock()
			}
		})
	}
}

func (l *load) run(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (l *load) end() {
	l.stop()
	l.wg.Wait()
}

// between is what a flow was granted; of all with an empty one.
func (l *load) between(from, to time.Time, f Flow) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.came {
		if (f == Flow{} || f == a.flow) && !a.at.Before(from) && a.at.Before(to) {
			n += a.bytes
		}
	}
	return n
}

// most is the most of any second.
func (l *load) most() (most int) {
	slices.SortStableFunc(l.came, func(a, b arrival) int { return a.at.Compare(b.at) })
	n, first := 0, 0
	for _, a := range l.came {
		for n += a.bytes; a.at.Sub(l.came[first].at) >= time.Second; first++ {
			n -= l.came[first].bytes
		}
		most = max(most, n)
	}
	return most
}

// TestNeverMore holds I1: in any second, whoever waits and whichever limit is the smallest; and what may come does.
func TestNeverMore(t *testing.T) {
	for _, c := range []struct {
		name                          string
		server, peer, stream, granted streamconf.Speed
		want                          uint64 // bits
	}{
		{"server", "80M", "", "", "", 80_000_000},
		{"peer", "80M", "16M", "", "", 16_000_000},
		{"stream", "80M", "16M", "8M", "", 8_000_000},
		{"granted", "80M", "16M", "8M", "4M", 4_000_000},
		{"slow", "64K", "", "", "", 64_000},
		{"fast", "1G", "", "", "", 1_000_000_000},
		{"no limit of the server", "0", "", "8M", "", 8_000_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New(0, clock.System{}, quiet())
				f := Flow{"tv", "p:7000"}
				l.Apply(&streamconf.Config{
					Speed: c.server, Peers: []streamconf.Peer{{Addr: f.Peer, Speed: c.peer}},
					Streams: []streamconf.Stream{{Name: f.Stream, DVR: streamconf.DVR{Speed: c.stream}}},
				})
				granted, _ := c.granted.At(time.Now())
				x := newLoad(t, l)
				began := time.Now()
				// A small piece among large ones: who asks for little holds up nobody who asks for much.
				x.add(f, func() uint64 { return granted }, 3, 64<<10)
				x.add(f, func() uint64 { return granted }, 1, 5000)
				x.run(20 * time.Second)
				x.end()
				second := float64(c.want) / 8
				if most := float64(x.most()); most > second+Burst(c.want)+3*(64<<10)+5000 {
					t.Errorf("%.0f bytes came within a second, the limit is %.0f and a burst of %.0f", most, second, Burst(c.want))
				}
				if got, want := float64(x.between(began, time.Now(), Flow{})), 20*second; got < 0.95*want-3*(64<<10) || got > want+Burst(c.want) {
					t.Errorf("%.0f bytes came in 20 s, want %.0f", got, want)
				}
			})
		})
	}
}

// TestChangeHoldsAtOnce holds I2: in the middle of a piece that would have taken minutes, and the other way.
func TestChangeHoldsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(64_000, clock.System{}, quiet())
		f := Flow{"tv", "p:7000"}
		x := newLoad(t, l)
		x.add(f, nil, 1, pieceBytes)
		x.run(10 * time.Second)
		set := func(s Scope, speed streamconf.Speed) time.Time {
			if err := l.Set(s, speed); err != nil {
				t.Fatal(err)
			}
			return time.Now()
		}
		at := set(Scope{}, "80M")
		x.run(time.Second)
		if n := x.between(at, time.Now(), f); n < 9*pieceBytes-minQuantum {
			t.Errorf("%d bytes came in the second after the limit was raised, want 10 MB", n)
		}
		at = set(Scope{Stream: "tv"}, "8M")
		x.run(10 * time.Second)
		if n := x.between(at.Add(time.Millisecond), time.Now(), f); n > 10_000_000+2*pieceBytes || n < 9_000_000 {
			t.Errorf("%d bytes came in the ten seconds after the stream was limited to 8 Mbit/s", n)
		}
		at = set(Scope{Stream: "tv"}, "")
		x.run(time.Second)
		if n := x.between(at, time.Now(), f); n < 9*pieceBytes {
			t.Errorf("%d bytes came in the second after that was taken back", n)
		}
		x.end()
	})
}

// TestTimeOfDay holds I2: the limit of the night begins and ends by itself, also for a wait that has begun.
func TestTimeOfDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it begins at midnight, UTC
		speed, err := streamconf.ParseSpeed("80M 23:00-00:10:64k 00:10-01:00:800k")
		if err != nil {
			t.Fatal(err)
		}
		l := New(0, clock.System{}, quiet())
		l.Apply(&streamconf.Config{Speed: speed})
		midnight := time.Now()
		x := newLoad(t, l)
		x.add(Flow{"tv", "p:7000"}, nil, 1, pieceBytes)
		x.run(time.Hour + time.Second)
		x.end()
		for _, c := range []struct {
			from, to time.Duration
			second   int
		}{{0, 10 * time.Minute, 8000}, {10 * time.Minute, time.Hour, 100_000}, {time.Hour, time.Hour + time.Second, 10_000_000}} {
			got, want := x.between(midnight.Add(c.from), midnight.Add(c.to), Flow{}), c.second*int((c.to-c.from)/time.Second)
			if got > want+2*pieceBytes || got < want-3*pieceBytes/2 {
				t.Errorf("from %s to %s: %d bytes, want %d", c.from, c.to, got, want)
			}
		}
	})
}

// TestEven holds I3: a stream with many fetches, with small pieces, or with several peers has no more than another; who comes
// later has his share at once.
func TestEven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(80_000_000, clock.System{}, quiet())
		x := newLoad(t, l)
		a, b, c, d := Flow{"a", "p:1"}, Flow{"b", "p:1"}, Flow{"b", "q:1"}, Flow{"c", "q:1"}
		x.add(a, nil, 6, pieceBytes)
		x.add(b, nil, 3, pieceBytes)
		x.add(c, nil, 1, 64<<10)
		from := time.Now()
		x.run(20 * time.Second)
		even := func(from time.Time, want map[Flow]float64) {
			t.Helper()
			all := x.between(from, time.Now(), Flow{})
			for f, share := range want {
				if got := float64(x.between(from, time.Now(), f)); got < share*float64(all)-4*pieceBytes || got > share*float64(all)+4*pieceBytes {
					t.Errorf("%v had %.0f of %d bytes, want %.2f", f, got, all, share)
				}
			}
		}
		even(from, map[Flow]float64{a: 0.5, b: 0.25, c: 0.25})
		from = time.Now()
		x.add(d, nil, 1, pieceBytes)
		x.run(20 * time.Second)
		even(from, map[Flow]float64{a: 1. / 3, b: 1. / 6, c: 1. / 6, d: 1. / 3})
		x.end()
	})
}

// TestSlowHoldsUpNobody: a stream with a small limit of its own takes nothing from another.
func TestSlowHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(80_000_000, clock.System{}, quiet())
		l.Apply(&streamconf.Config{Streams: []streamconf.Stream{{Name: "slow", DVR: streamconf.DVR{Speed: "800K"}}}})
		x := newLoad(t, l)
		x.add(Flow{"slow", "p:1"}, nil, 4, pieceBytes)
		x.add(Flow{"fast", "p:1"}, nil, 1, pieceBytes)
		from := time.Now()
		x.run(20 * time.Second)
		if n := x.between(from, time.Now(), Flow{"fast", "p:1"}); n < 190_000_000 {
			t.Errorf("%d bytes came, want 198 MB: all but what the slow one may have", n)
		}
		x.end()
	})
}

// TestPauseEndsWaits: of all, of a peer, of a stream; and others go on.
func TestPauseEndsWaits(t *testing.T) {
	for _, s := range []Scope{{}, {Peer: "p:1"}, {Stream: "a"}} {
		for _, bits := range []uint64{64_000, 0} {
			synctest.Test(t, func(t *testing.T) {
				l := New(bits, clock.System{}, quiet())
				a, b := Flow{"a", "p:1"}, Flow{"b", "q:1"}
				x := newLoad(t, l)
				if bits > 0 {
					x.add(a, nil, 2, pieceBytes)
					x.add(b, nil, 1, pieceBytes)
				}
				x.run(time.Second)
				if err := l.Pause(s); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if bits > 0 && (!errors.Is(x.failed[a], ErrPaused) || errors.Is(x.failed[b], ErrPaused) != (s == Scope{})) {
					t.Errorf("%s: waits ended with %v", s, x.failed)
				}
				if err := l.Wait(t.Context(), a, nil, 0); !errors.Is(err, ErrPaused) {
					t.Errorf("%s: a new one: %v", s, err)
				}
				if _, paused := l.Of(a); !paused {
					t.Errorf("%s is not paused", s)
				}
				if err := l.Resume(Scope{}); err != nil {
					t.Fatal(err)
				}
				if err := l.Wait(t.Context(), a, nil, 0); err != nil {
					t.Errorf("%s: after all was resumed: %v", s, err)
				}
				x.end()
			})
		}
	}
}

// TestIdleSavesNothing holds I1: who has waited for nothing for long has a burst and no more, while others go on.
func TestIdleSavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(0, clock.System{}, quiet())
		speed := func(s streamconf.Speed) streamconf.DVR { return streamconf.DVR{Speed: s} }
		l.Apply(&streamconf.Config{Streams: []streamconf.Stream{{Name: "a", DVR: speed("8M")}, {Name: "b", DVR: speed("800K")}}})
		a := Flow{"a", "p:1"}
		if err := l.Wait(t.Context(), a, nil, pieceBytes); err != nil {
			t.Fatal(err)
		}
		x := newLoad(t, l)
		x.add(Flow{"b", "p:1"}, nil, 2, pieceBytes)
		x.run(time.Minute)
		from := time.Now()
		x.add(a, nil, 1, minQuantum)
		x.run(time.Second)
		if n := x.between(from, time.Now(), a); float64(n) > 1e6+Burst(8e6)+minQuantum {
			t.Errorf("%d bytes came in the first second", n)
		}
		x.end()
	})
}
