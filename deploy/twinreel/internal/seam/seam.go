package seam

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Errors of Trim. The file can be played as it is.
var (
	ErrNotTS    = errors.New("the file is not a transport stream of 188-byte packets")
	ErrTooLarge = errors.New("the file is too large to be cut in memory")
	ErrNoTrack  = errors.New("the file has no track whose frames can be counted")
)

// maxBytes bounds the memory that a cut takes.
const maxBytes = 512 << 20

// Cut is what Trim found.
type Cut struct {
	Length time.Duration // of one turn
	Gap    time.Duration // what the worst audio track lacks at the end of it: less than a frame, 0 where the frames allow it
}

// Trim writes the transport stream src to dst without what is behind the end of a turn.
func Trim(src, dst string) (Cut, error) {
	st, err := os.Stat(src)
	if err != nil {
		return Cut{}, fmt.Errorf("trim: %w", err)
	}
	if st.Size() > maxBytes {
		return Cut{}, fmt.Errorf("trim %s: %w", src, ErrTooLarge)
	}
	b, err := os.ReadFile(src)
	if err != nil {
		return Cut{}, fmt.Errorf("trim: %w", err)
	}
	f, err := read(b)
	if err != nil {
		return Cut{}, fmt.Errorf("trim %s: %w", src, err)
	}
	turn, ok := choose(f.reference(), f.sounds)
	if !ok {
		return Cut{}, fmt.Errorf("trim %s: %w", src, ErrNoTrack)
	}
	if err := os.WriteFile(dst, f.cut(turn), 0o644); err != nil {
		return Cut{}, fmt.Errorf("trim: %w", err)
	}
	return Cut{Length: ticks(turn.length), Gap: ticks(turn.gap)}, nil
}

func ticks(n float64) time.Duration { return time.Duration(n * float64(time.Second) / 90000) }

// turn is where a file is cut: pictures and the frames of each sound that are kept.
type turn struct {
	length   float64 // ticks
	pictures int
	frames   []int   // by sound
	gap      float64 // ticks that the worst sound lacks
}

// rounding is what the times of a file are rounded by.
const rounding = 1.5

// choose finds the longest turn whose sounds fill it in whole frames; where there is none in the last half of the file,
// the one that they fill best. A picture is never parted from one that is shown before it.
func choose(v *video, sounds []*sound) (turn, bool) {
	if v == nil || len(v.pts) < 2 {
		return turn{}, false
	}
	n := len(v.pts)
	step := float64(v.dts[n-1]-v.dts[0]) / float64(n-1)
	var best turn
	newest := v.pts[0]
	whole := make([]bool, n+1) // the first k pictures are shown one after the other, and before all others
	first := v.pts[0]
	for k, t := range v.pts {
		newest, first = max(newest, t), min(first, t)
		d := float64(newest-first) - float64(k)*step
		whole[k+1] = d < step/2 && d > -step/2
	}
	for k := n; k > 0 && k >= n/2; k-- {
		if !whole[k] && k != n {
			continue
		}
		t := turn{length: float64(k) * step, pictures: k}
		for _, s := range sounds {
			m := min(len(s.ends), int((t.length+rounding)/s.ticks))
			t.frames = append(t.frames, m)
			t.gap = max(t.gap, t.length-float64(m)*s.ticks)
		}
		if t.gap <= rounding {
			t.gap = 0
			return t, true
		}
		if best.pictures == 0 || t.gap < best.gap {
			best = t
		}
	}
	return best, true
}
