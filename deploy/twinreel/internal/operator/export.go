package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/export"
)

// Export writes a range to a file. The file appears when it is whole.
func (s *Site) Export(ctx context.Context, stream string, r archive.Range, file string) (err error) {
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
	res, err := e.Write(ctx, f)
	if err != nil {
		return p.asked("export", err)
	}
	if err := f.Chmod(0o644); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return fmt.Errorf("name output: %w", err)
	}
	if s.json {
		err := s.printJSON(map[string]any{
			"file": file, "from": res.From, "to": res.To, "segments": res.Segments, "gaps": res.Gaps, "bytes": res.Bytes,
		})
		return errors.Join(err, h.incomplete())
	}
	s.printf("%s: %s to %s, %d segments, %d gaps, %s\n", file, res.From.Format(time.RFC3339Nano), res.To.Format(time.RFC3339Nano),
		res.Segments, res.Gaps, size(uint64(res.Bytes)))
	return h.incomplete()
}
