package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"github.com/twinreel/twinreel/deploy/twinreel/onebox"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/obs"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

type runCommand struct {
	Config string `required:"" type:"path" placeholder:"FILE" help:"The stream config; changes of it are followed."`
	Data   string `default:"data" type:"path" help:"Directory of relative storage paths and of what is kept (default ${default})."`
	HTTP   string `name:"http" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Playback, JSON API, metrics and health (default ${default})."`
	GRPC   string `name:"grpc" default:"127.0.0.1:7000" placeholder:"HOST:PORT" help:"All gRPC services, M4F included (default ${default})."`
	Node   string `default:"${hostname}" help:"Id of this site; no other may have it (default ${default})."`
	Key    string `name:"cluster-key-file" type:"path" placeholder:"FILE" help:"File with the cluster key; cluster_key in the stream config overrules it."`
	TLS
	Insecure  bool   `help:"Allow to listen beyond loopback without credentials."`
	Webhook   string `name:"webhook-url" env:"TWINREEL_WEBHOOK_URL" placeholder:"URL" help:"http(s) URL that events of replication are posted to as JSON; TWINREEL_WEBHOOK_URL is seen by nobody in a list of processes."`
	Events    string `name:"webhook-events" placeholder:"KIND,KIND" help:"Which of them: started, progress, finished, failed, conflict, lost, behind, caught_up (default all but progress)."`
	LogFormat string `enum:"text,json" default:"text" help:"text or json."`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
}

func (c *runCommand) Run(ctx context.Context) error {
	cfg := onebox.Config{File: c.Config, Webhook: streamconf.Secret(c.Webhook), WebhookEvents: c.Events, Base: envconf.Base{
		GRPCListen: c.GRPC, HTTPListen: c.HTTP, Node: c.Node, Data: c.Data, ClusterKeyFile: c.Key,
		TLSCert: c.TLS.Cert, TLSKey: c.TLS.Key, TLSCA: c.TLS.CA, Insecure: c.Insecure, LogFormat: c.LogFormat, LogLevel: c.LogLevel,
	}}
	if p := asFlags(cfg.Problems()); len(p) > 0 {
		return errors.New(strings.Join(p, "\n"))
	}
	log, err := obs.NewLogger(os.Stderr, c.LogFormat, c.LogLevel)
	if err != nil {
		return err
	}
	log.Info("starting", append(effective(&cfg), "version", obs.Version())...)
	box, err := onebox.New(cfg, clock.System{}, log)
	if err != nil {
		return err
	}
	return box.Run(ctx)
}

// effective is the config in force under the names of the command line, for the log.
func effective(cfg *onebox.Config) []any {
	out := []any{"config", cfg.File}
	for _, a := range envconf.Attrs(cfg, "") {
		attr := a.(slog.Attr)
		attr.Key = flagOf(attr.Key)
		out = append(out, attr)
	}
	return out
}

// flagOf is the name that the command line has for a variable of the services.
func flagOf(variable string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimSuffix(variable, "_LISTEN")), "_", "-")
}

// asFlags gives problems the names that the command line has for things.
func asFlags(problems []string) []string {
	names := []string{"CONFIG"}
	for _, a := range envconf.Attrs(&onebox.Config{}, "") {
		names = append(names, a.(slog.Attr).Key)
	}
	variable := regexp.MustCompile(`\b(` + strings.Join(names, "|") + `)\b(=true)?`)
	out := make([]string, len(problems))
	for i, p := range problems {
		// A value in quotes is the user's, whatever it is called.
		parts := strings.Split(p, `"`)
		for k := 0; k < len(parts); k += 2 {
			parts[k] = variable.ReplaceAllStringFunc(parts[k], func(name string) string {
				return "--" + flagOf(strings.TrimSuffix(name, "=true"))
			})
		}
		out[i] = strings.Join(parts, `"`)
	}
	return out
}
