package stats

import (
	"sync"
	"sync/atomic"
	"time"
)

// Sync says what became durable.
type Sync uint8

// Kinds of syncs.
const (
	SyncData  Sync = iota // one data file, and its directory if it is new
	SyncIndex             // the batch of a commit in the index
	Commit                // a whole commit: all files, then the index

	syncKinds
)

// SyncNames are the kinds as they are shown, by Sync.
var SyncNames = [syncKinds]string{"data", "index", "commit"}

// Bounds are the upper ends of the buckets; what took longer is in one more.
var Bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

const (
	// slotTime is how finely it is known when the longest was, slots over how long: a minute, and up to a slot more.
	slotTime = 5 * time.Second
	slots    = 13
)

// latency is how long syncs of a kind took.
type latency struct {
	buckets [len(Bounds) + 1]atomic.Uint64
	sum     atomic.Int64

	mu      sync.Mutex // protects the field below
	longest [slots]peak
}

// peak is the longest of a slot of time.
type peak struct {
	slot int64
	took time.Duration
}

// Latency is what is known of the syncs of a kind.
type Latency struct {
	Buckets [len(Bounds) + 1]uint64 // how many took at most Bounds, each without those before
	Count   uint64
	Sum     time.Duration
	Longest time.Duration // of those that ended in the last minute
}

// Synced counts a sync that ended now.
func (s *Storage) Synced(k Sync, took, now time.Duration) {
	l := &s.syncs[k]
	i := 0
	for i < len(Bounds) && took > Bounds[i] {
		i++
	}
	l.buckets[i].Add(1)
	l.sum.Add(int64(took))
	slot := slotOf(now)
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.longest[(slot%slots+slots)%slots]
	if p.slot != slot {
		*p = peak{slot: slot}
	}
	p.took = max(p.took, took)
}

// slotOf gives the slot of a moment. A clock may begin below zero.
func slotOf(now time.Duration) int64 { return int64(now / slotTime) }

// Latency tells of the syncs of a kind.
func (s *Storage) Latency(k Sync, now time.Duration) (out Latency) {
	l := &s.syncs[k]
	load(out.Buckets[:], l.buckets[:])
	for _, n := range out.Buckets {
		out.Count += n
	}
	out.Sum = time.Duration(l.sum.Load())
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.longest {
		if slotOf(now)-p.slot < slots {
			out.Longest = max(out.Longest, p.took)
		}
	}
	return out
}

// CommitBegins notes that a commit runs.
func (s *Storage) CommitBegins(now time.Duration) {
	s.began.Store(int64(now))
	s.commits.Store(true)
}

// CommitEnds counts the commit that ran, if it had something to do.
func (s *Storage) CommitEnds(now time.Duration, worked bool) {
	s.commits.Store(false)
	if worked {
		s.Synced(Commit, now-time.Duration(s.began.Load()), now)
	}
}

// Running is how long the commit has been running that runs now; 0: none does.
func (s *Storage) Running(now time.Duration) time.Duration {
	if !s.commits.Load() {
		return 0
	}
	return now - time.Duration(s.began.Load())
}
