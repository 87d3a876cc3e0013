package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// Status prints what each site receives, records and replicates. What does not answer is told, and the rest shown. The
// error says first what could not be asked; what could, and has a problem, is ErrDifference.
func Status(ctx context.Context, sites ...*Site) error {
	all := make([]*overview, len(sites))
	var wg sync.WaitGroup
	for i, s := range sites {
		wg.Go(func() { all[i] = s.overview(ctx) })
	}
	wg.Wait()
	var unasked, troubled []string
	list := make([]map[string]any, len(all))
	for i, o := range all {
		unasked, troubled = slices.Concat(unasked, o.away, o.unasked), append(troubled, o.troubled()...)
		if list[i] = o.json(); !o.site.json {
			o.print()
		}
	}
	if first := sites[0]; first.json {
		if err := first.printJSON(map[string]any{"sites": list}); err != nil {
			return err
		}
	}
	switch {
	case len(unasked) > 0:
		return errors.New(strings.Join(unasked, "; "))
	case len(troubled) > 0:
		return fmt.Errorf("%w: %s", ErrDifference, strings.Join(troubled, "; "))
	}
	return nil
}

// overview is what a site says of itself.
type overview struct {
	site    *Site
	streams []*dvrv1.StreamSummary
	at      map[string][]string // where each of them is, the one that records it first; where there are several dvrsvc
	listed  bool                // streams is what there is
	inputs  []*ingestv1.Input
	peers   []*replv1.PeerStatus
	sources []*replv1.SourceStatus
	node    string
	config  *gatewayv1.Config
	refused []*gatewayv1.Problem // of a newer config than the one in force
	disks   []*dvrv1.StorageStatistics
	away    []string // addresses that do not answer, and why
	unasked []string // what else could not be asked
}

func (s *Site) overview(ctx context.Context) *overview {
	o := &overview{site: s, at: map[string][]string{}}
	s.learn(ctx)
	var missing []string
	all, err := s.list(ctx)
	if err != nil {
		missing = append(missing, program(index))
	}
	for _, l := range all {
		if l.err != nil {
			o.unasked = append(o.unasked, l.err.Error())
		}
		o.listed = o.listed || l.err == nil
	}
	for _, x := range []struct {
		service string
		ask     func(*part) error
	}{
		{ingest, func(p *part) error {
			m, err := ingestv1.NewIngestServiceClient(p.conn).ListInputs(ctx, &ingestv1.ListInputsRequest{})
			o.inputs = m.GetInputs()
			return p.asked("list inputs", err)
		}},
		{replication, func(p *part) error {
			m, err := replv1.NewReplicationServiceClient(p.conn).GetStatus(ctx, &replv1.GetStatusRequest{})
			o.peers, o.sources, o.node = m.GetPeers(), m.GetSources(), m.GetNode()
			return p.asked("get replication", err)
		}},
		{config, func(p *part) error {
			m, err := gatewayv1.NewConfigServiceClient(p.conn).List(ctx, &gatewayv1.ListRequest{})
			o.config, o.refused = m.GetConfig(), m.GetProblems()
			return p.asked("list config", err)
		}},
	} {
		p, err := s.find(ctx, x.service)
		if err != nil {
			missing = append(missing, program(x.service))
			continue
		}
		if err := x.ask(p); err != nil {
			o.unasked = append(o.unasked, err.Error())
		}
	}
	o.disks, _ = s.statistics(ctx, "") // what does not answer is told above, and an older version has none
	o.merge(all)
	for _, p := range s.parts {
		if p.err != nil {
			o.away = append(o.away, p.err.Error())
		}
	}
	if len(missing) > 0 && len(o.away) == 0 {
		o.unasked = append(o.unasked, fmt.Sprintf("%s missing at %s; give all addresses of a site: --grpc HOST:PORT,HOST:PORT",
			strings.Join(missing, ", "), s.addrs()))
	}
	return o
}

// troubled is what has a problem, for the last line.
func (o *overview) troubled() []string {
	var out []string
	say := func(what, problem string) {
		if problem != "" {
			out = append(out, what+": "+plain(problem))
		}
	}
	for _, p := range o.site.parts {
		for _, r := range p.running {
			say(r.GetName(), r.GetNotReady())
			if r.GetName() != "gateway" { // of which below
				say(r.GetName(), r.GetProblem())
			}
		}
	}
	if n := len(o.refused); n > 0 {
		say(o.name(), fmt.Sprintf("the config file is refused, with %d problems", n))
	}
	for _, st := range o.streams {
		say(st.GetStream(), st.GetProblem())
		if n := st.GetQuarantined(); n > 0 {
			say(st.GetStream(), fmt.Sprintf("%d copies are rotten and were not had again yet", n))
		}
	}
	for _, in := range o.inputs {
		say(in.GetUrl(), in.GetProblem())
	}
	for _, p := range o.peers {
		say(p.GetUrl(), p.GetProblem())
	}
	for _, x := range o.sources {
		say("source "+x.GetAddress(), x.GetProblem())
		if n := x.GetLeftOut(); len(n) > 0 {
			say("source "+x.GetAddress(), "streams that are not taken: "+strings.Join(n, ", "))
		}
	}
	return out
}

func (o *overview) name() string {
	if o.node != "" {
		return o.node
	}
	return "at " + o.site.addrs()
}

func (o *overview) json() map[string]any {
	parts := make([]map[string]any, 0, len(o.site.parts))
	for _, p := range o.site.parts {
		m := map[string]any{"addr": p.addr, "programs": append([]string{}, p.programs...), "health": p.health, "services": raws(p.running), "problem": ""}
		if p.err != nil {
			m["problem"] = p.err.Error()
		}
		parts = append(parts, m)
	}
	return map[string]any{
		"node": o.node, "addresses": parts, "streams": raws(o.streams), "inputs": raws(o.inputs), "peers": raws(o.peers), "sources": raws(o.sources), "archives": o.at, "storages": raws(o.disks),
		"config_problems": raws(o.refused), "problems": append([]string{}, slices.Concat(o.away, o.unasked)...),
	}
}
