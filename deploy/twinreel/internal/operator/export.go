package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/export"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// Export writes a range to a file; with subtitles, those of teletext to a file each beside it, FILE.PAGE.LANGUAGE.vtt. A
// file appears when it is whole.
func (s *Site) Export(ctx context.Context, stream string, r archive.Range, file string, subtitles bool) error {
	h, err := s.holders(ctx, segments, stream)
	if err != nil {
		return err
	}
	p := h.one()
	e, err := export.Plan(ctx, archive.New(p.conn, stream), r)
	var configuration *export.ConfigurationError
	switch {
	case errors.Is(err, export.ErrNothing), errors.As(err, &configuration):
		return fmt.Errorf("%w: %w", ErrDifference, err)
	case err != nil:
		return p.asked("export", err)
	}
	if subtitles {
		if err := e.WithText(ctx); err != nil {
			return p.asked("export", err)
		}
	}
	var res export.Result
	if err := replace(file, func(f *os.File) (err error) {
		if res, err = e.Write(ctx, f); err != nil {
			return p.asked("export", err)
		}
		return nil
	}); err != nil {
		return err
	}
	texts, err := writeTexts(file, e.Texts())
	if err != nil {
		return err
	}
	if s.json {
		err := s.printJSON(map[string]any{
			"file": file, "from": res.From, "to": res.To, "segments": res.Segments, "gaps": res.Gaps, "bytes": res.Bytes,
			"subtitles": texts,
		})
		return errors.Join(err, h.incomplete())
	}
	s.printf("%s: %s to %s, %d segments, %d gaps, %s\n", file, res.From.Format(time.RFC3339Nano), res.To.Format(time.RFC3339Nano),
		res.Segments, res.Gaps, size(uint64(res.Bytes)))
	for _, t := range texts {
		s.printf("%s: subtitles\n", t)
	}
	if subtitles && len(texts) == 0 {
		s.printf("there are no subtitles that can be written\n")
	}
	return h.incomplete()
}

// writeTexts writes subtitles beside a file, and returns the names. A page that showed nothing gets none.
func writeTexts(file string, texts []export.Text) ([]string, error) {
	names := []string{}
	for _, t := range texts {
		if t.Cues == 0 {
			continue
		}
		name := strings.TrimSuffix(file, filepath.Ext(file)) + "." + strconv.Itoa(t.Page.Number)
		if t.Page.Language != "" {
			name += "." + t.Page.Language // letters alone
		}
		name += ".vtt"
		if slices.Contains(names, name) { // the same page on another PID
			name = strings.TrimSuffix(name, "vtt") + strconv.Itoa(int(t.PID)) + ".vtt"
		}
		if err := replace(name, func(f *os.File) error {
			if _, err := f.Write(t.WebVTT); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// replace writes a file that appears when it is whole, and durable. What is no file, as a pipe or /dev/null, is written to: nothing may take its
// place.
func replace(file string, write func(*os.File) error) (err error) {
	switch st, err := os.Stat(file); {
	case err == nil && st.IsDir():
		return fmt.Errorf("create output: %s is a directory", file)
	case err == nil && !st.Mode().IsRegular():
		return into(file, write)
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("create output: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()           //nolint:errcheck // already failed
			os.Remove(f.Name()) //nolint:errcheck // already failed
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil { // what it is made of may be deleted next
		return fmt.Errorf("write output: %w", err)
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return fmt.Errorf("name output: %w", err)
	}
	if err := (vfs.OS{}).SyncDir(filepath.Dir(file)); err != nil {
		return fmt.Errorf("name output: %w", err)
	}
	return nil
}

// into writes to what is there.
func into(file string, write func(*os.File) error) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open output: %w", err)
	}
	if err := write(f); err != nil {
		f.Close() //nolint:errcheck // already failed
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
