package app

import "github.com/twinreel/twinreel/pkg/envconf"

// Config is the gateway's, read from GATEWAY_ variables.
type Config struct {
	envconf.Base
	File     string `env:"CONFIG" help:"the stream config; changes of it are followed"`
	DVRAddr  string `env:"DVR_ADDR" help:"HOST:PORT of dvrsvc"`
	ReplAddr string `env:"REPL_ADDR" help:"HOST:PORT of replsvc, which brings first what is missing of what somebody plays; none: nobody is asked"`
}

// NoRepl as the address of replsvc: there is none.
const NoRepl = "none"

// Default is what holds where no variable is set.
func Default() Config {
	return Config{
		Base:    envconf.Default("127.0.0.1:7003", "127.0.0.1:8080"),
		File:    "stream.conf",
		DVRAddr: "127.0.0.1:7002", ReplAddr: "127.0.0.1:7000",
	}
}

// Problems says what is wrong with it.
func (c *Config) Problems() []string {
	p := c.Base.Problems()
	if c.File == "" {
		p = append(p, "CONFIG is missing; give the file of the stream config")
	}
	p = append(p, envconf.AddrProblems("DVR_ADDR", c.DVRAddr)...)
	if c.ReplAddr != NoRepl {
		p = append(p, envconf.AddrProblems("REPL_ADDR", c.ReplAddr)...)
	}
	return p
}
