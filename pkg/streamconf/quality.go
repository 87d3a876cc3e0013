package streamconf

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// maxCCRate bounds max_cc_rate: at 10 Mbit/s some 7000 packets come in a second.
const maxCCRate = 10_000

// Quality says for what else than standing still an input is left. The zero value: for nothing.
type Quality struct {
	VideoTimeout time.Duration // no picture for so long; 0: is no reason
	AudioTimeout time.Duration // no sound for so long; 0: is no reason
	MaxCCRate    int           // more continuity errors a second; 0: is no reason
	AllowIf      string        // a file that holds 0 denies the input
	DenyIf       string        // a file that is there and does not hold 0 denies the input
}

// String is the options in the language, each behind a space.
func (q Quality) String() string {
	var b strings.Builder
	if q.VideoTimeout != 0 {
		b.WriteString(" video_timeout=" + FormatDuration(q.VideoTimeout))
	}
	if q.AudioTimeout != 0 {
		b.WriteString(" audio_timeout=" + FormatDuration(q.AudioTimeout))
	}
	if q.MaxCCRate != 0 {
		b.WriteString(" max_cc_rate=" + strconv.Itoa(q.MaxCCRate))
	}
	if q.AllowIf != "" {
		b.WriteString(" " + quote("allow_if="+q.AllowIf))
	}
	if q.DenyIf != "" {
		b.WriteString(" " + quote("deny_if="+q.DenyIf))
	}
	return b.String()
}

// option reads one option; known: it is one of these. what and do tell what is wrong with it.
func (q *Quality) option(key, value string) (known bool, what, do string) {
	switch key {
	case "video_timeout":
		q.VideoTimeout, what, do = qualityTimeout(key, value)
	case "audio_timeout":
		q.AudioTimeout, what, do = qualityTimeout(key, value)
	case "max_cc_rate":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxCCRate {
			what = fmt.Sprintf("max_cc_rate %q is not a number from 1 to %d", clip(value), maxCCRate)
			do = "write max_cc_rate=5 for five continuity errors a second"
		}
		q.MaxCCRate = n
	case "allow_if":
		q.AllowIf, what, do = switchFile(key, value)
	case "deny_if":
		q.DenyIf, what, do = switchFile(key, value)
	default:
		return false, "", ""
	}
	return true, what, do
}

func qualityTimeout(key, value string) (d time.Duration, what, do string) {
	d, err := parseTimeout(value)
	if err != nil || d < minTimeout || d > maxTimeout {
		return 0, fmt.Sprintf("%s %q is not from 1s to 1h", key, clip(value)), fmt.Sprintf("write %s=10 or %s=10s", key, key)
	}
	return d, "", ""
}

func switchFile(key, value string) (file, what, do string) {
	if !path.IsAbs(value) || path.Clean(value) != value || value == "/" {
		return "", fmt.Sprintf("%s %q is not the absolute path of a file", key, clip(value)), fmt.Sprintf("write %s=/run/twinreel/NAME", key)
	}
	return value, "", ""
}
