package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dvrsvc "github.com/twinreel/twinreel/dvrsvc/app"
	gateway "github.com/twinreel/twinreel/gateway/app"
	ingestsvc "github.com/twinreel/twinreel/ingestsvc/app"
	"github.com/twinreel/twinreel/pkg/envconf"
	replsvc "github.com/twinreel/twinreel/replsvc/app"
)

// services is each binary with the variables that it knows.
func services() map[string]string {
	i, d, r, g := ingestsvc.Spec(), dvrsvc.Spec(), replsvc.Spec(), gateway.Spec()
	return map[string]string{
		i.Name: envconf.Help(&i.Default, i.Prefix), d.Name: envconf.Help(&d.Default, d.Prefix),
		r.Name: envconf.Help(&r.Default, r.Prefix), g.Name: envconf.Help(&g.Default, g.Prefix),
	}
}

const root = "../.."

// An example names every variable of its service and no other, each with its default.
func TestEnvExamples(t *testing.T) {
	helped := regexp.MustCompile(`(?m)^(\S+)\s+.*?(?: \(default (.*)\))?$`)
	shown := regexp.MustCompile(`(?m)^#([A-Z_]+)=(.*)$`)
	for name, help := range services() {
		b, err := os.ReadFile(filepath.Join(root, name, "env.example"))
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, m := range shown.FindAllStringSubmatch(string(b), -1) {
			got = append(got, m[1]+"="+m[2])
		}
		for _, m := range helped.FindAllStringSubmatch(help, -1) {
			if strings.HasSuffix(m[1], "_NODE") {
				m[2] = "main" // the host's name would be another on each machine
			}
			want = append(want, m[1]+"="+m[2])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s/env.example has\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// systemd takes each unit without a word, and finds little that it could still take away.
func TestUnits(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed: apt-get install systemd")
	}
	dir := t.TempDir()
	for name := range services() {
		b, err := os.ReadFile(filepath.Join(root, "deploy/systemd", "twinreel-"+name+".service"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, []byte("EnvironmentFile=/etc/twinreel/"+name+".env")) {
			t.Errorf("%s: the unit reads no environment file of its own", name)
		}
		b = bytes.Replace(b, []byte("/usr/bin/"+name), []byte("/bin/true"), 1) // systemd wants it to exist
		unit := filepath.Join(dir, "twinreel-"+name+".service")
		if err := os.WriteFile(unit, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), tool, "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		out, err := exec.CommandContext(t.Context(), tool, "security", "--offline=true", "--threshold=20", "--no-pager", unit).CombinedOutput()
		if err != nil {
			t.Errorf("%s: exposed more than it should be: %v\n%s", name, err, out)
		}
	}
}
