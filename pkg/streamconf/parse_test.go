package streamconf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func mustParse(t *testing.T, src string) *Config {
	t.Helper()
	c, err := Parse("t.conf", []byte(src))
	if err != nil {
		t.Fatalf("parse:\n%s\n%v", src, err)
	}
	return c
}

var (
	multicast = UDP{Addr: netip.MustParseAddr("239.0.0.1"), Port: 1234}
	onLo      = UDP{Addr: netip.MustParseAddr("239.0.0.1"), Port: 1234, IfIP: netip.MustParseAddr("127.0.0.1")}
)

// The two servers of the design differ in the order of their inputs, and in nothing else.
func TestDesignFiles(t *testing.T) {
	const main, replica = "127.0.0.1:7100", "127.0.0.1:7000"
	for file, want := range map[string][]Input{
		"main.conf": {
			{Kind: KindUDP, UDP: onLo, Priority: 1, SourceTimeout: 3 * time.Second},
			{Kind: KindM4F, M4F: M4F{"127.0.0.1", 7100, "example_stream", false}, Priority: 2, SourceTimeout: 3 * time.Second},
		},
		"replica.conf": {
			{Kind: KindM4F, M4F: M4F{"127.0.0.1", 7000, "example_stream", false}, Priority: 1, SourceTimeout: 3 * time.Second},
			{Kind: KindUDP, UDP: onLo, Priority: 2, SourceTimeout: 3 * time.Second},
		},
	} {
		src, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		got := mustParse(t, string(src))
		st := Stream{Name: "example_stream", Inputs: want, DVR: DVR{Path: "/storage", Retention: 72 * time.Hour, Replicate: true}}
		if !reflect.DeepEqual(got, &Config{Streams: []Stream{st}}) {
			t.Errorf("%s: got\n%v\nwant\n%v", file, got, st)
		}
		if p := got.Streams[0].Peers(); len(p) != 1 || (p[0].Addr() != main && p[0].Addr() != replica) {
			t.Errorf("%s: peers %v", file, p)
		}
	}
}

// A stream may name a storage that stands behind it, and a text of one stream one that is known.
func TestStorages(t *testing.T) {
	const src = `stream s { input udp://:1; dvr @box 3d replicate; }
dvr box { root /storage; server dvr-1; }
dvr here { root media/two; }
stream r { input udp://:2; dvr @here 1h; }`
	c := mustParse(t, src)
	want := DVR{Storage: "box", Server: "dvr-1:7002", Path: "/storage", Retention: 72 * time.Hour, Replicate: true}
	if got := c.Streams[0].DVR; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := c.Streams[1].DVR; got.Server != "" || got.Path != "media/two" || got.Storage != "here" {
		t.Errorf("got %+v", got)
	}
	if again := mustParse(t, c.Canonical()); !reflect.DeepEqual(again, c) {
		t.Errorf("the canonical form means\n%v\nnot\n%v", again, c)
	}
	st, err := ParseStream([]byte("stream x { input udp://:3; dvr @box 1d; }"), c.Storages)
	if err != nil || st.DVR.Server != "dvr-1:7002" {
		t.Errorf("got %v, %v", st, err)
	}
	for _, bad := range []string{"", "stream x { input udp://:3; dvr @none 1d; }", "cluster_key k;", src} {
		if _, err := ParseStream([]byte(bad), c.Storages); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// Forms of input and their defaults.
func TestInputs(t *testing.T) {
	ip := netip.MustParseAddr
	for _, c := range []struct {
		input string
		want  Input
	}{
		{"udp://239.0.0.1:1234", Input{UDP: multicast}},
		{"udp://239.0.0.1:1234/", Input{UDP: multicast}},
		{"udp://239.0.0.1:1234/127.0.0.1", Input{UDP: onLo}},
		{"udp://eth0.5@239.0.0.1:1234", Input{UDP: UDP{Addr: multicast.Addr, Port: 1234, Iface: "eth0.5"}}},
		{"udp://127.0.0.1:5000", Input{UDP: UDP{Addr: ip("127.0.0.1"), Port: 5000}}},
		{"udp://:5000", Input{UDP: UDP{Addr: ip("0.0.0.0"), Port: 5000}}},
		{`"udp://:5000"`, Input{UDP: UDP{Addr: ip("0.0.0.0"), Port: 5000}}},
		{"udp://239.0.0.1:1?sources=10.0.0.2,10.0.0.1,10.0.0.2&pids=0x101,256&program=7",
			Input{UDP: UDP{Addr: multicast.Addr, Port: 1, Sources: "10.0.0.1,10.0.0.2"}, Take: Selection{7, "256,257"}}},
		{"rtp://239.0.0.1:1 sources=10.0.0.2 pids=5 program=1",
			Input{UDP: UDP{Addr: multicast.Addr, Port: 1, Sources: "10.0.0.2", RTP: true}, Take: Selection{1, "5"}}},
		{"udp://[::]:1", Input{UDP: UDP{Addr: ip("::"), Port: 1}}},
		{"udp://[fe80::1%eth0]:1", Input{UDP: UDP{Addr: ip("fe80::1%eth0"), Port: 1}}},
		{"udp://[::ffff:10.0.0.1]:1", Input{UDP: UDP{Addr: ip("10.0.0.1"), Port: 1}}},
		{"udp://[FF05::1]:1/fd00::1?sources=2001:db8::1",
			Input{UDP: UDP{Addr: ip("ff05::1"), Port: 1, IfIP: ip("fd00::1"), Sources: "2001:db8::1"}}},
		{"udp://eth0@239.0.0.1:1?program=2+udp://eth1@[ff05::1]:2?sources=2001:db8::1", Input{
			UDP:    UDP{Addr: multicast.Addr, Port: 1, Iface: "eth0", RTP: true},
			Second: UDP{Addr: ip("ff05::1"), Port: 2, Iface: "eth1", Sources: "2001:db8::1", RTP: true}, Take: Selection{Program: 2}}},
		{"rtp://a+rtp@239.0.0.1:1+rtp://:2", Input{
			UDP: UDP{Addr: multicast.Addr, Port: 1, Iface: "a+rtp", RTP: true}, Second: UDP{Addr: ip("0.0.0.0"), Port: 2, RTP: true}}},
		{"file:///a//b.ts#pids=2 loop=yes program=1", Input{File: File{"/a/b.ts", true}, Take: Selection{1, "2"}}},
		{`"file:///a b.ts"`, Input{File: File{Path: "/a b.ts"}}},
		{"http://Host:8080/a?b=c#program=3", Input{HTTP: HTTP{"http://host:8080/a?b=c"}, Take: Selection{Program: 3}}},
		{"tshttps://h pids=7", Input{HTTP: HTTP{"https://h/"}, Take: Selection{PIDs: "7"}}},
		{"http://[::1]:80/x", Input{HTTP: HTTP{"http://[::1]:80/x"}}},
		{"srt://Host:9000", Input{SRT: SRT{Host: "host", Port: 9000, Latency: DefaultSRTLatency}}},
		{"srt://[::1]:9000?mode=caller&latency=80&streamid=%23%21::r%3Dx#program=2", Input{
			SRT: SRT{Host: "::1", Port: 9000, Latency: 80 * time.Millisecond, StreamID: "#!::r=x"}, Take: Selection{Program: 2}}},
		{"srt://:9000?mode=listener&passphrase=1234567890", Input{
			SRT: SRT{Host: "0.0.0.0", Port: 9000, Listen: true, Latency: DefaultSRTLatency, Passphrase: "1234567890"}}},
		{`srt://h:9 passphrase="12 34 56;78"`, Input{SRT: SRT{Host: "h", Port: 9, Latency: DefaultSRTLatency, Passphrase: "12 34 56;78"}}},
		{"m4f://main", Input{M4F: M4F{"main", 7000, "s", false}}},
		{"m4fs://main:7100/other", Input{M4F: M4F{"main", 7100, "other", true}}},
		{"m4f://main/", Input{M4F: M4F{"main", 7000, "s", false}}},
		{"m4f://main/other", Input{M4F: M4F{"main", 7000, "other", false}}},
		{"m4f://site-b.example.net:7100/other", Input{M4F: M4F{"site-b.example.net", 7100, "other", false}}},
		{"m4f://10.0.0.2:1", Input{M4F: M4F{"10.0.0.2", 1, "s", false}}},
		{"m4f://main priority=7 source_timeout=60 standby=cold",
			Input{M4F: M4F{"main", 7000, "s", false}, Priority: 7, SourceTimeout: time.Minute, Standby: Cold}},
		{"m4f://main source_timeout=1m30s standby=\"hot\"", Input{M4F: M4F{"main", 7000, "s", false}, SourceTimeout: 90 * time.Second}},
	} {
		want := c.want
		want.Kind = KindUDP
		switch {
		case want.M4F != (M4F{}):
			want.Kind = KindM4F
		case want.File != (File{}):
			want.Kind = KindFile
		case want.SRT != (SRT{}):
			want.Kind = KindSRT
		case want.HTTP != (HTTP{}):
			want.Kind = KindHTTP
		}
		if want.Priority == 0 {
			want.Priority = 1
		}
		if want.SourceTimeout == 0 {
			want.SourceTimeout = DefaultSourceTimeout
		}
		got := mustParse(t, "stream s { input "+c.input+"; dvr d 1h; }").Streams[0].Inputs[0]
		if got != want {
			t.Errorf("%s: got %+v, want %+v", c.input, got, want)
		}
	}
}

func TestPriorityOrdersInputs(t *testing.T) {
	s := mustParse(t, `stream s {
  input udp://:1;
  input udp://:2 priority=1;
  input udp://:3 priority=9;
  input udp://:4;
  dvr d 1h;
}`).Streams[0]
	var got []string
	for _, in := range s.Inputs {
		got = append(got, fmt.Sprintf("%d:%d", in.Priority, in.UDP.Port))
	}
	if want := []string{"1:1", "1:2", "4:4", "9:3"}; !reflect.DeepEqual(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

// I1: all problems, each with its place and its advice.
func TestProblems(t *testing.T) {
	in := func(s string) string { return "stream s {\n  input " + s + ";\n  dvr d 1h;\n}" }
	dvr := func(s string) string { return "stream s {\n  input udp://:1;\n  dvr " + s + ";\n}" }
	const limits = "write a size as 500G, or a share of the disk as 90%, or both"
	const speeds = "write bits a second as 50M, 0 for no limit, and behind it other limits for times of the day (UTC), as 22:00-06:00:500M"
	const peer = `write "peer HOST:PORT { replication_speed 50M; }"`
	const body = " { input udp://:1; dvr d 1h; }\n"
	const forms = "write udp://GROUP:PORT, udp://GROUP:PORT/INTERFACE-IP or udp://INTERFACE@GROUP:PORT, with ?sources=A,B&program=N&pids=N,N where wanted"
	const file = "write file:///PATH, with #program=N&pids=N,N where wanted"
	const http = "write http://HOST/PATH or https://HOST/PATH, with #program=N&pids=N,N where wanted"
	const srt = "write srt://HOST:PORT?mode=caller or srt://:PORT?mode=listener, with latency=MS, streamid=ID and passphrase=TEXT where wanted"
	const m4f = "write m4f://HOST, m4f://HOST:PORT or m4f://HOST:PORT/STREAM"
	for _, c := range []struct{ name, src, want string }{
		{"unknown directive", "strem s" + body, `1:1: unknown directive "strem"; the directives here are "stream", "source", "dvr", "peer", "replication_speed" and "cluster_key"`},
		{"later directive", "include x.conf;", `1:1: directive "include" is not supported yet; remove it`},
		{"storage twice", "dvr a { root x; }\ndvr a { root y; root z; server h:x; }", `2:5: storage "a" is defined twice, first in line 1; rename or remove one` + "\n" +
			`2:17: "root" is given twice; keep one` + "\n" + `2:32: port "x" is not a number from 1 to 65535; write server HOST:7002`},
		{"storage without a block", "dvr a;", `1:1: dvr outside of a stream is a named storage: it has one name and a block; write "dvr NAME { root PATH; server HOST:7002; }"`},
		{"named storage", "dvr main { path /x; }", "1:1: the storage has no root; write \"dvr NAME { root PATH; server HOST:7002; }\"\n1:12: unknown directive \"path\"; the directives of a storage are \"root\", \"server\" and \"disk_limit\""},
		{"input outside", "input udp://:1;", `1:1: "input" stands outside of a stream; move it into "stream NAME { ... }"`},
		{"key missing", "cluster_key;", `1:1: cluster_key takes one word; write "cluster_key KEY;", in quotes if it has spaces`},
		{"key short", `cluster_key "  fifteen_letter  ";`, `1:1: cluster_key has less than 16 characters; make one with: openssl rand -hex 32`},
		{"key blank", `cluster_key "   ";`, `1:1: cluster_key is empty; give a key or remove the line`},
		{"key empty", `cluster_key "";`, `1:1: cluster_key is empty; give a key or remove the line`},
		{"key masked", `cluster_key ***;`, `1:1: cluster_key is a masked key, as printed in logs; put the key itself here`},
		{"key twice", "cluster_key aaaaaaaaaaaaaaaa;\ncluster_key bbbbbbbbbbbbbbbb;", `2:1: cluster_key is given twice, first in line 1; keep one`},
		{"key with block", "cluster_key aaaaaaaaaaaaaaaa {}", `1:1: "cluster_key" takes no block in braces; end it with ";"`},
		{"no name", "stream" + body, `1:1: the stream has no name; write "stream NAME { ... }"`},
		{"no block", "stream s;", `1:1: the stream has no block; write "stream NAME { input URL; dvr PATH DURATION; }"`},
		{"name too long", "stream " + strings.Repeat("a", 65) + body, `1:8: stream name "` + strings.Repeat("a", 65) + `" is not allowed; use 1 to 64 of the characters A-Z a-z 0-9 _ -`},
		{"name with path", "stream ../x" + body, `1:8: stream name "../x" is not allowed; use 1 to 64 of the characters A-Z a-z 0-9 _ -`},
		{"name reserved", "stream api" + body, `1:8: stream name "api" is reserved for the HTTP interface; choose another name`},
		{"name twice", "stream s" + body + "stream s" + body, `2:8: stream "s" is defined twice, first in line 1; rename or remove one`},
		{"two names", "stream s t" + body, `1:10: unknown word after the stream's name "t"; write "stream NAME {"`},
		{"empty stream", "stream s {}", `1:1: the stream has no input; add "input udp://GROUP:PORT;" or "input m4f://HOST;"
1:1: a stream without dvr is not supported yet; add "dvr PATH DURATION;"`},
		{"unknown in stream", "stream s { inputs x; input udp://:1; dvr d 1h; }", `1:12: unknown directive "inputs"; the directives of a stream are "input", "dvr" and "readers"`},
		{"no reader", dvr("d 1h;\n  readers"), `4:3: readers names no node; write "readers NODE NODE;" with the node ids of the peers, or remove it: then each peer may read the stream`},
		{"a reader that is none", dvr("d 1h;\n  readers a b:7000"), `4:13: "b:7000" is no node id; write "readers NODE NODE;" with the node ids of the peers, or remove it: then each peer may read the stream`},
		{"a reader twice", dvr("d 1h;\n  readers a a"), `4:13: node "a" is given twice; keep one`},
		{"readers twice", dvr("d 1h;\n  readers a;\n  readers b"), `5:3: readers is given twice; name all nodes in one`},
		{"later in stream", "stream s { backup x; input udp://:1; dvr d 1h; }", `1:12: directive "backup" is not supported yet; remove it`},
		{"input twice", "stream s {\n input m4f://a;\n input m4f://a:7000/s;\n dvr d 1h; }", `3:8: input m4f://a:7000/s is given twice, first in line 2; remove one`},
		{"dvr twice", dvr("d 1h;\n  dvr e 1h"), `4:3: a stream has one dvr; a second copy is not supported yet; remove one`},

		{"rtp", in("rtp://239.0.0.1"), `2:9: the udp URL has no port; ` + forms},
		{"srt no port", in("srt://h"), `2:9: the srt URL has no port, or an IPv6 address without brackets; ` + srt},
		{"srt port", in("srt://h:0"), `2:9: the port is not a number from 1 to 65535; ` + srt},
		{"srt mode", in("srt://h:1?mode=rendezvous"), `2:9: mode is neither caller nor listener; ` + srt},
		{"srt latency", in("srt://h:1?latency=30001"), `2:9: latency is not from 0 to 30000 milliseconds; ` + srt},
		{"srt stream id", in("srt://h:1?streamid="), `2:9: streamid is not 1 to 512 characters; ` + srt},
		{"srt parameter", in("srt://h:1?pbkeylen=16"), `2:9: the URL has an unknown parameter; ` + srt},
		{"srt parameter twice", in("srt://h:1?latency=1&latency=1"), `2:9: parameter "latency" is given twice; ` + srt},
		{"srt caller of all", in("srt://0.0.0.0:1"), `2:9: the address cannot be used for srt; ` + srt},
		{"srt caller of none", in("srt://:1"), `2:9: the host is no name and no address; ` + srt},
		{"srt listener by name", in("srt://h:1?mode=listener"), `2:9: a listener has an address of this machine, or none; ` + srt},
		{"srt phrase", in("srt://h:1?passphrase=short"), `2:9: passphrase has not 10 to 79 characters; ` + srt},
		{"srt phrase twice", in("srt://h:1?passphrase=1234567890 passphrase=1234567890"), `2:41: passphrase is given twice; write passphrase="TEXT"`},
		{"srt phrase masked", in("srt://h:1 passphrase=***"), `2:19: passphrase is masked, as printed in logs; write passphrase="TEXT"`},
		{"phrase of a group", in("udp://:1 passphrase=1234567890"), `2:18: only srt has a passphrase; remove passphrase=`},
		{"file", in("file://x.ts"), `2:9: the path of a file is not absolute; ` + file},
		{"file query", in("file:///x.ts?loop=1"), `2:9: a query in a file URL means nothing; ` + file},
		{"file directory", in("file:///x/"), `2:9: the path of the file names a directory; ` + file},
		{"file program", in("file:///x.ts#program=x"), `2:9: program "x" is not a number from 1 to 65535; ` + file},
		{"file parameter", in("file:///x.ts#x"), `2:9: unknown parameter "x"; ` + file},
		{"file parameter twice", in("file:///x.ts#pids=1&pids=1"), `2:9: parameter "pids" is given twice; ` + file},
		{"file loop", in("file:///x.ts loop=always"), `2:22: loop "always" is neither yes nor no; write loop=yes or loop=no`},
		{"loop of a group", in("udp://:1 loop=yes"), `2:18: only a file can be played again; remove loop=`},
		{"http no server", in("http:///x"), `2:9: the http URL names no server; ` + http},
		{"http port", in("http://h:0/x"), `2:9: port "0" is not a number from 1 to 65535; ` + http},
		{"http credentials", in("http://u:p@h/x"), `2:9: credentials in an http URL are not supported yet; ` + http},
		{"http broken", in("http://h/%zz"), `2:9: this is not a URL; ` + http},
		{"http long", in("http://h/" + strings.Repeat("x", 2048)), `2:9: the URL is longer than 2048 characters; ` + http},
		{"http sources", in("http://h/ sources=10.0.0.1"), `2:19: sources are chosen for a multicast group alone; remove sources=`},
		{"m4fs", in("m4fs://h:x"), `2:9: port "x" is not a number from 1 to 65535; write m4f://HOST, m4f://HOST:PORT or m4f://HOST:PORT/STREAM`},
		{"unknown scheme", in("gopher://h"), `2:9: unknown kind of input "gopher://"; use udp://, rtp://, srt://, http://, https://, file://, m4f:// or m4fs://`},
		{"no scheme", in("239.0.0.1:1"), `2:9: "239.0.0.1:1" is not the URL of an input; write udp://GROUP:PORT or m4f://HOST:PORT/STREAM`},
		{"no url", "stream s {\n  input;\n  dvr d 1h;\n}", `2:3: the input has no URL; write "input udp://GROUP:PORT;" or "input m4f://HOST:PORT/STREAM;"`},
		{"udp no port", in("udp://239.0.0.1"), `2:9: the udp URL has no port; ` + forms},
		{"udp port 0", in("udp://239.0.0.1:0"), `2:9: port "0" is not a number from 1 to 65535; ` + forms},
		{"udp port big", in("udp://239.0.0.1:65536"), `2:9: port "65536" is not a number from 1 to 65535; ` + forms},
		{"udp name", in("udp://localhost:1"), `2:9: "localhost" is not an IP address; ` + forms},
		{"udp v6 bare", in("udp://ff02::1"), `2:9: an IPv6 address stands in brackets; ` + forms},
		{"udp v6 open", in("udp://[ff02::1:1"), `2:9: the "[" of the IPv6 address is not closed; ` + forms},
		{"udp v6 no port", in("udp://[ff02::1]"), `2:9: the udp URL has no port; ` + forms},
		{"udp v4 in brackets", in("udp://[127.0.0.1]:1"), `2:9: "127.0.0.1" is not an IPv6 address; ` + forms},
		{"udp v6 zone of a group", in("udp://[ff02::1%eth0]:1"), `2:9: the interface of a group stands before @, not behind %; ` + forms},
		{"udp v6 zone", in("udp://[2001:db8::1%eth0]:1"), `2:9: "2001:db8::1%eth0": an interface behind % is for a link-local address; ` + forms},
		{"udp v6 link-local", in("udp://[fe80::1]:1"), `2:9: fe80::1 is link-local: its interface stands behind %, as fe80::1%eth0; ` + forms},
		{"udp families", in("udp://[ff05::1]:1/127.0.0.1"), `2:9: "127.0.0.1" is not the IPv6 address of an interface; ` + forms},
		{"udp fragment", in("udp://239.0.0.1:1#x"), `2:9: a fragment in a udp URL means nothing; ` + forms},
		{"sources of unicast", in("udp://10.0.0.1:1?sources=10.0.0.2"), `2:9: sources are chosen for a multicast group alone; ` + forms},
		{"sources of another family", in("udp://239.0.0.1:1?sources=::1"), `2:9: "::1" is not the address of a sender to 239.0.0.1; ` + forms},
		{"sources empty", in("udp://239.0.0.1:1?sources="), `2:9: "" is not the address of a sender to 239.0.0.1; ` + forms},
		{"sources too many", in("udp://239.0.0.1:1?sources=" + strings.TrimSuffix(strings.Repeat("10.0.0.1,", 11), ",")), `2:9: a group has at most 10 sources; ` + forms},
		{"sources twice", in("udp://239.0.0.1:1?sources=10.0.0.1 sources=10.0.0.1"), `2:44: the sources are given twice; write it once, in the URL or behind it`},
		{"sources of which leg", in("rtp://239.0.0.1:1+rtp://239.0.0.2:1 sources=10.0.0.1"), `2:45: which leg the sources are of is not said; write ?sources=A,B in the URL of each leg`},
		{"parameter twice", in("udp://239.0.0.1:1?program=1&program=1"), `2:9: parameter "program" is given twice; ` + forms},
		{"program", in("udp://:1 program=0"), `2:18: program "0" is not a number from 1 to 65535; write program=N`},
		{"program twice", in("udp://:1?program=1 program=1"), `2:28: the program is given twice; write it once, in the URL or behind it`},
		{"program of a peer", in("m4f://h program=1"), `2:17: program= means nothing for a peer, which sends what it records; remove it`},
		{"pids", in("udp://:1 pids=256,8191"), `2:18: PID "8191" is not a number from 1 to 8190; write pids=N,N`},
		{"pids empty", in("udp://:1 pids="), `2:18: PID "" is not a number from 1 to 8190; write pids=N,N`},
		{"three legs", in("rtp://:1+rtp://:2+udp://:3"), `2:9: an input has two legs at most; write rtp://GROUP:PORT+rtp://GROUP:PORT`},
		{"legs alike", in("rtp://:1+udp://0.0.0.0:1"), `2:9: both legs are the same; give the second one, or remove it`},
		{"legs of two programs", in("rtp://:1?program=1+rtp://:2?program=2"), `2:9: the legs name two programs; ` + forms},
		{"leg of a peer", in("rtp://:1+m4f://h"), `2:9: port "1+m4f:" is not a number from 1 to 65535; ` + forms},
		{"udp broadcast", in("udp://255.255.255.255:1"), `2:9: broadcast is not supported yet; ` + forms},
		{"udp query", in("udp://239.0.0.1:1?fifo=1"), `2:9: unknown parameter "fifo"; ` + forms},
		{"udp ssm", in("udp://10.0.0.1@239.0.0.1:1"), `2:9: before @ stands an interface, not a sender: for the sender write ?sources=10.0.0.1; ` + forms},
		{"udp iface name", in("udp://a_name_of_16_chr@239.0.0.1:1"), `2:9: "a_name_of_16_chr" is not the name of an interface; ` + forms},
		{"udp iface ip", in("udp://239.0.0.1:1/eth0"), `2:9: "eth0" is not the IPv4 address of an interface; ` + forms},
		{"udp iface twice", in("udp://lo@239.0.0.1:1/127.0.0.1"), `2:9: the interface is given twice, before @ and after /; ` + forms},
		{"udp unicast iface", in("udp://10.0.0.1:1/127.0.0.1"), `2:9: an interface for the unicast address 10.0.0.1 is not supported yet; ` + forms},
		{"m4f no host", in("m4f://"), `2:9: "" is not the name or IPv4 address of a server; ` + m4f},
		{"m4f host", in("m4f://a..b"), `2:9: "a..b" is not the name or IPv4 address of a server; ` + m4f},
		{"m4f port", in("m4f://a:x"), `2:9: port "x" is not a number from 1 to 65535; ` + m4f},
		{"m4f empty port", in("m4f://a:/s"), `2:9: port "" is not a number from 1 to 65535; ` + m4f},
		{"m4f path", in("m4f://a/b/c"), `2:9: stream name "b/c" is not allowed; ` + m4f},
		{"m4f reserved", in("m4f://a/ui"), `2:9: stream name "ui" is reserved for the HTTP interface; ` + m4f},
		{"m4f v6", in("m4f://[::1]:7000/s"), `2:9: IPv6 is not supported yet; ` + m4f},
		{"m4f credentials", in("m4f://u:p@a"), `2:9: credentials in an m4f URL are not supported yet, cluster_key is for all peers; ` + m4f},

		{"priority", in("udp://:1 priority=0"), `2:18: priority "0" is not a number from 1 to 1000; write priority=1 for the best input`},
		{"timeout", in("udp://:1 source_timeout=fast"), `2:18: source_timeout "fast" is not from 1s to 1h; write source_timeout=3 or source_timeout=3s`},
		{"timeout zero", in("udp://:1 source_timeout=0"), `2:18: source_timeout "0" is not from 1s to 1h; write source_timeout=3 or source_timeout=3s`},
		{"standby", in("udp://:1 standby=warm"), `2:18: standby "warm" is neither hot nor cold; write standby=hot or standby=cold`},
		{"option twice", in("udp://:1 standby=hot standby=hot"), `2:30: option "standby" is given twice; keep one`},
		{"option later", in("udp://:1 fec=1"), `2:18: option "fec" is not supported yet; remove it`},
		{"option unknown", in("udp://:1 prio=1"), `2:18: unknown option "prio"; the options of an input are priority=, source_timeout=, standby=, program=, pids=, sources=, loop=, passphrase=, video_timeout=, audio_timeout=, max_cc_rate=, allow_if= and deny_if=`},
		{"option bare", in("udp://:1 hot"), `2:18: unexpected word "hot" after the URL of the input; end the input with ";", options are written name=value`},

		{"dvr no path", "stream s {\n  input udp://:1;\n  dvr;\n}", `3:3: dvr has no path; write "dvr PATH DURATION;"`},
		{"dvr empty path", dvr(`"" 3d`), `3:7: the path of dvr is empty; give a directory`},
		{"dvr dotdot", dvr(`a/../b 3d`), `3:7: the path of dvr contains ".."; give the directory itself`},
		{"dvr root", dvr(`/ 3d`), `3:7: the path of dvr is the root directory; give a directory of its own`},
		{"dvr named", dvr(`@main 3d`), `3:7: there is no storage "main"; define it: dvr main { root PATH; }`},
		{"dvr s3", dvr(`s3://bucket 3d`), `3:7: dvr to a remote storage is not supported yet; give a directory of this machine`},
		{"dvr no retention", dvr(`d replicate`), `3:3: dvr has no retention; write how long to keep or how much, as "dvr PATH 3d;" or "dvr PATH 500G;"`},
		{"dvr no unit", dvr(`d 3`), `3:9: duration "3" has no unit; write a duration with units d h m s, as 3d or 1d12h`},
		{"dvr unit", dvr(`d 3w`), `3:9: "3w" is not a duration; write a duration with units d h m s, as 3d or 1d12h`},
		{"dvr overflow", dvr(`d 99999999999999d`), `3:9: "99999999999999d" is not a duration; write a duration with units d h m s, as 3d or 1d12h`},
		{"dvr zero", dvr(`d 0d`), `3:9: retention "0d" is not from 1s to 36500d; write a duration with units d h m s, as 3d`},
		{"dvr size", dvr(`d 9M`), `3:9: size "9M" is not a whole number from 10M to 1000000T; ` + limits},
		{"dvr half a size", dvr(`d 1.5G`), `3:9: size "1.5G" is not a whole number from 10M to 1000000T; ` + limits},
		{"dvr size overflows", dvr(`d 9300000000T`), `3:9: size "9300000000T" is not a whole number from 10M to 1000000T; ` + limits},
		{"dvr two sizes", dvr(`d 20M 1G`), `3:13: a size is given twice; ` + limits},
		{"dvr share", dvr(`d 3d 100%`), `3:12: share "100%" is not a whole number from 1% to 99%; ` + limits},
		{"dvr two shares", dvr(`d 3d 10% 20%`), `3:16: a share of the disk is given twice; ` + limits},
		{"disk_limit empty", "dvr a {\n root x;\n disk_limit;\n}", `3:2: disk_limit is empty; ` + limits},
		{"disk_limit of a duration", "dvr a {\n root x;\n disk_limit 3d 0%;\n}", `3:13: "3d" is no limit; ` + limits + "\n" + `3:16: share "0%" is not a whole number from 1% to 99%; ` + limits},
		{"dvr two durations", dvr(`d 3d 4d`), `3:12: dvr has two durations; keep one`},
		{"dvr later", dvr(`d 3d schedule=1`), `3:12: word in dvr "schedule" is not supported yet; remove it`},
		{"speed of a stream, and no replicate", dvr(`d 3d replication_speed=5M`), `3:3: replication_speed= and replication_port= mean nothing without replicate; add replicate, or remove them`},
		{"speed of a stream twice", dvr(`d 3d replicate replication_speed=5M 01:00-02:00:0 replication_speed=6M`), `3:57: "replication_speed" is given twice; keep one`},
		{"speed outside of dvr", "stream s { replication_speed 5M; input udp://:1; dvr d 1h; }", `1:12: replication_speed of a stream stands in its dvr; write "dvr PATH DURATION replicate replication_speed=50M;"`},
		{"replication_port", dvr(`d 3d replicate replication_port=0`), `3:22: replication_port "0" is not a number from 1 to 65535; write replication_port=7000`},
		{"speed twice", "replication_speed 5M;\nreplication_speed=6M;", `2:1: replication_speed of the server is given twice; keep one`},
		{"speed empty", "replication_speed;", `1:1: replication_speed has no value; ` + speeds},
		{"speed of nothing", "replication_speed=;", `1:1: "" is not 0 and not from 64K to 1T bits a second; ` + speeds},
		{"speed too small", "replication_speed 63999;", `1:1: "63999" is not 0 and not from 64K to 1T bits a second; ` + speeds},
		{"speed overflows", "replication_speed 99999999999999999T;", `1:1: "99999999999999999T" is not 0 and not from 64K to 1T bits a second; ` + speeds},
		{"window without a speed", "replication_speed 5M 22:00-06:00;", `1:1: "22:00-06:00" is not a time of the day with its limit; ` + speeds},
		{"window of a long day", "replication_speed 5M 22:00-24:01:6M;", `1:1: "22:00-24:01:6M" is not from 00:00 to 24:00; ` + speeds},
		{"window of a long hour", "replication_speed 5M 22:60-23:00:6M;", `1:1: "22:60-23:00:6M" is not from 00:00 to 24:00; ` + speeds},
		{"window of nothing", "replication_speed 5M 22:00-22:00:6M;", `1:1: "22:00-22:00:6M" is empty, a whole day is 00:00-24:00; ` + speeds},
		{"windows overlap", "replication_speed 5M 22:00-06:00:6M 05:59-07:00:7M;", `1:1: 22:00-06:00:6M and 05:59-07:00:7M overlap; ` + speeds},
		{"peer without a block", "peer a;", `1:1: peer has one address and a block; ` + peer},
		{"peer of no address", "peer a/b {}", `1:6: "a/b" is not the address of a peer; ` + peer},
		{"peer twice", "peer a {}\npeer a:7000 { replication_speed 5M; replication_speed 5M; x y; }", `2:6: peer a:7000 is given twice; keep one` + "\n" +
			`2:37: replication_speed is given twice; keep one` + "\n" + `2:59: unknown directive "x"; the directive of a peer is "replication_speed"`},
		{"dvr unknown", dvr(`d 3d replicat`), `3:12: unknown word in dvr "replicat"; write "dvr PATH [DURATION] [SIZE] [SHARE%] [replicate[=pull] [replication_speed=BITS] [replication_port=PORT]];"`},

		{"missing ; before next line", "stream s {\n  input udp://:1\n  dvr d 1h;\n}", `2:17: missing ";" at the end of this statement; add ";"`},
		{"missing ; before }", "stream s { input udp://:1; dvr d 1h }", `1:36: missing ";" at the end of this statement; add ";"`},
		{"missing ; at end", "cluster_key aaaaaaaaaaaaaaaa", `1:29: missing ";" at the end of this statement; add ";"`},
		{"missing }", "stream s {\n  input udp://:1;\n  dvr d 1h;\n", `1:10: this "{" is never closed; add "}" where the block ends`},
		{"extra }", "stream s" + body + "}", `2:1: "}" closes nothing; remove it`},
		{"lone {", "{ input udp://:1; }", `1:1: "{" has no directive before it; write "stream NAME {"`},
		{"open quote", "cluster_key \"aaaaaaaaaaaaaaaa;\n", `1:13: the quote is not closed on its line; add a closing "
1:31: missing ";" at the end of this statement; add ";"`},
		{"escape", `cluster_key "aaaaaaaaaaaaaaaa\n";`, `1:30: a lone \ in quotes; write \\ for a backslash, \" for a quote`},
		{"control", "# a\x00b\n", "1:4: control character U+0000; remove it"},
		{"not utf-8", "# a\xffb\n", "1:4: this is not UTF-8 text; save the file as UTF-8"},
		{"column counts characters", "# \n\t# é\n é; x;", `3:2: unknown directive "é"; the directives here are "stream", "source", "dvr", "peer", "replication_speed" and "cluster_key"
3:5: unknown directive "x"; the directives here are "stream", "source", "dvr", "peer", "replication_speed" and "cluster_key"`},
		{"deep", strings.Repeat("a{", 9), `1:1: unknown directive "a"; the directives here are "stream", "source", "dvr", "peer", "replication_speed" and "cluster_key"
1:16: blocks are nested too deep; close them with "}"`},
		{"many at once", "strem a;\nstream b {\n  input rtmp://x;\n  dvr d 500G;\n}\ncluster_key;", `1:1: unknown directive "strem"; the directives here are "stream", "source", "dvr", "peer", "replication_speed" and "cluster_key"
3:9: input rtmp:// is not supported yet; use udp://, rtp://, srt://, http://, https://, file://, m4f:// or m4fs://
6:1: cluster_key takes one word; write "cluster_key KEY;", in quotes if it has spaces`},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf, err := Parse("t.conf", []byte(c.src))
			var problems Problems
			if !errors.As(err, &problems) || conf != nil {
				t.Fatalf("got %v, %v; want problems and no config", conf, err)
			}
			want := "t.conf:" + strings.ReplaceAll(c.want, "\n", "\nt.conf:")
			if c.name == "deep" { // each level that was opened is also reported as never closed
				problems = problems[:0:0]
				for _, p := range err.(Problems) {
					if !strings.Contains(p.What, "never closed") {
						problems = append(problems, p)
					}
				}
			}
			if problems.Error() != want {
				t.Errorf("got\n%s\nwant\n%s", problems, want)
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	if _, err := Parse("t.conf", make([]byte, maxSource+1)); err == nil {
		t.Error("a file beyond the limit was read")
	}
}
