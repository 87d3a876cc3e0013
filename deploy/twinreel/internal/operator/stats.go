package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// statistics asks every dvrsvc what its storages have done.
func (s *Site) statistics(ctx context.Context, stream string) ([]*dvrv1.StorageStatistics, error) {
	parts, err := s.all(ctx, maintenance)
	if err != nil {
		return nil, err
	}
	var out []*dvrv1.StorageStatistics
	for _, p := range parts {
		m, err := dvrv1.NewMaintenanceServiceClient(p.conn).GetStatistics(ctx, &dvrv1.GetStatisticsRequest{Stream: stream})
		if err != nil {
			return out, p.asked("get statistics", err)
		}
		out = append(out, m.GetStorages()...)
	}
	return out, nil
}

// Stats prints what the storages of a site have done since their processes began, of one stream or of all.
func (s *Site) Stats(ctx context.Context, stream string) error {
	all, err := s.statistics(ctx, stream)
	if err != nil {
		return err
	}
	if s.json {
		return errors.Join(s.printJSON(map[string]any{"storages": raws(all)}), s.unanswered())
	}
	found := false
	for _, x := range all {
		if found = found || len(x.GetStreams()) > 0; stream != "" && len(x.GetStreams()) == 0 {
			continue
		}
		s.printf("%s  since its dvrsvc began\n", plain(x.GetPath()))
		w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		printSyncs(w, x)
		printCounts(w, x)
		if err := w.Flush(); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	if err := s.unanswered(); err != nil {
		return err
	}
	if stream != "" && !found {
		return fmt.Errorf("%w: nothing was done for %s since dvrsvc began", ErrDifference, stream)
	}
	return nil
}

func printSyncs(w *tabwriter.Writer, x *dvrv1.StorageStatistics) {
	fmt.Fprintln(w, "  sync of\tcount\tmean\thalf within\t99% within\tlongest of the last minute")
	for _, y := range x.GetSyncs() {
		fmt.Fprintf(w, "  %s\t%d\t%s\t%s\t%s\t%s\n", y.GetWhat(), y.GetCount(), micros(y.GetSumMicros()/max(1, y.GetCount())), within(y, 50), within(y, 99),
			micros(y.GetLongestMicros()))
	}
	if n := x.GetCommitRunningMicros(); n > 1e6 {
		fmt.Fprintf(w, "  a commit has been running for %s: the disk does not answer\n", micros(n))
	}
}

// printCounts prints a row for each stream, and one of all.
func printCounts(w *tabwriter.Writer, x *dvrv1.StorageStatistics) {
	rows := x.GetStreams()
	if len(rows) > 1 {
		rows = append(rows, x.GetTotal())
	}
	name := func(c *dvrv1.StreamStatistics) string {
		if c.GetStream() == "" {
			return "all"
		}
		return plain(c.GetStream())
	}
	flush := func() { _ = w.Flush() } // a table of its own; the last one tells of errors
	flush()
	fmt.Fprintln(w, "  live segments\tfast\tslow\tdelayed\tfailed\tskipped\tlater\tfrom other sites\tbytes written")
	for _, c := range rows {
		fmt.Fprintf(w, "  %s\t%s\t%d\t%d\t%s\n", name(c), classes(c.GetWritten()), c.GetSegmentsOffered(), c.GetSegmentsBackfilled(), bytesOf(c.GetBytesWritten()))
	}
	flush()
	fmt.Fprintln(w, "  read from\tfast\tslow\tdelayed\tfailed\tskipped\tbytes")
	for _, c := range rows {
		for _, x := range []struct {
			source string
			n      *dvrv1.ClassCounts
		}{{"memory", c.GetReadMemory()}, {"disk", c.GetReadDisk()}} {
			var of []*dvrv1.ByteCount
			for _, b := range c.GetBytesRead() {
				if b.GetSource() == x.source {
					of = append(of, b)
				}
			}
			fmt.Fprintf(w, "  %s, %s\t%s\t%s\n", name(c), x.source, classes(x.n), bytesOf(of))
		}
	}
	flush()
	fmt.Fprintln(w, "  played\tof the last hour\tday\tday before\tweek\tolder")
	for _, c := range rows {
		fmt.Fprintf(w, "  %s", name(c))
		for _, p := range c.GetPlayed() {
			fmt.Fprintf(w, "\t%d (%s)", p.GetReads(), size(p.GetBytes()))
		}
		fmt.Fprintln(w)
	}
}

func classes(c *dvrv1.ClassCounts) string {
	return fmt.Sprintf("%d\t%d\t%d\t%d\t%d", c.GetFast(), c.GetSlow(), c.GetDelayed(), c.GetFailed(), c.GetSkipped())
}

// bytesOf names what there is.
func bytesOf(all []*dvrv1.ByteCount) string {
	var out []string
	for _, b := range all {
		if b.GetBytes() > 0 {
			out = append(out, b.GetKind()+" "+size(b.GetBytes()))
		}
	}
	return strings.Join(out, ", ")
}

func micros(n uint64) string {
	d := time.Duration(n) * time.Microsecond
	if d >= 10*time.Second {
		return d.Round(time.Second).String()
	}
	return d.Round(100 * time.Microsecond).String()
}

// within says in how long so many of a hundred syncs were done at most.
func within(y *dvrv1.SyncStatistics, percent uint64) string {
	left := (y.GetCount()*percent + 99) / 100
	for _, b := range y.GetBuckets() {
		switch {
		case left == 0:
			return "-"
		case b.GetCount() < left:
			left -= b.GetCount()
			continue
		case b.GetUpToMicros() == 0:
			return "longer"
		}
		return micros(b.GetUpToMicros())
	}
	return "-"
}

// printStorage says how the disk of a storage does.
func (s *Site) printStorage(x *dvrv1.StorageStatistics) {
	s.printf("  storage %s  longest of the last minute:", plain(x.GetPath()))
	for _, y := range x.GetSyncs() {
		s.printf(" %s %s", y.GetWhat(), micros(y.GetLongestMicros()))
	}
	if n := x.GetCommitRunningMicros(); n > 1e6 {
		s.printf("; a commit has been running for %s", micros(n))
	}
	if c := x.GetTotal().GetWritten(); c.GetDelayed()+c.GetFailed()+c.GetSkipped() > 0 {
		s.printf("; live segments %d delayed, %d failed, %d skipped", c.GetDelayed(), c.GetFailed(), c.GetSkipped())
	}
	s.printf("\n")
}
