package server

import (
	"context"
	"fmt"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/streamconf"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

const (
	fetchWait, fetchWaitMost = 10 * time.Second, 5 * time.Minute
	// fetchRange is the longest range that somebody can wait for.
	fetchRange = 24 * time.Hour
	// fetchLook is how often it is looked whether all has come, and fetchShare how many times as long as a look took the next one
	// waits: a plan of many gaps takes its time. One caller looks at a time, and waiting for a turn counts as looking.
	fetchLook, fetchShare = 100 * time.Millisecond, 20
)

// Fetch implements ReplicationServiceServer.
func (s *Server) Fetch(ctx context.Context, req *replv1.FetchRequest) (*replv1.FetchResponse, error) {
	stream, from, to, wait := req.GetStream(), req.GetFrom().AsTime(), req.GetTo().AsTime(), fetchWait
	if req.GetWait() != nil {
		wait = req.GetWait().AsDuration()
	}
	err := streamconf.CheckName(stream)
	switch {
	case err != nil:
	case req.GetFrom() == nil || req.GetTo() == nil || !from.Before(to) || to.Sub(from) > fetchRange:
		err = fmt.Errorf("from and to have to be given, at most %s apart", fetchRange)
	case wait < 0 || wait > fetchWaitMost:
		err = fmt.Errorf("wait is %s, at most %s", wait, fetchWaitMost)
	}
	if err != nil {
		return nil, rpcerr.ToStatus(fmt.Errorf("fetch: %w: %w", errs.ErrInvalid, err))
	}
	if _, ok := s.set.Stream(stream); !ok {
		return nil, rpcerr.ToStatus(fmt.Errorf("fetch %s: %w", stream, errs.ErrStreamUnknown))
	}
	defer s.transfer.Ask(stream, from, to)()
	over, look := s.clock.NewTimer(wait), s.clock.NewTimer(fetchLook)
	defer over.Stop()
	defer look.Stop()
	for ended := false; ; {
		began := s.clock.Mono()
		select {
		case s.looking <- struct{}{}:
		case <-ctx.Done():
			return nil, rpcerr.ToStatus(fmt.Errorf("fetch %s: %w", stream, ctx.Err()))
		}
		left, pending := s.leftOf(stream, from, to)
		unknown, soon := s.unknown(stream)
		<-s.looking
		if ended || !pending && !soon {
			return &replv1.FetchResponse{Left: s.planItems(left), Unknown: unknown}, nil
		}
		look.Reset(max(fetchLook, fetchShare*(s.clock.Mono()-began)))
		select {
		case <-look.C():
		case <-over.C():
			ended = true
		case <-ctx.Done():
			return nil, rpcerr.ToStatus(fmt.Errorf("fetch %s: %w", stream, ctx.Err()))
		}
	}
}

// unknown gives the peers of a stream of which nothing is known, and whether that changes soon.
func (s *Server) unknown(stream string) (urls []string, soon bool) {
	for _, l := range s.set.Links() {
		if l.Stream != stream {
			continue
		}
		if _, known := l.Recon.Known(); !known {
			urls = append(urls, l.URL())
			soon = soon || l.Peer.Status().State == m4fclient.Connected && l.Recon.Problem() == nil
		}
	}
	return urls, soon
}

// leftOf gives what of a range is wanted, and whether some of it is to be had soon.
func (s *Server) leftOf(stream string, from, to time.Time) (left []plan.Item, pending bool) {
	within := inventory.Spans{{From: from, To: to}}
	for _, it := range s.transfer.Plan(stream) {
		if it.Why == plan.Evidence || !within.Touch(it.Copy.StartUTC, it.Copy.EndUTC()) {
			continue
		}
		left = append(left, it)
		switch it.WhyNot {
		case "", plan.InFlight, plan.Offered:
			pending = true
		}
	}
	return left, pending
}
