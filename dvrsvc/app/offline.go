package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
)

// CheckStorage looks at a storage that no dvrsvc uses: it reads every byte, and holds index, marks and what is presented
// against each other. With rebuild the index is made anew from the data files before. It prints what it found; good is
// false where anything is wrong. It begins as a start of dvrsvc does: ends of files that a crash left torn are closed.
// node is the id of the site.
func CheckStorage(ctx context.Context, path, node string, rebuild bool, out io.Writer, log *slog.Logger) (good bool, err error) {
	if !store.Exists(path) {
		return false, fmt.Errorf("%s is no storage: it has no .twinreel", path)
	}
	return Disk{}.Check(ctx, path, node, rebuild, out, log)
}

// Check is [CheckStorage] of a storage on this disk.
func (d Disk) Check(ctx context.Context, path, node string, rebuild bool, out io.Writer, log *slog.Logger) (good bool, err error) {
	o := store.Options{Path: path, Logger: log, Node: node, Exit: func(int) {}, FS: d.FS, IndexFS: d.Index}
	before := map[string]store.Summary{}
	if rebuild {
		st, err := store.Open(ctx, o)
		if err != nil {
			return false, err
		}
		for _, name := range st.Names() {
			if a, err := st.Stream(name); err == nil {
				before[name] = a.Summary()
			}
		}
		if err := st.Close(); err != nil {
			return false, err
		}
		o.Rebuild = true
	}
	st, err := store.Open(ctx, o)
	if err != nil {
		return false, err
	}
	defer func() {
		if e := st.Close(); e != nil && err == nil {
			err = e
		}
	}()
	good = true
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "stream\ttimelines\tsegments\tcopies\tbytes\trotten\tbefore")
	var lines []string
	for _, name := range st.Names() {
		a, err := st.Stream(name)
		if err != nil {
			lines, good = append(lines, err.Error()), false
			continue
		}
		total, err := a.Verify(ctx, func(b store.BadCopy) {
			lines = append(lines, fmt.Sprintf("%s: %s: %v", name, b.Digest, b.Problem))
		})
		if err != nil {
			return false, fmt.Errorf("read %s: %w", name, err)
		}
		s, was := a.Summary(), "-"
		if rebuild {
			was = fmt.Sprintf("%d segments, %d copies", before[name].Segments, before[name].Copies)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", name, len(a.Timelines()), s.Segments, s.Copies, s.Bytes, total.Bad, was)
		good = good && total.Bad == 0
	}
	if err := w.Flush(); err != nil {
		return false, err
	}
	for _, l := range lines {
		fmt.Fprintln(out, l)
	}
	if problem := st.Check(ctx); problem != nil {
		fmt.Fprintln(out, problem)
		return false, nil
	}
	return good, nil
}
