package demo

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/witness"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// How long the modes last, and how long is waited for what must happen in them.
const (
	normalFor    = 14 * time.Second
	emergencyFor = 14 * time.Second

	upWithin        = 20 * time.Second
	recordsWithin   = 40 * time.Second
	failoverWithin  = 20 * time.Second
	identicalWithin = 60 * time.Second
	backWithin      = 25 * time.Second
	settleWithin    = 20 * time.Second

	pollEvery = 200 * time.Millisecond
)

// run is the course of the demo.
func (r *runner) run(ctx context.Context) (*Report, error) {
	ctx, r.stop = context.WithCancel(ctx)
	r.begun = time.Now()
	r.now = scene{source: r.url, phase: "start", meaning: "both sites start"}
	for _, s := range r.sites {
		if err := s.start(); err != nil {
			return nil, err
		}
	}
	if err := r.watch(ctx); err != nil {
		return nil, err
	}
	if err := r.until(ctx, "both sites answer", upWithin, func(a, b state) bool { return a.Up && b.Up }); err != nil {
		return nil, err
	}
	if err := r.play(); err != nil {
		return nil, err
	}
	if err := r.normal(ctx); err != nil {
		return nil, err
	}
	report := &Report{Problems: []string{}}
	if err := r.emergency(ctx, report); err != nil {
		return nil, err
	}
	if err := r.recovery(ctx, report); err != nil {
		return nil, err
	}
	return report, r.end(ctx, report)
}

// watch lets the witness listen.
func (r *runner) watch(ctx context.Context) error {
	sock, err := witness.Listen(netip.AddrPortFrom(r.listen.Addr, r.listen.Port), r.listen.IfIP)
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	r.blind = make(chan error, 1)
	go func() { r.blind <- sock.Run(ctx, r.witness) }()
	return nil
}

func (r *runner) play() error {
	if r.opts.Source != "" {
		return nil
	}
	var err error
	r.source, err = start("source", r.dir+"/source.log", r.opts.Self, "play", r.opts.File, r.url, "--loop")
	return err
}

func (r *runner) normal(ctx context.Context) error {
	r.now.began = time.Now()
	r.now.phase, r.now.meaning = "normal", "main receives UDP; replica takes live and archive from main over M4F"
	r.say("the source plays to %s", r.url)
	err := r.until(ctx, "main records from UDP and replica from main", recordsWithin, func(a, b state) bool {
		return a.onUDP() && b.onM4F() && len(a.Segments) >= 2 && len(b.Segments) >= 2
	})
	if err != nil {
		return err
	}
	return r.until(ctx, "", normalFor-time.Since(r.now.began), nil)
}

func (r *runner) emergency(ctx context.Context, report *Report) error {
	a, b := r.sites[0], r.now.sites[1]
	r.now.phase, r.now.meaning = "emergency", "main is dead; replica records from its own UDP input"
	r.say("SIGKILL to main, pid %d", a.proc.pid())
	a.kill()
	killed := time.Now()
	before, _ := b.last()
	err := r.until(ctx, "replica records from UDP", failoverWithin, func(_, b state) bool { return b.onUDP() })
	if err != nil {
		return err
	}
	report.Emergency = time.Since(killed).Seconds()
	r.say("replica records from UDP, %.1f s after the kill", report.Emergency)
	err = r.until(ctx, "replica seals a segment", recordsWithin, func(_, b state) bool {
		last, ok := b.last()
		return ok && timeline.Unwrap(last, before) > before
	})
	if err != nil {
		return err
	}
	return r.until(ctx, "", emergencyFor-time.Since(killed), nil)
}

func (r *runner) recovery(ctx context.Context, report *Report) error {
	before, _ := r.now.sites[1].last() // the newest segment while main was away
	r.now.phase, r.now.meaning = "recovery", "main receives UDP again, and fetches from replica what it missed"
	r.say("main starts again")
	if err := r.sites[0].start(); err != nil {
		return err
	}
	returned := time.Now()
	err := r.until(ctx, "the archives are identical", identicalWithin, func(a, b state) bool {
		slots, to, ok := agree(a, b)
		return ok && slots > 0 && timeline.Unwrap(to, before) > before && a.onUDP()
	})
	if err != nil {
		return err
	}
	report.Recovery = time.Since(returned).Seconds()
	slots, _, _ := agree(r.now.sites[0], r.now.sites[1])
	r.say("the archives are identical (%d slots), %.1f s after the return", slots, report.Recovery)
	err = r.until(ctx, "replica takes live from main again", backWithin, func(_, b state) bool { return b.onM4F() })
	if err != nil {
		report.Problems = append(report.Problems, err.Error())
		return ctx.Err()
	}
	r.now.phase, r.now.meaning = "normal", "as in the beginning"
	r.say("replica takes live from main again")
	return nil
}

// end stops the source, waits until both sites have sealed what they have, and judges.
func (r *runner) end(ctx context.Context, report *Report) error {
	if err := r.until(ctx, "", 3*time.Second, nil); err != nil {
		return err
	}
	if r.source != nil {
		r.source.end(syscall.SIGTERM, 3*time.Second)
		r.source = nil
		r.now.ended = time.Now()
		r.now.phase, r.now.meaning = "end", "the source has stopped; both sites seal what is open"
		r.say("the source has stopped")
	}
	// Settled: nothing has changed for a while, which is longer than the timeout of the inputs.
	const still = 4 * time.Second
	var since time.Time
	var seen string
	err := r.until(ctx, "both sites have sealed and exchanged everything", settleWithin, func(a, b state) bool {
		lastA, _ := a.last()
		lastB, _ := b.last()
		slots, _, ok := agree(a, b)
		now := fmt.Sprint(lastA, len(a.Segments), lastB, len(b.Segments), slots, ok)
		if now != seen {
			seen, since = now, time.Now()
		}
		return ok && (r.opts.Source != "" || time.Since(since) > still)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		report.Problems = append(report.Problems, err.Error())
	}
	v, err := r.judge(ctx)
	if err != nil {
		return err
	}
	report.Verdict = v
	report.Problems = append(report.Problems, v.Problems()...)
	report.Identical, report.Line = v.Identical(), report.line()
	return nil
}

// until shows the run until cond holds; without cond it only lets time pass.
func (r *runner) until(ctx context.Context, what string, within time.Duration, cond func(a, b state) bool) error {
	deadline := time.Now().Add(within)
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		if err := r.poll(ctx); err != nil {
			return err
		}
		if cond != nil && cond(r.now.sites[0], r.now.sites[1]) {
			return nil
		}
		if time.Now().After(deadline) {
			if cond == nil {
				return nil
			}
			return fmt.Errorf("waited %s in vain until %s", within, what)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// poll asks both sites at once and shows what they say.
func (r *runner) poll(ctx context.Context) error {
	var wg sync.WaitGroup
	for i, s := range r.sites {
		wg.Go(func() {
			st := s.look(ctx)
			was := r.now.sites[i]
			switch {
			case !st.Up: // what it has is still there
				st.Segments = was.Segments
			case was.Up:
				st.Since = was.Since
			default:
				st.Since = time.Now()
			}
			r.now.sites[i] = st
		})
	}
	wg.Wait()
	r.now.now = time.Now()
	r.now.since = r.now.now.Sub(r.begun)
	r.now.datagrams, r.now.units = r.witness.Count()
	r.view.scene(r.now)
	for _, p := range []*process{r.sites[0].proc, r.sites[1].proc, r.source} {
		if p != nil {
			if err := p.failed(); err != nil {
				return err
			}
		}
	}
	select {
	case err := <-r.blind:
		if err != nil {
			return fmt.Errorf("witness: %w", err)
		}
	default:
	}
	return nil
}
