package streamconf

import (
	"strings"
	"testing"
	"time"
)

func TestSpeedAt(t *testing.T) {
	for _, c := range []struct {
		speed, at string
		want      uint64
	}{
		{"50M", "12:00", 50e6},
		{"0", "12:00", 0},
		{"50M 22:00-06:00:500M 06:00-07:00:0", "21:59", 50e6},
		{"50M 22:00-06:00:500M 06:00-07:00:0", "22:00", 500e6},
		{"50M 22:00-06:00:500M 06:00-07:00:0", "00:00", 500e6},
		{"50M 22:00-06:00:500M 06:00-07:00:0", "05:59", 500e6},
		{"50M 22:00-06:00:500M 06:00-07:00:0", "06:00", 0},
		{"50M 22:00-06:00:500M 06:00-07:00:0", "07:00", 50e6},
		{"50M 22:00-24:00:64k", "23:59", 64e3},
		{"50M 00:00-24:00:64k", "00:00", 64e3},
	} {
		s, err := ParseSpeed(c.speed)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse("15:04", c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got, set := s.At(at.In(time.FixedZone("x", 3600))); got != c.want || !set {
			t.Errorf("%s at %s: %d, %t; want %d", c.speed, c.at, got, set, c.want)
		}
	}
	if _, set := Speed("").At(time.Time{}); set {
		t.Error("nothing is a limit")
	}
}

func TestParsePeer(t *testing.T) {
	for text, want := range map[string]string{
		"main": "main:7000", "main:1": "main:1", "m4f://main": "main:7000", "m4fs://10.0.0.1:2/x": "10.0.0.1:2", "": "", "a/b": "", "m4f://": "", "a:b": "", "[::1]": "",
	} {
		if got, err := ParsePeer(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}

// A limit that changes is a change, of no stream.
func TestReplicationIsAChange(t *testing.T) {
	const stream = "stream s { input m4f://a; dvr d 1h replicate; }\n"
	from := mustParse(t, stream)
	for _, text := range []string{"replication_speed 50M;", "peer a { replication_speed 50M; }"} {
		c := mustParse(t, stream+text)
		if d := Diff(from, c); !d.Replication || d.Empty() || len(d.Changed) > 0 || c.Equal(from) || c.Revision() == from.Revision() {
			t.Errorf("%s: %+v", text, d)
		}
	}
}

// A name is the same in capitals: a limit that is of another spelling of a peer would hold nothing, and a dvrsvc would be two.
func TestHostsInCapitals(t *testing.T) {
	c, err := Parse("t", []byte(`peer Replica:7000 { replication_speed 50M; }
source MAIN { dvr x 3d replicate; }
dvr a { root x; server Box; } dvr b { root y; server box:7002; }
stream tv { input m4f://REPLICA/tv; dvr @a 3d replicate; }
stream radio { input m4f://replica:7000/radio; dvr @b 3d replicate; }
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Streams {
		if got := s.Peers()[0].Addr(); got != c.Peers[0].Addr || s.DVR.Server != "box:7002" {
			t.Errorf("%s comes from %s, which is limited as %s; it is on %s", s.Name, got, c.Peers[0].Addr, s.DVR.Server)
		}
	}
	if _, ok := c.Source("main:7000"); !ok {
		t.Errorf("the source is %s", c.Sources[0].Addr())
	}
	_, err = Parse("t", []byte("stream tv { input m4f://main/tv; input m4f://MAIN:7000/tv; dvr x 3d; }"))
	if err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("one peer, spelt in two ways, is two inputs: %v", err)
	}
}
