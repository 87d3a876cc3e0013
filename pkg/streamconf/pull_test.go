package streamconf

import (
	"strings"
	"testing"
)

// A token in the query of an http input is in the config, and in nothing that names the input.
func TestTokenIsMasked(t *testing.T) {
	const long = "hunter2hunter2hunter2"
	for text, want := range map[string]string{
		"http://h/a.ts":                                      "http://h/a.ts",
		"http://h/a.ts?channel=7&x=":                         "http://h/a.ts?channel=7&x=",
		"http://h/a.ts?token=hunter2":                        "http://h/a.ts?token=***",
		"http://h/a.ts?channel=7&Auth_Key=hunter2#program=3": "http://h/a.ts?channel=7&Auth_Key=***#program=3",
		"http://h/a.ts?pass%77ord=hunter2":                   "http://h/a.ts?pass%77ord=***",
		"https://h/a.ts?" + long:                             "https://h/a.ts?***~" + fingerprint(long),
		"https://h/a.ts?id=" + long:                          "https://h/a.ts?id=***~" + fingerprint(long),
		"https://h/a.ts?id=" + long + "%zz;token=a,b":        "https://h/a.ts?id=***~" + fingerprint(long+"%zz;token=a,b"),
	} {
		c := mustParse(t, "stream s { input \""+text+"\"; dvr d 1h; }")
		in := c.Streams[0].Inputs[0]
		if got := in.URL(); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
		if in.HTTP.URL+in.Take.fragment() != text {
			t.Errorf("%s is asked for as %s", text, in.HTTP.URL)
		}
		if again := mustParse(t, c.Canonical()); !again.Equal(c) {
			t.Errorf("%s: the config is another when it is read back: %s", text, c.Canonical())
		}
	}
	two := func(a, b string) error {
		_, err := Parse("t.conf", []byte("stream s { input http://h/a.ts?"+a+"; input http://h/a.ts?"+b+"; dvr d 1h; }"))
		return err
	}
	if err := two("id="+long+"1", "id="+long+"2"); err != nil {
		t.Error(err)
	}
	for _, err := range []error{two("token=hunter2", "token=hunter2x"), two("token=hunter2", "token=***")} {
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	}
}
