package app

import (
	"fmt"

	"github.com/twinreel/twinreel/pkg/envconf"
)

// minRing is the least that a ring may be limited to: a few segments of any broadcast stream.
const minRing = 16 << 20

// Config is what the environment says.
type Config struct {
	envconf.Base
	GatewayAddr string `env:"GATEWAY_ADDR" help:"HOST:PORT of the gateway, for the stream config"`
	DVRAddr     string `env:"DVR_ADDR" help:"HOST:PORT of dvrsvc, for the media"`
	RingBytes   int64  `env:"RING_BYTES" help:"most bytes of the ring of one input"`
}

// Default is the config of an empty environment.
func Default() Config {
	return Config{
		Base:        envconf.Default("127.0.0.1:7001", "127.0.0.1:8081"),
		GatewayAddr: "127.0.0.1:7003", DVRAddr: "127.0.0.1:7002", RingBytes: 128 << 20,
	}
}

// Problems says everything that is wrong, each beginning with the name of the variable without its prefix.
func (c *Config) Problems() []string {
	p := c.Base.Problems()
	p = append(p, envconf.AddrProblems("GATEWAY_ADDR", c.GatewayAddr, "DVR_ADDR", c.DVRAddr)...)
	if c.RingBytes < minRing {
		p = append(p, fmt.Sprintf("RING_BYTES is %d, give at least %d", c.RingBytes, minRing))
	}
	return p
}
