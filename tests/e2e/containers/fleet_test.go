package containers

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
)

const (
	stream     = "tv"
	group      = "239.0.0.1:1234"
	clusterKey = "two sites of four containers"
)

// The networks. Every container has the same last number in each that it is in.
const (
	air = "203.0.113."  // the source, and who receives it: the lower half; the upper one is the link between the sites
	lan = "198.51.100." // within a site: main has the lower half
)

// fleet is two sites, their source, and the networks between them.
type fleet struct {
	t      *testing.T
	docker *testcontainers.DockerClient
	ca     *testkit.CA
	nets   map[string]*testcontainers.DockerNetwork // air, link, main, replica
	hosts  map[string]*host
}

// host is one container.
type host struct {
	f    *fleet
	name string // and its name on every network
	ips  map[string]string
	c    testcontainers.Container
}

// newFleet makes the networks, or skips where there is no Docker Engine.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	if os.Getenv("TWINREEL_IMAGES") == "" {
		t.Skip("TWINREEL_IMAGES is not set: run make e2e, which starts a Docker Engine and builds the images")
	}
	testkit.RequireFFmpeg(t)
	docker, err := testcontainers.NewDockerClientWithOpts(t.Context())
	if err != nil {
		t.Fatalf("reach the Docker Engine: %v", err)
	}
	f := &fleet{t: t, docker: docker, ca: testkit.NewCA(t, "fleet"), nets: map[string]*testcontainers.DockerNetwork{}, hosts: map[string]*host{}}
	for name, subnet := range map[string]string{"air": air + "0/25", "link": air + "128/25", "main": lan + "0/25", "replica": lan + "128/25"} {
		n, err := tcnetwork.New(t.Context(), tcnetwork.WithIPAM(&network.IPAM{
			Driver: "default", Config: []network.IPAMConfig{{Subnet: netip.MustParsePrefix(subnet)}},
		}))
		if err != nil {
			t.Fatalf("make network %s: %v", name, err)
		}
		t.Cleanup(func() { n.Remove(context.Background()) }) //nolint:errcheck // the engine ends with the suite
		f.nets[name] = n
	}
	return f
}

// spec is what a container is started with.
type spec struct {
	name, image string
	number      int      // the last of its addresses
	nets        []string // the first is where the test reaches it
	env         map[string]string
	files       map[string]string // text by path
	cmd         []string
}

func (f *fleet) start(s spec) *host {
	f.t.Helper()
	h := &host{f: f, name: s.name, ips: map[string]string{}}
	for _, n := range s.nets {
		h.ips[n] = f.address(n, s.number)
	}
	first := f.nets[s.nets[0]].Name
	req := testcontainers.ContainerRequest{
		Image: "twinreel/" + s.image + ":latest", Env: s.env, Cmd: s.cmd,
		Networks: []string{first}, NetworkAliases: map[string][]string{first: {s.name}},
		EndpointSettingsModifier: func(settings map[string]*network.EndpointSettings) {
			settings[first].IPAMConfig = h.endpoint(s.nets[0]).IPAMConfig
		},
	}
	for path, text := range s.files {
		req.Files = append(req.Files, testcontainers.ContainerFile{Reader: strings.NewReader(text), ContainerFilePath: path, FileMode: 0o644})
	}
	c, err := testcontainers.GenericContainer(f.t.Context(), testcontainers.GenericContainerRequest{ContainerRequest: req})
	if err != nil {
		f.t.Fatalf("start %s: %v", s.name, err)
	}
	h.c = c
	f.hosts[s.name] = h
	for _, n := range s.nets[1:] { // an engine of this age takes one network when it makes a container
		h.join(n)
	}
	if err := c.Start(f.t.Context()); err != nil {
		f.t.Fatalf("start %s: %v", s.name, err)
	}
	f.t.Cleanup(func() {
		if f.t.Failed() {
			f.t.Logf("end of the log of %s:\n%s", s.name, h.log(4000))
		}
		c.Terminate(context.Background()) //nolint:errcheck // the engine ends with the suite
	})
	return h
}

// address is that of a container on a network.
func (f *fleet) address(net string, number int) string {
	switch net {
	case "air":
		return fmt.Sprint(air, number)
	case "link":
		return fmt.Sprint(air, 128+number)
	case "main":
		return fmt.Sprint(lan, number)
	}
	return fmt.Sprint(lan, 128+number)
}

// service starts one service of a site, with a certificate of its own.
func (f *fleet) service(site, service, prefix string, number int, env, files map[string]string, nets ...string) *host {
	f.t.Helper()
	name := service + "-" + site
	if env["BOX"] != "" {
		name += "-" + env["BOX"]
	}
	s := spec{name: name, image: service, number: number, nets: append([]string{site}, nets...), env: map[string]string{}, files: map[string]string{}}
	for k, v := range env {
		s.env[prefix+k] = v
	}
	s.env[prefix+"NODE"] = site
	s.env[prefix+"CLUSTER_KEY_FILE"] = "/etc/twinreel/cluster.key"
	s.env[prefix+"TLS_CERT"], s.env[prefix+"TLS_KEY"], s.env[prefix+"TLS_CA"] = "/etc/twinreel/cert.pem", "/etc/twinreel/key.pem", "/etc/twinreel/ca.pem"
	tls := f.ca.Issue(f.t, name)
	for path, from := range map[string]string{"/etc/twinreel/cert.pem": tls.Cert, "/etc/twinreel/key.pem": tls.Key, "/etc/twinreel/ca.pem": tls.CA} {
		b, err := os.ReadFile(from)
		if err != nil {
			f.t.Fatal(err)
		}
		s.files[path] = string(b)
	}
	s.files["/etc/twinreel/cluster.key"] = clusterKey
	for k, v := range files {
		s.files[k] = v
	}
	return f.start(s)
}

// site starts the four services of a site. first and second are its inputs.
func (f *fleet) site(site string, first, second string) {
	f.t.Helper()
	conf := fmt.Sprintf("dvr box { root media; server dvrsvc-%s-box:7002; }\nstream %s {\n  input %s;\n  input %s;\n  dvr media 1d replicate;\n}\n",
		site, stream, first, second)
	gatewayAddr, dvrAddr := "gateway-"+site+":7003", "dvrsvc-"+site+":7002"
	number := map[string]int{"main": 10, "replica": 20}[site]
	f.service(site, "gateway", "GATEWAY_", number, map[string]string{
		"GRPC_LISTEN": ":7003", "HTTP_LISTEN": ":8080", "DVR_ADDR": dvrAddr, "REPL_ADDR": "replsvc-" + site + ":7000", "CONFIG": "/etc/twinreel/stream.conf",
	}, map[string]string{"/etc/twinreel/stream.conf": conf})
	f.service(site, "dvrsvc", "DVR_", number+1, map[string]string{
		"GRPC_LISTEN": ":7002", "HTTP_LISTEN": ":8082", "GATEWAY_ADDR": gatewayAddr,
	}, nil)
	f.service(site, "ingestsvc", "INGEST_", number+2, map[string]string{
		"GRPC_LISTEN": ":7001", "HTTP_LISTEN": ":8081", "GATEWAY_ADDR": gatewayAddr, "DVR_ADDR": dvrAddr,
	}, nil, "air")
	f.service(site, "replsvc", "REPL_", number+3, map[string]string{
		"GRPC_LISTEN": ":7000", "HTTP_LISTEN": ":8083", "GATEWAY_ADDR": gatewayAddr, "DVR_ADDR": dvrAddr,
	}, nil, "link")
}

// box starts a further dvrsvc of a site, on a host of its own: the storage box of its config.
func (f *fleet) box(site string) *host {
	f.t.Helper()
	return f.service(site, "dvrsvc", "DVR_", 40, map[string]string{
		"GRPC_LISTEN": ":7002", "HTTP_LISTEN": ":8082", "GATEWAY_ADDR": "gateway-" + site + ":7003", "BOX": "box",
	}, nil)
}

// udp is the multicast input of a site's ingestsvc.
func (f *fleet) udp(site string) string {
	return "udp://" + group + "/" + f.address("air", map[string]int{"main": 12, "replica": 22}[site])
}

// source plays a clip, looped, from a container of its own.
func (f *fleet) source() {
	f.t.Helper()
	path := f.t.TempDir() + "/clip.ts"
	if err := tsplay.MakeClip(f.t.Context(), path, tsplay.ClipOptions{}); err != nil {
		f.t.Fatal(err)
	}
	clip, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	f.start(spec{
		name: "source", image: "twinreel", number: 2, nets: []string{"air"},
		files: map[string]string{"/clip.ts": string(clip)},
		cmd:   []string{"play", "/clip.ts", "udp://" + group + "/" + f.address("air", 2), "--loop"},
	})
}

// dial connects to a container's gRPC port from the test's own host.
func (f *fleet) dial(name string, port int) *grpc.ClientConn {
	f.t.Helper()
	h := f.hosts[name]
	site := strings.Split(name, "-")[1]
	conn, err := grpcx.Dial(fmt.Sprintf("%s:%d", h.ips[site], port), grpcx.DialOptions{TLS: f.ca.Issue(f.t, "operator"), Name: name, Media: true})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return conn
}

// proving is dial for what needs the cluster key.
func (f *fleet) proving(name string, port int) grpc.ClientConnInterface {
	return auth.Proving(f.dial(name, port), "operator", auth.NewKey(clusterKey))
}

func (f *fleet) archive(site string) testkit.Archive {
	return testkit.Archive{Site: site, Stream: stream, Conn: f.dial("dvrsvc-"+site, 7002)}
}

// services are the containers of a site.
func services(site string) []string {
	return []string{"gateway-" + site, "dvrsvc-" + site, "ingestsvc-" + site, "replsvc-" + site}
}

func (f *fleet) each(names []string, what string, do func(id string) error) {
	f.t.Helper()
	for _, name := range names {
		if err := do(f.hosts[name].c.GetContainerID()); err != nil {
			f.t.Fatalf("%s %s: %v", what, name, err)
		}
	}
}

// kill is kill -9 of each.
func (f *fleet) kill(names ...string) {
	f.each(names, "kill", func(id string) error {
		_, err := f.docker.ContainerKill(f.t.Context(), id, client.ContainerKillOptions{Signal: "KILL"})
		return err
	})
}

// stop is an orderly stop.
func (f *fleet) stop(names ...string) {
	f.each(names, "stop", func(id string) error {
		_, err := f.docker.ContainerStop(f.t.Context(), id, client.ContainerStopOptions{})
		return err
	})
}

// restart starts what was killed or stopped: disks and addresses are as before.
func (f *fleet) restart(names ...string) {
	f.each(names, "start", func(id string) error {
		_, err := f.docker.ContainerStart(f.t.Context(), id, client.ContainerStartOptions{})
		return err
	})
}

// cut takes a container off a network; the function heals it.
func (f *fleet) cut(name, net string) (heal func()) {
	f.t.Helper()
	h, n := f.hosts[name], f.nets[net]
	if _, err := f.docker.NetworkDisconnect(f.t.Context(), n.ID, client.NetworkDisconnectOptions{Container: h.c.GetContainerID(), Force: true}); err != nil {
		f.t.Fatalf("cut %s off %s: %v", name, net, err)
	}
	return func() { f.t.Helper(); h.join(net) }
}

func (h *host) endpoint(net string) *network.EndpointSettings {
	return &network.EndpointSettings{
		Aliases: []string{h.name}, IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr(h.ips[net])},
	}
}

// join puts a container on a network.
func (h *host) join(net string) {
	h.f.t.Helper()
	if _, err := h.f.docker.NetworkConnect(h.f.t.Context(), h.f.nets[net].ID, client.NetworkConnectOptions{
		Container: h.c.GetContainerID(), EndpointConfig: h.endpoint(net),
	}); err != nil {
		h.f.t.Fatalf("connect %s to %s: %v", h.name, net, err)
	}
}

// log is the end of what a container wrote.
func (h *host) log(most int) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := h.c.Logs(ctx)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	return string(out[max(0, len(out)-most):])
}
