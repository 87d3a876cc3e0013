package containers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	nodev1 "github.com/twinreel/twinreel/proto/twinreel/node/v1"
)

// run runs a program on the test's own host.
func run(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %v: %w\n%s", program, args, err, out)
	}
	return string(out), err
}

// looksInside asks IndexService with grpcurl, as the README says. args are what grpcurl needs to reach it.
func looksInside(t *testing.T, stream string, args ...string) {
	t.Helper()
	out, err := run(t, "grpcurl", append([]string{"-d", `{"stream":"` + stream + `"}`}, append(args, "twinreel.dvr.v1.IndexService/GetRanges")...)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf(`"from": "%d-`, time.Now().UTC().Year()), `"state": "INTACT"`} {
		if !strings.Contains(out, want) {
			t.Errorf("GetRanges does not answer %s:\n%s", want, out)
		}
	}
}

// allWell fails unless an answer of twinreel status shows eight services and nothing wrong with them: but that the machine
// under the test may not give sockets the buffer that they want.
func allWell(out string, err error) error {
	if n := strings.Count(out, ": ready, config "); n != 8 {
		return fmt.Errorf("it shows %d services (%v):\n%s", n, err, out)
	}
	_, wrong, _ := strings.Cut(out, "not as it should be: ")
	for p := range strings.SplitSeq(wrong, "; ") {
		if p != "" && !strings.Contains(p, "net.core.rmem_max") {
			return fmt.Errorf("%s; all it shows:\n%s", p, out)
		}
	}
	if wrong == "" {
		return err
	}
	return nil
}

// operate runs the twinreel command in a container in networks of the fleet, as an operator does on a host of theirs.
// text is the content of /stream.txt there.
func (f *fleet) operate(text string, nets []string, args ...string) (string, error) {
	f.t.Helper()
	tls := f.ca.Issue(f.t, "operator")
	files := map[string]string{"/cluster.key": clusterKey, "/stream.txt": text}
	for path, from := range map[string]string{"/cert.pem": tls.Cert, "/key.pem": tls.Key, "/ca.pem": tls.CA} {
		b, err := os.ReadFile(from)
		if err != nil {
			f.t.Fatal(err)
		}
		files[path] = string(b)
	}
	h := f.start(spec{
		name: fmt.Sprint("operator-", len(f.hosts)), image: "twinreel", number: 60, nets: nets, files: files,
		cmd: append(args, "--cluster-key-file", "/cluster.key", "--tls-cert", "/cert.pem", "--tls-key", "/key.pem", "--tls-ca", "/ca.pem"),
	})
	defer h.c.Terminate(context.Background()) //nolint:errcheck // the address is needed again
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	for {
		state, err := h.c.State(ctx)
		if err != nil {
			f.t.Fatalf("ask for the state of %s: %v", h.name, err)
		}
		if state.Status == "exited" {
			out := h.log(1 << 20)
			if state.ExitCode != 0 {
				return out, fmt.Errorf("twinreel %v: exit %d\n%s", args, state.ExitCode, out)
			}
			return out, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// addresses is the addresses of a site as an operator gives them.
func addresses(site string) string {
	return fmt.Sprintf("gateway-%s:7003,dvrsvc-%s:7002,ingestsvc-%s:7001,replsvc-%s:7000", site, site, site, site)
}

// problem is what a service says is wrong with following the config.
func (f *fleet) problem(name string, port int) string {
	f.t.Helper()
	m, err := nodev1.NewNodeServiceClient(f.dial(name, port)).ListServices(f.t.Context(), &nodev1.ListServicesRequest{})
	if err != nil || len(m.GetServices()) != 1 {
		f.t.Fatalf("ask %s what it is: %v, %v", name, m, err)
	}
	return m.GetServices()[0].GetProblem()
}
