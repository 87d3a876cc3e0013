package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// PeerURL reads the URL of a peer as a person writes it: m4f://HOST:PORT/STREAM, or m4fs:// with TLS, of which HOST:PORT alone is
// enough.
func PeerURL(text string) (string, error) {
	full := text
	if !strings.Contains(full, "://") {
		full = "m4f://" + full
	}
	u, err := url.Parse(full)
	if err != nil || u.Scheme != "m4f" && u.Scheme != "m4fs" || u.Hostname() == "" {
		return "", fmt.Errorf("%q is no peer; write m4f://HOST:PORT/STREAM, or m4fs:// with TLS", text)
	}
	return full, nil
}

// Verify hashes what is stored, and compares with a peer when one is given.
func (s *Site) Verify(ctx context.Context, stream, peer string) error {
	h, err := s.holders(ctx, maintenance, stream)
	if err != nil {
		return err
	}
	var compared []*replv1.Comparison
	if peer != "" { // first: it is quick, and without the peer the hashing would be in vain
		if compared, err = s.compare(ctx, stream, peer); err != nil {
			return err
		}
	}
	total, bad, err := h.verify(ctx, stream)
	if err != nil {
		return err
	}
	if s.json {
		err := s.printJSON(map[string]any{"stream": stream, "total": raw(total), "bad": raws(bad), "comparisons": raws(compared)})
		if err != nil {
			return err
		}
	} else {
		s.printVerified(total, bad, compared)
	}
	if err := h.incomplete(); err != nil {
		return err
	}
	return s.judge(total, bad, compared, peer)
}

// verify has what each of them holds hashed again.
func (h *holders) verify(ctx context.Context, stream string) (*dvrv1.VerifyResponse, []*dvrv1.VerifyResponse, error) {
	sum, all := &dvrv1.VerifyResponse{}, []*dvrv1.VerifyResponse(nil)
	for _, p := range h.parts {
		total, bad, err := p.verify(ctx, stream)
		if err != nil {
			return nil, nil, err
		}
		sum.Copies, sum.Bytes, sum.Bad = sum.GetCopies()+total.GetCopies(), sum.GetBytes()+total.GetBytes(), sum.GetBad()+total.GetBad()
		all = append(all, bad...)
	}
	return sum, all, nil
}

// verify has every stored byte hashed again.
func (p *part) verify(ctx context.Context, stream string) (total *dvrv1.VerifyResponse, bad []*dvrv1.VerifyResponse, err error) {
	rpc, err := dvrv1.NewMaintenanceServiceClient(p.conn).Verify(ctx, &dvrv1.VerifyRequest{Stream: stream})
	if err != nil {
		return nil, nil, p.asked("verify", err)
	}
	for {
		m, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			return total, bad, nil
		}
		if err != nil {
			return nil, nil, p.asked("verify", err)
		}
		if total = m; m.GetDigest() != "" {
			bad = append(bad, m)
		}
	}
}

func (s *Site) compare(ctx context.Context, stream, peer string) ([]*replv1.Comparison, error) {
	p, err := s.find(ctx, replication)
	if err != nil {
		return nil, err
	}
	m, err := replv1.NewReplicationServiceClient(p.conn).Compare(ctx, &replv1.CompareRequest{Stream: stream, Url: peer})
	if err != nil {
		return nil, p.asked("verify", err)
	}
	return m.GetComparisons(), nil
}

func (s *Site) printVerified(total *dvrv1.VerifyResponse, bad []*dvrv1.VerifyResponse, compared []*replv1.Comparison) {
	for _, b := range bad {
		s.printf("%s  %s\n", b.GetDigest(), b.GetProblem())
	}
	s.printf("%d copies, %s read and hashed again: %d bad\n", total.GetCopies(), size(total.GetBytes()), total.GetBad())
	for _, c := range compared {
		for _, d := range c.GetDifferences() {
			s.printf("%s  %-13s  here %s, there %s\n", clock(d.GetStart()), d.GetKind(), copies(d.GetHere()), copies(d.GetThere()))
		}
		s.printf("%s: %d slots compared, %d equal, %d differ\n", c.GetUrl(), c.GetSlots(), c.GetEqual(), len(c.GetDifferences())-meant(c, ""))
		if n := meant(c, "deleted_there"); n > 0 {
			s.printf("%s: %d more were deleted there by an operator\n", c.GetUrl(), n)
		}
		if n := meant(c, "expired_there"); n > 0 {
			s.printf("%s: %d more are not kept there as long as here\n", c.GetUrl(), n)
		}
	}
}

func (s *Site) judge(total *dvrv1.VerifyResponse, bad []*dvrv1.VerifyResponse, compared []*replv1.Comparison, peer string) error {
	if len(bad) > 0 || total.GetBad() > 0 {
		return fmt.Errorf("%w: %d copies are bad", ErrDifference, max(uint64(len(bad)), total.GetBad()))
	}
	var slots uint64
	for _, c := range compared {
		if n := len(c.GetDifferences()) - meant(c, ""); n > 0 {
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

// meant counts the differences that are as they should be, of one kind or of all.
func meant(c *replv1.Comparison, kind string) (n int) {
	for _, d := range c.GetDifferences() {
		if k := d.GetKind(); (k == "deleted_there" || k == "expired_there") && (kind == "" || k == kind) {
			n++
		}
	}
	return n
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
