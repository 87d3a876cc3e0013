package plan

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// storm is so many streams with so many gaps each; the oldest of the last stream are about to expire on its peer.
func storm(streams, gaps int) State {
	st := State{Now: now}
	for i := range streams {
		s := stream()
		s.Name = fmt.Sprintf("tv%03d", i)
		s.Peers[0].Slots = nil
		s.Mine = map[segment.Slot][]inventory.Copy{}
		for k := range gaps {
			cell := 990 - gaps + k
			s.Peers[0].Slots = append(s.Peers[0].Slots, inventory.Slot{
				Slot:   segment.Slot{Timeline: row, Cell: uint16((cell + 16384) % 16384)},
				Copies: []inventory.Copy{copyOf(cell, digest(byte(i), byte(k>>8), byte(k)))},
			})
		}
		st.Streams = append(st.Streams, s)
	}
	p := &st.Streams[streams-1].Peers[0]
	p.Retention = now.Sub(p.Slots[9].Copies[0].StartUTC) + expiringWithin + time.Second
	return st
}

// cpu is the time that this process has computed: that others use the machine is not in it.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestStorm: a thousand gaps in each of a hundred streams are planned in time and memory that grow with their number, what is about
// to expire first, then the newest, and each stream has its turn in every round.
func TestStorm(t *testing.T) {
	const streams, gaps, urgent = 100, 1000, 9
	st := storm(streams, gaps)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := cpu(t)
	items := Plan(st)
	took := cpu(t) - began
	runtime.ReadMemStats(&after)
	if len(items) != streams*gaps {
		t.Fatalf("%d are planned of %d", len(items), streams*gaps)
	}
	perGap := (after.TotalAlloc - before.TotalAlloc) / (streams * gaps)
	t.Logf("%d gaps: %v of a processor, %d bytes allocated for each", streams*gaps, took.Round(time.Millisecond), perGap)
	if most := 10 * time.Second; took > most || perGap > 16<<10 {
		t.Errorf("a plan takes %v of a processor and %d bytes a gap, want at most %v and 16384", took, perGap, most)
	}
	for i, it := range items[:urgent] {
		if it.Why != Expiring || it.Stream != st.Streams[streams-1].Name || it.Copy.Info.Digest != st.Streams[streams-1].Peers[0].Slots[i].Copies[0].Info.Digest {
			t.Fatalf("place %d has %s of %s, want what expires soonest", i, it.Copy.Info.Digest, it.Stream)
		}
	}
	for n, rest := 0, items[urgent:]; len(rest) >= streams; n, rest = n+1, rest[streams:] {
		in := map[string]bool{}
		for _, it := range rest[:streams] {
			in[it.Stream] = true
			if want := 989 - n; !it.Copy.StartUTC.Equal(startUTC(want)) && n < gaps-urgent {
				t.Fatalf("round %d has what began at %v, want the newest that is left: %v", n, it.Copy.StartUTC, startUTC(want))
			}
		}
		if len(in) < streams && n < gaps-urgent {
			t.Fatalf("round %d has %d streams of %d", n, len(in), streams)
		}
	}
}
