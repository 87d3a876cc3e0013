package store

import (
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/vfs"
)

func (x *site) counts() stats.Counts { return x.st.stats.Counts() }

// slowDiskFS takes its time over each read.
type slowDiskFS struct {
	vfs.FS
	read func()
}

func (d *slowDiskFS) Open(path string) (vfs.File, error) {
	f, err := d.FS.Open(path)
	if err != nil {
		return nil, err
	}
	return &slowDiskFile{f, d}, nil
}

type slowDiskFile struct {
	vfs.File
	d *slowDiskFS
}

func (f *slowDiskFile) ReadAt(p []byte, at int64) (int, error) {
	f.d.read()
	return f.File.ReadAt(p, at)
}

// A read counts once, however many chunks it has, by the time that the disk took and not its reader, and by the age of what
// is played.
func TestReadsCountOnce(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	x.store(m, true)
	length := (m.info.End - m.info.Start).Duration()
	chunks := len(m.chunks)
	var each time.Duration
	x.s.fs = &slowDiskFS{x.s.fs, func() { x.clock.move(each) }}
	read := func(why stats.Purpose, took time.Duration, n int) {
		t.Helper()
		each = took / time.Duration(chunks)
		r := must(x.st.NewReaderFor(why, m.info.Digest, 0))
		for i := 0; i < n; i++ {
			x.clock.move(time.Second) // the reader is slow
			if _, _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
			x.clock.move(time.Second)
		}
		if n == chunks {
			if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		_ = r.Close() // whoever closes it twice has read it once
	}
	read(stats.Play, 0, chunks)
	read(stats.Play, length/2-time.Millisecond*time.Duration(chunks), chunks)
	read(stats.Play, length*7/10, chunks)
	read(stats.Play, length*7/10, chunks/2) // half of it, in half of the time
	read(stats.Replication, length, chunks)
	read(stats.Play, length, 0) // nobody read
	c := x.counts()
	if got := c.Reads[stats.Disk]; got != [5]uint64{2, 2, 1} || c.Reads[stats.Memory] != [5]uint64{} {
		t.Errorf("reads %v", c.Reads)
	}
	part := uint64(0)
	for _, data := range m.chunks[:chunks/2] {
		part += uint64(len(data))
	}
	size := m.info.Bytes
	if c.ReadBytes[stats.Play][stats.Disk] != 3*size+part || c.ReadBytes[stats.Replication][stats.Disk] != size {
		t.Errorf("bytes %v", c.ReadBytes)
	}
	for _, ago := range []time.Duration{time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour} {
		x.clock.move(testEpoch.Add(length + ago).Sub(x.clock.wall))
		each = 0
		if _, err := x.read(m.info.Digest); err != nil {
			t.Fatal(err)
		}
	}
	if c := x.counts(); c.PlayedBytes != [5]uint64{3*size + part, size, size, size, size} {
		t.Errorf("played %v bytes", c.PlayedBytes)
	}
	if c := x.counts(); c.Played != [5]uint64{4, 1, 1, 1, 1} {
		t.Errorf("played %v", c.Played)
	}
}

// What cannot be read, or is rotten, is a failed read, once.
func TestFailedReads(t *testing.T) {
	x := newSite(t)
	gone, rotten := x.whole(0), x.whole(1)
	x.store(rotten, true)
	x.rot(rotten)
	if _, err := x.read(rotten.info.Digest); err == nil {
		t.Fatal("it is not rotten")
	}
	if _, err := x.read(rotten.info.Digest); err == nil { // quarantined: it is not read any more
		t.Fatal("it is read")
	}
	if _, err := x.read(gone.info.Digest); err == nil {
		t.Fatal("it is there")
	}
	if c := x.counts(); c.Reads[stats.Disk][stats.Failed] != 1 || c.Reads[stats.Disk][stats.Fast]+c.Reads[stats.Disk][stats.Slow]+c.Reads[stats.Disk][stats.Delayed] != 0 {
		t.Errorf("reads %v", c.Reads)
	}
}

// The open part comes from memory until it is durable, and from disk then.
func TestReadPart(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	if _, err := x.feed(m, true, 6); err != nil {
		t.Fatal(err)
	}
	for i, want := range []stats.Source{stats.Memory, stats.Disk} {
		p := x.st.OpenParts()[0]
		n := 0
		err := x.st.ReadPart(stats.Play, &p, 4, func(ch segment.Chunk, data []byte) error {
			n++
			return nil
		})
		if c := x.counts(); err != nil || n != 4 || c.Reads[want] != [5]uint64{1} || c.Played[stats.Hour] != uint64(i+1) {
			t.Errorf("%d chunks from %s, %v: %v", n, stats.SourceNames[want], err, c.Reads)
		}
		x.commit()
	}
}

// Bytes are counted by why they are written: as they come, later, again.
func TestWrittenBytes(t *testing.T) {
	x := newSite(t)
	live, later, again := x.whole(0), x.whole(1), x.whole(2)
	x.store(live, true)
	x.store(later, false)
	if c := x.counts(); c.Bytes != [4]uint64{live.info.Bytes, later.info.Bytes} {
		t.Fatalf("bytes %v", c.Bytes)
	}
	var failed atomic.Bool
	x.fault.Fail = func(_ int64, op vfs.Op, _ string) bool { return op == vfs.OpSync && !failed.Swap(true) }
	if r := x.store(again, true); r.err != nil {
		t.Fatal(r.err)
	}
	if c := x.counts(); c.Bytes != [4]uint64{live.info.Bytes + again.info.Bytes, later.info.Bytes, again.info.Bytes} {
		t.Errorf("bytes %v", c.Bytes)
	}
	if l := x.s.o.Stats.Latency(stats.SyncData, x.clock.mono); l.Count == 0 {
		t.Error("no sync was counted")
	}
}

// Syncs are timed apart: the data files, the index, and the commit around them.
func TestSyncsAreTimed(t *testing.T) {
	x := newSite(t)
	x.store(x.whole(0), true)
	if _, err := x.record(x.whole(1), true); err != nil {
		t.Fatal(err)
	}
	running := time.Duration(0)
	x.fault.Fail = func(_ int64, op vfs.Op, _ string) bool {
		if op == vfs.OpSync {
			x.clock.move(7 * time.Second)
			running = x.s.o.Stats.Running(x.clock.mono)
		}
		return false
	}
	x.commit()
	x.fault.Fail = nil
	longest := func(k stats.Sync) time.Duration { return x.s.o.Stats.Latency(k, x.clock.mono).Longest }
	if running != 7*time.Second || longest(stats.SyncData) != 7*time.Second || longest(stats.SyncIndex) != 0 || longest(stats.Commit) != 7*time.Second {
		t.Errorf("running %s; longest %s, %s, %s", running, longest(stats.SyncData), longest(stats.SyncIndex), longest(stats.Commit))
	}
}
