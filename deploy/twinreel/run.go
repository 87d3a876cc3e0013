package main

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/twinreel/twinreel/deploy/twinreel/onebox"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/obs"
)

type runCommand struct {
	Config    string `required:"" type:"path" placeholder:"FILE" help:"The stream config; changes of it are followed."`
	Data      string `default:"data" type:"path" help:"Directory of relative storage paths and of what is kept (default ${default})."`
	HTTP      string `name:"http" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Playback, JSON API, metrics and health (default ${default})."`
	GRPC      string `name:"grpc" default:"127.0.0.1:7000" placeholder:"HOST:PORT" help:"All gRPC services, M4F included (default ${default})."`
	Node      string `default:"${hostname}" help:"Id of this site; no other may have it (default ${default})."`
	Key       string `name:"cluster-key-file" type:"path" placeholder:"FILE" help:"File with the cluster key; cluster_key in the stream config overrules it."`
	Insecure  bool   `help:"Allow to listen beyond loopback without credentials."`
	LogFormat string `enum:"text,json" default:"text" help:"text or json."`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
}

func (c *runCommand) Run(ctx context.Context) error {
	cfg := onebox.Config{File: c.Config, Base: envconf.Base{
		GRPCListen: c.GRPC, HTTPListen: c.HTTP, Node: c.Node, Data: c.Data, ClusterKeyFile: c.Key, Insecure: c.Insecure,
		LogFormat: c.LogFormat, LogLevel: c.LogLevel,
	}}
	if p := asFlags(cfg.Problems()); len(p) > 0 {
		return errors.New(strings.Join(p, "\n"))
	}
	log, err := obs.NewLogger(os.Stderr, c.LogFormat, c.LogLevel)
	if err != nil {
		return err
	}
	log.Info("starting", "config", c.Config, "data", c.Data, "http", c.HTTP, "grpc", c.GRPC, "node", c.Node, "cluster_key_file", c.Key,
		"insecure", c.Insecure, "log_format", c.LogFormat, "log_level", c.LogLevel, "version", obs.Version())
	box, err := onebox.New(cfg, clock.System{}, log)
	if err != nil {
		return err
	}
	return box.Run(ctx)
}

// variable is what the problems of a service call by the name of its environment variable.
var variable = regexp.MustCompile(`\b(CONFIG|DATA|HTTP_LISTEN|GRPC_LISTEN|NODE|CLUSTER_KEY_FILE|INSECURE=true|LOG_FORMAT|LOG_LEVEL)\b`)

// asFlags gives problems the names that the command line has for things, in an order that stays.
func asFlags(problems []string) []string {
	flags := map[string]string{"HTTP_LISTEN": "--http", "GRPC_LISTEN": "--grpc", "INSECURE=true": "--insecure"}
	out := make([]string, len(problems))
	for i, p := range problems {
		// A value in quotes is the user's, whatever it is called.
		parts := strings.Split(p, `"`)
		for k := 0; k < len(parts); k += 2 {
			parts[k] = variable.ReplaceAllStringFunc(parts[k], func(name string) string {
				if f := flags[name]; f != "" {
					return f
				}
				return "--" + strings.ReplaceAll(strings.ToLower(name), "_", "-")
			})
		}
		out[i] = strings.Join(parts, `"`)
	}
	slices.Sort(out)
	return out
}
