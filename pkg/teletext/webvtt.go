package teletext

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Cue is a text that stands on the picture for a while.
type Cue struct {
	From, To int64 // ticks of 90 kHz
	Lines    []string
}

// Cues makes cues of what a page showed between two times; what is shown when it begins or ends is cut there.
func Cues(shown []Shown, from, to int64) (out []Cue) {
	shown = slices.Clone(shown)
	slices.SortStableFunc(shown, func(a, b Shown) int { return int(min(max(a.At-b.At, -1), 1)) })
	for i, s := range shown {
		c := Cue{From: max(s.At, from), To: to, Lines: s.Lines}
		if i+1 < len(shown) {
			c.To = min(shown[i+1].At, to)
		}
		if len(c.Lines) == 0 || c.From >= c.To {
			continue
		}
		if n := len(out); n > 0 && out[n-1].To == c.From && slices.Equal(out[n-1].Lines, c.Lines) {
			out[n-1].To = c.To // it was sent again
			continue
		}
		out = append(out, c)
	}
	return out
}

// AppendCues writes cues as WebVTT does, at their distance from zero.
func AppendCues(dst []byte, cues []Cue, zero int64) []byte {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	for _, c := range cues {
		dst = fmt.Appendf(dst, "\n%s --> %s\n%s\n", clock(c.From-zero), clock(c.To-zero), escape.Replace(strings.Join(c.Lines, "\n")))
	}
	return dst
}

// clock writes a time of 90 kHz to the millisecond.
func clock(ticks int64) string {
	ms := (max(ticks, 0) + 45) / 90
	d := time.Duration(ms) * time.Millisecond
	return fmt.Sprintf("%02d:%02d:%02d.%03d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60, ms%1000)
}
