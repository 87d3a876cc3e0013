package transfer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/limit"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

func TestSlots(t *testing.T) {
	for bits, want := range map[uint64]int{
		0: maxFlights, 1_000_000: 2, 50_000_000: 2, 200_000_000: 4, 400_000_000: 9, 100_000_000_000: maxFlights,
	} {
		if got := New(nil, bits, clock.System{}, nil).slots(); got != want {
			t.Errorf("%d bit/s: %d at once, want %d", bits, got, want)
		}
	}
}

// TestLimit holds I3: no more bytes a second than the smaller of both limits, and an end at once when it is paused.
func TestLimit(t *testing.T) {
	for _, c := range []struct{ own, granted, want uint64 }{
		{80_000_000, 0, 10_000_000},
		{80_000_000, 16_000_000, 2_000_000},
		{16_000_000, 80_000_000, 2_000_000},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := New(nil, c.own, clock.System{}, slog.New(slog.DiscardHandler))
			var bytes uint64
			time.AfterFunc(10*time.Second, func() { x.Limits().Pause(limit.Scope{Peer: "p:7000"}) }) //nolint:errcheck // nothing is kept
			var err error
			for err == nil {
				err = x.throttle(t.Context(), plan.Item{Stream: "tv", Peer: "m4f://p/other"}, func() uint64 { return c.granted }, pieceBytes)
				if err == nil {
					bytes += pieceBytes
				}
			}
			if most := 10*c.want + c.want/5 + 2*pieceBytes; bytes > most || bytes < 8*c.want || !errors.Is(err, limit.ErrPaused) {
				t.Errorf("own %d, granted %d: %d bytes in 10 s, want %d a second; then %v", c.own, c.granted, bytes, c.want, err)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		err  error
		want verdict
	}{
		{&RefusedError{"EXPIRED"}, verdict{wait: refusedLong, all: true, bad: true, expired: true}},
		{&RefusedError{"DELETED"}, verdict{wait: refusedLong, all: true, bad: true}},
		{&RefusedError{"CORRUPT"}, verdict{wait: refusedDamaged, bad: true, damaged: true}},
		{&RefusedError{"CONFLICT_LIMIT"}, verdict{wait: refusedBad, all: true, bad: true}},
		{&RefusedError{"INVALID"}, verdict{wait: refusedDamaged, bad: true, damaged: true}},
		{&RefusedError{"UNKNOWN"}, verdict{wait: refusedAWhile, all: true, stale: true}},
		{fmt.Errorf("x: %w", &m4fclient.BusyError{After: time.Second / 4}), verdict{wait: time.Second / 4}},
		{&errs.SupersededError{}, verdict{wait: refusedAWhile, stale: true}},
		{fmt.Errorf("x: %w", errs.ErrUnknown), verdict{wait: refusedAWhile, stale: true}},
		{errs.ErrExpired, verdict{wait: refusedAWhile, stale: true}},
		{errs.ErrCorrupt, verdict{wait: refusedDamaged, bad: true, damaged: true}},
		{fmt.Errorf("x: %w", errUnread), verdict{wait: refusedDamaged, damaged: true}},
		{errs.ErrQuarantined, verdict{wait: refusedAWhile, bad: true, stale: true}},
		{fmt.Errorf("x: %w", errs.ErrWithheld), verdict{wait: refusedAWhile, stale: true}},
		{errors.New("cut"), verdict{wait: refusedShort}},
	} {
		if got := judge(c.err); got != c.want {
			t.Errorf("%v: got %+v, want %+v", c.err, got, c.want)
		}
	}
}

// TestDamagedOnTheWay: what came damaged once is asked for again soon, and what comes damaged each time is not asked for over and over.
func TestDamagedOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		it, x := oneWanted()
		var waits []time.Duration
		for range 9 {
			f, _ := x.begin(it)
			x.end(f, false, fmt.Errorf("digest: %w", errs.ErrCorrupt))
			began := time.Now()
			for x.Plan("tv")[0].WhyNot != "" {
				time.Sleep(time.Second)
			}
			waits = append(waits, time.Since(began))
		}
		if waits[0] < 4*time.Second || waits[0] > 6*time.Second || waits[8] < 5*time.Minute || waits[8] > 6*time.Minute {
			t.Errorf("waits: %v", waits)
		}
	})
}

// TestDeletedThereAndBack: what was deleted at a peer, or too old for it, and what it has again since its store was replaced and
// refilled, or its retention is longer, is fetched (a seed of the simulation: 3392993048940878726).
func TestDeletedThereAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, err := range []error{errs.ErrDeleted, errs.ErrExpired} {
			it, x := oneWanted()
			f, _ := x.begin(it)
			x.end(f, false, fmt.Errorf("fetch: %w", err))
			if why := x.Plan("tv")[0].WhyNot; why != plan.Refused {
				t.Errorf("%v: asked for again at once, or not for another reason: %q", err, why)
			}
			time.Sleep(2 * time.Minute)
			if why := x.Plan("tv")[0].WhyNot; why != "" {
				t.Errorf("%v: two minutes later the peer lists it, and it is not asked for: %q", err, why)
			}
		}
	})
}

// oneWanted is a copy that one peer lists.
func oneWanted() (plan.Item, *Transfer) {
	it := plan.Item{Stream: "tv", Peer: "p", Copy: inventory.Copy{StartUTC: time.Now(), Info: segment.Info{Digest: segment.Digest{7}}}}
	s := &sites{streams: []plan.Stream{{Name: "tv", Replicate: true, Store: "s", Silent: true, Peers: []plan.Peer{{
		ID: "p", Slots: []inventory.Slot{{Slot: it.Slot, Copies: []inventory.Copy{it.Copy}}},
	}}}}}
	x := New(s, 0, clock.System{}, slog.New(slog.DiscardHandler))
	x.Plan("tv") // our store is known from then on
	return it, x
}

// sites is one stream of one peer.
type sites struct {
	streams  []plan.Stream
	gone     bool // from the config
	compared int
}

func (s *sites) Streams() []plan.Stream             { return slices.Clone(s.streams) }
func (s *sites) Route(string, string) (Route, bool) { return Route{}, !s.gone }
func (s *sites) Compare(string, string)             { s.compared++ }

// TestStaleIsCompared: where the plan was made from what is old, that is not waited for, although others are still on their way.
func TestStaleIsCompared(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{&errs.SupersededError{By: "7"}, 1},
		{errs.ErrExpired, 1},
		{errors.New("cut"), 0},
		{&RefusedError{"EXPIRED"}, 0},
	} {
		s := &sites{}
		x := New(s, 0, clock.System{}, slog.New(slog.DiscardHandler))
		var items [2]plan.Item
		var flights [2]*flight
		for i := range items {
			items[i] = plan.Item{Stream: "tv", Peer: "p", Copy: inventory.Copy{Info: segment.Info{Digest: segment.Digest{byte(i)}}}}
			flights[i], _ = x.begin(items[i])
		}
		if x.end(flights[0], false, c.err); s.compared != c.want {
			t.Errorf("%v: %d comparisons were asked for, want %d", c.err, s.compared, c.want)
		}
	}
}

// TestToldIsBounded: evidence takes no room from fetches nor they from it, and of each stream a few are told at once. What
// was told is not told again, until a comparison had its time to show it.
func TestToldIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sites{streams: []plan.Stream{{Name: "tv"}, {Name: "radio"}}}
		x := New(s, 0, clock.System{}, slog.New(slog.DiscardHandler))
		begun := map[string]int{}
		var last *flight
		begin := func(stream string, why plan.Why, n byte) (room bool) {
			it := plan.Item{Stream: stream, Peer: "p", Why: why, Copy: inventory.Copy{Info: segment.Info{Digest: segment.Digest{n}}}}
			got, room := x.begin(it)
			if got != nil {
				begun[stream+" "+string(why)]++
				last = got
			}
			return room
		}
		for n := range byte(2 * maxFlights) {
			begin("tv", plan.Missing, n)
		}
		for n := range byte(2 * maxTold) {
			if !begin("radio", plan.Evidence, 100+n) || !begin("tv", plan.Evidence, 100+n) {
				t.Error("no room for evidence, which holds up what is planned behind it")
			}
		}
		if begun["tv missing"] != maxFlights || begun["tv evidence"] != maxTold || begun["radio evidence"] != maxTold {
			t.Errorf("begun: %v", begun)
		}
		at := plan.Place{Slot: last.Slot, Digest: last.Copy.Info.Digest}
		x.end(last, false, nil)
		if !begin("tv", plan.Evidence, 200) || begun["tv evidence"] != maxTold+1 || begin("tv", plan.Missing, 201) {
			t.Errorf("at the end of one: begun %v", begun)
		}
		if _, told := x.state().Streams[0].Here[at]; !told || x.Stats("tv", "p").Segments != 0 {
			t.Errorf("told: %t; counted as fetched: %d", told, x.Stats("tv", "p").Segments)
		}
		time.Sleep(toldFor)
		if _, told := x.state().Streams[0].Here[at]; told {
			t.Error("it counts as told for ever")
		}
	})
}

// TestDoubt: when something rots here, what came since the last comparison is not fetched again for that, and what rotted is, as soon
// as a comparison shows it.
func TestDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		it := plan.Item{Stream: "tv", Peer: "p", Copy: inventory.Copy{StartUTC: time.Now(), Info: segment.Info{Digest: segment.Digest{7}}}}
		s := &sites{streams: []plan.Stream{{Name: "tv", Replicate: true, Store: "s", Silent: true, Peers: []plan.Peer{{
			ID: "p", Slots: []inventory.Slot{{Slot: it.Slot, Copies: []inventory.Copy{it.Copy}}}, Compared: clock.System{}.Mono(),
		}}}}}
		x := New(s, 0, clock.System{}, slog.New(slog.DiscardHandler))
		took := func() {
			f, _ := x.begin(it)
			x.end(f, false, nil)
		}
		planned := func(when string, want int) {
			t.Helper()
			if got := len(x.Plan("tv")); got != want {
				t.Errorf("%s: %d copies to fetch, want %d", when, got, want)
			}
			time.Sleep(time.Second)
		}
		planned("new", 1)
		took()
		planned("taken", 0)
		x.Doubt("tv")
		planned("something rotted", 0)
		s.streams[0].Peers[0].Compared = clock.System{}.Mono()
		planned("it did", 1)
		took()
		planned("taken again", 0)
	})
}

// TestTakenAndGone: what was fetched here and has gone by age since is fetched again when more is kept, or its range is locked, as
// soon as a comparison shows that it is not here; not when the mark moves on, or nothing is known.
func TestTakenAndGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := time.Now()
		for name, c := range map[string]struct {
			change func(*plan.Stream)
			want   int
		}{
			"kept more": {func(s *plan.Stream) { s.LowWater = old.Add(-time.Minute) }, 1},
			"locked":    {func(s *plan.Stream) { s.Locked = inventory.Spans{{From: old, To: old.Add(time.Hour)}} }, 1},
			"later":     {func(s *plan.Stream) { s.LowWater = s.LowWater.Add(time.Second) }, 0},
			"not known": {func(s *plan.Stream) { s.LowWater = time.Time{} }, 0},
		} {
			it, x := oneWanted()
			s := &x.sites.(*sites).streams[0]
			s.LowWater = old.Add(-time.Minute)
			f, _ := x.begin(it)
			x.end(f, false, nil)
			if got := len(x.Plan("tv")); got != 0 {
				t.Errorf("%s: %d copies to fetch that are here", name, got)
			}
			s.LowWater = old.Add(time.Minute) // it is gone
			x.Plan("tv")
			c.change(s)
			x.Plan("tv")
			time.Sleep(time.Second)
			s.Peers[0].Compared = clock.System{}.Mono()
			if got := len(x.Plan("tv")); got != c.want {
				t.Errorf("%s: %d copies to fetch, want %d", name, got, c.want)
			}
		}
	})
}

// stepped is a clock whose wall time is off by what a test says.
type stepped struct {
	clock.System
	by *time.Duration
}

func (s stepped) Now() time.Time { return s.System.Now().Add(*s.by) }

// TestWallClockSteps: what holds for a while holds no longer and no shorter where the wall clock was a day ahead, or behind, and is set
// right meanwhile.
func TestWallClockSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, off := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
			for name, c := range map[string]struct {
				err   error
				holds time.Duration
				want  plan.WhyNot
			}{
				"refused":              {errs.ErrUnknown, refusedAWhile, plan.Refused},
				"dvrsvc takes nothing": {&UnableError{errs.ErrNotReady}, pauseFirst, plan.Paused},
				"taken":                {nil, hereFor, "here"},
			} {
				it, x := oneWanted()
				by := off
				x.clk = stepped{by: &by}
				f, _ := x.begin(it)
				x.end(f, false, c.err)
				by = 0
				is := func() plan.WhyNot {
					if items := x.Plan("tv"); len(items) > 0 {
						return items[0].WhyNot
					}
					return "here"
				}
				time.Sleep(c.holds / 2)
				if got := is(); got != c.want {
					t.Errorf("%s, the clock was off by %s: too early it is %q", name, off, got)
				}
				time.Sleep(c.holds)
				if got := is(); got != "" {
					t.Errorf("%s, the clock was off by %s: it is %q for ever", name, off, got)
				}
			}
		}
	})
}

// TestLanded: what waits for a sync alone takes no room from fetches, up to the memory that it takes, whatever the peer listed, and
// what fails gives back what it took.
func TestLanded(t *testing.T) {
	x := New(&sites{}, 100_000_000, clock.System{}, slog.New(slog.DiscardHandler)) // two at once
	n := byte(0)
	begin := func() *flight {
		n++
		f, _ := x.begin(plan.Item{Stream: "tv", Peer: "p", Copy: inventory.Copy{Info: segment.Info{Digest: segment.Digest{n}, Bytes: 1 << 62}}})
		return f
	}
	var sent []*flight
	for range 4 {
		f := begin()
		if f == nil {
			t.Fatalf("no room after %d that were sent", len(sent))
		}
		x.landed(f, maxLanding/4)
		sent = append(sent, f)
	}
	if begin() != nil {
		t.Error("there is no end to what waits for a sync")
	}
	x.end(sent[0], false, nil)
	x.end(sent[1], false, errs.ErrCorrupt)
	a, b := begin(), begin()
	if a == nil || b == nil || begin() != nil {
		t.Error("two at once have no room, or three have")
	}
	for _, f := range []*flight{sent[2], sent[3], a, b} {
		x.end(f, false, nil)
	}
	if x.flights != 0 || x.landing != 0 {
		t.Errorf("%d fetches and %d bytes are still counted at the end", x.flights, x.landing)
	}
}

// TestJudgeTold: where ours is gone or rotten that is looked at again at once; nothing is asked for in a loop, and nothing
// of the peer's was bad.
func TestJudgeTold(t *testing.T) {
	for reason, want := range map[string]verdict{
		"UNKNOWN": {wait: refusedShort, all: true, stale: true},
		"CORRUPT": {wait: refusedShort, all: true, stale: true},
		"INVALID": {wait: refusedAWhile},
		"EXPIRED": {wait: refusedAWhile},
	} {
		if got := judgeTold(fmt.Errorf("x: %w", &RefusedError{reason})); got != want {
			t.Errorf("%s: got %+v, want %+v", reason, got, want)
		}
	}
}

// TestConfigChangeIsForgotten: what the config names no more costs nothing, but what is still on its way.
func TestConfigChangeIsForgotten(t *testing.T) {
	s := &sites{streams: []plan.Stream{{Name: "tv"}}}
	x := New(s, 0, clock.System{}, slog.New(slog.DiscardHandler))
	it := plan.Item{Stream: "tv", Peer: "p"}
	f, _ := x.begin(it)
	held := func() [2]int {
		x.state()
		return [2]int{len(x.streams), len(x.stats)}
	}
	if got := held(); got != [2]int{1, 1} {
		t.Errorf("configured: %v", got)
	}
	s.streams, s.gone = nil, true
	if got := held(); got[0] != 1 || got[1] != 1 {
		t.Errorf("in flight: %v", got)
	}
	x.end(f, false, nil)
	if got := held(); got != [2]int{} {
		t.Errorf("at the end: %v", got)
	}
}

// TestExpiredUntilLocked: what was too old is asked for again when its range is locked, or more is kept; what was refused for
// another reason is not.
func TestExpiredUntilLocked(t *testing.T) {
	old := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for name, change := range map[string]func(*plan.Stream){
		"locked":    func(s *plan.Stream) { s.Locked = inventory.Spans{{From: old, To: old.Add(time.Hour)}} },
		"unlocked":  func(s *plan.Stream) { s.Locked = nil },
		"kept more": func(s *plan.Stream) { s.LowWater = old },
		"not known": func(s *plan.Stream) { s.LowWater, s.Locked = time.Time{}, nil },
		"nothing":   func(*plan.Stream) {},
		"later":     func(s *plan.Stream) { s.LowWater = s.LowWater.Add(time.Hour) },
	} {
		s := &sites{streams: []plan.Stream{{Name: "tv", LowWater: old.Add(time.Hour), Locked: inventory.Spans{{From: old, To: old.Add(time.Minute)}}}}}
		x := New(s, 0, clock.System{}, slog.New(slog.DiscardHandler))
		x.Plan("")
		for i, err := range []error{&RefusedError{"EXPIRED"}, &RefusedError{"DELETED"}} {
			it := plan.Item{Stream: "tv", Peer: "p", Copy: inventory.Copy{Info: segment.Info{Digest: segment.Digest{byte(i)}}}}
			f, _ := x.begin(it)
			x.end(f, false, err)
		}
		change(&s.streams[0])
		got, want := len(x.state().Streams[0].Refused), 1
		if name == "nothing" || name == "later" || name == "not known" {
			want = 2
		}
		if got != want {
			t.Errorf("%s: %d are refused, want %d", name, got, want)
		}
	}
}

// calls is a dvrsvc that counts the calls that are opened, and takes none.
type calls struct {
	grpc.ClientConnInterface
	opened int
}

func (c *calls) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	c.opened++
	return nil, errs.ErrNotReady
}

// TestClosedSink: what was on its way when its link was ended opens no call that nobody would ever close.
func TestClosedSink(t *testing.T) {
	dvr := &calls{}
	s := NewSink(dvr, "tv", "m4f://b:7000/tv", func() uint32 { return 1 }, 1, nil, clock.System{})
	if err := s.Open(t.Context()); !takesNothing(err) || dvr.opened != 1 {
		t.Errorf("%d calls are opened, %v", dvr.opened, err)
	}
	s.Close()
	if err := s.Open(t.Context()); !takesNothing(err) {
		t.Errorf("a closed producer: %v", err)
	}
	if err := s.Put(t.Context(), segment.Slot{}, &m4fclient.Download{}, nil); !takesNothing(err) {
		t.Errorf("a closed producer: %v", err)
	}
	if s.Close(); dvr.opened != 1 {
		t.Errorf("%d calls are opened after the end", dvr.opened-1)
	}
}

// TestPeerThatSendsNothing: a stream that its peer does not read, as where its disk hangs there, leaves the others their room: it is asked for once in
// a while, one copy at a time, until that comes.
func TestPeerThatSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := New(&sites{}, 200_000_000, clock.System{}, slog.New(slog.DiscardHandler))
		n := byte(0)
		begin := func(stream, peer string) *flight {
			n++
			f, room := x.begin(plan.Item{Stream: stream, Peer: peer, Why: plan.Missing, Copy: inventory.Copy{Info: segment.Info{Digest: segment.Digest{n}}}})
			if !room {
				t.Errorf("no room for %s from %s", stream, peer)
			}
			return f
		}
		stall := fmt.Errorf("fetch: %w", m4fclient.ErrStalled)
		for range 2 {
			a, b := begin("tv", "p"), begin("tv", "p")
			x.end(a, false, stall)
			x.end(b, false, stall)
			if begin("tv", "p") != nil {
				t.Error("it is asked for again at once")
			}
			for _, other := range []plan.Item{{Stream: "radio", Peer: "p"}, {Stream: "tv", Peer: "q"}} {
				f := begin(other.Stream, other.Peer)
				if f == nil {
					t.Fatalf("it holds up %s from %s", other.Stream, other.Peer)
				}
				x.end(f, false, nil)
			}
			began := time.Now()
			var f *flight
			for ; f == nil; time.Sleep(time.Second) {
				f = begin("tv", "p")
			}
			if waited := time.Since(began); waited < 30*time.Second || waited > 33*time.Second {
				t.Errorf("it is asked for again after %s", waited)
			}
			if begin("tv", "p") != nil {
				t.Error("more than one is asked for before it is known that they come")
			}
			x.end(f, false, nil)
		}
	})
}
