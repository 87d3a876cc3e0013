package limit

import (
	"errors"
	"reflect"
	"testing"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// TestKept holds I4: over a restart, a power cut right after the call, and where the disk fails.
func TestKept(t *testing.T) {
	disk := vfs.NewMem()
	open := func(f vfs.FS) *Limits {
		l := New(200_000_000, clock.System{}, quiet())
		l.Open(f, "/data/run/replication.json")
		l.Apply(&streamconf.Config{Peers: []streamconf.Peer{{Addr: "p:1", Speed: "10M"}}})
		return l
	}
	l := open(disk)
	for _, err := range []error{
		l.Set(Scope{}, "100M 22:00-06:00:1G"), l.Set(Scope{Stream: "tv"}, "5M"), l.Set(Scope{Peer: "p:1"}, "0"), l.Set(Scope{Peer: "q:1"}, "7M"),
		l.Pause(Scope{Stream: "tv"}), l.Pause(Scope{}), l.Resume(Scope{Stream: "tv"}), l.Set(Scope{Peer: "q:1"}, ""),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []Entry{
		{Scope: Scope{}, Configured: "200M", Set: "100M 22:00-06:00:1G", Paused: true},
		{Scope: Scope{Peer: "p:1"}, Configured: "10M", Set: "0"},
		{Scope: Scope{Stream: "tv"}, Set: "5M"},
	}
	check := func(l *Limits, want []Entry) {
		t.Helper()
		got := l.List()
		for i := range got {
			got[i].Bits = 0 // by the time of the day
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	check(l, want)
	disk = disk.Crash(func(string, int) (int, int) { return 0, 0 })
	check(open(disk), want)

	bad := &vfs.Fault{FS: disk, Fail: func(_ int64, op vfs.Op, _ string) bool { return op == vfs.OpSync }}
	l = open(bad)
	if err := l.Resume(Scope{}); err == nil {
		t.Error("what could not be kept was said to hold")
	}
	check(l, want)

	if err := l.Set(Scope{Stream: "tv", Peer: "p:1"}, "5M"); !errors.Is(err, errs.ErrInvalid) {
		t.Errorf("a stream of a peer: %v", err)
	}
	if err := vfs.Replace(disk, "/data/run/replication.json", []byte(`{"version":9}`)); err != nil {
		t.Fatal(err)
	}
	check(open(disk), []Entry{{Scope: Scope{}, Configured: "200M"}, {Scope: Scope{Peer: "p:1"}, Configured: "10M"}})
	old := []byte(`{"version":1,"limits":[{"peer":"P:1","speed":"1M"}],"paused":[{"peer":"Q:1"}]}`) // of a program to which capitals were another peer
	if err := vfs.Replace(disk, "/data/run/replication.json", old); err != nil {
		t.Fatal(err)
	}
	check(open(disk), []Entry{
		{Scope: Scope{}, Configured: "200M"}, {Scope: Scope{Peer: "p:1"}, Configured: "10M", Set: "1M"}, {Scope: Scope{Peer: "q:1"}, Paused: true},
	})
}
