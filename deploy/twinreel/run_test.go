package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/deploy/twinreel/onebox"
	"github.com/twinreel/twinreel/pkg/envconf"
)

func TestProblemsOfRunNameItsFlags(t *testing.T) {
	cfg := onebox.Config{Base: envconf.Base{GRPCListen: "0.0.0.0:7000", HTTPListen: "8080", Node: "DATA/NODE", ClusterKeyFile: ""}}
	first := asFlags(cfg.Problems())
	for range 20 {
		if got := asFlags(cfg.Problems()); !slices.Equal(got, first) {
			t.Fatalf("another order:\n%s\nthan\n%s", strings.Join(got, "\n"), strings.Join(first, "\n"))
		}
	}
	text := strings.Join(first, "\n")
	for _, want := range []string{"--config is missing", "--data is missing", "--grpc 0.0.0.0:7000", "--cluster-key-file", "--insecure", `--http "8080"`, `--node "DATA/NODE"`, "--tls-cert"} {
		if !strings.Contains(text, want) {
			t.Errorf("got\n%s\nwant %q in it", text, want)
		}
	}
	for _, strange := range []string{"GRPC_LISTEN", "HTTP_LISTEN", "CLUSTER_KEY_FILE", "INSECURE=", "set --insecure=true"} {
		if strings.Contains(text, strange) {
			t.Errorf("got\n%s\nwith %q in it, which is no flag", text, strange)
		}
	}
}

func TestEffectiveConfigNamesFlags(t *testing.T) {
	got := fmt.Sprint(effective(&onebox.Config{File: "c", Base: envconf.Base{GRPCListen: "a:1", ClusterKeyFile: "k", Insecure: true}}))
	for _, want := range []string{"config c", "grpc=a:1", "cluster-key-file=k", "insecure=true", "tls-cert="} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q in it", got, want)
		}
	}
}
