package app

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A storage is checked and its index made anew without dvrsvc, and not while dvrsvc has it.
func TestCheckStorage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "archive")
	check := func(rebuild bool) (string, bool, error) {
		var out bytes.Buffer
		good, err := CheckStorage(t.Context(), path, "here", rebuild, &out, slog.New(slog.DiscardHandler))
		return out.String(), good, err
	}
	if _, _, err := check(false); err == nil || !strings.Contains(err.Error(), "is no storage") {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it made a storage")
	}
	s := start(t, dir)
	p := record(t, s.conn, udpInput, "here")
	src := newSource()
	m := makeSegment(t, 1, 0, "here")
	src.play(m.info.Start+9000, p)
	p.active()
	src.play(m.info.End, p)
	p.stream(m, len(m.chunks))
	p.released(m)
	if _, _, err := check(true); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("while dvrsvc has it: %v", err)
	}
	s.stop()
	for _, rebuild := range []bool{false, true} {
		out, good, err := check(rebuild)
		if err != nil || !good || !strings.Contains(out, "tv") {
			t.Errorf("rebuild %t: %t, %v\n%s", rebuild, good, err, out)
		}
		if rebuild && !strings.Contains(out, "1 segments, 1 copies") {
			t.Errorf("it does not say what was there before:\n%s", out)
		}
	}
	files, _ := filepath.Glob(filepath.Join(path, "tv", "*.mp4"))
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and once more without the index
		if out, good, err := check(true); err != nil || good || !strings.Contains(out, m.info.Digest.String()) {
			t.Errorf("of a rotten copy: %t, %v\n%s", good, err, out)
		}
	}
}
