// Package timeline has the units of media time and sets of half-open ranges over them.
package timeline

import "time"

// Ticks counts 90 kHz units, the clock of ISO/IEC 13818-1.
type Ticks int64

// Constants of the grid (format.md rule 2) in ticks.
const (
	// TicksPerSecond is the rate of every track.
	TicksPerSecond Ticks = 90000
	// Wrap is the length of one turn of the 33-bit source clock.
	Wrap Ticks = 1 << 33
	// CellTicks is the length of a cell of PTS (5.825 s): at most one cut falls in each.
	CellTicks Ticks = 1 << 19
	// ChunkTicks is the length of a chunk cell of DTS (0.364 s).
	ChunkTicks Ticks = 1 << 15
	// CellsPerTurn is how many cells one turn of the source clock has.
	CellsPerTurn = int64(Wrap / CellTicks)
)

// Duration converts ticks to wall time, rounded down to the nanosecond.
func (t Ticks) Duration() time.Duration {
	return time.Duration(t/TicksPerSecond)*time.Second +
		time.Duration(t%TicksPerSecond)*time.Second/time.Duration(TicksPerSecond)
}

// FromDuration converts wall time to ticks, rounded down.
func FromDuration(d time.Duration) Ticks {
	return Ticks(d/time.Second)*TicksPerSecond + Ticks(d%time.Second)*TicksPerSecond/Ticks(time.Second)
}

// Cell returns the cell of the turn (0 to CellsPerTurn-1) in which t lies.
func (t Ticks) Cell() int64 { return int64(mod(t, Wrap) / CellTicks) }

// Unwrap returns the value equal to raw modulo Wrap that is nearest to ref.
func Unwrap(raw, ref Ticks) Ticks {
	d := mod(raw-ref, Wrap)
	if d >= Wrap/2 {
		d -= Wrap
	}
	return ref + d
}

func mod(t, m Ticks) Ticks {
	t %= m
	if t < 0 {
		t += m
	}
	return t
}
