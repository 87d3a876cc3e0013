package envconf

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/streamconf"
)

type config struct {
	Base
	Poll time.Duration     `env:"POLL"`
	Key  streamconf.Secret `env:"KEY"`
}

func (c *config) Problems() []string {
	p := c.Base.Problems()
	if c.Poll <= 0 {
		p = append(p, "POLL is not positive; give a duration")
	}
	return p
}

func defaults() config {
	return config{Base: Base{GRPCListen: "127.0.0.1:1", HTTPListen: "127.0.0.1:2", Node: "a", Data: "/d"}, Poll: time.Second}
}

func TestParse(t *testing.T) {
	short, good := filepath.Join(t.TempDir(), "short"), filepath.Join(t.TempDir(), "good")
	for file, key := range map[string]string{short: "x\n", good: strings.Repeat("k", streamconf.MinKey) + "\n"} {
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		environ []string
		want    []string // problems
	}{
		{"defaults", nil, nil},
		{"values", []string{"X_NODE=b", "X_POLL=3s", "X_GRPC_LISTEN=[::1]:7", "POLL=x", "Y_NODE="}, nil},
		{"empty", []string{"X_NODE=", "X_INSECURE= "}, []string{"X_NODE is set to nothing", "X_INSECURE is set to nothing", "parse error"}},
		{"all at once", []string{"X_POLL=-1s", "X_NODE=a/b", "X_DATA=", "X_GRPC_LISTEN=7000", "X_CLUSTER_KEY_FILE=/nowhere/key"},
			[]string{"X_POLL is not positive", `X_NODE "a/b" is not a node id`, "X_DATA is set to nothing", `X_GRPC_LISTEN "7000" is not HOST:PORT`, "X_CLUSTER_KEY_FILE: open"}},
		{"not a duration", []string{"X_POLL=soon"}, []string{"soon"}},
		{"open without credentials", []string{"X_GRPC_LISTEN=0.0.0.0:7000", "X_HTTP_LISTEN=:80"},
			[]string{"X_GRPC_LISTEN 0.0.0.0:7000 is open to the network", "X_HTTP_LISTEN :80 is open to the network"}},
		{"short key", []string{"X_CLUSTER_KEY_FILE=" + short}, []string{"less than 16 characters"}},
		{"key", []string{"X_CLUSTER_KEY_FILE=" + good, "X_GRPC_LISTEN=0.0.0.0:7000"}, nil},
		{"insecure", []string{"X_GRPC_LISTEN=0.0.0.0:7000", "X_INSECURE=true"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := defaults()
			err := Parse(&cfg, "X_", c.environ)
			if (err != nil) != (c.want != nil) {
				t.Fatalf("got %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("got\n%v\nwithout %q", err, w)
				}
			}
			if c.name == "values" && (cfg.Node != "b" || cfg.Poll != 3*time.Second || cfg.HTTPListen != "127.0.0.1:2") {
				t.Errorf("got %+v", cfg)
			}
		})
	}
}

func TestAttrs(t *testing.T) {
	cfg := defaults()
	cfg.Key = "hunter2"
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("config", Attrs(&cfg, "X_")...)
	if got := b.String(); strings.Contains(got, "hunter2") || !strings.Contains(got, "X_KEY=***") || !strings.Contains(got, "X_NODE=a") {
		t.Error(got)
	}
	if n := len(Attrs(cfg, "X_")); n != 13 {
		t.Errorf("%d variables", n)
	}
}

func TestHelp(t *testing.T) {
	cfg := defaults()
	got := Help(&cfg, "X_")
	for _, want := range []string{"X_GRPC_LISTEN", "HOST:PORT of the gRPC server (default 127.0.0.1:1)", "X_POLL"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestLoopback(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:1", "[::1]:1", "localhost:1", "127.3.2.1:0"} {
		if !Loopback(addr) {
			t.Error(addr)
		}
	}
	if bad := []string{":1", "0.0.0.0:1", "10.0.0.1:1", "example.org:1", "x"}; slices.ContainsFunc(bad, Loopback) {
		t.Error(bad)
	}
}
