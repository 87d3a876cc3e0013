package operator

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/archive"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// Fetch has a range fetched before all else and waits. What is still not here, or not intact, is printed, and ErrDifference.
func (s *Site) Fetch(ctx context.Context, stream string, r archive.Range, wait time.Duration) error {
	p, err := s.find(ctx, replication)
	if err != nil {
		return err
	}
	m, err := replv1.NewReplicationServiceClient(p.conn).Fetch(ctx, &replv1.FetchRequest{
		Stream: stream, From: timestamppb.New(r.From), To: timestamppb.New(r.To), Wait: durationpb.New(wait),
	})
	if err != nil {
		return p.asked("fetch", err)
	}
	if s.json {
		if err := s.printJSON(raw(m)); err != nil {
			return err
		}
	} else {
		for _, it := range m.GetLeft() {
			why := it.GetWhyNot()
			if why == "" {
				why = "due"
			}
			s.printf("%s  %s at %s: %s\n", it.GetStart().AsTime().Format(time.RFC3339Nano), it.GetWhy(), it.GetPeerNode(), strings.ReplaceAll(why, "_", " "))
		}
		for _, url := range m.GetUnknown() {
			s.printf("nothing is known of %s\n", url)
		}
	}
	switch {
	case len(m.GetLeft()) > 0:
		return fmt.Errorf("%w: %d segments that peers have are not here, or not intact", ErrDifference, len(m.GetLeft()))
	case len(m.GetUnknown()) > 0:
		return fmt.Errorf("%w: some peers may have more", ErrDifference)
	}
	return nil
}
