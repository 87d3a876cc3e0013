package streamconfpb

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/streamconf"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

const source = `cluster_key "a b and much more";
replication_speed 50M 22:00-06:00:500M; peer h:1 { replication_speed 10M; }
stream one { input udp://239.0.0.1:1/127.0.0.1; input udp://eth0@239.0.0.1:1; input udp://:9 standby=cold video_timeout=5 audio_timeout=6 max_cc_rate=7 allow_if=/a deny_if=/b;
  input rtp://239.0.0.1:2?sources=10.0.0.1,10.0.0.2+rtp://eth1@[ff3e::1]:3?sources=2001:db8::1 program=7 pids=256,512; dvr "/a b" 3d replicate; }
stream three { input srt://h:1?latency=80&streamid=a%20b#program=1 passphrase="1234 67890"; input srt://:1?mode=listener; dvr x 1m; }
stream two { input file:///a.ts#program=1 loop=yes; input http://h:1/x?y#pids=1; input m4f://h:1/other priority=9 source_timeout=90s; dvr x 1m replicate replication_speed=1M 01:00-02:00:0 replication_port=8000; readers a b; }
source m:1 { dvr y 2d replicate=pull; except no; }
source m4fs://m:2 { dvr z 90% replicate; }`

func parse(t *testing.T) *streamconf.Config {
	t.Helper()
	c, err := streamconf.Parse("t", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return c.WithFound(map[string][]streamconf.Found{"m:1": {{Name: "found", Via: []string{"x", "m"}}, {Name: "two", Via: []string{"m"}}}})
}

// A config without its secrets is one too, and says what it lacks.
func TestWithheld(t *testing.T) {
	m := ToProto(parse(t), "")
	Withhold(m)
	if b, err := proto.Marshal(m); err != nil || bytes.Contains(b, []byte("1234 67890")) || bytes.Contains(b, []byte("a b and much")) {
		t.Fatalf("a secret is in the message, or %v", err)
	}
	got, err := FromProto(m)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := got.Stream("three")
	if !s.Inputs[0].SRT.Withheld() || s.Inputs[1].SRT.Withheld() {
		t.Errorf("got %v", s)
	}
	if again, err := streamconf.ParseCopy("copy", []byte(got.Canonical())); err != nil || !again.Equal(got) {
		t.Errorf("the copy on disk: %v, %v", again, err)
	}
	if _, err := streamconf.Parse("file", []byte(got.Canonical())); err == nil {
		t.Error("a file may have a masked passphrase")
	}
	if again := ToProto(got, ""); !again.Streams[2].Inputs[0].GetSrt().GetPassphraseWithheld() && !again.Streams[1].Inputs[0].GetSrt().GetPassphraseWithheld() {
		t.Error("it is not said on that the passphrase is missing")
	}
}

// I1, through the bytes.
func TestRoundTrip(t *testing.T) {
	c := parse(t)
	b, err := proto.Marshal(ToProto(c, "r1"))
	if err != nil {
		t.Fatal(err)
	}
	var m gatewayv1.Config
	if err := proto.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	got, err := FromProto(&m)
	if err != nil || !got.Equal(c) || m.GetRevision() != "r1" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	for name, spoil := range map[string]func(*gatewayv1.Config){
		"name":         func(m *gatewayv1.Config) { m.Streams[0].Name = "../x" },
		"twice":        func(m *gatewayv1.Config) { m.Streams[0].Name = "two" },
		"no input":     func(m *gatewayv1.Config) { m.Streams[0].Inputs = nil },
		"unknown kind": func(m *gatewayv1.Config) { m.Streams[0].Inputs[0].Source = nil },
		"port":         func(m *gatewayv1.Config) { m.Streams[2].Inputs[2].GetM4F().Port = 70000 },
		"source":       func(m *gatewayv1.Config) { m.Streams[0].Inputs[3].SecondLeg.Sources[0] = "10.0.0.1" },
		"second leg":   func(m *gatewayv1.Config) { m.Streams[0].Inputs[3].SecondLeg.Host = "" },
		"half RTP":     func(m *gatewayv1.Config) { m.Streams[0].Inputs[3].SecondLeg.Rtp = false },
		"leg of a peer": func(m *gatewayv1.Config) {
			m.Streams[2].Inputs[2].SecondLeg = &gatewayv1.UdpSource{Host: "::", Port: 1}
		},
		"program":           func(m *gatewayv1.Config) { m.Streams[0].Inputs[3].Program = 70000 },
		"program of a peer": func(m *gatewayv1.Config) { m.Streams[2].Inputs[2].Program = 7 },
		"srt":               func(m *gatewayv1.Config) { m.Streams[1].Inputs[0].GetSrt().Passphrase = "short" },
		"srt port":          func(m *gatewayv1.Config) { m.Streams[1].Inputs[0].GetSrt().Port = 70000 },
		"srt latency":       func(m *gatewayv1.Config) { m.Streams[1].Inputs[0].GetSrt().LatencyMillis = 70000 },
		"file":              func(m *gatewayv1.Config) { m.Streams[2].Inputs[0].GetFile().Path = "a.ts" },
		"http":              func(m *gatewayv1.Config) { m.Streams[2].Inputs[1].GetHttp().Url = "file:///etc/x" },
		"pid":               func(m *gatewayv1.Config) { m.Streams[0].Inputs[3].Pids[0] = 8191 },
		"address":           func(m *gatewayv1.Config) { m.Streams[0].Inputs[0].GetUdp().Host = "x" },
		"host":              func(m *gatewayv1.Config) { m.Streams[2].Inputs[2].GetM4F().Host = "a; dvr / 1d" },
		"speed":             func(m *gatewayv1.Config) { m.ReplicationSpeed = "50M;\ncluster_key x" },
		"speed of a peer":   func(m *gatewayv1.Config) { m.Peers[0].ReplicationSpeed = "5" },
		"address of a peer": func(m *gatewayv1.Config) { m.Peers[0].Address = "h:1 { } peer x" },
		"replication port":  func(m *gatewayv1.Config) { m.Streams[2].Dvr.ReplicationPort = 70000 },
		"source address":    func(m *gatewayv1.Config) { m.Sources[0].Address = "m:1 { } x" },
		"source twice":      func(m *gatewayv1.Config) { m.Sources[1].Address = "m:1" },
		"found":             func(m *gatewayv1.Config) { m.Sources[0].Found[0].Name = "../x" },
		"found over nobody": func(m *gatewayv1.Config) { m.Sources[0].Found[0].Via = nil },
		"found over a word": func(m *gatewayv1.Config) { m.Sources[0].Found[0].Via[0] = "a; dvr b" },
		"except":            func(m *gatewayv1.Config) { m.Sources[0].Except[0] = "x; dvr b" },
		"pull alone":        func(m *gatewayv1.Config) { m.Sources[0].Dvr.Replicate = false },
		"path":              func(m *gatewayv1.Config) { m.Streams[2].Dvr.Path = "../../etc" },
		"retention":         func(m *gatewayv1.Config) { m.Streams[2].Dvr.RetentionNanos = -1 },
		"half second":       func(m *gatewayv1.Config) { m.Streams[2].Dvr.RetentionNanos = 1_500_000_000 },
	} {
		m := ToProto(parse(t), "")
		spoil(m)
		if c, err := FromProto(m); !errors.Is(err, errs.ErrConfigInvalid) {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
	}
}
