package archive

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// ParseTime reads a moment as operators and players write it: Unix seconds, decimals allowed, or RFC 3339.
func ParseTime(s string) (time.Time, error) {
	if sec, err := strconv.ParseFloat(s, 64); err == nil {
		if math.IsNaN(sec) || sec < 0 || sec > 1<<33 {
			return time.Time{}, fmt.Errorf("read time %q: it is not between 1970 and 2242", s)
		}
		whole := math.Floor(sec)
		return time.Unix(int64(whole), int64(math.Round((sec-whole)*1e6))*1000).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("read time %q: want Unix seconds or RFC 3339, such as 1795424400.5 or 2026-11-23T09:00:00Z", s)
	}
	return t.UTC(), nil
}
