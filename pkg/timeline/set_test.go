package timeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSetAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Set
		var model [64]bool
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			r := Range{Ticks(rapid.IntRange(0, 63).Draw(t, "from")), Ticks(rapid.IntRange(0, 63).Draw(t, "to"))}
			add := rapid.Bool().Draw(t, "add")
			if add {
				s = s.Add(r)
			} else {
				s = s.Without(r)
			}
			for i := r.From; i < r.To; i++ {
				model[i] = add
			}
		}
		n := Ticks(0)
		for i, in := range model {
			if in {
				n++
			}
			if got := s.Covers(Range{Ticks(i), Ticks(i) + 1}); got != in {
				t.Fatalf("tick %d: %v, want %v in %v", i, got, in, s)
			}
		}
		if s.Len() != n || s.Gaps(Range{0, 64}).Len() != 64-n {
			t.Fatalf("length %d, gaps %d, want %d", s.Len(), s.Gaps(Range{0, 64}).Len(), n)
		}
		for i := range s {
			if s[i].Len() == 0 || i > 0 && s[i-1].To >= s[i].From {
				t.Fatalf("not in order: %v", s)
			}
		}
	})
}

func TestMappingIsMonotoneAndInvertible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Mapping
		p := Point{U: Ticks(rapid.Int64Range(0, 1<<40).Draw(t, "u")), UTC: rapid.Int64Range(1e18, 2e18).Draw(t, "utc")}
		for range rapid.IntRange(1, 5).Draw(t, "points") {
			var ok bool
			if m, ok = m.With(p); !ok {
				t.Fatal("a later point was refused")
			}
			d := rapid.Int64Range(1, 1e6).Draw(t, "step")
			p.U += Ticks(d) * 9
			p.UTC += int64(time.Duration(d) * 100 * time.Microsecond * time.Duration(rapid.Int64Range(90, 110).Draw(t, "rate")) / 100)
		}
		if _, ok := m.With(m[0]); ok && len(m) > 1 {
			t.Fatal("an older point was taken")
		}
		at := m[0].U - 100000
		before := m.UTC(at)
		for range 50 {
			at += Ticks(rapid.Int64Range(1, 1e6).Draw(t, "walk"))
			now := m.UTC(at)
			if now.Before(before) {
				t.Fatalf("time turns back at %d", at)
			}
			if back := m.At(now); back < at-2 || back > at+2 {
				t.Fatalf("%d maps to %v and back to %d", at, now, back)
			}
			if from := m.From(now); from != at {
				t.Fatalf("from %v on is %d, want %d", now, from, at)
			}
			before = now
		}
	})
}
