package streamconf

import (
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
