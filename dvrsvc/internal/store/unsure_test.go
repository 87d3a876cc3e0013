package store

import (
	"testing"
	"time"
)

// TestUnsureTimeline: what was recorded when nobody could say that the clock is right does not go by age as soon as somebody can, since who
// records it sets it right first. It goes by age where nobody ever can, as on a host that asks no other clock, and where nobody records it.
func TestUnsureTimeline(t *testing.T) {
	rule := Rule{Age: time.Hour}
	for name, c := range map[string]struct {
		right, unsure bool
		leave         bool
		want          string
	}{
		"the clock is right":              {right: true, unsure: true, want: "xx"},
		"and the times were set right":    {right: true, want: "--"},
		"nobody can say":                  {unsure: true, want: "--"},
		"nobody records it":               {right: true, unsure: true, leave: true, want: "--"},
		"nobody can say, or records it":   {unsure: true, leave: true, want: "--"},
		"set right, and nobody does more": {right: true, leave: true, want: "--"},
	} {
		for how, restart := range map[string]func(*site){"at once": func(*site) {}, "restart": func(x *site) { x.powerCut(nil) }} {
			t.Run(name+", "+how, func(t *testing.T) {
				x := newSite(t)
				r := must2(x.st.Timeline(x.row))
				r.Unsure = c.unsure
				if err := x.st.PutTimeline(r); err != nil {
					t.Fatal(err)
				}
				all := []*made{x.whole(0), x.whole(1)}
				for _, m := range all {
					x.store(m, true)
				}
				x.st.SetRetention(rule)
				restart(x)
				if c.leave {
					x.st.Leave(Limit{})
				} else {
					x.st.SetRetention(rule)
				}
				x.sweep()
				x.clock.move(2 * time.Hour)
				if c.right {
					clockIsRight(x.s)
				}
				x.sweep()
				restart(x)
				if c.right {
					clockIsRight(x.s)
				}
				if c.leave {
					x.st.Leave(Limit{})
				} else {
					x.st.SetRetention(rule)
				}
				x.sweep()
				if got := x.held(all); got != c.want {
					t.Errorf("held %s, want %s", got, c.want)
				}
			})
		}
	}
}
