package udp

import (
	"runtime"
	"testing"
)

// More batches are in use at once than there are processors, since all sockets are drained in the same moments: they are
// kept to be used again.
func TestBatchesAreKept(t *testing.T) {
	s := NewBatches()
	n := 4 * runtime.GOMAXPROCS(0)
	take := func() map[*batch]bool {
		all := map[*batch]bool{}
		for range n {
			all[s.get()] = true
		}
		return all
	}
	first := take()
	for b := range first {
		s.put(b)
	}
	for b := range take() {
		if !first[b] {
			t.Fatalf("a new batch was made although %d were free", n)
		}
	}
}
