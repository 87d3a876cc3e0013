package obs

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLogger(t *testing.T) {
	for _, c := range []struct{ format, level, want string }{
		{"", "", "level=INFO msg=hello stream=s\n"},
		{"text", "error", ""},
		{"json", "info", `"level":"INFO","msg":"hello","stream":"s"}` + "\n"},
	} {
		var b bytes.Buffer
		log, err := NewLogger(&b, c.format, c.level)
		if err != nil {
			t.Fatal(err)
		}
		if log.Info("hello", "stream", "s"); !strings.HasSuffix(b.String(), c.want) || (c.want == "") != (b.Len() == 0) {
			t.Errorf("%q %q: got %q", c.format, c.level, b.String())
		}
	}
	for _, c := range [][2]string{{"xml", ""}, {"", "loud"}} {
		if _, err := NewLogger(nil, c[0], c[1]); err == nil {
			t.Errorf("%v was taken", c)
		}
	}
}

func TestMux(t *testing.T) {
	var notReady error
	mux := NewMux(NewRegistry(), func() error { return notReady })
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "twinreel_build_info{") {
		t.Errorf("metrics: %d %s", code, body)
	}
	if code, body := get("/readyz"); code != 200 || body != "ok\n" {
		t.Errorf("readyz: %d %q", code, body)
	}
	notReady = errors.New("the store\nis opening")
	if code, body := get("/readyz"); code != 503 || body != "the store is opening\n" {
		t.Errorf("readyz: %d %q", code, body)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
}
