package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/internal/ledger"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

const (
	// onItsWay is how far behind now nothing is missing yet.
	onItsWay = 30 * time.Second
	// askedAtOnce bounds the window of one question to dvrsvc: an answer about more does not fit into a message where state
	// changes with each segment.
	askedAtOnce = 24 * time.Hour
	// ledgerWindow is the longest that is looked at.
	ledgerWindow = 366 * 24 * time.Hour
	// sumEvery is how often the ledgers are summed up for metrics, sumWithin how long each may take.
	sumEvery  = time.Minute
	sumWithin = 10 * time.Second
)

// RunLedger sums the ledgers of all streams up, for metrics, until ctx ends.
func (s *Server) RunLedger(ctx context.Context) {
	t := s.clock.NewTicker(sumEvery)
	defer t.Stop()
	for {
		sums := map[string]ledger.Hour{}
		for _, name := range s.set.Names() {
			ctx, cancel := context.WithTimeout(ctx, sumWithin)
			hours, _, err := s.ledger(ctx, name, time.Time{}, time.Time{})
			cancel()
			if err != nil {
				continue // dvrsvc is away: nothing is told of it
			}
			sum := ledger.Hour{}
			for _, h := range hours {
				sum.Add(h)
			}
			sums[name] = sum
		}
		s.mu.Lock()
		s.books = sums
		s.mu.Unlock()
		select {
		case <-t.C():
		case <-ctx.Done():
			return
		}
	}
}

// Books are the sums of the ledgers by stream, as of a minute ago at most.
func (s *Server) Books() map[string]ledger.Hour {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.books
}

// GetLedger implements ReplicationServiceServer.
func (s *Server) GetLedger(ctx context.Context, req *replv1.GetLedgerRequest) (*replv1.GetLedgerResponse, error) {
	var from, to time.Time
	if req.GetFrom() != nil {
		from = req.GetFrom().AsTime()
	}
	if req.GetTo() != nil {
		to = req.GetTo().AsTime()
	}
	if !from.IsZero() && !to.IsZero() && to.Before(from) {
		return nil, rpcerr.ToStatus(fmt.Errorf("ledger of %s: it ends before it begins: %w", req.GetStream(), errs.ErrInvalid))
	}
	hours, problems, err := s.ledger(ctx, req.GetStream(), from, to)
	if err != nil {
		return nil, rpcerr.ToStatus(fmt.Errorf("ledger of %s: %w", req.GetStream(), err))
	}
	m := &replv1.GetLedgerResponse{Problems: problems}
	var total ledger.Hour
	for i := range hours {
		m.Hours = append(m.Hours, fromHour(&hours[i]))
		total.Add(hours[i])
	}
	m.Total = fromHour(&total)
	return m, nil
}

func fromHour(h *ledger.Hour) *replv1.LedgerHour {
	return &replv1.LedgerHour{
		Start: stamp(h.Start), ExpectedTicks: int64(h.Expected), CleanTicks: int64(h.Clean), DamagedTicks: int64(h.Damaged), MissingTicks: int64(h.Missing),
		RepairedTicks: int64(h.Repaired), PendingTicks: int64(h.Pending), LostUpstreamTicks: int64(h.LostUpstream), LostLocalTicks: int64(h.LostLocal),
		LostUnknownTicks: int64(h.LostUnknown),
	}
}

// ledger asks dvrsvc what is here, and the comparisons what peers have. Zero times: no bound.
func (s *Server) ledger(ctx context.Context, stream string, from, to time.Time) ([]ledger.Hour, []string, error) {
	now := s.clock.Now()
	edge := now.Add(-onItsWay)
	if to.IsZero() || to.After(edge) {
		to = edge
	}
	st := ledger.State{From: from, To: to}
	problems := s.knownOf(stream, now, &st)
	first, last, configured, err := s.extent(ctx, stream)
	if err != nil {
		return nil, nil, err
	}
	if configured && last.Before(to) && !last.IsZero() {
		st.Gaps = append(st.Gaps, ledger.Gap{Span: ledger.Span{From: last, To: to}})
	}
	if from.After(first) {
		first = from
	}
	if first.Before(now.Add(-ledgerWindow)) {
		first = now.Add(-ledgerWindow)
	}
	for at := first; at.Before(to) && at.Before(last); at = at.Add(askedAtOnce) {
		end := at.Add(askedAtOnce)
		if end.After(to) {
			end = to
		}
		more, err := s.here(ctx, stream, at, end, &st)
		if err != nil {
			return nil, nil, err
		}
		problems = append(problems, more...)
	}
	return ledger.Make(st), problems, nil
}

// knownOf takes what is known of the peers, and says what is not.
func (s *Server) knownOf(stream string, now time.Time, st *ledger.State) (problems []string) {
	for _, l := range s.set.Links() {
		if l.Stream != stream {
			continue
		}
		p := ledger.Peer{Now: now}
		switch k, ok := l.Recon.Known(); {
		case !ok:
			problems = append(problems, l.URL()+" is away, or was not compared yet")
		case k.More:
			problems = append(problems, l.URL()+" differs in more than is looked at in one comparison")
		default:
			p.Compared, p.Keeps, p.Since = k.Compared, k.Retention, k.TheirLowWater
			for _, d := range k.TheirDeleted {
				p.Deleted = append(p.Deleted, ledger.Span(d))
			}
		}
		st.Peers = append(st.Peers, p)
	}
	for _, it := range s.transfer.Plan(stream) {
		if it.Why == plan.Evidence || it.WhyNot == plan.Deleted || it.WhyNot == plan.Future {
			continue
		}
		at := it.Copy.StartUTC
		st.Wanted = append(st.Wanted, ledger.Span{From: at, To: at.Add((it.Copy.Info.End - it.Copy.Info.Start).Duration())})
	}
	return problems
}

// extent is where the archive of a stream begins and ends.
func (s *Server) extent(ctx context.Context, stream string) (first, last time.Time, configured bool, err error) {
	m, err := s.index.ListStreams(ctx, &dvrv1.ListStreamsRequest{})
	if err != nil {
		return first, last, false, fmt.Errorf("list streams: %w", rpcerr.FromStatus(err))
	}
	for _, x := range m.GetStreams() {
		if x.GetStream() == stream {
			if x.GetFirst() != nil && x.GetLast() != nil {
				first, last = x.GetFirst().AsTime(), x.GetLast().AsTime()
			}
			return first, last, x.GetConfigured(), nil
		}
	}
	return first, last, false, errs.ErrStreamUnknown
}

// here takes what dvrsvc has of a part of the window.
func (s *Server) here(ctx context.Context, stream string, from, to time.Time, st *ledger.State) ([]string, error) {
	ranges, err := s.index.GetRanges(ctx, &dvrv1.GetRangesRequest{Stream: stream, From: timestamppb.New(from), To: timestamppb.New(to), Apart: true})
	if err != nil {
		return nil, fmt.Errorf("get ranges: %w", rpcerr.FromStatus(err))
	}
	for _, r := range ranges.GetRanges() {
		st.Ranges = append(st.Ranges, ledger.Range{
			Span:    ledger.Span{From: r.GetFrom().AsTime(), To: r.GetTo().AsTime()},
			Damaged: timeline.Ticks(r.GetDamagedTicks()), Late: timeline.Ticks(r.GetLateTicks()),
		})
	}
	gaps, err := s.index.FindGaps(ctx, &dvrv1.FindGapsRequest{Stream: stream, From: timestamppb.New(from), To: timestamppb.New(to)})
	if err != nil {
		return nil, fmt.Errorf("find gaps: %w", rpcerr.FromStatus(err))
	}
	for _, g := range gaps.GetGaps() {
		if g.GetReason() != "deleted" {
			st.Gaps = append(st.Gaps, ledger.Gap{
				Span:   ledger.Span{From: g.GetFrom().AsTime(), To: g.GetTo().AsTime()},
				NoRoom: g.GetReason() == "disk_full" || g.GetReason() == "index_full",
			})
		}
	}
	return ranges.GetProblems(), nil
}
