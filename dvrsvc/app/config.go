package app

import (
	"slices"

	"github.com/twinreel/twinreel/pkg/envconf"
)

// Config is what the environment says, read from DVR_ variables.
type Config struct {
	envconf.Base
	GatewayAddr string   `env:"GATEWAY_ADDR" help:"HOST:PORT of the gateway, for the stream config"`
	Box         []string `env:"BOX" help:"names, with commas, of the storages in the stream config (dvr NAME { server ...; }) whose streams are recorded here; unset: those of no server"`
	ReclaimRate int64    `env:"RECLAIM_RATE" help:"bytes a second that are read of each storage to write data files anew of which more than a quarter is dead; 0: none"`
	ScrubRate   int64    `env:"SCRUB_RATE" help:"bytes a second that are read again of each storage to find what has rotted; 0: none"`
}

// Default is the config of an empty environment.
func Default() Config {
	return Config{
		Base:        envconf.Default("127.0.0.1:7002", "127.0.0.1:8082"),
		GatewayAddr: "127.0.0.1:7003",
		ReclaimRate: 8 << 20,
		ScrubRate:   8 << 20,
	}
}

// Problems says everything that is wrong, each beginning with the name of the variable without its prefix.
func (c *Config) Problems() []string {
	p := append(c.Base.Problems(), envconf.AddrProblems("GATEWAY_ADDR", c.GatewayAddr)...)
	if slices.Contains(c.Box, "") {
		p = append(p, "BOX has a name that is empty; write NAME,NAME")
	}
	if c.ReclaimRate < 0 {
		p = append(p, "RECLAIM_RATE is negative; 0 leaves dead bytes where they are")
	}
	if c.ScrubRate < 0 {
		p = append(p, "SCRUB_RATE is negative; 0 ends the scrub")
	}
	return p
}
