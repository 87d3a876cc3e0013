package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/export"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// ErrDifference is the end of a command that worked and whose answer is bad: a difference, damage, nothing in the range.
var ErrDifference = errors.New("not as it should be")

// Site is a site that is asked.
type Site struct {
	addr string
	conn grpc.ClientConnInterface
	out  io.Writer
	json bool
	shut func() error
}

// Dial prepares to ask the site at addr; it connects with the first question.
func Dial(addr string, out io.Writer, asJSON bool) (*Site, error) {
	conn, err := grpcx.Dial(addr, grpcx.DialOptions{Media: true})
	if err != nil {
		return nil, err
	}
	return &Site{addr: addr, conn: conn, out: out, json: asJSON, shut: conn.Close}, nil
}

// New asks through a connection that stays the caller's.
func New(conn grpc.ClientConnInterface, out io.Writer, asJSON bool) *Site {
	return &Site{addr: "the site", conn: conn, out: out, json: asJSON, shut: func() error { return nil }}
}

// Close ends the connection.
func (s *Site) Close() error { return s.shut() }

// asked adds whom was asked to an error that is none of the answer's.
func (s *Site) asked(what string, err error) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return fmt.Errorf("%s: %s does not answer: %s", what, s.addr, status.Convert(err).Message())
	case codes.Unimplemented:
		return fmt.Errorf("%s: %s does not have this service", what, s.addr)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (s *Site) printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

func (s *Site) printJSON(v any) error {
	e := json.NewEncoder(s.out)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// raw is a message as it stands in JSON.
func raw(m proto.Message) json.RawMessage {
	b, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}

func raws[M proto.Message](ms []M) []json.RawMessage {
	out := make([]json.RawMessage, len(ms))
	for i, m := range ms {
		out[i] = raw(m)
	}
	return out
}

// Ranges prints what is recorded and what is not.
func (s *Site) Ranges(ctx context.Context, stream string, r archive.Range) error {
	index := dvrv1.NewIndexServiceClient(s.conn)
	ranges, err := index.GetRanges(ctx, &dvrv1.GetRangesRequest{Stream: stream, From: stamp(r.From), To: stamp(r.To)})
	if err != nil {
		return s.asked("get ranges", err)
	}
	gaps, err := index.FindGaps(ctx, &dvrv1.FindGapsRequest{Stream: stream, From: stamp(r.From), To: stamp(r.To)})
	if err != nil {
		return s.asked("find gaps", err)
	}
	if s.json {
		err = s.printJSON(map[string]any{"stream": stream, "ranges": raws(ranges.GetRanges()), "gaps": raws(gaps.GetGaps())})
	} else {
		s.printRanges(ranges.GetRanges(), gaps.GetGaps())
	}
	if err != nil {
		return err
	}
	if len(ranges.GetRanges()) == 0 {
		return fmt.Errorf("%w: %w", ErrDifference, export.ErrNothing)
	}
	for _, r := range ranges.GetRanges() {
		if r.GetState() == dvrv1.Range_DAMAGED {
			return fmt.Errorf("%w: something is damaged", ErrDifference)
		}
	}
	return nil
}

// printRanges merges both lists in order of time.
func (s *Site) printRanges(ranges []*dvrv1.Range, gaps []*dvrv1.Gap) {
	for len(ranges)+len(gaps) > 0 {
		if len(gaps) > 0 && (len(ranges) == 0 || gaps[0].GetFrom().AsTime().Before(ranges[0].GetFrom().AsTime())) {
			g := gaps[0]
			gaps = gaps[1:]
			s.printf("%s  %s  %10s  missing: %s\n", clock(g.GetFrom()), clock(g.GetTo()), span(g.GetFrom(), g.GetTo()), g.GetReason())
			continue
		}
		r := ranges[0]
		ranges = ranges[1:]
		s.printf("%s  %s  %10s  %s", clock(r.GetFrom()), clock(r.GetTo()), span(r.GetFrom(), r.GetTo()), state(r.GetState()))
		if n := r.GetDamagedTicks(); n > 0 {
			s.printf(", %s of it", seconds(n))
		}
		if n := r.GetReplicatedTicks(); n > 0 {
			s.printf(", %s from a peer", seconds(n))
		}
		s.printf("\n")
	}
}

func state(s dvrv1.Range_State) string {
	if s == dvrv1.Range_DAMAGED {
		return "damaged"
	}
	return "intact"
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func clock(t *timestamppb.Timestamp) string { return t.AsTime().Format("2006-01-02T15:04:05.000Z") }

func span(from, to *timestamppb.Timestamp) string {
	return to.AsTime().Sub(from.AsTime()).Round(time.Millisecond).String()
}

func seconds(ticks int64) string {
	return timeline.Ticks(ticks).Duration().Round(time.Millisecond).String()
}

// Verify hashes what is stored, and compares with a peer when one is given.
func (s *Site) Verify(ctx context.Context, stream, peer string) error {
	rpc, err := dvrv1.NewMaintenanceServiceClient(s.conn).Verify(ctx, &dvrv1.VerifyRequest{Stream: stream})
	if err != nil {
		return s.asked("verify", err)
	}
	var total *dvrv1.VerifyResponse
	var bad []*dvrv1.VerifyResponse
	for {
		m, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s.asked("verify", err)
		}
		if total = m; m.GetDigest() != "" {
			bad = append(bad, m)
		}
	}
	var compared []*replv1.Comparison
	if peer != "" {
		m, err := replv1.NewReplicationServiceClient(s.conn).Compare(ctx, &replv1.CompareRequest{Stream: stream, Url: peer})
		if err != nil {
			return s.asked("compare with "+peer, err)
		}
		compared = m.GetComparisons()
	}
	if s.json {
		err := s.printJSON(map[string]any{"stream": stream, "total": raw(total), "bad": raws(bad), "comparisons": raws(compared)})
		if err != nil {
			return err
		}
	} else {
		s.printVerified(total, bad, compared)
	}
	return s.judge(total, bad, compared, peer)
}

func (s *Site) printVerified(total *dvrv1.VerifyResponse, bad []*dvrv1.VerifyResponse, compared []*replv1.Comparison) {
	for _, b := range bad {
		s.printf("%s  %s\n", b.GetDigest(), b.GetProblem())
	}
	s.printf("%d copies, %s read and hashed again: %d bad\n", total.GetCopies(), size(total.GetBytes()), total.GetBad())
	for _, c := range compared {
		for _, d := range c.GetDifferences() {
			s.printf("%s  here %s, there %s\n", clock(d.GetStart()), copies(d.GetHere()), copies(d.GetThere()))
		}
		s.printf("%s: %d slots compared, %d equal, %d differ\n", c.GetUrl(), c.GetSlots(), c.GetEqual(), len(c.GetDifferences()))
	}
}

func (s *Site) judge(total *dvrv1.VerifyResponse, bad []*dvrv1.VerifyResponse, compared []*replv1.Comparison, peer string) error {
	if len(bad) > 0 || total.GetBad() > 0 {
		return fmt.Errorf("%w: %d copies are bad", ErrDifference, max(uint64(len(bad)), total.GetBad()))
	}
	var slots uint64
	for _, c := range compared {
		if n := len(c.GetDifferences()); n > 0 {
			return fmt.Errorf("%w: %d slots differ from %s", ErrDifference, n, c.GetUrl())
		}
		slots += c.GetSlots()
	}
	switch {
	case total.GetCopies() == 0:
		return fmt.Errorf("%w: nothing is stored", ErrDifference)
	case peer != "" && slots == 0:
		return fmt.Errorf("%w: no slot could be compared with %s", ErrDifference, peer)
	}
	return nil
}

func copies(digests []string) string {
	switch len(digests) {
	case 0:
		return "nothing"
	case 1:
		return digests[0]
	}
	return fmt.Sprint(digests)
}

func size(n uint64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1e3)
}

// Export writes a range to a file. The file appears when it is whole.
func (s *Site) Export(ctx context.Context, stream string, r archive.Range, file string) (err error) {
	e, err := export.Plan(ctx, archive.New(s.conn, stream), r)
	var configuration *export.ConfigurationError
	switch {
	case errors.Is(err, export.ErrNothing), errors.As(err, &configuration):
		return fmt.Errorf("%w: %w", ErrDifference, err)
	case err != nil:
		return s.asked("export", err)
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
		return s.asked("export", err)
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
		return s.printJSON(map[string]any{
			"file": file, "from": res.From, "to": res.To, "segments": res.Segments, "gaps": res.Gaps, "bytes": res.Bytes,
		})
	}
	s.printf("%s: %s to %s, %d segments, %d gaps, %s\n", file, res.From.Format(time.RFC3339Nano), res.To.Format(time.RFC3339Nano),
		res.Segments, res.Gaps, size(uint64(res.Bytes)))
	return nil
}
