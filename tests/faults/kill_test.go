package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// errSoon has again wait before the next call.
var errSoon = errors.New("soon")

// load is a dvrsvc with producers on it.
type load struct {
	*dvr
	ledger  *ledger
	operate *operator
	streams []string
	stop    func()
}

// newLoad starts producers for a live stream and some that are filled from elsewhere, of which ranges are locked and deleted.
// dvrsvc is not started yet.
func newLoad(t *testing.T, dir string) *load {
	streams := []string{"live", "a", "b", "c"}
	x := &load{dvr: newDVR(t, dir, streams...), ledger: newLedger(), streams: streams}
	ctx, cancel := context.WithCancel(context.Background())
	var producers sync.WaitGroup
	began := time.Now()
	filled := began.Add(-5 * 24 * time.Hour)
	x.operate = newOperator(x.conn, x.ledger, filled)
	rnd := testkit.Rand(t)
	producers.Go(func() {
		again(ctx, func(ctx context.Context) error {
			one, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			return errors.Join(x.operate.act(one, rnd, streams[1+rnd.IntN(3)]), errSoon)
		})
	})
	for _, s := range streams {
		p := &producer{stream: s, conn: x.conn, ledger: x.ledger}
		producers.Go(func() {
			again(ctx, func(ctx context.Context) error {
				if s == "live" {
					return p.live(ctx, began)
				}
				return p.backfill(ctx, filled)
			})
		})
	}
	x.stop = func() { cancel(); producers.Wait() }
	t.Cleanup(x.stop)
	return x
}

// list gives the segments that a stream has.
func (x *load) list(ctx context.Context, stream string) (map[segment.Digest]bool, error) {
	rpc, err := dvrv1.NewIndexServiceClient(x.conn).ListSegments(ctx, &dvrv1.ListSegmentsRequest{Stream: stream, IncludeUnpresented: true})
	if err != nil {
		return nil, err
	}
	here := map[segment.Digest]bool{}
	for {
		r, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			return here, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", stream, err)
		}
		d, err := segment.ParseDigest(r.GetSegment().GetDigest())
		if err != nil {
			return nil, err
		}
		here[d] = true
	}
}

// judge reads everything that is there, and everything that was released.
func (x *load) judge(ctx context.Context) (read int, err error) {
	for _, s := range x.streams {
		if err := x.ready(ctx, s); err != nil {
			return read, fmt.Errorf("%s is not ready: %w", s, err)
		}
		want := x.ledger.of(s)
		var here map[segment.Digest]bool
		if err := x.operate.judge(ctx, s, func() (_ map[segment.Digest]bool, err error) {
			here, err = x.list(ctx, s)
			return here, err
		}); err != nil {
			return read, err
		}
		source := archive.New(x.conn, s)
		for d := range here {
			err := readWhole(ctx, source, d)
			if errors.Is(err, errs.ErrDeleted) { // meanwhile
				continue
			}
			if err != nil {
				return read, fmt.Errorf("%s has a phantom, %s: %w", s, d, err)
			}
			read++
		}
		for d, k := range want {
			if !here[d] && !x.operate.mayBeGone(s, k) {
				if err := readWhole(ctx, source, d); err != nil {
					return read, fmt.Errorf("%s of %s was released and is lost: %w", d, s, err)
				}
			}
		}
	}
	return read, nil
}

// readWhole reads a copy, or the one that has taken its place since it was listed: what was rescued of a torn copy goes when its
// producer brings the whole.
func readWhole(ctx context.Context, source *archive.Stream, d segment.Digest) error {
	for {
		_, b, err := source.ReadDigest(ctx, d)
		var by *errs.SupersededError
		if errors.As(err, &by) {
			if d, err = segment.ParseDigest(by.By); err == nil {
				continue
			}
		}
		if err == nil && segment.Sum(b) != d {
			err = fmt.Errorf("the bytes are not those of %s", d)
		}
		return err
	}
}

// TestKills kills dvrsvc under load at random moments, also while it starts (faults 1, 2): what was released is there, under
// its digest, and nothing is there that cannot be read. What was locked is, what was unlocked is not, and what was deleted is
// gone, also with an index that is made anew.
func TestKills(t *testing.T) {
	rnd := testkit.Rand(t)
	kills := rounds(t, 25)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(kills)*10*time.Second)
	defer cancel()
	dir := t.TempDir()
	x := newLoad(t, dir)
	began, early := time.Now(), 0
	for k := 1; k <= kills; k++ {
		x.start()
		if rnd.IntN(4) == 0 { // while it starts
			early++
			time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
		} else {
			if err := x.ready(ctx, "live"); err != nil {
				t.Fatalf("kill %d: %v", k, err)
			}
			time.Sleep(time.Duration(50+rnd.IntN(1200)) * time.Millisecond)
		}
		if k%25 == 0 {
			if _, err := x.judge(ctx); err != nil {
				t.Fatalf("before kill %d: %v", k, err)
			}
		}
		x.kill()
	}
	x.stop()
	x.start()
	read, err := x.judge(ctx)
	if err != nil {
		t.Fatal(err)
	}
	x.kill()
	if err := os.RemoveAll(filepath.Join(dir, "archive/.twinreel/index")); err != nil {
		t.Fatal(err)
	}
	x.start()
	if again, err := x.judge(ctx); err != nil || again != read {
		t.Errorf("with the index made anew %d copies of %d are there: %v", again, read, err)
	}
	n := x.ledger.count()
	t.Logf("%d kills (%d while it started) in %s: %d segments released, all there; %d copies in the archive, all readable; %d answers to an operator; refused: %v",
		kills, early, time.Since(began).Round(time.Second), n, read, x.operate.answers, x.ledger.refused)
	if n < kills/2 || x.operate.answers < kills/2 || len(x.ledger.released) < len(x.streams)-1 {
		t.Errorf("too little was released to say anything: %d", n)
	}
}
