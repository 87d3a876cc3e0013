package config

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/vfs"
)

const (
	one = "stream one { input udp://:1; dvr d 1h; }\n"
	two = "stream two { input udp://:2; dvr d 1h; }\n"
)

// follow runs a File on a real file in a bubble of fake time.
func follow(t *testing.T, check func(f *File, path string, log *bytes.Buffer)) {
	path := filepath.Join(t.TempDir(), "stream.conf")
	write(t, path, one)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := New(path, filepath.Join(filepath.Dir(path), "data"), vfs.OS{}, clock.System{}, slog.New(slog.NewTextHandler(&log, nil)))
		if err := f.Load(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		check(f, path, &log)
		cancel()
		<-done
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// polls lets n readings pass.
func polls(n int) {
	time.Sleep(time.Duration(n)*Poll + Poll/2)
	synctest.Wait()
}

func names(f *File) string {
	var s []string
	for _, x := range f.Current().Config.Streams {
		s = append(s, x.Name)
	}
	return strings.Join(s, " ")
}

func TestChangeIsTaken(t *testing.T) {
	follow(t, func(f *File, path string, _ *bytes.Buffer) {
		before := f.Current()
		write(t, path, one+two)
		select {
		case <-before.Changed:
		case <-time.After(2 * time.Second):
			t.Fatal("no change within 2 s")
		}
		if got := names(f); got != "one two" || f.Current().Revision == before.Revision {
			t.Errorf("got %q", got)
		}
		if len(before.Config.Streams) != 1 {
			t.Error("a snapshot changed")
		}
	})
}

// An editor that writes beside the file and renames.
func TestRename(t *testing.T) {
	follow(t, func(f *File, path string, _ *bytes.Buffer) {
		write(t, path+".new", two)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		polls(3)
		if got := names(f); got != "two" {
			t.Errorf("got %q", got)
		}
	})
}

// I1: refused whole, with line and column, told once; and the next good one is taken.
func TestBadConfigChangesNothing(t *testing.T) {
	follow(t, func(f *File, path string, log *bytes.Buffer) {
		before := f.Current()
		write(t, path, two+"stream three { input rtmp://x; dvr d; }\n")
		polls(10)
		now := f.Current()
		if names(f) != "one" || now.Revision != before.Revision || len(now.Problems) != 2 {
			t.Errorf("got %q with %v", names(f), now.Problems)
		}
		if s := now.Problems.Error(); !strings.Contains(s, "stream.conf:2:22: input rtmp:// is not supported yet") {
			t.Error(s)
		}
		if n := strings.Count(log.String(), "rtmp"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log)
		}
		write(t, path, one)
		polls(3)
		if now := f.Current(); names(f) != "one" || len(now.Problems) != 0 {
			t.Errorf("got %q with %v", names(f), now.Problems)
		}
	})
}

// I2: a file that is being written is not taken, however short its first part.
func TestHalfWritten(t *testing.T) {
	follow(t, func(f *File, path string, _ *bytes.Buffer) {
		for _, text := range []string{"", "# c", "# c\n", "# c\n" + two} {
			write(t, path, text)
			time.Sleep(Poll)
			synctest.Wait()
			if got := names(f); got != "one" {
				t.Fatalf("after %q: got %q", text, got)
			}
		}
		polls(2)
		if got := names(f); got != "two" {
			t.Errorf("got %q", got)
		}
	})
}

// I3.
func TestMissingFile(t *testing.T) {
	follow(t, func(f *File, path string, log *bytes.Buffer) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		polls(10)
		write(t, path, " \n") // nothing is no config either
		polls(10)
		if got := names(f); got != "one" || strings.Count(log.String(), "cannot be read") != 1 {
			t.Errorf("got %q, log:\n%s", got, log)
		}
		write(t, path, two)
		polls(3)
		if got := names(f); got != "two" {
			t.Errorf("got %q", got)
		}
	})
}

func TestLoadFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream.conf")
	if err := New(path, filepath.Join(filepath.Dir(path), "data"), vfs.OS{}, clock.System{}, slog.New(slog.DiscardHandler)).Load(); err == nil || !strings.Contains(err.Error(), "read config") {
		t.Errorf("got %v", err)
	}
	write(t, path, "strem x;\ncluster_key;")
	err := New(path, filepath.Join(filepath.Dir(path), "data"), vfs.OS{}, clock.System{}, slog.New(slog.DiscardHandler)).Load()
	if err == nil || len(strings.Split(err.Error(), "\n")) != 2 {
		t.Errorf("got %v", err)
	}
}
