package streamconf

import (
	"strings"
	"testing"
	"time"
)

// I2, and what is refused with what.
func TestQuality(t *testing.T) {
	for _, c := range []struct {
		options string
		want    Quality
		printed string // "": as it was written
	}{
		{"", Quality{}, ""},
		{" video_timeout=20s audio_timeout=1m max_cc_rate=5",
			Quality{VideoTimeout: 20 * time.Second, AudioTimeout: time.Minute, MaxCCRate: 5}, ""},
		{" audio_timeout=20", Quality{AudioTimeout: 20 * time.Second}, " audio_timeout=20s"},
		{" allow_if=/run/a deny_if=/run/b", Quality{AllowIf: "/run/a", DenyIf: "/run/b"}, ""},
		{` "allow_if=/my files/a"`, Quality{AllowIf: "/my files/a"}, ""},
		{` deny_if="/my files/a"`, Quality{DenyIf: "/my files/a"}, ` "deny_if=/my files/a"`},
	} {
		conf := mustParse(t, "stream s { input udp://:1"+c.options+"; dvr d 1h; }")
		if got := conf.Streams[0].Inputs[0].Quality; got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.options, got, c.want)
		}
		if c.printed == "" {
			c.printed = c.options
		}
		if got := conf.Streams[0].Inputs[0].Quality.String(); got != c.printed {
			t.Errorf("%s: printed as %s", c.options, got)
		}
		if !mustParse(t, conf.Canonical()).Equal(conf) {
			t.Errorf("%s: the canonical form means something else", c.options)
		}
	}
	for options, want := range map[string]string{
		"udp://:1 video_timeout=0":                   `video_timeout "0" is not from 1s to 1h; write video_timeout=10 or video_timeout=10s`,
		"udp://:1 audio_timeout=2h":                  `audio_timeout "2h" is not from 1s to 1h; write audio_timeout=10 or audio_timeout=10s`,
		"udp://:1 max_cc_rate=0":                     `max_cc_rate "0" is not a number from 1 to 10000; write max_cc_rate=5 for five continuity errors a second`,
		"udp://:1 allow_if=run/a":                    `allow_if "run/a" is not the absolute path of a file; write allow_if=/run/twinreel/NAME`,
		"udp://:1 deny_if=/run/../etc":               `deny_if "/run/../etc" is not the absolute path of a file; write deny_if=/run/twinreel/NAME`,
		"udp://:1 deny_if":                           `deny_if "" is not the absolute path of a file; write deny_if=/run/twinreel/NAME`,
		"udp://:1 deny_if=/a deny_if=/b":             `option "deny_if" is given twice; keep one`,
		"m4f://main video_timeout=10":                `video_timeout is not an option of an m4f input: the peer judges its own inputs; remove it`,
		"m4f://main allow_if=/run/twinreel/all":      `allow_if is not an option of an m4f input: the peer judges its own inputs; remove it`,
		"udp://:1 video_timeout=10 max_cc_rate=many": `max_cc_rate "many" is not a number from 1 to 10000; write max_cc_rate=5 for five continuity errors a second`,
	} {
		_, err := Parse("t", []byte("stream s { input "+options+"; dvr d 1h; }"))
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", options, err, want)
		}
	}
}
