package streamconf

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// units of durations, longest first. A month has no fixed length and is none of them.
var units = []struct {
	name byte
	d    time.Duration
}{{'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

// ParseDuration reads whole numbers with units d h m s, as 3d or 1d12h.
func ParseDuration(s string) (time.Duration, error) {
	var sum time.Duration
	rest := s
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == len(rest) && digits > 0 {
			return 0, fmt.Errorf("duration %q has no unit", clip(s))
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		i := slices.IndexFunc(units, func(u struct {
			name byte
			d    time.Duration
		}) bool {
			return u.name == rest[digits]
		})
		if err != nil || i < 0 || n > int64(math.MaxInt64-sum)/int64(units[i].d) {
			return 0, fmt.Errorf("%q is not a duration", clip(s))
		}
		sum += time.Duration(n) * units[i].d
		rest = rest[digits+1:]
	}
	if s == "" {
		return 0, fmt.Errorf("%q is not a duration", s)
	}
	return sum, nil
}

// FormatDuration writes what ParseDuration reads. Parts of a second are dropped.
func FormatDuration(d time.Duration) string {
	if d < time.Second {
		return "0s"
	}
	var b strings.Builder
	for _, u := range units {
		if n := d / u.d; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteByte(u.name)
			d %= u.d
		}
	}
	return b.String()
}

// parseTimeout reads a duration, or a bare number of seconds.
func parseTimeout(s string) (time.Duration, error) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	return ParseDuration(s)
}

// sizes are the units of sizes, smallest first: powers of 1000, as disks are sold.
var sizes = []struct {
	name  byte
	bytes int64
}{{'K', 1e3}, {'M', 1e6}, {'G', 1e9}, {'T', 1e12}}

const (
	minSize, maxSize = int64(10e6), int64(1e18)
	maxPercent       = 99
)

// isLimit says whether a word is meant as a size (500G) or a share of the disk (90%).
func isLimit(s string) bool {
	num := strings.TrimRight(s, "KMGT%")
	_, err := strconv.ParseFloat(num, 64)
	return err == nil && len(s) == len(num)+1
}

// set takes a size or a share. what says why not.
func (l *Limit) set(s string) (what string) {
	num, unit := s[:len(s)-1], s[len(s)-1]
	n, err := strconv.ParseInt(num, 10, 64)
	if unit == '%' {
		switch {
		case err != nil || n < 1 || n > maxPercent:
			return fmt.Sprintf("share %q is not a whole number from 1%% to %d%%", clip(s), maxPercent)
		case l.Percent != 0:
			return "a share of the disk is given twice"
		}
		l.Percent = int(n)
		return ""
	}
	i := slices.IndexFunc(sizes, func(x struct {
		name  byte
		bytes int64
	}) bool {
		return x.name == unit
	})
	switch {
	case err != nil || n < 1 || n > maxSize/sizes[i].bytes || n*sizes[i].bytes < minSize:
		return fmt.Sprintf("size %q is not a whole number from 10M to 1000000T", clip(s))
	case l.Bytes != 0:
		return "a size is given twice"
	}
	l.Bytes = n * sizes[i].bytes
	return ""
}

// String is the words of the language, a space before each.
func (l Limit) String() string {
	out := ""
	if l.Bytes > 0 {
		unit := sizes[0]
		for _, u := range sizes {
			if l.Bytes%u.bytes == 0 {
				unit = u
			}
		}
		out += fmt.Sprintf(" %d%c", l.Bytes/unit.bytes, unit.name)
	}
	if l.Percent > 0 {
		out += fmt.Sprintf(" %d%%", l.Percent)
	}
	return out
}

// schemes are those of the inputs.
const schemes = "udp://, rtp://, srt://, http://, https://, file://, m4f:// or m4fs://"

// url reads the URL of an input into in.
func (b *builder) url(in *Input, stream string, w token) bool {
	scheme, rest, found := strings.Cut(w.text, "://")
	what, do := "", ""
	switch {
	case !found:
		what, do = fmt.Sprintf("%q is not the URL of an input", clip(hide(w.text))), "write udp://GROUP:PORT or m4f://HOST:PORT/STREAM"
	case scheme == "udp", scheme == "rtp":
		in.Kind = KindUDP
		what, do = parseUDP(in, scheme, rest)
	case scheme == "srt":
		in.Kind = KindSRT
		what, do = parseSRT(in, rest)
	case scheme == "file":
		in.Kind = KindFile
		what, do = parseFile(in, rest)
	case scheme == "http", scheme == "https", scheme == "tshttp", scheme == "tshttps":
		in.Kind = KindHTTP
		what, do = parseHTTP(in, w.text)
	case scheme == "m4f", scheme == "m4fs":
		in.Kind = KindM4F
		in.M4F, what, do = parseM4F(rest, stream)
		in.M4F.TLS = scheme == "m4fs"
	case slices.Contains(laterScheme, scheme):
		what, do = fmt.Sprintf("input %s:// is not supported yet", scheme), "use "+schemes
	default:
		what, do = fmt.Sprintf("unknown kind of input %q", clip(hide(scheme)+"://")), "use "+schemes
	}
	if what != "" {
		b.add(w.pos, what, do)
		return false
	}
	return true
}

const m4fForms = "write m4f://HOST, m4f://HOST:PORT or m4f://HOST:PORT/STREAM"

// ParseM4F reads the URL of a stream of a peer that need not be configured. Without a path it is the stream's own name.
func ParseM4F(text, stream string) (M4F, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "m4f" && scheme != "m4fs" {
		return M4F{}, fmt.Errorf("%q is not the URL of a peer; %s", clip(text), m4fForms)
	}
	m, what, do := parseM4F(rest, stream)
	if what != "" {
		return M4F{}, fmt.Errorf("%s; %s", what, do)
	}
	m.TLS = scheme == "m4fs"
	return m, nil
}

func parseM4F(rest, stream string) (m M4F, what, do string) {
	refuse := func(format string, args ...any) (M4F, string, string) {
		return M4F{}, fmt.Sprintf(format, args...), m4fForms
	}
	switch {
	case strings.ContainsAny(rest, "?#"):
		return refuse("a query in an m4f URL is not supported yet")
	case strings.Contains(rest, "@"):
		return refuse("credentials in an m4f URL are not supported yet, cluster_key is for all peers")
	case strings.Contains(rest, "["):
		return refuse("IPv6 is not supported yet")
	}
	hostport, name, _ := strings.Cut(rest, "/")
	host, port, hasPort := strings.Cut(strings.ToLower(hostport), ":") // names are the same in capitals
	m = M4F{Host: host, Port: DefaultM4FPort, Stream: name}
	if strings.Contains(port, ":") {
		return refuse("IPv6 is not supported yet")
	}
	if hasPort {
		var ok bool
		if m.Port, ok = parsePort(port); !ok {
			return refuse("port %q is not a number from 1 to 65535", clip(port))
		}
	}
	if !isHost(host) {
		return refuse("%q is not the name or IPv4 address of a server", clip(host))
	}
	if name == "" {
		m.Stream = stream
		return m, "", "" // the stream's own name has been judged where it stands
	}
	if what, _ := nameProblem(clip(name)); what != "" {
		return refuse("%s", what)
	}
	return m, "", ""
}

func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0
}

// isHost takes the names of RFC 1123, and _ because containers have it.
func isHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			return false
		}
	}
	return true
}
