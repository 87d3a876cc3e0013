// Package streamconfpb is the stream config as the messages of ConfigService and back.
//
// Invariant I1: FromProto(ToProto(c)) equals c for every c that streamconf.Parse returned; a message that no such c
// can have made is refused.
package streamconfpb

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/streamconf"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// ToProto includes the secrets: whoever sends the message decides whether they go along, or Withhold takes them out.
func ToProto(c *streamconf.Config, revision string) *gatewayv1.Config {
	m := &gatewayv1.Config{Revision: revision, ClusterKey: string(c.ClusterKey), ReplicationSpeed: string(c.Speed)}
	for _, p := range c.Peers {
		m.Peers = append(m.Peers, &gatewayv1.Peer{Address: p.Addr, ReplicationSpeed: string(p.Speed)})
	}
	for _, s := range c.Storages {
		m.Storages = append(m.Storages, &gatewayv1.Storage{
			Name: s.Name, Root: s.Root, Server: s.Server, LimitBytes: s.Limit.Bytes, LimitPercent: uint32(s.Limit.Percent),
		})
	}
	for _, s := range c.Sources {
		x := &gatewayv1.Source{Address: s.Addr(), Tls: s.M4F.TLS, Dvr: dvrToProto(s.DVR), Except: s.Except}
		for _, f := range s.Found {
			x.Found = append(x.Found, &gatewayv1.FoundStream{Name: f.Name, Via: f.Via})
		}
		m.Sources = append(m.Sources, x)
	}
	for _, s := range c.Streams {
		m.Streams = append(m.Streams, StreamToProto(s))
	}
	return m
}

// Withhold takes the cluster key and the passphrases out, and says so.
func Withhold(m *gatewayv1.Config) {
	if m.GetClusterKey() != "" {
		m.ClusterKey, m.ClusterKeyWithheld = "", true
	}
	for _, s := range m.GetStreams() {
		WithholdPassphrases(s)
	}
}

// WithholdPassphrases takes the passphrases of a stream out, and says so.
func WithholdPassphrases(s *gatewayv1.Stream) *gatewayv1.Stream {
	for _, in := range s.GetInputs() {
		if x := in.GetSrt(); x.GetPassphrase() != "" {
			x.Passphrase, x.PassphraseWithheld = "", true
		}
	}
	return s
}

func srtToProto(s streamconf.SRT) *gatewayv1.SrtSource {
	m := &gatewayv1.SrtSource{
		Host: s.Host, Port: uint32(s.Port), Listener: s.Listen, LatencyMillis: uint32(s.Latency.Milliseconds()), //nolint:gosec // at most 30000
		StreamId: s.StreamID, Passphrase: string(s.Passphrase),
	}
	if s.Withheld() {
		m.Passphrase, m.PassphraseWithheld = "", true
	}
	return m
}

// StreamToProto is one stream of it.
func StreamToProto(s streamconf.Stream) *gatewayv1.Stream {
	m := &gatewayv1.Stream{Name: s.Name, Dvr: dvrToProto(s.DVR), Source: s.Source, Via: s.Via, Readers: s.Readers}
	for _, in := range s.Inputs {
		x := &gatewayv1.Input{
			Url: in.URL(), Priority: uint32(in.Priority), //nolint:gosec // at most 1000
			SourceTimeoutNanos: int64(in.SourceTimeout), Cold: in.Standby == streamconf.Cold,
			Program: uint32(in.Take.Program),
		}
		for _, p := range in.Take.PIDs.All() {
			x.Pids = append(x.Pids, uint32(p))
		}
		if q := in.Quality; q != (streamconf.Quality{}) {
			x.Quality = &gatewayv1.Quality{
				VideoTimeoutNanos: int64(q.VideoTimeout), AudioTimeoutNanos: int64(q.AudioTimeout),
				MaxCcRate: uint32(q.MaxCCRate), AllowIf: q.AllowIf, DenyIf: q.DenyIf, //nolint:gosec // at most 10000
			}
		}
		switch in.Kind {
		case streamconf.KindUDP:
			x.Source = &gatewayv1.Input_Udp{Udp: udpToProto(in.UDP)}
			if in.Second != (streamconf.UDP{}) {
				x.SecondLeg = udpToProto(in.Second)
			}
		case streamconf.KindFile:
			x.Source = &gatewayv1.Input_File{File: &gatewayv1.FileSource{Path: in.File.Path, Loop: in.File.Loop}}
		case streamconf.KindSRT:
			x.Source = &gatewayv1.Input_Srt{Srt: srtToProto(in.SRT)}
		case streamconf.KindHTTP:
			x.Source = &gatewayv1.Input_Http{Http: &gatewayv1.HttpSource{Url: in.HTTP.URL}}
		case streamconf.KindM4F:
			x.Source = &gatewayv1.Input_M4F{M4F: &gatewayv1.M4FSource{
				Host: in.M4F.Host, Port: uint32(in.M4F.Port), Stream: in.M4F.Stream, Tls: in.M4F.TLS,
			}}
		}
		m.Inputs = append(m.Inputs, x)
	}
	return m
}

func dvrToProto(d streamconf.DVR) *gatewayv1.Dvr {
	return &gatewayv1.Dvr{
		Path: d.Path, RetentionNanos: int64(d.Retention), Replicate: d.Replicate, Pull: d.Pull,
		Storage: d.Storage, Server: d.Server, LimitBytes: d.Limit.Bytes, LimitPercent: uint32(d.Limit.Percent),
		ReplicationSpeed: string(d.Speed), ReplicationPort: uint32(d.ReplicationPort),
	}
}

func dvrFrom(m *gatewayv1.Dvr) (streamconf.DVR, error) {
	if m.GetReplicationPort() > math.MaxUint16 {
		return streamconf.DVR{}, errNoPort
	}
	return streamconf.DVR{
		Path: m.GetPath(), Retention: time.Duration(m.GetRetentionNanos()), Replicate: m.GetReplicate(), Pull: m.GetPull(),
		Storage: m.GetStorage(), Server: m.GetServer(), Limit: limit(m.GetLimitBytes(), m.GetLimitPercent()),
		Speed: streamconf.Speed(m.GetReplicationSpeed()), ReplicationPort: uint16(m.GetReplicationPort()), //nolint:gosec // judged above
	}, nil
}

// sourceFrom reads a source with what it has.
func sourceFrom(m *gatewayv1.Source) (s streamconf.Source, err error) {
	scheme := "m4f://"
	if m.GetTls() {
		scheme = "m4fs://"
	}
	if s.M4F, err = streamconf.ParseM4F(scheme+m.GetAddress(), ""); err != nil {
		return s, err
	}
	s.Except = m.GetExcept()
	for _, f := range m.GetFound() {
		s.Found = append(s.Found, streamconf.Found{Name: f.GetName(), Via: f.GetVia()})
	}
	for _, f := range s.Found {
		if err := streamconf.CheckFound(f); err != nil {
			return s, err
		}
	}
	s.DVR, err = dvrFrom(m.GetDvr())
	return s, err
}

func udpToProto(u streamconf.UDP) *gatewayv1.UdpSource {
	m := &gatewayv1.UdpSource{Host: u.Addr.String(), Port: uint32(u.Port), InterfaceName: u.Iface, Rtp: u.RTP}
	if u.IfIP.IsValid() {
		m.InterfaceIp = u.IfIP.String()
	}
	for _, s := range u.Sources.All() {
		m.Sources = append(m.Sources, s.String())
	}
	return m
}

func udpFrom(m *gatewayv1.UdpSource) (u streamconf.UDP, err error) {
	if m.GetPort() > math.MaxUint16 {
		return u, errNoPort
	}
	u = streamconf.UDP{Port: uint16(m.GetPort()), Iface: m.GetInterfaceName(), RTP: m.GetRtp()}
	if u.Addr, err = netip.ParseAddr(m.GetHost()); err != nil {
		return u, err
	}
	if ip := m.GetInterfaceIp(); ip != "" {
		if u.IfIP, err = netip.ParseAddr(ip); err != nil {
			return u, err
		}
	}
	var sources []netip.Addr
	for _, s := range m.GetSources() {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return u, err
		}
		sources = append(sources, a)
	}
	u.Sources = streamconf.AddrsOf(sources)
	return u, nil
}

var errNoPort = errors.New("no such port")

// FromProto reads a config, and checks it with the rules of the language.
func FromProto(m *gatewayv1.Config) (*streamconf.Config, error) {
	c := &streamconf.Config{ClusterKey: streamconf.Secret(m.GetClusterKey()), Speed: streamconf.Speed(m.GetReplicationSpeed())}
	for _, p := range m.GetPeers() {
		c.Peers = append(c.Peers, streamconf.Peer{Addr: p.GetAddress(), Speed: streamconf.Speed(p.GetReplicationSpeed())})
	}
	for _, s := range m.GetStorages() {
		c.Storages = append(c.Storages, streamconf.Storage{
			Name: s.GetName(), Root: s.GetRoot(), Server: s.GetServer(), Limit: limit(s.GetLimitBytes(), s.GetLimitPercent()),
		})
	}
	for _, s := range m.GetStreams() {
		if err := streamconf.CheckName(s.GetName()); err != nil {
			return nil, fmt.Errorf("%w: %w", errs.ErrConfigInvalid, err)
		}
		if s.GetSource() != "" {
			continue // it follows from what the source has
		}
		st := streamconf.Stream{Name: s.GetName(), Readers: s.GetReaders()}
		var err error
		if st.DVR, err = dvrFrom(s.GetDvr()); err != nil {
			return nil, fmt.Errorf("%w: stream %s: %w", errs.ErrConfigInvalid, st.Name, err)
		}
		for _, x := range s.GetInputs() {
			in, err := inputFrom(x)
			if err != nil {
				return nil, fmt.Errorf("%w: stream %s: %w", errs.ErrConfigInvalid, st.Name, err)
			}
			st.Inputs = append(st.Inputs, in)
		}
		c.Streams = append(c.Streams, st)
	}
	found := map[string][]streamconf.Found{}
	for _, s := range m.GetSources() {
		src, err := sourceFrom(s)
		if err != nil {
			return nil, fmt.Errorf("%w: source %q: %w", errs.ErrConfigInvalid, s.GetAddress(), err)
		}
		c.Sources = append(c.Sources, src)
		found[src.Addr()] = src.Found
	}
	c = c.WithFound(found)
	checked, err := streamconf.ParseCopy("config", []byte(c.Canonical()))
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
	if q := x.GetQuality(); q != nil {
		in.Quality = streamconf.Quality{
			VideoTimeout: time.Duration(q.GetVideoTimeoutNanos()), AudioTimeout: time.Duration(q.GetAudioTimeoutNanos()),
			MaxCCRate: int(q.GetMaxCcRate()), AllowIf: q.GetAllowIf(), DenyIf: q.GetDenyIf(),
		}
	}
	if x.GetM4F().GetPort() > math.MaxUint16 {
		return in, fmt.Errorf("input %q: %w", x.GetUrl(), errNoPort)
	}
	if x.GetProgram() > math.MaxUint16 {
		return in, fmt.Errorf("input %q: no such program", x.GetUrl())
	}
	in.Take.Program = uint16(x.GetProgram())
	var pids []uint16
	for _, p := range x.GetPids() {
		if p > math.MaxUint16 {
			return in, fmt.Errorf("input %q: no such PID", x.GetUrl())
		}
		pids = append(pids, uint16(p))
	}
	in.Take.PIDs = streamconf.PIDsOf(pids)
	if x.GetSecondLeg() != nil && x.GetUdp() == nil {
		return in, fmt.Errorf("input %q: only a socket has a second leg", x.GetUrl())
	}
	switch s := x.GetSource().(type) {
	case *gatewayv1.Input_Udp:
		in.Kind = streamconf.KindUDP
		var err error
		if in.UDP, err = udpFrom(s.Udp); err != nil {
			return in, fmt.Errorf("input %q: %w", x.GetUrl(), err)
		}
		if x.GetSecondLeg() != nil {
			if in.Second, err = udpFrom(x.GetSecondLeg()); err != nil {
				return in, fmt.Errorf("input %q: %w", x.GetUrl(), err)
			}
		}
	case *gatewayv1.Input_File:
		in.Kind, in.File = streamconf.KindFile, streamconf.File{Path: s.File.GetPath(), Loop: s.File.GetLoop()}
	case *gatewayv1.Input_Srt:
		in.Kind = streamconf.KindSRT
		if s.Srt.GetPort() > math.MaxUint16 {
			return in, fmt.Errorf("input %q: %w", x.GetUrl(), errNoPort)
		}
		in.SRT = streamconf.SRT{
			Host: s.Srt.GetHost(), Port: uint16(s.Srt.GetPort()), Listen: s.Srt.GetListener(),
			Latency: time.Duration(s.Srt.GetLatencyMillis()) * time.Millisecond, StreamID: s.Srt.GetStreamId(),
			Passphrase: streamconf.Secret(s.Srt.GetPassphrase()),
		}
		if s.Srt.GetPassphraseWithheld() {
			in.SRT.Passphrase = streamconf.Masked
		}
	case *gatewayv1.Input_Http:
		in.Kind, in.HTTP = streamconf.KindHTTP, streamconf.HTTP{URL: s.Http.GetUrl()}
	case *gatewayv1.Input_M4F:
		in.Kind = streamconf.KindM4F
		in.M4F = streamconf.M4F{Host: s.M4F.GetHost(), Port: uint16(s.M4F.GetPort()), Stream: s.M4F.GetStream(), TLS: s.M4F.GetTls()} //nolint:gosec // checked above
	default:
		return in, fmt.Errorf("input %q is of a kind that this version does not know", x.GetUrl())
	}
	return in, nil
}

func limit(bytes int64, percent uint32) streamconf.Limit {
	return streamconf.Limit{Bytes: bytes, Percent: int(percent)}
}
