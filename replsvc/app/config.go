package app

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/replsvc/internal/event"
)

// Config is what the environment says.
type Config struct {
	envconf.Base
	GatewayAddr   string `env:"GATEWAY_ADDR" help:"HOST:PORT of the gateway, for the stream config"`
	DVRAddr       string `env:"DVR_ADDR" help:"HOST:PORT of dvrsvc, for the archive"`
	BackfillLimit uint64 `env:"BACKFILL_LIMIT" help:"bits a second that backfill may take, fetched here and, again, served to peers, unless the stream config says it; 0: no limit"`
	// WebhookURL may have a token, so it is shown nowhere.
	WebhookURL    streamconf.Secret `env:"WEBHOOK_URL" help:"http(s) URL that events of replication are posted to as JSON"`
	WebhookEvents string            `env:"WEBHOOK_EVENTS" help:"which of them, of started, progress, finished, failed, conflict, lost, behind and caught_up"`
}

// Default is the config of an empty environment.
func Default() Config {
	return Config{
		Base:        envconf.Default("127.0.0.1:7000", "127.0.0.1:8083"),
		GatewayAddr: "127.0.0.1:7003", DVRAddr: "127.0.0.1:7002", BackfillLimit: 200_000_000,
		WebhookEvents: "started,finished,failed,conflict,lost,behind,caught_up",
	}
}

// Problems says everything that is wrong, each beginning with the name of the variable without its prefix.
func (c *Config) Problems() []string {
	p := c.Base.Problems()
	p = append(p, envconf.AddrProblems("GATEWAY_ADDR", c.GatewayAddr, "DVR_ADDR", c.DVRAddr)...)
	if c.BackfillLimit > 0 && c.BackfillLimit < 64_000 {
		p = append(p, "BACKFILL_LIMIT is in bits a second; give at least 64000, or 0 for no limit")
	}
	if c.WebhookURL != "" {
		if err := event.CheckHook(c.WebhookURL); err != nil {
			p = append(p, "WEBHOOK_URL "+err.Error())
		}
	}
	for _, k := range c.webhookKinds() {
		if !slices.Contains(event.Kinds(), k) {
			p = append(p, fmt.Sprintf("WEBHOOK_EVENTS names %q; give some of started,progress,finished,failed,conflict,lost,behind,caught_up", k))
		}
	}
	return p
}

func (c *Config) webhookKinds() (out []event.Kind) {
	for k := range strings.SplitSeq(c.WebhookEvents, ",") {
		out = append(out, event.Kind(strings.TrimSpace(k)))
	}
	return out
}
