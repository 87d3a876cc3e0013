package config

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/vfs"
)

const otherOne = "stream one { input udp://:9; dvr d 1h; }\n"

// opened is a File as a process has it after its start.
func opened(t *testing.T, dir string) (*File, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	f := New(filepath.Join(dir, "stream.conf"), filepath.Join(dir, "data"), vfs.OS{}, clock.System{}, slog.New(slog.NewTextHandler(&log, nil)))
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	return f, &log
}

func apply(t *testing.T, f *File, e Edit) {
	t.Helper()
	e.Revision = f.Current().Revision
	if _, _, err := f.Apply(e); err != nil {
		t.Fatal(err)
	}
}

func port(f *File, stream string) int {
	s, ok := f.Current().Config.Stream(stream)
	if !ok {
		return 0
	}
	return int(s.Inputs[0].UDP.Port)
}

// I4: which of file and edit has the last word, over a restart.
func TestFileAndEdits(t *testing.T) {
	for _, c := range []struct {
		name      string
		edits     []Edit
		file      string         // from the restart on
		want      map[string]int // port by stream, 0: not there
		edited    []string
		overruled []string
	}{
		{"an edit outlives a restart", []Edit{{Text: otherOne}}, one, map[string]int{"one": 9}, []string{"one"}, nil},
		{"a new stream too", []Edit{{Text: two}}, one, map[string]int{"one": 1, "two": 2}, []string{"two"}, nil},
		{"and a deletion", []Edit{{Stream: "one"}}, one, map[string]int{"one": 0}, []string{"one"}, nil},
		{"the file changes another stream", []Edit{{Text: otherOne}}, one + two, map[string]int{"one": 9, "two": 2}, []string{"one"}, nil},
		{"the file changes the same one", []Edit{{Text: otherOne}}, strings.Replace(one, ":1", ":7", 1), map[string]int{"one": 7}, nil, []string{"one"}},
		{"the file brings back what was deleted", []Edit{{Stream: "one"}}, strings.Replace(one, ":1", ":7", 1), map[string]int{"one": 7}, nil, []string{"one"}},
		{"the file has another one of a new name", []Edit{{Text: two}}, one + strings.Replace(two, ":2", ":7", 1), map[string]int{"two": 7}, nil, []string{"two"}},
		{"the file drops an edited one", []Edit{{Text: otherOne}}, two, map[string]int{"one": 0, "two": 2}, nil, []string{"one"}},
		{"the file catches up", []Edit{{Text: otherOne}}, otherOne, map[string]int{"one": 9}, nil, nil},
		{"an edit of an edit", []Edit{{Text: otherOne}, {Text: strings.Replace(one, ":1", ":8", 1)}}, one, map[string]int{"one": 8}, []string{"one"}, nil},
		{"an edit taken back", []Edit{{Text: otherOne}, {Text: one}}, one, map[string]int{"one": 1}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "stream.conf"), one)
			f, _ := opened(t, dir)
			for _, e := range c.edits {
				apply(t, f, e)
			}
			const speed = "replication_speed 50M;\npeer a:7000 { replication_speed 5M; }\n"
			write(t, filepath.Join(dir, "stream.conf"), c.file+speed)
			f, log := opened(t, dir)
			if now := f.Current().Config; now.Speed != "50M" || len(now.Peers) != 1 {
				t.Errorf("the limits of the file are gone: %s", now)
			}
			for name, want := range c.want {
				if got := port(f, name); got != want {
					t.Errorf("stream %s has port %d, want %d", name, got, want)
				}
			}
			if got := f.Current().Edited; !reflect.DeepEqual(got, c.edited) {
				t.Errorf("edited %q, want %q", got, c.edited)
			}
			last, err := f.History(1)
			if err != nil {
				t.Fatal(err)
			}
			if got := last[0].Overruled; !reflect.DeepEqual(got, c.overruled) {
				t.Errorf("overruled %q, want %q", got, c.overruled)
			}
			if said := strings.Contains(log.String(), "the file wins"); said != (c.overruled != nil) {
				t.Errorf("the log says that the file wins: %t", said)
			}
		})
	}
}

// I5.
func TestApplyRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "stream.conf"), "cluster_key \"a long enough secret\";\n"+one)
	f, _ := opened(t, dir)
	seen := f.Current().Revision
	apply(t, f, Edit{Text: two})
	for _, c := range []struct {
		name string
		edit Edit
		want error
	}{
		{"an old revision", Edit{Text: otherOne, Revision: seen}, errs.ErrConfigConflict},
		{"none, and it exists", Edit{Text: otherOne}, errs.ErrConfigConflict},
		{"delete without having seen it", Edit{Stream: "one"}, errs.ErrConfigConflict},
		{"delete what is not there", Edit{Stream: "x", Revision: f.Current().Revision}, errs.ErrStreamUnknown},
		{"not a stream", Edit{Text: "stream a {"}, errs.ErrConfigInvalid},
		{"two streams", Edit{Text: one + two}, errs.ErrConfigInvalid},
		{"a key", Edit{Text: "cluster_key k;\n" + one}, errs.ErrConfigInvalid},
		{"another name", Edit{Stream: "x", Text: one}, errs.ErrConfigInvalid},
	} {
		before := f.Current()
		if _, _, err := f.Apply(c.edit); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if f.Current().Revision != before.Revision {
			t.Errorf("%s: something changed", c.name)
		}
	}
	if _, _, err := f.Apply(Edit{Text: otherOne, Revision: f.Current().Revision, Check: true}); err != nil || port(f, "one") != 1 {
		t.Errorf("a check: %v, port %d", err, port(f, "one"))
	}
	h, err := f.History(10)
	if err != nil || len(h) != 2 || h[0].Origin != FromAPI || h[1].Origin != FromFile || h[0].Number != 2 {
		t.Fatalf("history %+v, %v", h, err)
	}
	if strings.Contains(h[0].Config, "secret") || !strings.Contains(h[0].Config, "stream two") {
		t.Errorf("the history has\n%s", h[0].Config)
	}
}

// What cannot be written down is refused, and is not in force after a restart either.
func TestEditIsDurableOrRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "stream.conf"), one)
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "data", "history"), "where the directory would be")
	f, log := opened(t, dir)
	if port(f, "one") != 1 || !strings.Contains(log.String(), "not in the history") {
		t.Errorf("port %d, log %s", port(f, "one"), log)
	}
	if _, _, err := f.Apply(Edit{Text: two}); err == nil {
		t.Error("an edit that could not be kept was taken")
	}
	if port(f, "two") != 0 {
		t.Error("and is in force")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "stream.conf"), one)
	f, _ := opened(t, dir)
	for i := range historyKept + 5 {
		apply(t, f, Edit{Text: []string{otherOne, one}[i%2]})
	}
	h, err := f.History(2 * historyKept)
	if err != nil || len(h) != historyKept {
		t.Errorf("%d changes are kept, %v", len(h), err)
	}
}

// I6: an edit that names a storage which the file no longer has: while running the file is refused, and a start comes up
// without the edit.
func TestEditThatDoesNotGoWithTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stream.conf")
	const storage = "dvr box { root /b; server h:7002; }\n"
	write(t, path, storage+one)
	f, _ := opened(t, dir)
	apply(t, f, Edit{Text: "stream two { input udp://:9; dvr @box 1h; }"})
	apply(t, f, Edit{Text: "stream three { input udp://:10; dvr d 1h; }"})
	write(t, path, one)
	f.look()
	f.look()
	if p := f.Current().Problems; len(p) != 1 || !strings.Contains(p[0].What, "stream two, as it was changed by API") || port(f, "two") != 9 {
		t.Errorf("while running: %v, port of two %d", p, port(f, "two"))
	}
	f, log := opened(t, dir)
	if p := f.Current().Problems; len(p) != 1 || !strings.Contains(p[0].What, "stream two, as it was changed by API") {
		t.Errorf("after a start: %v", p)
	}
	if port(f, "one") != 1 || port(f, "two") != 0 || port(f, "three") != 10 || !strings.Contains(log.String(), "set aside") {
		t.Errorf("after a start: %s, log:\n%s", names(f), log)
	}
	h, err := f.History(1)
	if err != nil || len(h) != 1 || !reflect.DeepEqual(h[0].Overruled, []string{"two"}) {
		t.Errorf("history: %+v, %v", h, err)
	}
}

// A passphrase is kept with the edit, over a restart; another one in the file is another word for the stream (I4); and what is shown of
// it has none.
func TestPassphraseOfAnEdit(t *testing.T) {
	const phrased = "stream one { input srt://h:1 passphrase=\"hunter2 hunter2\"; dvr d 1h; }\n"
	phrase := func(f *File) string {
		s, _ := f.Current().Config.Stream("one")
		return string(s.Inputs[0].SRT.Passphrase)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "stream.conf")
	write(t, path, one)
	f, _ := opened(t, dir)
	apply(t, f, Edit{Text: phrased})
	again, _ := opened(t, dir)
	for when, f := range map[string]*File{"at once": f, "after a restart": again} {
		if got := phrase(f); got != "hunter2 hunter2" {
			t.Errorf("%s the passphrase is %q", when, got)
		}
		if h, err := f.History(1); err != nil || len(h) != 1 || strings.Contains(h[0].Config, "hunter2") {
			t.Errorf("the history has %+v, %v", h, err)
		}
	}
	write(t, path, phrased)
	f, _ = opened(t, dir)
	apply(t, f, Edit{Text: strings.Replace(phrased, "1h", "2h", 1)})
	write(t, path, strings.Replace(phrased, "hunter2 hunter2", "another passphrase", 1))
	f.look()
	f.look()
	if got := phrase(f); got != "another passphrase" || len(f.Current().Edited) > 0 {
		t.Errorf("the file has another passphrase since the edit, and it is %q; edited %q", got, f.Current().Edited)
	}
}

// What the API has put right is wrong no longer: a file that went with all but one change is taken once that is another, and what was
// set aside at a start and is made again is not said to be aside.
func TestEditThatGoesWithTheFileAgain(t *testing.T) {
	const storage = "dvr box { root /b; server h:7002; }\n"
	start := func() (f *File, path string) {
		dir := t.TempDir()
		path = filepath.Join(dir, "stream.conf")
		write(t, path, storage+one)
		f, _ = opened(t, dir)
		apply(t, f, Edit{Text: "stream two { input udp://:9; dvr @box 1h; }"})
		write(t, path, strings.Replace(one, ":1", ":7", 1))
		return f, path
	}
	for name, mend := range map[string]Edit{"deleted": {Stream: "two"}, "changed": {Text: "stream two { input udp://:10; dvr d 1h; }"}} {
		f, _ := start()
		f.look()
		f.look()
		if len(f.Current().Problems) != 1 || port(f, "one") != 1 {
			t.Fatalf("problems %v, port of one %d", f.Current().Problems, port(f, "one"))
		}
		apply(t, f, mend)
		for range 3 {
			f.look()
		}
		if p := f.Current().Problems; len(p) > 0 || port(f, "one") != 7 {
			t.Errorf("%s: problems %v, port of one %d", name, p, port(f, "one"))
		}
	}
	_, path := start()
	f, _ := opened(t, filepath.Dir(path))
	apply(t, f, Edit{Text: "stream three { input udp://:11; dvr d 1h; }"})
	if p := f.Current().Problems; len(p) != 1 {
		t.Errorf("after a start and another change: problems %v", p)
	}
	apply(t, f, Edit{Text: "stream two { input udp://:10; dvr d 1h; }"})
	if p := f.Current().Problems; len(p) > 0 {
		t.Errorf("made again: problems %v", p)
	}
}

// What is wrong with the file stays said while the API changes other things, and until it is right again.
func TestProblemsOutliveEdits(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stream.conf")
	write(t, path, one)
	f, _ := opened(t, dir)
	for name, text := range map[string]string{"wrong": "stream bad {\n" + one, "empty": "\n"} {
		write(t, path, text)
		f.look()
		f.look()
		if len(f.Current().Problems) == 0 {
			t.Fatalf("%s: no problem is said", name)
		}
		apply(t, f, Edit{Text: two})
		apply(t, f, Edit{Stream: "two"})
		f.look()
		if len(f.Current().Problems) == 0 {
			t.Errorf("%s: after a change by API nobody says what is wrong with the file", name)
		}
		write(t, path, one)
		f.look()
		f.look()
		if p := f.Current().Problems; len(p) > 0 {
			t.Errorf("%s: the file is right again, and it says %v", name, p)
		}
	}
}

// I6: a start at which the file is no good comes up with what it said when it last was.
func TestStartWithBadFile(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"half an edit": func(path string) error { return os.WriteFile(path, []byte("stream one { input udp"), 0o600) },
		"empty":        func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"gone":         os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "stream.conf")
			write(t, path, "cluster_key "+strings.Repeat("k", 16)+";\n"+one)
			f, _ := opened(t, dir)
			apply(t, f, Edit{Text: two})
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			f, log := opened(t, dir)
			if port(f, "one") != 1 || port(f, "two") != 2 || len(f.Current().Config.ClusterKey) != 16 || len(f.Current().Problems) == 0 || !strings.Contains(log.String(), "starting with what it said") {
				t.Errorf("got %s, %v, log:\n%s", names(f), f.Current().Problems, log)
			}
			write(t, path, strings.Replace(one, ":1", ":5", 1))
			f.look()
			f.look()
			if port(f, "one") != 5 || port(f, "two") != 2 || len(f.Current().Problems) > 0 {
				t.Errorf("after the file is mended: %s, %v", names(f), f.Current().Problems)
			}
			other := New(path+"x", filepath.Join(dir, "data"), vfs.OS{}, clock.System{}, slog.New(slog.DiscardHandler))
			if err := other.Load(); err == nil {
				t.Error("another file, which is not there, comes up with what this one said")
			}
		})
	}
}

// The revision is told to anyone; nobody can try keys with it.
func TestRevisionTellsNothingOfTheKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stream.conf")
	write(t, path, "cluster_key "+strings.Repeat("k", 16)+";\n"+one)
	f, _ := opened(t, dir)
	before := f.Current()
	write(t, path, "cluster_key "+strings.Repeat("j", 16)+";\n"+one)
	f.look()
	f.look()
	after := f.Current()
	if after.Revision != before.Revision || after.Config.ClusterKey == before.Config.ClusterKey {
		t.Errorf("revision %s, then %s", before.Revision, after.Revision)
	}
	if h, err := f.History(2); err != nil || len(h) != 2 {
		t.Errorf("a new key is not in the history: %+v, %v", h, err)
	}
}
