package httpapi_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/gateway/internal/httpapi"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/timeline"
)

func TestAPI(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	utc := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	c := srv.Add(archivetest.Place{Start: timeline.Wrap, Length: 90000, UTC: utc})
	srv.Add(archivetest.Place{Start: timeline.Wrap + 900000, Length: 90000, UTC: utc.Add(10 * time.Second)})
	h := httptest.NewServer(httpapi.New(srv.Dial(t)))
	defer h.Close()

	get := func(path string, code int) []byte {
		t.Helper()
		resp, err := http.Get(h.URL + "/api/v1/streams" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != code {
			t.Fatalf("GET %s: %s, %v, want %d\n%s", path, resp.Status, err, code, b)
		}
		if got := resp.Header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "*" {
			t.Errorf("GET %s: %d, and a browser shows it to the pages of %q, want any", path, code, got)
		}
		return b
	}
	var streams struct {
		Streams []struct{ Stream, ActiveInput string }
	}
	if err := json.Unmarshal(get("", 200), &streams); err != nil || len(streams.Streams) != 1 || streams.Streams[0].Stream != "s" ||
		streams.Streams[0].ActiveInput == "" {
		t.Errorf("streams: %+v, %v", streams, err)
	}
	var ranges struct {
		Ranges []struct {
			From, To time.Time
			State    string
		}
	}
	if err := json.Unmarshal(get("/s/ranges?to=1795424405", 200), &ranges); err != nil || len(ranges.Ranges) != 1 ||
		!ranges.Ranges[0].From.Equal(utc) || ranges.Ranges[0].State != "INTACT" {
		t.Errorf("ranges: %+v, %v, want one from %v", ranges, err, utc)
	}
	get("/s/ranges?from=soon", 400)
	get("/other/ranges", 404)
	get("/s/no/such/path", 404)

	// What sha256sum prints for the bytes is the digest.
	sum := sha256.Sum256(get("/s/segments/"+c.Info.Digest.String(), 200))
	if got := hex.EncodeToString(sum[:]); got != c.Info.Digest.String() {
		t.Errorf("SHA-256 of the raw segment is %s, want %s", got, c.Info.Digest)
	}
	init := c.Info.Tracks[0].Init.String()
	if sum = sha256.Sum256(get("/s/init/"+init, 200)); hex.EncodeToString(sum[:]) != init {
		t.Errorf("SHA-256 of the init segment is %x, want %s", sum, init)
	}
	get("/s/segments/"+strings.Repeat("0", 64), 404)
	get("/s/segments/xyz", 400)
	get("/s!/segments/"+c.Info.Digest.String(), 400)
}
