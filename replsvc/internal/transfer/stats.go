package transfer

import (
	"errors"

	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

// Stats is what was done for one stream and peer since the start.
type Stats struct {
	Segments, Bytes, Refused uint64
	Joined, Conflicts        uint64 // copies that were made of several, and attempts that met a contradiction
	Mended, Unlike           uint64 // access units made of packets of several copies, and places where those differ
	Failed                   uint64 // fetches, but for a peer that was busy
	LastError                string
	InFlight                 int

	recent [rateSeconds]uint64 // bytes by second
	second int64               // of the newest
}

const rateSeconds = 5

// fail takes note of a fetch that failed.
func (s *Stats) fail(err error) {
	s.LastError = err.Error()
	if busy := (*m4fclient.BusyError)(nil); !errors.As(err, &busy) {
		s.Failed++
	}
}

// BytesPerSecond is the rate over the last seconds.
func (s *Stats) BytesPerSecond() uint64 {
	var n uint64
	for _, b := range s.recent {
		n += b
	}
	return n / rateSeconds
}

// advance clears the seconds that have passed.
func (s *Stats) advance(now int64) {
	for ; s.second < now; s.second++ {
		if now-s.second > rateSeconds {
			s.second = now - rateSeconds
		}
		s.recent[(s.second+1)%rateSeconds] = 0
	}
}
