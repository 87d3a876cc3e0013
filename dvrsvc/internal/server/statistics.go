package server

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// GetStatistics implements MaintenanceServiceServer.
func (x maintenance) GetStatistics(_ context.Context, m *dvrv1.GetStatisticsRequest) (*dvrv1.GetStatisticsResponse, error) {
	now := x.clock.Mono()
	all := x.rec.Stats()
	out := &dvrv1.GetStatisticsResponse{}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		s := all[path]
		of := &dvrv1.StorageStatistics{Path: path, CommitRunningMicros: micros(s.Running(now))}
		for i, what := range stats.SyncNames {
			of.Syncs = append(of.Syncs, fromLatency(what, s.Latency(stats.Sync(i), now)))
		}
		streams := s.Streams()
		var total stats.Counts
		for _, name := range slices.Sorted(maps.Keys(streams)) {
			c := streams[name]
			total.Add(&c)
			if m.GetStream() == "" || m.GetStream() == name {
				of.Streams = append(of.Streams, fromCounts(name, &c))
			}
		}
		of.Total = fromCounts("", &total)
		out.Storages = append(out.Storages, of)
	}
	return out, nil
}

func micros(d time.Duration) uint64 { return uint64(d / time.Microsecond) }

func fromLatency(what string, l stats.Latency) *dvrv1.SyncStatistics {
	out := &dvrv1.SyncStatistics{What: what, Count: l.Count, SumMicros: micros(l.Sum), LongestMicros: micros(l.Longest)}
	for i, n := range l.Buckets {
		b := &dvrv1.SyncBucket{Count: n}
		if i < len(stats.Bounds) {
			b.UpToMicros = micros(stats.Bounds[i])
		}
		out.Buckets = append(out.Buckets, b)
	}
	return out
}

func fromCounts(name string, c *stats.Counts) *dvrv1.StreamStatistics {
	out := &dvrv1.StreamStatistics{
		Stream: name, Written: fromClasses(c.Written[:]), SegmentsOffered: c.Offered, SegmentsBackfilled: c.Backfilled,
		ReadMemory: fromClasses(c.Reads[stats.Memory][:]), ReadDisk: fromClasses(c.Reads[stats.Disk][:]),
	}
	for i, kind := range stats.KindNames {
		out.BytesWritten = append(out.BytesWritten, &dvrv1.ByteCount{Kind: kind, Bytes: c.Bytes[i]})
	}
	for i, purpose := range stats.PurposeNames {
		for k, source := range stats.SourceNames {
			if n := c.ReadBytes[i][k]; n > 0 {
				out.BytesRead = append(out.BytesRead, &dvrv1.ByteCount{Kind: purpose, Source: source, Bytes: n})
			}
		}
	}
	for i, age := range stats.AgeNames {
		out.Played = append(out.Played, &dvrv1.AgeCount{Age: age, Reads: c.Played[i], Bytes: c.PlayedBytes[i]})
	}
	return out
}

func fromClasses(n []uint64) *dvrv1.ClassCounts {
	return &dvrv1.ClassCounts{
		Fast: n[stats.Fast], Slow: n[stats.Slow], Delayed: n[stats.Delayed], Failed: n[stats.Failed], Skipped: n[stats.Skipped],
	}
}
