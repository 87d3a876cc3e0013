package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stream.conf")
	check := func(text string, asJSON bool) (string, error) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := (&checkCommand{File: file, JSON: asJSON}).check(&out)
		return out.String(), err
	}
	good := "cluster_key secret1secret1secret1;\nstream s { input udp://239.0.0.1:1234; dvr /storage 3d replicate; }\n"
	want := "cluster_key ***;\n\nstream s {\n  input udp://239.0.0.1:1234;\n  dvr /storage 3d replicate;\n}\n"
	if out, err := check(good, false); err != nil || out != want {
		t.Errorf("of a good config: %v\n%s\nwant\n%s", err, out, want)
	}
	bad := "stream s {\n  input udp://239.0.0.1:1234\n  dvr /storage;\n  nonsense;\n}\n"
	out, err := check(bad, false)
	if err == nil || out != "" || !strings.Contains(err.Error(), file+":4:3: ") {
		t.Errorf("of a bad config: %v, and it prints %q; want the place of each problem", err, out)
	}
	out, err = check(bad, true)
	var told struct {
		Problems  []struct{ Line, Column int }
		Canonical string
	}
	if e := json.Unmarshal([]byte(out), &told); e != nil || err == nil || len(told.Problems) == 0 || told.Problems[0].Line == 0 || told.Canonical != "" {
		t.Errorf("of a bad config: %v, and as JSON %s", err, out)
	}
	if out, err := check(good, true); err != nil || !strings.Contains(out, `"problems": []`) {
		t.Errorf("of a good config: %v, and as JSON %s", err, out)
	}
}
