package streamconf

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultSRTLatency is how long a packet of SRT may be asked for again.
	DefaultSRTLatency    = 120 * time.Millisecond
	maxSRTLatency        = 30 * time.Second
	minPhrase, maxPhrase = 10, 79 // what SRT takes
	maxStreamID          = 512
)

// SRT is a stream over SRT, received as caller or as listener.
type SRT struct {
	Host       string // name or address to call; as listener: address of this machine, 0.0.0.0 or :: is all of them
	Port       uint16
	Listen     bool
	Latency    time.Duration // whole milliseconds
	StreamID   string        // caller: what is asked for; listener: what a sender must ask for; empty: anything
	Passphrase Secret        // of the encryption; empty: none. It is no part of the URL
}

// Withheld says that there is a passphrase, and that it was not sent along.
func (s SRT) Withheld() bool { return s.Passphrase == mask }

// Addr is HOST:PORT.
func (s SRT) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port))) }

// String is the canonical URL. A passphrase is not in it.
func (s SRT) String() string {
	mode := "caller"
	if s.Listen {
		mode = "listener"
	}
	u := "srt://" + s.Addr() + "?mode=" + mode
	if s.Latency != DefaultSRTLatency {
		u += "&latency=" + strconv.FormatInt(s.Latency.Milliseconds(), 10)
	}
	if s.StreamID != "" {
		u += "&streamid=" + url.QueryEscape(s.StreamID)
	}
	return u
}

const srtForm = "write srt://HOST:PORT?mode=caller or srt://:PORT?mode=listener, with latency=MS, streamid=ID and passphrase=TEXT where wanted"

// parseSRT reads what stands behind srt://. Nothing of the text goes into a problem: a part of it may be a secret (I3).
func parseSRT(in *Input, rest string) (what, do string) {
	rest, fragment, hasFragment := strings.Cut(rest, "#")
	addr, query, _ := strings.Cut(rest, "?")
	host, port, err := net.SplitHostPort(strings.TrimSuffix(addr, "/"))
	if err != nil {
		return "the srt URL has no port, or an IPv6 address without brackets", srtForm
	}
	s := &in.SRT
	s.Host, s.Latency = strings.ToLower(host), DefaultSRTLatency
	var ok bool
	if s.Port, ok = parsePort(port); !ok {
		return "the port is not a number from 1 to 65535", srtForm
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return "the parameters of the URL cannot be read", srtForm
	}
	for _, key := range []string{"mode", "latency", "streamid", "passphrase"} {
		v, given := values[key]
		delete(values, key)
		switch {
		case !given:
			continue
		case len(v) > 1:
			return fmt.Sprintf("parameter %q is given twice", key), srtForm
		}
		if what := s.set(key, v[0]); what != "" {
			return what, srtForm
		}
	}
	if len(values) > 0 {
		return "the URL has an unknown parameter", srtForm
	}
	switch a, err := netip.ParseAddr(s.Host); {
	case err == nil && (a.Zone() != "" || a.IsMulticast() || !s.Listen && a.IsUnspecified()):
		return "the address cannot be used for srt", srtForm
	case err == nil:
		s.Host = a.Unmap().String()
	case s.Listen && s.Host == "":
		s.Host = "0.0.0.0"
	case s.Listen:
		return "a listener has an address of this machine, or none", srtForm
	case !isHost(s.Host):
		return "the host is no name and no address", srtForm
	}
	return parseFragment(in, fragment, hasFragment, srtForm)
}

func (s *SRT) set(key, value string) (what string) {
	switch key {
	case "mode":
		if value != "caller" && value != "listener" {
			return "mode is neither caller nor listener"
		}
		s.Listen = value == "listener"
	case "latency":
		n, err := strconv.ParseUint(value, 10, 32)
		s.Latency = time.Duration(n) * time.Millisecond
		if err != nil || s.Latency > maxSRTLatency {
			return fmt.Sprintf("latency is not from 0 to %d milliseconds", maxSRTLatency.Milliseconds())
		}
	case "streamid":
		if value == "" || len(value) > maxStreamID || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7F || c == '\uFFFD' }) {
			return fmt.Sprintf("streamid is not 1 to %d characters", maxStreamID)
		}
		s.StreamID = value
	case "passphrase":
		switch {
		case s.Passphrase != "":
			return "passphrase is given twice"
		case value == mask:
			return "passphrase is masked, as printed in logs"
		case len(value) < minPhrase || len(value) > maxPhrase:
			return fmt.Sprintf("passphrase has not %d to %d characters", minPhrase, maxPhrase)
		case strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7F || c == '\uFFFD' }):
			return "passphrase has a control character"
		}
		s.Passphrase = Secret(value)
	}
	return ""
}

// hide masks a passphrase in a text that is shown.
func hide(text string) string {
	at := strings.Index(text, "passphrase=")
	if at < 0 {
		return text
	}
	at += len("passphrase=")
	return text[:at] + mask
}
