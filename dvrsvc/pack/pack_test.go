package pack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/dvrsvc/pack"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

func write(t *testing.T, conn *grpc.ClientConn, stream string, r archive.Range) ([]byte, pack.Written) {
	t.Helper()
	var b bytes.Buffer
	done, err := pack.Write(t.Context(), []grpc.ClientConnInterface{conn}, stream, r, &b)
	if err != nil {
		t.Fatal(err)
	}
	if done.Bytes != int64(b.Len()) || done.Rotten != 0 {
		t.Errorf("written %+v, %d bytes came", done, b.Len())
	}
	return b.Bytes(), done
}

func read(t *testing.T, conn *grpc.ClientConn, stream string, b []byte) pack.Taken {
	t.Helper()
	taken, err := pack.Read(t.Context(), conn, stream, bytes.NewReader(b), clock.System{})
	if err != nil {
		t.Fatalf("%+v, %v", taken, err)
	}
	return taken
}

// held is all that can be asked of a range, with rows named by their order: each copy with its bytes, and the block digests.
func held(t *testing.T, conn *grpc.ClientConn, stream string, r archive.Range) (copies, digests []string) {
	t.Helper()
	ctx, index := t.Context(), dvrv1.NewIndexServiceClient(conn)
	rows, err := index.ListTimelines(ctx, &dvrv1.ListTimelinesRequest{Stream: stream})
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]*dvrv1.CopySummary{}
	names := map[string]string{}
	for _, row := range rows.GetTimelines() {
		slots, err := index.ListSlots(ctx, &dvrv1.ListSlotsRequest{Stream: stream, Timeline: row.GetId(), FromBlock: -1 << 40, ToBlock: 1 << 40})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range slots.GetSlots() {
			for _, c := range s.GetCopies() {
				listed[fmt.Sprintf("%x %x", row.GetId(), c.GetDigest())] = c
			}
		}
		d, err := index.GetDigests(ctx, &dvrv1.GetDigestsRequest{Stream: stream, Timeline: row.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range d.GetBlocks() {
			digests = append(digests, fmt.Sprintf("%d %d %s", b.GetBlock(), b.GetSlots(), b.GetDigest()))
		}
	}
	m := &dvrv1.ListSegmentsRequest{Stream: stream, IncludeUnpresented: true}
	if !r.From.IsZero() {
		m.From = timestamppb.New(r.From)
	}
	if !r.To.IsZero() {
		m.To = timestamppb.New(r.To)
	}
	rpc, err := index.ListSegments(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	dvr := dvrv1.NewSegmentServiceClient(conn)
	for {
		m, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		s := m.GetSegment()
		c := listed[s.GetTimeline()+" "+s.GetDigest()]
		if names[s.GetTimeline()] == "" {
			names[s.GetTimeline()] = fmt.Sprint(len(names))
		}
		digest, err := segment.ParseDigest(s.GetDigest())
		if err != nil {
			t.Fatal(err)
		}
		s.Timeline, s.Replaces = names[s.GetTimeline()], nil
		data, head := bytesOf(t, dvr, stream, digest)
		copies = append(copies, strings.Join([]string{protojson.Format(s), protojson.Format(c), head, segment.Sum(data).String()}, "\n"))
	}
	slices.Sort(digests)
	return copies, digests
}

// bytesOf reads a copy, and what is said of it that no list has.
func bytesOf(t *testing.T, dvr dvrv1.SegmentServiceClient, stream string, digest segment.Digest) (data []byte, head string) {
	t.Helper()
	rpc, err := dvr.ReadSegment(t.Context(), &dvrv1.ReadSegmentRequest{Stream: stream, Digest: digest[:]})
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			return data, head
		}
		if err != nil {
			t.Fatal(err)
		}
		if h := m.GetHead(); h != nil {
			i := h.GetInfo()
			head = fmt.Sprint(i.GetIndependent(), i.GetFormat(), len(i.GetChunks()), segment.Sum(h.GetInits()[0].GetData()))
		}
		data = append(data, m.GetData()...)
	}
}

func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if got[i] != want[i] {
			a, b := strings.Split(got[i], "\n"), strings.Split(want[i], "\n")
			for k := range min(len(a), len(b)) {
				if a[k] != b[k] {
					t.Errorf("%s %d of %d: got %s, want %s", what, i, len(got), a[k], b[k])
				}
			}
			if len(a) != len(b) {
				t.Errorf("%s %d of %d: got\n%s\nwant\n%s", what, i, len(got), got[i], want[i])
			}
			return
		}
	}
}

// What a pack carries is, where it comes to, what it was: every copy with its bytes, evidence, origin and UTC, and the
// digests of the blocks. A second time nothing is written.
func TestIdentity(t *testing.T) { // I2, I3
	t.Parallel()
	r := testkit.Rand(t)
	from := box(t, "here", map[string]string{"tv": "30d"})
	ls := fill(t, r, from, "tv")
	to := box(t, "there", map[string]string{"tv": "30d", "other": "30d"})
	b, done := write(t, from, "tv", archive.Range{})
	copies, digests := held(t, from, "tv", archive.Range{})
	if uint64(len(copies)) != done.Segments || done.Segments < 8 {
		t.Fatalf("%d copies in the pack of %d", done.Segments, len(copies))
	}
	for _, stream := range []string{"", "other"} {
		taken := read(t, to, stream, b)
		if taken.Stored != done.Segments || taken.Here+taken.Contained != 0 || len(taken.Refused) != 0 || taken.Span != done.Span {
			t.Errorf("%q: taken %+v of %+v", stream, taken, done)
		}
		if stream == "" {
			stream = "tv"
		}
		gotCopies, gotDigests := held(t, to, stream, archive.Range{})
		compare(t, "copies of "+stream, gotCopies, copies)
		compare(t, "digests of "+stream, gotDigests, digests)
		again := read(t, to, stream, b)
		if again.Here != done.Segments || again.Stored+again.Contained != 0 || again.Bytes != 0 {
			t.Errorf("%q a second time: %+v", stream, again)
		}
		back, _ := write(t, to, stream, archive.Range{})
		if home := read(t, from, "tv", back); home.Here != done.Segments { // the rows are found again
			t.Errorf("%q brought back: %+v", stream, home)
		}
	}
	rows, err := dvrv1.NewIndexServiceClient(to).ListTimelines(t.Context(), &dvrv1.ListTimelinesRequest{Stream: "tv"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range ls { // with every point of its UTC
		if !slices.ContainsFunc(rows.GetTimelines(), func(r *dvrv1.Timeline) bool {
			return len(r.GetMapping()) == len(l.utc) && r.GetMapping()[0].GetUtcNanos() == l.utc[0].UTC
		}) {
			t.Errorf("no timeline has the %d points of %v", len(l.utc), l.utc)
		}
	}
	rpc, err := dvrv1.NewMaintenanceServiceClient(to).Verify(t.Context(), &dvrv1.VerifyRequest{Stream: "tv"})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := rpc.Recv(); err != nil || m.GetBad() != 0 || m.GetCopies() != done.Segments {
		t.Errorf("verify: %v, %v", m, err)
	}
}

// The range is half-open in UTC.
func TestRange(t *testing.T) {
	t.Parallel()
	conn := box(t, "here", map[string]string{"tv": "30d"})
	l := lines(testkit.Rand(t))[0]
	bind(t, conn, "tv", []*line{l})
	var ms []*made
	for cell := range 5 {
		ms = append(ms, l.make(t, cell, 2, fault{}, "here"))
	}
	produce(t, conn, "tv").put(ms...)
	starts := func(k int) time.Time { return l.utc.UTC(ms[k].info.Start) }
	for _, c := range []struct {
		from, to time.Time
		want     int
	}{
		{starts(1), starts(3), 2},
		{starts(1).Add(time.Millisecond), starts(3), 2},
		{starts(1), starts(3).Add(time.Millisecond), 3},
		{starts(1).Add(-time.Millisecond), starts(3), 3},
		{time.Time{}, starts(1), 1},
		{starts(4), time.Time{}, 1},
	} {
		r := archive.Range{From: c.from, To: c.to}
		_, done := write(t, conn, "tv", r)
		if done.Segments != uint64(c.want) {
			t.Errorf("[%v, %v): %d in the pack, want %d", c.from, c.to, done.Segments, c.want)
		}
	}
	_, err := pack.Write(t.Context(), []grpc.ClientConnInterface{conn}, "tv", archive.Range{To: starts(0)}, io.Discard)
	if !errors.Is(err, pack.ErrNothing) {
		t.Errorf("before it all: %v", err)
	}
}

// One that was interrupted, by the end of its process or of its input, goes on where it was.
func TestInterrupted(t *testing.T) { // I2, I3
	t.Parallel()
	r := testkit.Rand(t)
	from, to := box(t, "here", map[string]string{"tv": "30d"}), box(t, "there", map[string]string{"tv": "30d"})
	fill(t, r, from, "tv")
	b, done := write(t, from, "tv", archive.Range{})
	half := len(b)/4 + r.IntN(len(b)/2)
	broken := errors.New("the link is down")
	taken, err := pack.Read(t.Context(), to, "", io.MultiReader(bytes.NewReader(b[:half]), iotest.ErrReader(broken)), clock.System{})
	if !errors.Is(err, broken) || pack.Damaged(err) {
		t.Errorf("cut by an error: %v", err)
	}
	copies, _ := held(t, to, "tv", archive.Range{})
	if taken.Stored == 0 || taken.Stored != uint64(len(copies)) {
		t.Errorf("%d are said to be stored, %d are", taken.Stored, len(copies))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stops := &slowly{b: b[half:], stop: cancel, after: (len(b) - half) / 2}
	second, err := pack.Read(ctx, to, "", io.MultiReader(bytes.NewReader(b[:half]), stops), clock.System{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
	if second.Here > taken.Stored {
		t.Errorf("%d were there of %d", second.Here, taken.Stored)
	}
	last := read(t, to, "", b)
	if last.Here < taken.Stored+second.Stored || last.Here+last.Stored != done.Segments {
		t.Errorf("first %+v, second %+v, at last %+v of %+v", taken, second, last, done)
	}
	want, digests := held(t, from, "tv", archive.Range{})
	copies, got := held(t, to, "tv", archive.Range{})
	compare(t, "copies", copies, want)
	compare(t, "digests", got, digests)
}

// slowly stops its reader on the way.
type slowly struct {
	b     []byte
	stop  func()
	after int
}

func (s *slowly) Read(p []byte) (int, error) {
	if s.after <= 0 {
		s.stop()
		select {}
	}
	n := copy(p[:min(len(p), 4096)], s.b)
	s.b, s.after = s.b[n:], s.after-n
	return n, nil
}

// A byte that is spoiled, or an end that is torn off, is told with its place, wherever it is; all before it is brought.
func TestSpoiled(t *testing.T) { // I1
	t.Parallel()
	r := testkit.Rand(t)
	from, to := box(t, "here", map[string]string{"tv": "30d"}), box(t, "there", map[string]string{"a": "30d", "b": "30d"})
	fill(t, r, from, "tv")
	b, done := write(t, from, "tv", archive.Range{})
	whole, err := scan(b)
	if !errors.Is(err, io.EOF) || uint64(len(whole)) != done.Segments {
		t.Fatalf("%d segments, %v", len(whole), err)
	}
	check := func(what string, at int, b []byte) {
		t.Helper()
		got, err := scan(b)
		var damaged *pack.DamagedError
		if !errors.As(err, &damaged) || damaged.At > int64(at) || damaged.At < int64(at)-1<<16 || !pack.Damaged(err) {
			t.Fatalf("%s at %d: %v", what, at, err)
		}
		for i, p := range got {
			if p.Info.Digest != whole[i].Info.Digest || p.Slot != whole[i].Slot || !bytes.Equal(p.Data, whole[i].Data) || p.At > int64(at) {
				t.Fatalf("%s at %d: segment %d is another", what, at, i)
			}
		}
		before := 0
		for i := range whole {
			if i+1 < len(whole) && whole[i+1].At <= damaged.At {
				before = i + 1
			}
		}
		if len(got) < before {
			t.Fatalf("%s at %d: %d segments, %d lie before", what, at, len(got), before)
		}
	}
	for range 40 {
		at := r.IntN(len(b))
		spoiled := slices.Clone(b)
		spoiled[at] ^= 1 << r.IntN(8)
		check("spoiled", at, spoiled)
		check("torn off", at, b[:at])
	}
	for stream, cut := range map[string]func([]byte, int) []byte{
		"a": func(b []byte, at int) []byte { b = slices.Clone(b); b[at] ^= 4; return b },
		"b": func(b []byte, at int) []byte { return b[:at] },
	} {
		at := len(b)/2 + r.IntN(len(b)/4)
		bad := cut(b, at)
		before, _ := scan(bad)
		taken, err := pack.Read(t.Context(), to, stream, bytes.NewReader(bad), clock.System{})
		if !pack.Damaged(err) || taken.Stored != uint64(len(before)) {
			t.Errorf("%s at %d: %+v, %v; want %d stored", stream, at, taken, err, len(before))
		}
		t.Log(err)
		if last := read(t, to, stream, b); last.Here != taken.Stored || last.Here+last.Stored != done.Segments {
			t.Errorf("%s: then the good one: %+v", stream, last)
		}
	}
}

// A copy that has rotted is left out and told, by the pack that finds it and by each one after that.
func TestRottenIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conn := boxIn(t, "here", dir, map[string]string{"tv": "30d"})
	l := lines(testkit.Rand(t))[0]
	bind(t, conn, "tv", []*line{l})
	ms := []*made{l.make(t, 0, 2, fault{}, "here"), l.make(t, 1, 2, fault{}, "here"), l.make(t, 2, 2, fault{}, "here")}
	produce(t, conn, "tv").put(ms...)
	rot(t, dir, ms[1].data)
	for _, c := range []struct {
		what   string
		r      archive.Range
		rotten uint64
		copies uint64
	}{
		{"found", archive.Range{}, 1, 2}, {"known", archive.Range{}, 1, 2},
		{"of a range without it", archive.Range{To: l.utc.UTC(ms[0].info.End - timeline.TicksPerSecond)}, 0, 1},
	} {
		done, err := pack.Write(t.Context(), []grpc.ClientConnInterface{conn}, "tv", c.r, io.Discard)
		if err != nil || done.Rotten != c.rotten || done.Segments != c.copies {
			t.Errorf("%s: %+v, %v; want %d rotten beside %d", c.what, done, err, c.rotten, c.copies)
		}
	}
}

// rot spoils a segment where it is stored.
func rot(t *testing.T, dir string, data []byte) {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".mp4" {
			return err
		}
		b, err := os.ReadFile(path)
		at := bytes.Index(b, data[:200])
		if err != nil || at < 0 {
			return err
		}
		found = true
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte{data[199] ^ 1}, int64(at+199))
		return errors.Join(err, f.Close())
	})
	if err != nil || !found {
		t.Fatalf("the segment is in no file: %v", err)
	}
}

// scan reads a pack until it ends.
func scan(b []byte) (out []*store.Packed, err error) {
	r := store.NewPackReader(bytes.NewReader(b))
	for {
		p, err := r.Next()
		if err != nil {
			return out, err
		}
		out = append(out, p)
	}
}

// A pack comes in by the rules of backfill: what was deleted does not come back, what has expired is not taken, and what is
// contained in a better copy is not stored beside it; each is told.
func TestRules(t *testing.T) {
	t.Parallel()
	from := box(t, "here", map[string]string{"tv": "30d"})
	to := box(t, "there", map[string]string{"tv": "30d", "short": "1h"})
	l := lines(testkit.Rand(t))[0]
	other := *l
	bind(t, from, "tv", []*line{l})
	bind(t, to, "tv", []*line{&other})
	var ms []*made
	for cell := range 4 {
		ms = append(ms, l.make(t, cell, 2, fault{lost: []int{cell + 5}}, "here"))
	}
	produce(t, from, "tv").put(ms...)
	produce(t, to, "tv").put(other.make(t, 1, 2, fault{}, "there"), other.make(t, 2, 2, fault{}, "there"))
	b, _ := write(t, from, "tv", archive.Range{})
	taken := read(t, to, "", b)
	if taken.Stored != 2 || taken.Contained != 2 || len(taken.Refused) != 0 {
		t.Errorf("beside whole ones: %+v", taken)
	}
	if copies, _ := held(t, to, "tv", archive.Range{}); len(copies) != 4 {
		t.Errorf("%d copies, want one in each slot", len(copies))
	}
	if rows, err := dvrv1.NewIndexServiceClient(to).ListTimelines(t.Context(), &dvrv1.ListTimelinesRequest{Stream: "tv"}); err != nil || len(rows.GetTimelines()) != 1 {
		t.Errorf("the timeline was not found to be the one that is there: %v, %v", rows, err)
	}
	start := l.utc.UTC(ms[3].info.Start)
	d, err := dvrv1.NewMaintenanceServiceClient(to).DeleteRange(t.Context(), &dvrv1.DeleteRangeRequest{
		Stream: "tv", From: timestamppb.New(start.Add(-time.Second)), To: timestamppb.New(start.Add(time.Minute)),
	})
	if err != nil || d.GetCopies() != 1 {
		t.Fatalf("delete: %v, %v", d, err)
	}
	if taken = read(t, to, "", b); taken.Refused["DELETED"] != 1 || taken.Here != 1 || taken.Contained != 2 || taken.Segments != 4 {
		t.Errorf("with one deleted: %+v", taken)
	}
	if taken = read(t, to, "short", b); taken.Refused["EXPIRED"] != 4 || taken.Segments != 4 {
		t.Errorf("with a shorter retention: %+v", taken)
	}
}
