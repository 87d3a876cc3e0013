package archive

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// maxSeconds is the newest moment that can be asked for: beyond 2262 there are no nanoseconds since 1970.
const maxSeconds = 1 << 33

// ParseTime reads a moment as operators and players write it: Unix seconds, decimals allowed, or RFC 3339.
func ParseTime(s string) (time.Time, error) {
	outside := fmt.Errorf("read time %q: it is not between 1970 and 2242", s)
	if sec, err := strconv.ParseFloat(s, 64); err == nil {
		if math.IsNaN(sec) || sec < 0 || sec > maxSeconds {
			return time.Time{}, outside
		}
		whole := math.Floor(sec)
		return time.Unix(int64(whole), int64(math.Round((sec-whole)*1e6))*1000).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("read time %q: want Unix seconds or RFC 3339, such as 1795424400.5 or 2026-11-23T09:00:00Z", s)
	}
	if t.Unix() < 0 || t.Unix() > maxSeconds {
		return time.Time{}, outside
	}
	return t.UTC(), nil
}
