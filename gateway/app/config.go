package app

import (
	"github.com/twinreel/twinreel/pkg/envconf"
)

// Config is the gateway's, read from GATEWAY_ variables.
type Config struct {
	envconf.Base
	File    string `env:"CONFIG"`   // the stream config
	DVRAddr string `env:"DVR_ADDR"` // HOST:PORT of dvrsvc
}

// Default is what holds where no variable is set.
func Default() Config {
	return Config{
		Base:    envconf.Base{GRPCListen: "127.0.0.1:7003", HTTPListen: "127.0.0.1:8080", Node: "twinreel", Data: "data"},
		File:    "stream.conf",
		DVRAddr: "127.0.0.1:7002",
	}
}

// Problems says what is wrong with it.
func (c *Config) Problems() []string {
	p := c.Base.Problems()
	if c.File == "" {
		p = append(p, "CONFIG is missing; give the file of the stream config")
	}
	if why := envconf.AddrProblem(c.DVRAddr); why != "" {
		p = append(p, "DVR_ADDR "+why)
	}
	return p
}
