package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// dir is where the patches are, from the root of the tree.
const dir = "tests/mutants"

// within bounds one test with its build.
const within = 6 * time.Minute

func main() {
	keep := flag.String("copy", "", "directory for the copy of the tree; the build cache serves again when it stays the same")
	flag.Parse()
	if err := run(*keep, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// run plants the patches of these names, or all.
func run(tree string, names []string) error {
	all, err := read(dir, names)
	if err != nil {
		return err
	}
	if tree == "" {
		if tree, err = os.MkdirTemp("", "mutants-"); err != nil {
			return err
		}
		defer os.RemoveAll(tree)
	}
	survived := 0
	for _, m := range all {
		if err := copyTree(tree); err != nil {
			return err
		}
		began, verdict := time.Now(), "caught"
		if err := m.plant(tree); err != nil {
			survived++
			verdict = err.Error()
		}
		fmt.Printf("%-32s %-70s %5.1fs  %s\n", m.name, m.pkg+" "+m.test, time.Since(began).Seconds(), verdict)
	}
	if survived > 0 {
		return fmt.Errorf("%d of %d planted bugs were not caught", survived, len(all))
	}
	return nil
}

// mutant is one planted bug, and the test that has to fail for it.
type mutant struct{ name, patch, pkg, test string }

var named = regexp.MustCompile(`(?m)^Test: (\S+) (\S+)$`)

// read gives the patches of a directory, or of these names.
func read(dir string, names []string) ([]mutant, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		paths = nil
		for _, n := range names {
			paths = append(paths, filepath.Join(dir, n+".patch"))
		}
	}
	var all []mutant
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		m := named.FindSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("%s names no test", p)
		}
		if p, err = filepath.Abs(p); err != nil {
			return nil, err
		}
		all = append(all, mutant{strings.TrimSuffix(filepath.Base(p), ".patch"), p, string(m[1]), string(m[2])})
	}
	return all, nil
}

// copyTree makes dst what git would commit of the working directory.
func copyTree(dst string) error {
	list, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("list files: %w", err)
	}
	here := map[string]bool{}
	for _, name := range strings.Split(strings.TrimRight(string(list), "\x00"), "\x00") {
		data, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue
		}
		to := filepath.Join(dst, name)
		here[to] = true
		if old, e := os.ReadFile(to); err == nil && e == nil && bytes.Equal(old, data) {
			continue
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o755)
		}
		if err == nil {
			err = os.WriteFile(to, data, 0o644)
		}
		if err != nil {
			return fmt.Errorf("copy the tree: %w", err)
		}
	}
	return filepath.WalkDir(dst, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || here[path] {
			return err
		}
		return os.Remove(path)
	})
}

// plant applies the patch to a copy of the tree and runs the test; nil: it failed as it has to.
func (m mutant) plant(tree string) error {
	apply := exec.Command("git", "apply", m.patch)
	apply.Dir, apply.Env = tree, append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(tree))
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("does not apply: %s", bytes.TrimSpace(out))
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	test := exec.CommandContext(ctx, "go", "test", "-json", "-count=1", "-timeout", "3m", "-run", "^"+m.test+"$", m.pkg)
	test.Dir = tree
	out, _ := test.CombinedOutput() // it is to fail: how is in what it says
	if ctx.Err() != nil {
		return fmt.Errorf("took more than %s", within)
	}
	return m.judge(out)
}

var assertion = regexp.MustCompile(`^\s+\w+_test\.go:\d+: `)

// judge reads what `go test -json` said.
func (m mutant) judge(out []byte) error {
	failed, asserted := false, false
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e struct{ Action, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch {
		case e.Action == "build-fail":
			return fmt.Errorf("does not compile")
		case strings.HasPrefix(e.Output, "panic: test timed out"):
			return fmt.Errorf("hangs")
		}
		failed = failed || e.Action == "fail" && e.Test == m.test
		asserted = asserted || e.Test != "" && assertion.MatchString(e.Output)
	}
	switch {
	case !failed:
		return fmt.Errorf("SURVIVED")
	case !asserted:
		return fmt.Errorf("fails without an assertion")
	}
	return nil
}
