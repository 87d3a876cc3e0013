package streamconf

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// maxURL is the longest URL of an http input.
const maxURL = 2048

// File is a transport stream file that is played at its own pace.
type File struct {
	Path string // absolute
	Loop bool   // over and over, with clocks that go on
}

// HTTP is a transport stream that a server sends for as long as it is asked for.
type HTTP struct {
	URL string // canonical, without a fragment; a token may be in its query
}

// shortValue is how long a value of a query may be to be shown, if its name is harmless.
const shortValue = 12

// String is the URL with what may be a token masked: the value of each parameter whose name says so, and all that is long.
// The latter has its fingerprint, as it may be the name of one of several streams.
func (h HTTP) String() string {
	front, query, ok := strings.Cut(h.URL, "?")
	if !ok {
		return h.URL
	}
	words := strings.Split(query, "&")
	for i, w := range words {
		key, value, named := strings.Cut(w, "=")
		if !named {
			key, value = "", w
		} else {
			key += "="
		}
		switch {
		case value == "":
		case secretName(key):
			words[i] = key + mask
		case len(value) > shortValue:
			words[i] = key + mask + "~" + fingerprint(value)
		}
	}
	return front + "?" + strings.Join(words, "&")
}

// secretName reports whether a parameter of this name carries a secret.
func secretName(key string) bool {
	if plain, err := url.QueryUnescape(key); err == nil {
		key = plain
	}
	key = strings.ToLower(key)
	for _, word := range []string{"token", "key", "pass", "pwd", "auth", "secret", "sig", "hash", "sess", "jwt", "hmac", "credential", "user"} {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

// fingerprint tells long values apart.
func fingerprint(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:3])
}

// fragment is the selection behind a URL whose query is the server's.
func (s Selection) fragment() string {
	if q := s.query(); len(q) > 0 {
		return "#" + strings.Join(q, "&")
	}
	return ""
}

const fileForm = "write file:///PATH, with #program=N&pids=N,N where wanted"

// parseFile reads what stands behind file://.
func parseFile(in *Input, rest string) (what, do string) {
	rest, fragment, has := strings.Cut(rest, "#")
	switch {
	case !strings.HasPrefix(rest, "/"):
		return "the path of a file is not absolute", fileForm
	case strings.Contains(rest, "?"):
		return "a query in a file URL means nothing", fileForm
	case strings.ContainsFunc(rest, func(c rune) bool { return c < ' ' || c == 0x7F || c == '\uFFFD' }):
		return "the path of the file has a control character", fileForm
	case strings.HasSuffix(rest, "/"):
		return "the path of the file names a directory", fileForm
	}
	in.File.Path = path.Clean(rest)
	return parseFragment(in, fragment, has, fileForm)
}

const httpForm = "write http://HOST/PATH or https://HOST/PATH, with #program=N&pids=N,N where wanted"

// parseHTTP reads the URL of a server.
func parseHTTP(in *Input, text string) (what, do string) {
	text, fragment, has := strings.Cut(text, "#")
	u, err := url.Parse(strings.TrimPrefix(text, "ts"))
	switch {
	case err != nil:
		return "this is not a URL", httpForm // its words may be a secret
	case len(text) > maxURL:
		return fmt.Sprintf("the URL is longer than %d characters", maxURL), httpForm
	case strings.Contains(u.RawQuery, mask):
		return "a value of the URL is masked, as printed in logs", httpForm
	case u.User != nil:
		return "credentials in an http URL are not supported yet", httpForm
	case u.Opaque != "" || u.Hostname() == "":
		return "the http URL names no server", httpForm
	}
	if p := u.Port(); p != "" || strings.HasSuffix(u.Host, ":") {
		if _, ok := parsePort(p); !ok {
			return fmt.Sprintf("port %q is not a number from 1 to 65535", clip(p)), httpForm
		}
	}
	u.Host = strings.ToLower(u.Host)
	if u.Path == "" {
		u.Path = "/"
	}
	in.HTTP.URL = u.String()
	if again, err := url.Parse(in.HTTP.URL); err != nil || again.String() != in.HTTP.URL {
		return "this is not a URL", httpForm
	}
	return parseFragment(in, fragment, has, httpForm)
}

func parseFragment(in *Input, fragment string, has bool, form string) (what, do string) {
	if !has {
		return "", ""
	}
	given := map[string]bool{}
	for q := range strings.SplitSeq(fragment, "&") {
		key, value, _ := strings.Cut(q, "=")
		switch {
		case given[key]:
			what = fmt.Sprintf("parameter %q is given twice", clip(key))
		case key == "program":
			in.Take.Program, what = parseProgram(value)
		case key == "pids":
			in.Take.PIDs, what = parsePIDs(value)
		default:
			what = fmt.Sprintf("unknown parameter %q", clip(key))
		}
		if what != "" {
			return what, form
		}
		given[key] = true
	}
	return "", ""
}
