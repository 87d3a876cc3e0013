package archive

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	for text, want := range map[string]time.Time{
		"0":                              time.Unix(0, 0),
		"1795424400.5":                   time.Unix(1795424400, 5e8),
		"1970-01-01T00:00:00Z":           time.Unix(0, 0),
		"2026-11-23T10:00:00.25+01:00":   time.Date(2026, 11, 23, 9, 0, 0, 25e7, time.UTC),
		"2242-03-16T12:56:32Z":           time.Unix(maxSeconds, 0),
		"9999-12-31T23:59:59Z":           {}, // as nanoseconds since 1970 it would lie in 1816
		"0001-01-01T00:00:00Z":           {},
		"1969-12-31T23:59:59.999999999Z": {},
		"253402300799":                   {},
		"-1":                             {},
		"NaN":                            {},
		"yesterday":                      {},
		"":                               {},
	} {
		got, err := ParseTime(text)
		if !got.Equal(want) || (err != nil) != want.IsZero() {
			t.Errorf("ParseTime(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}
