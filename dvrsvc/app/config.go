package app

import "github.com/twinreel/twinreel/pkg/envconf"

// Config is what the environment says, read from DVR_ variables.
type Config struct {
	envconf.Base
	GatewayAddr string `env:"GATEWAY_ADDR"` // HOST:PORT of the gateway, for the stream config
}

// Default is the config of an empty environment.
func Default() Config {
	return Config{
		Base: envconf.Base{
			GRPCListen: "127.0.0.1:7002", HTTPListen: "127.0.0.1:8082", Node: "twinreel", Data: "data",
		},
		GatewayAddr: "127.0.0.1:7003",
	}
}

// Problems says everything that is wrong, each beginning with the name of the variable without its prefix.
func (c *Config) Problems() []string {
	p := c.Base.Problems()
	if why := envconf.AddrProblem(c.GatewayAddr); why != "" {
		p = append(p, "GATEWAY_ADDR "+why)
	}
	return p
}
