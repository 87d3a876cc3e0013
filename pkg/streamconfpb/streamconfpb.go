// Package streamconfpb is the stream config as the messages of ConfigService and back.
//
// Invariant I1: FromProto(ToProto(c)) equals c for every c that streamconf.Parse returned; a message that no such c
// can have made is refused.
package streamconfpb

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/streamconf"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// ToProto includes the cluster key: whoever sends the message decides whether it goes along.
func ToProto(c *streamconf.Config, revision string) *gatewayv1.Config {
	m := &gatewayv1.Config{Revision: revision, ClusterKey: string(c.ClusterKey)}
	for _, s := range c.Storages {
		m.Storages = append(m.Storages, &gatewayv1.Storage{Name: s.Name, Root: s.Root, Server: s.Server})
	}
	for _, s := range c.Streams {
		m.Streams = append(m.Streams, StreamToProto(s))
	}
	return m
}

// StreamToProto is one stream of it.
func StreamToProto(s streamconf.Stream) *gatewayv1.Stream {
	m := &gatewayv1.Stream{Name: s.Name, Dvr: &gatewayv1.Dvr{
		Path: s.DVR.Path, RetentionNanos: int64(s.DVR.Retention), Replicate: s.DVR.Replicate,
		Storage: s.DVR.Storage, Server: s.DVR.Server,
	}}
	for _, in := range s.Inputs {
		x := &gatewayv1.Input{
			Url: in.URL(), Priority: uint32(in.Priority), //nolint:gosec // at most 1000
			SourceTimeoutNanos: int64(in.SourceTimeout), Cold: in.Standby == streamconf.Cold,
		}
		switch in.Kind {
		case streamconf.KindUDP:
			udp := &gatewayv1.UdpSource{Host: in.UDP.Addr.String(), Port: uint32(in.UDP.Port), InterfaceName: in.UDP.Iface}
			if in.UDP.IfIP.IsValid() {
				udp.InterfaceIp = in.UDP.IfIP.String()
			}
			x.Source = &gatewayv1.Input_Udp{Udp: udp}
		case streamconf.KindM4F:
			x.Source = &gatewayv1.Input_M4F{M4F: &gatewayv1.M4FSource{
				Host: in.M4F.Host, Port: uint32(in.M4F.Port), Stream: in.M4F.Stream, Tls: in.M4F.TLS,
			}}
		}
		m.Inputs = append(m.Inputs, x)
	}
	return m
}

// FromProto reads a config, and checks it with the rules of the language.
func FromProto(m *gatewayv1.Config) (*streamconf.Config, error) {
	c := &streamconf.Config{ClusterKey: streamconf.Secret(m.GetClusterKey())}
	for _, s := range m.GetStorages() {
		c.Storages = append(c.Storages, streamconf.Storage{Name: s.GetName(), Root: s.GetRoot(), Server: s.GetServer()})
	}
	for _, s := range m.GetStreams() {
		if err := streamconf.CheckName(s.GetName()); err != nil {
			return nil, fmt.Errorf("%w: %w", errs.ErrConfigInvalid, err)
		}
		st := streamconf.Stream{Name: s.GetName(), DVR: streamconf.DVR{
			Path: s.GetDvr().GetPath(), Retention: time.Duration(s.GetDvr().GetRetentionNanos()), Replicate: s.GetDvr().GetReplicate(),
			Storage: s.GetDvr().GetStorage(), Server: s.GetDvr().GetServer(),
		}}
		for _, x := range s.GetInputs() {
			in, err := inputFrom(x)
			if err != nil {
				return nil, fmt.Errorf("%w: stream %s: %w", errs.ErrConfigInvalid, st.Name, err)
			}
			st.Inputs = append(st.Inputs, in)
		}
		c.Streams = append(c.Streams, st)
	}
	checked, err := streamconf.Parse("config", []byte(c.Canonical()))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", errs.ErrConfigInvalid, strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	if !checked.Equal(c) {
		return nil, fmt.Errorf("%w: it does not mean what it says", errs.ErrConfigInvalid)
	}
	return checked, nil
}

func inputFrom(x *gatewayv1.Input) (streamconf.Input, error) {
	in := streamconf.Input{Priority: int(x.GetPriority()), SourceTimeout: time.Duration(x.GetSourceTimeoutNanos())}
	if x.GetCold() {
		in.Standby = streamconf.Cold
	}
	if x.GetUdp().GetPort() > math.MaxUint16 || x.GetM4F().GetPort() > math.MaxUint16 {
		return in, fmt.Errorf("input %q: no such port", x.GetUrl())
	}
	switch s := x.GetSource().(type) {
	case *gatewayv1.Input_Udp:
		in.Kind = streamconf.KindUDP
		in.UDP = streamconf.UDP{Port: uint16(s.Udp.GetPort()), Iface: s.Udp.GetInterfaceName()} //nolint:gosec // checked above
		var err error
		if in.UDP.Addr, err = netip.ParseAddr(s.Udp.GetHost()); err != nil {
			return in, fmt.Errorf("input %q: %w", x.GetUrl(), err)
		}
		if ip := s.Udp.GetInterfaceIp(); ip != "" {
			if in.UDP.IfIP, err = netip.ParseAddr(ip); err != nil {
				return in, fmt.Errorf("input %q: %w", x.GetUrl(), err)
			}
		}
	case *gatewayv1.Input_M4F:
		in.Kind = streamconf.KindM4F
		in.M4F = streamconf.M4F{Host: s.M4F.GetHost(), Port: uint16(s.M4F.GetPort()), Stream: s.M4F.GetStream(), TLS: s.M4F.GetTls()} //nolint:gosec // checked above
	default:
		return in, fmt.Errorf("input %q is of a kind that this version does not know", x.GetUrl())
	}
	return in, nil
}
