package main

import (
	"os/exec"
	"testing"
)

// TestPatchesApply: a planted bug that does not apply any more tests nothing.
func TestPatchesApply(t *testing.T) {
	all, err := read(".", nil)
	if err != nil || len(all) < 15 {
		t.Fatalf("%d planted bugs, %v", len(all), err)
	}
	for _, m := range all {
		apply := exec.Command("git", "apply", "--check", m.patch)
		apply.Dir = "../.."
		if out, err := apply.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", m.name, err, out)
		}
	}
}

// TestJudge: only a test that fails by what it asserts has caught a bug.
func TestJudge(t *testing.T) {
	m := mutant{test: "TestX"}
	const assertion = `{"Action":"output","Test":"TestX","Output":"    x_test.go:7: got 1, want 2\n"}`
	for _, c := range []struct {
		out  string
		good bool
	}{
		{assertion + "\n" + `{"Action":"fail","Test":"TestX"}`, true},
		{`{"Action":"fail","Test":"TestX"}`, false},
		{assertion + "\n" + `{"Action":"pass","Test":"TestX"}`, false},
		{`{"Action":"build-fail"}` + "\n" + assertion + "\n" + `{"Action":"fail","Test":"TestX"}`, false},
		{assertion + "\n" + `{"Action":"output","Test":"TestX","Output":"panic: test timed out after 3m0s\n"}` + "\n" + `{"Action":"fail","Test":"TestX"}`, false},
		{``, false},
	} {
		if err := m.judge([]byte(c.out)); (err == nil) != c.good {
			t.Errorf("%s: %v", c.out, err)
		}
	}
}
