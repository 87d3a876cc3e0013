package app

import (
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/envconf"
)

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ []string
		want    []string // problems
	}{
		{"nothing set", nil, nil},
		{"set", []string{"INGEST_RING_BYTES=33554432", "INGEST_DVR_ADDR=dvr:7002"}, nil},
		{"all at once", []string{"INGEST_RING_BYTES=100", "INGEST_DVR_ADDR=dvr", "INGEST_GATEWAY_ADDR= "},
			[]string{"INGEST_RING_BYTES is 100", `INGEST_DVR_ADDR "dvr" is not HOST:PORT`, "INGEST_GATEWAY_ADDR is set to nothing"}},
	} {
		cfg := Default()
		err := envconf.Parse(&cfg, "INGEST_", c.environ)
		if (err != nil) != (c.want != nil) {
			t.Errorf("%s: got %v", c.name, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: got\n%v\nwithout %q", c.name, err, w)
			}
		}
	}
}

// I/O begins with Run: a service can be put together, looked at and dropped.
func TestNewNeedsNobody(t *testing.T) {
	a, err := New(Default(), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Ready() == nil {
		t.Error("ready without a stream config")
	}
}
