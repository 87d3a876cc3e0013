package operator

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

func TestWithin(t *testing.T) {
	y := &dvrv1.SyncStatistics{Count: 100, Buckets: []*dvrv1.SyncBucket{
		{UpToMicros: 1000, Count: 49}, {UpToMicros: 2500, Count: 2}, {UpToMicros: 5000, Count: 47}, {Count: 2},
	}}
	for percent, want := range map[uint64]string{49: "1ms", 50: "2.5ms", 51: "2.5ms", 52: "5ms", 98: "5ms", 99: "longer"} {
		if got := within(y, percent); got != want {
			t.Errorf("%d%% within %s, want %s", percent, got, want)
		}
	}
	if got := within(&dvrv1.SyncStatistics{Buckets: y.Buckets}, 99); got != "-" {
		t.Errorf("of none: %s", got)
	}
}

// counting is a dvrsvc that has done something.
type counting struct {
	dvrv1.UnimplementedMaintenanceServiceServer
	storages []*dvrv1.StorageStatistics
}

func (c *counting) GetStatistics(_ context.Context, m *dvrv1.GetStatisticsRequest) (*dvrv1.GetStatisticsResponse, error) {
	if m.GetStream() == "nothing" {
		return &dvrv1.GetStatisticsResponse{}, nil
	}
	return &dvrv1.GetStatisticsResponse{Storages: c.storages}, nil
}

func TestStats(t *testing.T) {
	a := &dvrv1.StreamStatistics{
		Stream: "tv", Written: &dvrv1.ClassCounts{Fast: 11, Slow: 12, Delayed: 13, Failed: 14, Skipped: 15}, SegmentsOffered: 16, SegmentsBackfilled: 17,
		BytesWritten: []*dvrv1.ByteCount{{Kind: "live", Bytes: 2e6}, {Kind: "backfill"}},
		ReadMemory:   &dvrv1.ClassCounts{Fast: 21}, ReadDisk: &dvrv1.ClassCounts{Slow: 22},
		BytesRead: []*dvrv1.ByteCount{{Kind: "play", Source: "disk", Bytes: 3e6}},
		Played:    []*dvrv1.AgeCount{{Age: "hour", Reads: 31, Bytes: 4e6}, {Age: "day"}, {Age: "two_days"}, {Age: "week"}, {Age: "older", Reads: 35}},
	}
	x := &dvrv1.StorageStatistics{Path: "/storage", CommitRunningMicros: 42e6, Total: a, Streams: []*dvrv1.StreamStatistics{a},
		Syncs: []*dvrv1.SyncStatistics{{What: "data", Count: 2, SumMicros: 6000, LongestMicros: 1500000, Buckets: []*dvrv1.SyncBucket{{UpToMicros: 5000, Count: 2}}}}}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	dvrv1.RegisterMaintenanceServiceServer(srv, &counting{storages: []*dvrv1.StorageStatistics{x}})
	reflection.Register(srv)
	go srv.Serve(lis) //nolint:errcheck // ends with Stop
	t.Cleanup(srv.Stop)
	var out bytes.Buffer
	s, err := Dial(lis.Addr().String(), Access{}, &out, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Stats(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	said := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"/storage since its dvrsvc began", "data 2 3ms 5ms 5ms 1.5s", "a commit has been running for 42s", "tv 11 12 13 14 15 16 17 live 2.0 MB",
		"tv, memory 21 0 0 0 0", "tv, disk 0 22 0 0 0 play 3.0 MB", "tv 31 (4.0 MB) 0 (0.0 kB) 0 (0.0 kB) 0 (0.0 kB) 35 (0.0 kB)",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it says\n%s\nwant %q in it", out.String(), want)
		}
	}
	if err := s.Stats(t.Context(), "nothing"); err == nil {
		t.Error("a stream of which nothing is known is good")
	}
	out.Reset()
	s.printStorage(x)
	if want := "  storage /storage  longest of the last minute: data 1.5s; a commit has been running for 42s; live segments 13 delayed, 14 failed, 15 skipped\n"; out.String() != want {
		t.Errorf("status says %q, want %q", out.String(), want)
	}
}
