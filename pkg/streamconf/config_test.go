package streamconf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const everything = `
cluster_key "a \"b\" \\ ; and much more";
replication_speed=50m 22:00-06:00:500m 06:00-07:30:0;
stream a { input udp://:1; dvr "my disk/a" 1d12h 90% 1500M; };
peer m4f://main/x { }
peer replica:8000 { replication_speed 1500k; }
stream c { input udp://:4; dvr @box replicate; }
source m { dvr @box 1d replicate=pull; except b a; }
source m4fs://m:7001/ { dvr x 90% replicate replication_speed=1M; }
dvr box { disk_limit 80% 2000G; root /box; }
stream b {
  input m4f://main source_timeout=90 standby=cold;
  input udp://lo@239.0.0.1:5 priority=1;
  input udp://239.0.0.1:5?sources=10.0.0.2,10.0.0.1 pids=0x100,5 program=1;
  input "udp://[FF05::1]:5?program=3+rtp://:9";
  input "file:///a b.ts" loop=yes pids=9;
  input tshttp://H/x?a=b#program=1;
  input srt://h:1?streamid=%23a&passphrase=%20hunter2_h pids=3;
  readers third replica;
  dvr /x//y/ 500s replicate replication_port=8002 replication_speed=64000 23:59-24:00:1t; # end
}
`

const canonical = `cluster_key "a \"b\" \\ ; and much more";
replication_speed 50M 06:00-07:30:0 22:00-06:00:500M;

dvr box {
  root /box;
  disk_limit 2T 80%;
}

peer main:7000 {
}

peer replica:8000 {
  replication_speed 1500K;
}

source m:7000 {
  dvr @box 1d replicate=pull;
  except b a;
}

source m4fs://m:7001 {
  dvr x 90% replicate replication_speed=1M;
}

stream a {
  input udp://0.0.0.0:1;
  dvr "my disk/a" 1d12h 1500M 90%;
}

stream c {
  input udp://0.0.0.0:4;
  dvr @box replicate;
}

stream b {
  input m4f://main:7000/b source_timeout=1m30s standby=cold;
  input udp://lo@239.0.0.1:5 priority=1;
  input udp://239.0.0.1:5?sources=10.0.0.1,10.0.0.2&program=1&pids=5,256;
  input rtp://[ff05::1]:5+rtp://0.0.0.0:9?program=3;
  input "file:///a b.ts#pids=9" loop=yes;
  input http://h/x?a=b#program=1;
  input srt://h:1?mode=caller&streamid=%23a#pids=3 passphrase=" hunter2_h";
  dvr /x/y 8m20s replicate replication_speed=64K 23:59-24:00:1T replication_port=8002;
  readers replica third;
}
`

// I2, on a config that has everything.
func TestCanonical(t *testing.T) {
	c := mustParse(t, everything)
	if got := c.Canonical(); got != canonical {
		t.Fatalf("got\n%s\nwant\n%s", got, canonical)
	}
	again := mustParse(t, canonical)
	if !again.Equal(c) || again.Canonical() != canonical {
		t.Error("the canonical form means something else")
	}
}

// I3: however it is printed, the key stays hidden.
func TestSecretIsMasked(t *testing.T) {
	c := mustParse(t, "cluster_key hunter2_hunter2_;")
	srt := mustParse(t, "stream s { input srt://h:1?passphrase=hunter2_hunter2_; dvr d 1h; }").Streams[0]
	for _, bad := range []string{
		"srt:/h?passphrase=hunter2", "srt://h?passphrase=hunter2", "srt://h:1?passphrase=hunter2", "srt://h:1?x&passphrase=hunter2_hunter2_",
		"srt://h:1?latency=x&passphrase=hunter2_hunter2_", "srt://h:1?passphrase=hunter2_hunter2_%zz", "srt://h:1?passphrase=hunter2_hunter2_#x",
		"passphrase=hunter2://h", "udp://:1 passphrase=hunter2_hunter2_", "srt://h:1 passphrase=hunter2", "srt://h:1 passphrase hunter2_hunter2_",
		"srt://h:1?passphrase=hunter2_hunter2_ passphrase=hunter2_hunter2_",
	} {
		_, err := Parse("t.conf", []byte("stream s { input "+bad+"; dvr d 1h; }"))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	twice := "input srt://h:1?passphrase=hunter2_hunter2_;"
	_, err := Parse("t.conf", []byte("stream s { "+twice+twice+" dvr d 1h; }"))
	for _, s := range []string{err.Error(), srt.String(), srt.Inputs[0].URL(), fmt.Sprintf("%v %+v %#v", srt, srt.Inputs, srt.Inputs)} {
		if strings.Contains(s, "hunter2") {
			t.Errorf("the passphrase shows in %s", s)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "config", c, "key", c.ClusterKey)
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "config", *c, "key", c.ClusterKey)
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse("t.conf", []byte("cluster_key hunter2 hunter2;\ncluster_key hunter2_hunter2_\ncluster_key \"hunter2"))
	for _, s := range []string{c.String(), fmt.Sprintf("%v %+v %#v %s", *c, *c, *c, c.ClusterKey), log.String(), string(j), err.Error()} {
		if strings.Contains(s, "hunter2") {
			t.Errorf("the key shows in %s", s)
		}
	}
	if got := c.String(); got != "cluster_key ***;\n" {
		t.Errorf("got %q", got)
	}
}

func TestDiff(t *testing.T) {
	old := mustParse(t, `cluster_key kkkkkkkkkkkkkkkk;
stream gone { input udp://:1; dvr d 1h; }
stream same { input udp://:2; dvr d 1h; }
stream kept { input udp://:3; dvr d 1h; }`)
	for _, c := range []struct{ name, src, want string }{
		{"nothing but order and spelling", `cluster_key "kkkkkkkkkkkkkkkk"; stream kept { dvr ./d 60m; input udp://0.0.0.0:3 priority=1; }
stream same { input udp://:2; dvr d 1h; } stream gone { input udp://:1; dvr d 1h; }`, "+[] -[] ~[] false true"},
		{"all kinds", `cluster_key other_other_other;
stream same { input udp://:2; dvr d 1h; }
stream kept { input udp://:3; dvr d 2h; }
stream new { input udp://:4; dvr d 1h; }`, "+[new] -[gone] ~[kept] true false"},
		{"an option", `cluster_key kkkkkkkkkkkkkkkk;
stream gone { input udp://:1 standby=cold; dvr d 1h replicate; }
stream same { input udp://:2; dvr d 1h; }
stream kept { input udp://:3 source_timeout=4; dvr d 1h; }`, "+[] -[] ~[gone kept] false false"},
		{"a storage that no stream names", `cluster_key kkkkkkkkkkkkkkkk;
dvr old { root /x; server h:7002; }
stream gone { input udp://:1; dvr d 1h; }
stream same { input udp://:2; dvr d 1h; }
stream kept { input udp://:3; dvr d 1h; }`, "+[] -[] ~[] false false"},
		{"all gone", ``, "+[] -[gone kept same] ~[] true false"},
	} {
		d := Diff(old, mustParse(t, c.src))
		var added, removed, changed []string
		for _, s := range d.Added {
			added = append(added, s.Name)
		}
		for _, s := range d.Removed {
			removed = append(removed, s.Name)
		}
		for _, x := range d.Changed {
			changed = append(changed, x.New.Name)
		}
		if got := fmt.Sprintf("+%v -%v ~%v %t %t", added, removed, changed, d.ClusterKey, d.Empty()); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	if d := Diff(nil, old); len(d.Added) != 3 || !d.ClusterKey {
		t.Errorf("from nothing: %+v", d)
	}
	if d := Diff(old, nil); len(d.Removed) != 3 {
		t.Errorf("to nothing: %+v", d)
	}
}

func TestDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"3d": 72 * time.Hour, "1d12h": 36 * time.Hour, "90m": 90 * time.Minute, "0s": 0, "1h1m1s": 3661 * time.Second,
	} {
		got, err := ParseDuration(s)
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
		if back, err := ParseDuration(FormatDuration(want)); err != nil || back != want {
			t.Errorf("%s: printed as %s", s, FormatDuration(want))
		}
	}
	for _, s := range []string{"", "d", "3", "-1d", "1.5h", "3 d", "1d2", "106752d", "99999999999999999999d", "1w", "١d"} {
		if got, err := ParseDuration(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range append(ReservedNames(), "", ".", "..", "a/b", "a\\b", "a b", "a\x00", "ä", strings.Repeat("x", 65)) {
		if CheckName(name) == nil {
			t.Errorf("%q passed", name)
		}
	}
	for _, name := range []string{"a", "A-1_b", "API", strings.Repeat("x", 64)} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
}

// I1, I2 on anything: a source either has problems with places inside of it, or a canonical form that says the same.
func FuzzParse(f *testing.F) {
	f.Add(everything)
	f.Add("stream s {\n input udp://:1\n dvr d 3 500G @x replicate\n")
	f.Add("dvr b { root /b; disk_limit 5T 90%; }\nstream s { input udp://:1; dvr @b 20M 1% 1d; }")
	f.Add("stream s { input udp://eth0@239.0.0.1:1/1.1.1.1; input m4f://a:1/b; dvr ./@x 1s; }")
	f.Add("stream s { input rtp://a@[ff02::1]:1/fe80::1?sources=::2,::1&program=1+udp://[fe80::1%b]:2?pids=0x10,1; dvr d 1s; }")
	f.Add("stream s { input srt://[::1]:1?latency=3&streamid=a%20b passphrase=1234567890; input srt://:2?mode=listener#program=1; dvr d 1s; }")
	f.Add("stream s { input http://a:1/b%20c?d=e#program=2; input file:///a#pids=1 loop=yes; dvr d 1s; }")
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(src))
	}
	f.Fuzz(func(t *testing.T, src string) {
		c, err := Parse("f", []byte(src))
		if err != nil {
			problems := err.(Problems)
			lines := strings.Split(src, "\n")
			for _, p := range problems {
				if p.Pos.Line < 1 || p.Pos.Line > len(lines) || p.Pos.Column < 1 || p.Pos.Column > len(lines[p.Pos.Line-1])+1 || p.What == "" || p.Do == "" {
					t.Fatalf("problem without a place: %+v", p)
				}
			}
			return
		}
		again, err := Parse("f", []byte(c.Canonical()))
		if err != nil || !again.Equal(c) || again.Canonical() != c.Canonical() {
			t.Fatalf("%q became\n%s\n%v", src, c.Canonical(), err)
		}
	})
}
