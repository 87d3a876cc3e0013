// Package envconf reads the config of a service from its environment with caarlos0/env, and adds what all services
// want: every problem at once, no variable that is set to nothing, and a log line of what is in force.
//
// A service declares a struct that embeds [Base], fills it with its defaults and calls [Parse]. Fields of a type with a
// LogValue or String of its own, as streamconf.Secret, decide how they are shown.
package envconf

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/caarlos0/env/v11"

	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// Base is what every service has.
type Base struct {
	GRPCListen     string `env:"GRPC_LISTEN" help:"HOST:PORT of the gRPC server"`
	HTTPListen     string `env:"HTTP_LISTEN" help:"HOST:PORT of metrics, health and whatever else is HTTP"`
	Node           string `env:"NODE" help:"id of the site, the same for its services and for no other site"`
	Data           string `env:"DATA" help:"directory of everything that is kept"`
	ClusterKeyFile string `env:"CLUSTER_KEY_FILE" help:"file with the cluster key"`
	TLSCert        string `env:"TLS_CERT" help:"PEM file of the certificate shown to callers and, as a client, to servers"`
	TLSKey         string `env:"TLS_KEY" help:"PEM file of its key"`
	TLSCA          string `env:"TLS_CA" help:"PEM file of the authorities that sign our services: gRPC takes no other callers"`
	Insecure       bool   `env:"INSECURE" help:"true: listen beyond loopback without credentials"`
	LogFormat      string `env:"LOG_FORMAT" help:"text or json"`
	LogLevel       string `env:"LOG_LEVEL" help:"debug, info, warn or error"`
}

// Default is the common part of an empty environment.
func Default(grpcListen, httpListen string) Base {
	return Base{
		GRPCListen: grpcListen, HTTPListen: httpListen, Node: hostname(), Data: "data", LogFormat: "text", LogLevel: "info",
	}
}

// hostname is the id of a site that has no other: unlike a fixed word it differs between two sites.
func hostname() string {
	if h, err := os.Hostname(); err == nil && nodeName.MatchString(h) {
		return h
	}
	return "twinreel"
}

// TLS is what the process proves itself with, and whom it believes.
func (b *Base) TLS() grpcx.TLS { return grpcx.TLS{Cert: b.TLSCert, Key: b.TLSKey, CA: b.TLSCA} }

// Common gives the part that every service has.
func (b *Base) Common() *Base { return b }

// Parse fills cfg from the variables that begin with prefix ("GATEWAY_"). What is not set keeps its value. The error
// has one line for each problem: of a variable that cannot be read, that is set to nothing, and of cfg.Problems.
func Parse(cfg interface{ Problems() []string }, prefix string, environ []string) error {
	values := env.ToMap(environ)
	options := env.Options{Environment: values, Prefix: prefix}
	var problems []string
	fields, err := env.GetFieldParamsWithOptions(cfg, options)
	if err != nil {
		return fmt.Errorf("read the environment: %w", err)
	}
	for _, f := range fields {
		if v, set := values[f.Key]; set && strings.TrimSpace(v) == "" {
			problems = append(problems, fmt.Sprintf("%s is set to nothing; give it a value or unset it", f.Key))
		}
	}
	var all env.AggregateError
	switch err := env.ParseWithOptions(cfg, options); {
	case errors.As(err, &all):
		for _, e := range all.Errors {
			problems = append(problems, e.Error())
		}
	case err != nil:
		problems = append(problems, err.Error())
	}
	for _, p := range cfg.Problems() {
		problems = append(problems, prefix+p)
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "\n"))
	}
	return nil
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Problems says what is wrong with the common part, each beginning with the name of the variable without its prefix.
func (b *Base) Problems() []string {
	var p []string
	if !nodeName.MatchString(b.Node) {
		p = append(p, fmt.Sprintf("NODE %q is not a node id; use 1 to 64 of the characters A-Z a-z 0-9 _ . -", b.Node))
	}
	if b.Data == "" {
		p = append(p, "DATA is missing; give a directory")
	}
	if b.ClusterKeyFile != "" {
		switch key, err := os.ReadFile(b.ClusterKeyFile); {
		case err != nil:
			p = append(p, fmt.Sprintf("CLUSTER_KEY_FILE: %v", err))
		case len(strings.TrimSpace(string(key))) < streamconf.MinKey:
			p = append(p, fmt.Sprintf("CLUSTER_KEY_FILE %s has less than %d characters; make one with: openssl rand -hex 32", b.ClusterKeyFile, streamconf.MinKey))
		}
	}
	if err := b.TLS().Problem(); err != nil {
		p = append(p, fmt.Sprintf("TLS_CERT, TLS_KEY, TLS_CA: %v", err))
	}
	for _, l := range []struct{ name, addr string }{{"GRPC_LISTEN", b.GRPCListen}, {"HTTP_LISTEN", b.HTTPListen}} {
		if why := AddrProblem(l.addr); why != "" {
			p = append(p, l.name+" "+why)
			continue
		}
		if !Loopback(l.addr) && b.ClusterKeyFile == "" && (b.TLSCert == "" || b.TLSCA == "") && !b.Insecure {
			p = append(p, fmt.Sprintf("%s %s is open to the network without credentials; set CLUSTER_KEY_FILE, or TLS_CERT, TLS_KEY and TLS_CA, listen on loopback, or set INSECURE=true", l.name, l.addr))
		}
	}
	return p
}

// AddrProblem says why addr is not HOST:PORT, or nothing.
func AddrProblem(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n > 65535 {
		return fmt.Sprintf("%q is not HOST:PORT", addr)
	}
	return ""
}

// AddrProblems says what is wrong with the addresses of other services: the name of a variable, its value, and so on.
func AddrProblems(namesAndAddrs ...string) (p []string) {
	for i := 0; i+1 < len(namesAndAddrs); i += 2 {
		if why := AddrProblem(namesAndAddrs[i+1]); why != "" {
			p = append(p, namesAndAddrs[i]+" "+why)
		}
	}
	return p
}

// Loopback says whether HOST:PORT is reached from this machine alone.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Attrs are the variables as they are in force, for one line of the log at start. Secrets mask themselves.
func Attrs(cfg any, prefix string) []any {
	var out []any
	walk(reflect.Indirect(reflect.ValueOf(cfg)), func(name string, f reflect.StructField, v reflect.Value) {
		out = append(out, slog.Any(prefix+name, v.Interface()))
	})
	return out
}

// Help lists the variables of cfg, which has its defaults, with what they mean.
func Help(cfg any, prefix string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	walk(reflect.Indirect(reflect.ValueOf(cfg)), func(name string, f reflect.StructField, v reflect.Value) {
		fmt.Fprintf(w, "%s%s\t%s", prefix, name, f.Tag.Get("help"))
		if !v.IsZero() {
			fmt.Fprintf(w, " (default %v)", v.Interface())
		}
		fmt.Fprintln(w)
	})
	w.Flush() //nolint:errcheck // to memory
	return b.String()
}

// walk visits the fields that are variables, those of embedded structs too.
func walk(v reflect.Value, visit func(name string, f reflect.StructField, v reflect.Value)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch name, _, _ := strings.Cut(f.Tag.Get("env"), ","); {
		case name != "":
			visit(name, f, v.Field(i))
		case f.Type.Kind() == reflect.Struct && f.IsExported():
			walk(v.Field(i), visit)
		}
	}
}
