package config

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

const source = "source m { dvr d 2h replicate; }\n"

func has(names ...string) (out []streamconf.Found) {
	for _, n := range names {
		out = append(out, streamconf.Found{Name: n, Via: []string{"m"}})
	}
	return out
}

func streams(f *File) (out []string) {
	for _, s := range f.Current().Config.Streams {
		out = append(out, s.Name+"<"+s.Source)
	}
	return out
}

// I7: what a source has comes and goes, is known after a restart at which it is away, and gives way to what the file or the API
// says of the same name.
func TestFound(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "stream.conf")
	write(t, file, one+source)
	f, _ := opened(t, dir)
	want := func(what string, want ...string) {
		t.Helper()
		if got := streams(f); !slices.Equal(got, want) {
			t.Errorf("%s: streams %q, want %q", what, got, want)
		}
	}
	found := func(names ...string) {
		t.Helper()
		if _, err := f.Found("m:7000", has(names...)); err != nil {
			t.Fatal(err)
		}
	}
	want("nothing is known", "one<")
	before := f.Current()
	found("two", "one", "three")
	select {
	case <-before.Changed:
	default:
		t.Error("nobody is told")
	}
	want("it has three", "one<", "three<m:7000", "two<m:7000")
	f, _ = opened(t, dir)
	want("after a restart", "one<", "three<m:7000", "two<m:7000")
	if h, err := f.History(1); err != nil || h[0].Origin != FromSource || h[0].Author != "m:7000" || !slices.Equal(h[0].Added, []string{"three", "two"}) {
		t.Errorf("the history says %+v, %v", h, err)
	}
	apply(t, f, Edit{Text: two})
	want("one of its names is taken by API", "one<", "two<", "three<m:7000")
	apply(t, f, Edit{Stream: "two"})
	want("and given back", "one<", "three<m:7000", "two<m:7000")
	if _, _, err := f.Apply(Edit{Stream: "three", Revision: f.Current().Revision}); !errors.Is(err, errs.ErrConfigInvalid) {
		t.Errorf("what a source has is deleted by API: %v", err)
	}
	found("two")
	want("one is gone", "one<", "two<m:7000")
	revision := f.Current().Revision
	found("two")
	if f.Current().Revision != revision {
		t.Error("the same again is a change")
	}
	write(t, file, one+strings.Replace(source, "dvr", "except two; dvr", 1))
	f, _ = opened(t, dir)
	want("it is excepted", "one<")
	write(t, file, one)
	f, _ = opened(t, dir)
	want("the source is out of the file", "one<")
	if _, err := f.Found("m:7000", has("two")); !errors.Is(err, errs.ErrConfigInvalid) {
		t.Errorf("a source that is none: %v", err)
	}
	write(t, file, source)
	f, _ = opened(t, dir)
	for _, bad := range [][]streamconf.Found{has("../x"), has("x", "x"), {{Name: "x"}}, has(make([]string, streamconf.MaxFound+1)...)} {
		if _, err := f.Found("m:7000", bad); !errors.Is(err, errs.ErrConfigInvalid) {
			t.Errorf("%d streams that cannot be: %v", len(bad), err)
		}
	}
}

// What was kept by a program to which the name of a source in capitals was another one is of that source.
func TestFoundOfASourceInCapitals(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "stream.conf"), "source M { dvr d 2h replicate; }\n")
	f, _ := opened(t, dir)
	if err := f.book.keepFound(map[string][]streamconf.Found{"M:7000": has("two")}); err != nil {
		t.Fatal(err)
	}
	f, _ = opened(t, dir)
	if got := streams(f); !slices.Equal(got, []string{"two<m:7000"}) {
		t.Errorf("streams %q", got)
	}
}
