package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/dvrsvc/pack"
	"github.com/twinreel/twinreel/pkg/archive"
	wall "github.com/twinreel/twinreel/pkg/clock"
)

// Pack writes a range as it is stored to a file, which appears when it is whole, or to out where that is set.
func (s *Site) Pack(ctx context.Context, stream string, r archive.Range, file string, out io.Writer) error {
	h, err := s.holders(ctx, segments, stream)
	if err != nil {
		return err
	}
	var archives []grpc.ClientConnInterface
	var addrs []string
	for _, p := range h.parts {
		archives, addrs = append(archives, p.conn), append(addrs, p.addr)
	}
	var done pack.Written
	write := func(w io.Writer) (err error) {
		done, err = pack.Write(ctx, archives, stream, r, w)
		return err
	}
	if out != nil {
		err = write(out)
	} else {
		err = replace(file, func(f *os.File) error { return write(f) })
	}
	switch {
	case errors.Is(err, pack.ErrNothing):
		return fmt.Errorf("%w: %w", ErrDifference, err)
	case err != nil:
		return (&part{addr: strings.Join(addrs, ", ")}).asked("pack", err)
	}
	if err := s.told(h, map[string]any{
		"stream": stream, "file": file, "from": done.From, "to": done.To, "segments": done.Segments, "bytes": done.Bytes, "rotten": done.Rotten,
	}, func() {
		s.printf("%s: %s to %s, %d segments, %s\n", file, done.From.Format(time.RFC3339Nano), done.To.Format(time.RFC3339Nano),
			done.Segments, size(uint64(done.Bytes)))
	}); err != nil {
		return err
	}
	if done.Rotten > 0 {
		return fmt.Errorf("%w: %d copies are rotten and were left out", ErrDifference, done.Rotten)
	}
	return nil
}

// Unpack brings what Pack wrote. What was brought is printed however it ends.
func (s *Site) Unpack(ctx context.Context, stream, file string, in io.Reader) error {
	p, err := s.recorder(ctx, stream)
	if err != nil {
		return err
	}
	done, err := pack.Read(ctx, p.conn, stream, in, wall.System{})
	if err := s.unpacked(&done, file); err != nil {
		return err
	}
	switch {
	case err == nil:
	case pack.Damaged(err):
		return fmt.Errorf("%w: %s: %w", ErrDifference, file, err)
	default:
		return fmt.Errorf("%w (what is said to be stored is durable; the same again goes on from there)", p.asked("unpack", err))
	}
	if len(done.Refused) > 0 {
		return fmt.Errorf("%w: not all of it was taken", ErrDifference)
	}
	return nil
}

// recorder finds who records a stream; "": whoever answers, of which there may be one alone.
func (s *Site) recorder(ctx context.Context, stream string) (*part, error) {
	if stream != "" {
		h, err := s.holders(ctx, recording, stream)
		if err != nil {
			return nil, err
		}
		return h.parts[0], nil
	}
	parts, err := s.all(ctx, recording)
	if err != nil {
		return nil, err
	}
	if len(parts) > 1 {
		return nil, errors.New("the site has several dvrsvc: name the stream")
	}
	return parts[0], nil
}

func (s *Site) unpacked(t *pack.Taken, file string) error {
	if s.json {
		return s.printJSON(map[string]any{
			"stream": t.Stream, "file": file, "from": t.From, "to": t.To, "segments": t.Segments, "stored": t.Stored,
			"here": t.Here, "contained": t.Contained, "refused": t.Refused, "bytes": t.Bytes,
		})
	}
	if t.Segments == 0 {
		s.printf("%s: no segment was brought\n", file)
		return nil
	}
	s.printf("%s to %s: %s to %s, %d segments: %d stored (%s), %d were there, %d are contained in others", file, t.Stream,
		t.From.Format(time.RFC3339Nano), t.To.Format(time.RFC3339Nano), t.Segments, t.Stored, size(t.Bytes), t.Here, t.Contained)
	for _, reason := range slices.Sorted(maps.Keys(t.Refused)) {
		s.printf(", %d refused: %s", t.Refused[reason], reason)
	}
	s.printf("\n")
	return nil
}
