package stats

import (
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
)

func TestClassOf(t *testing.T) {
	const d = 5824 * time.Millisecond
	for _, c := range []struct {
		took, of time.Duration
		want     Class
	}{
		{0, d, Fast}, {d/2 - 1, d, Fast}, {d / 2, d, Slow}, {d * 9 / 10, d, Slow}, {d*9/10 + 1, d, Delayed}, {d, d, Delayed},
		{time.Hour, d, Delayed}, {4, 10, Fast}, {5, 10, Slow}, {9, 10, Slow}, {10, 10, Delayed}, {3, 7, Fast}, {4, 7, Slow}, {6, 7, Slow}, {7, 7, Delayed},
	} {
		if got := ClassOf(c.took, c.of); got != c.want {
			t.Errorf("%s of %s is %s, want %s", c.took, c.of, ClassNames[got], ClassNames[c.want])
		}
	}
}

func TestAgeOf(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		ago  time.Duration
		want Age
	}{
		{-time.Minute, Hour}, {0, Hour}, {time.Hour - 1, Hour}, {time.Hour, Day}, {day - 1, Day}, {day, TwoDay}, {2*day - 1, TwoDay},
		{2 * day, Week}, {7*day - 1, Week}, {7 * day, Older}, {1000 * day, Older},
	} {
		if got := AgeOf(c.ago); got != c.want {
			t.Errorf("%s is %s, want %s", c.ago, AgeNames[got], AgeNames[c.want])
		}
	}
}

// I1: a segment that is sent again is not counted again; one of another slot is.
func TestWroteOnce(t *testing.T) {
	s := New().Stream("tv")
	slot := func(i int) segment.Slot { return segment.Slot{Timeline: segment.TimelineID{1}, Cell: uint16(i)} }
	for i := range 3 * recent {
		if !s.Wrote(slot(i), Fast) {
			t.Fatalf("segment %d is not counted", i)
		}
		for k := max(0, i-recent+1); k <= i; k++ {
			if s.Wrote(slot(k), Delayed) {
				t.Fatalf("segment %d is counted again after %d", k, i)
			}
		}
	}
	if c := s.Counts(); c.Written != [classes]uint64{3 * recent} {
		t.Errorf("written %v", c.Written)
	}
}

func TestLongestOfTheLastMinute(t *testing.T) {
	for _, from := range []time.Duration{-100 * 365 * 24 * time.Hour, -time.Second, 0, time.Hour} {
		s := New()
		s.Synced(SyncData, time.Second, from)
		for at := time.Duration(0); at <= 2*time.Minute; at += time.Second {
			s.Synced(SyncData, time.Millisecond, from+at)
			s.Synced(SyncIndex, 3*time.Millisecond, from+at)
			got := s.Latency(SyncData, from+at).Longest
			switch {
			case at <= time.Minute && got != time.Second:
				t.Fatalf("from %s, after %s the longest was %s", from, at, got)
			case at > time.Minute+slotTime && got != time.Millisecond:
				t.Fatalf("from %s, after %s the longest is still %s", from, at, got)
			}
		}
		if got := s.Latency(SyncData, from+time.Hour); got.Longest != 0 || got.Count != 122 || got.Sum != time.Second+121*time.Millisecond {
			t.Errorf("from %s, an hour later: %+v", from, got)
		}
	}
}

func TestBuckets(t *testing.T) {
	s := New()
	for i, b := range Bounds {
		s.Synced(SyncData, b, 0)
		s.Synced(SyncData, b+1, 0)
		if l := s.Latency(SyncData, 0); l.Buckets[i+1] != 1 || l.Buckets[i] != min(2, uint64(i+1)) {
			t.Errorf("up to %s: %v", b, l.Buckets)
		}
	}
}

func TestRunningCommit(t *testing.T) {
	s := New()
	if got := s.Running(-time.Hour); got != 0 {
		t.Errorf("none runs, and it has for %s", got)
	}
	s.CommitBegins(-time.Hour)
	if got := s.Running(-59 * time.Minute); got != time.Minute {
		t.Errorf("it runs for %s", got)
	}
	s.CommitEnds(-58*time.Minute, true)
	s.CommitBegins(-57 * time.Minute)
	s.CommitEnds(-56*time.Minute, false) // it had nothing to do
	if got, l := s.Running(0), s.Latency(Commit, -57*time.Minute); got != 0 || l.Longest != 2*time.Minute || l.Count != 1 {
		t.Errorf("it ended, and runs for %s: %+v", got, l)
	}
}

func TestSetKeepsCounters(t *testing.T) {
	var set Set
	set.Storage("/a").Stream("tv").Lost()
	set.Storage("/a").Stream("tv").Lost()
	set.Storage("/b").Stream("tv").Lost()
	if c := set.All()["/a"].Streams()["tv"]; c.Written[Skipped] != 2 {
		t.Errorf("%+v", c)
	}
}

// BenchmarkCount is all that is counted of a chunk that is written, read and sent (I2), and of a segment and a sync.
func BenchmarkCount(b *testing.B) {
	x := New()
	s := x.Stream("tv")
	b.Run("chunk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Bytes(Live, 1000)
			s.ReadBytes(Play, Memory, 1000)
		}
	})
	b.Run("segment", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			s.Wrote(segment.Slot{Timeline: segment.TimelineID{1}, Turn: int32(i)}, Fast)
			s.Read(Disk, Fast, 1)
			s.Played(time.Hour, 1000)
		}
	})
	b.Run("sync", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			x.Synced(SyncData, 7*time.Millisecond, time.Duration(i)*time.Millisecond)
		}
	})
}

// TestCountingAllocatesNothing holds I2.
func TestCountingAllocatesNothing(t *testing.T) {
	x := New()
	s := x.Stream("tv")
	i := 0
	if n := testing.AllocsPerRun(100, func() {
		i++
		s.Bytes(Live, 1000)
		s.ReadBytes(Play, Memory, 1000)
		s.Wrote(segment.Slot{Turn: int32(i)}, Fast)
		x.Synced(SyncData, time.Second, time.Second)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
