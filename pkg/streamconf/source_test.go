package streamconf

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const twoSources = `stream own { input udp://:1; dvr d 1h; }
source m { dvr d 2h replicate; except none; }
source m4fs://n:8000 { dvr e 3h replicate=pull; }
`

func found(names ...string) (out []Found) {
	for _, n := range names {
		out = append(out, Found{n, []string{"x", "m"}})
	}
	return out
}

func names(streams []Stream) (out []string) {
	for _, s := range streams {
		out = append(out, s.Name+"<"+s.Source)
	}
	return out
}

// What a source has becomes streams of its own dvr; a name that is the config's own, or an earlier source's, stays what it is, and
// that is said.
func TestSources(t *testing.T) {
	c := mustParse(t, twoSources)
	with := c.WithFound(map[string][]Found{"m:7000": found("a", "none", "own"), "n:8000": found("a", "b"), "gone:1": found("z")})
	if got, want := names(with.Streams), []string{"own<", "a<m:7000", "b<n:8000"}; !slices.Equal(got, want) {
		t.Fatalf("streams %q, want %q", got, want)
	}
	a, _ := with.Stream("a")
	if b := with.Streams[2]; a.Inputs[0].URL() != "m4f://m:7000/a" || b.Inputs[0].URL() != "m4fs://n:8000/b" || a.DVR.Pull || !b.DVR.Pull || !b.DVR.Replicate {
		t.Errorf("got %v and %v", a, b)
	}
	for _, x := range []struct{ addr, taken, named, over string }{{"m:7000", "[a]", "[own]", "[]"}, {"n:8000", "[b]", "[a]", "[]"}, {"gone:1", "[]", "[]", "[]"}} {
		if taken, named, over := with.Taken(x.addr); fmt.Sprint(taken) != x.taken || fmt.Sprint(named) != x.named || fmt.Sprint(over) != x.over {
			t.Errorf("of %s %v are taken, %v named alike, %v too many; want %+v", x.addr, taken, named, over, x)
		}
	}
	if len(c.Streams) != 1 || !with.WithFound(nil).Equal(c) {
		t.Error("what was found stays when it is gone")
	}
	if d := Diff(c, with); len(d.Added) != 2 || !d.Replication {
		t.Errorf("the difference is %+v", d)
	}
	again, err := ParseCopy("t", []byte(with.Canonical()))
	if err != nil || !again.Equal(with) || again.Revision() == c.Revision() {
		t.Errorf("the copy says\n%v\n%v", again, err)
	}
	if _, err := Parse("t.conf", []byte(with.Canonical())); err == nil {
		t.Error("a file says what a source has")
	}
}

// A peer that has any number of streams makes no more than the bound, and the rest is told.
func TestSourcesAreBounded(t *testing.T) {
	var many []string
	for n := range MaxFound + 3 {
		many = append(many, fmt.Sprintf("s%05d", n))
	}
	c := mustParse(t, twoSources).WithFound(map[string][]Found{"m:7000": found(many...), "n:8000": found("b")})
	if n := len(c.Streams); n != MaxFound+1 {
		t.Errorf("there are %d streams", n)
	}
	if _, _, over := c.Taken("m:7000"); len(over) != 3 {
		t.Errorf("%d are too many", len(over))
	}
	if _, _, over := c.Taken("n:8000"); len(over) != 1 {
		t.Errorf("%d of the other are too many", len(over))
	}
}

func TestSourceProblems(t *testing.T) {
	for src, want := range map[string]string{
		"source m;":                    "has one address and a block",
		"source m { }":                 "has no dvr",
		"source m/x { dvr d 1h; }":     "not the address of a server",
		"source udp://m { dvr d 1h; }": "not the address of a server",
		"source m { dvr d 1h; } source m:7000 { dvr d 1h; }":    "given twice",
		"source m { dvr d 1h; dvr e 1h; }":                      "given twice",
		"source m { dvr d 1h; input udp://:1; }":                `unknown directive "input"`,
		"source m { dvr d 1h; except ../x; }":                   "not allowed",
		"source m { dvr d 1h; except; }":                        "names no stream",
		"source m { dvr d 1h; found a m; }":                     "is not written",
		"stream s { input udp://:1; dvr d 1h replicate=push; }": "no way to replicate",
	} {
		if _, err := Parse("t.conf", []byte(src)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", src, err, want)
		}
	}
	for _, f := range []Found{{"../x", []string{"m"}}, {"x", nil}, {"x", []string{"a b"}}, {"x", strings.Split("abcdefghi", "")}} {
		if CheckFound(f) == nil {
			t.Errorf("%v was taken", f)
		}
	}
}
