package fmp4_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata again")

// TestGolden holds the bytes themselves: they go into hashes, so none may ever move (I1, I2).
func TestGolden(t *testing.T) {
	cases := map[string][]byte{}
	for _, c := range initCases(t) {
		cases[c.name] = c.data
	}
	for _, c := range chunkCases() {
		cases[c.name] = c.bytes()
	}
	for name, got := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".hex")
			if *update {
				if err := os.WriteFile(path, hexLines(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := golden(t, path); !bytes.Equal(got, want) {
				t.Errorf("got\n%swant\n%s", hex.Dump(got), hex.Dump(want))
			}
		})
	}
}

func golden(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return data
}

// hexLines writes 32 bytes a line.
func hexLines(data []byte) []byte {
	var out []byte
	for len(data) > 0 {
		n := min(32, len(data))
		out = append(hex.AppendEncode(out, data[:n]), '\n')
		data = data[n:]
	}
	return out
}
