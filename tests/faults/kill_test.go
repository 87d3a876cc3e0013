package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// load is a dvrsvc with producers on it.
type load struct {
	*dvr
	ledger  *ledger
	streams []string
	stop    func()
}

// newLoad starts producers for a live stream and some that are filled from elsewhere. dvrsvc is not started yet.
func newLoad(t *testing.T, dir string) *load {
	streams := []string{"live", "a", "b", "c"}
	x := &load{dvr: newDVR(t, dir, streams...), ledger: newLedger(), streams: streams}
	ctx, cancel := context.WithCancel(context.Background())
	var producers sync.WaitGroup
	began := time.Now()
	for _, s := range streams {
		p := &producer{stream: s, conn: x.conn, ledger: x.ledger}
		producers.Go(func() {
			again(ctx, func(ctx context.Context) error {
				if s == "live" {
					return p.live(ctx, began)
				}
				return p.backfill(ctx, began.Add(-5*24*time.Hour))
			})
		})
	}
	x.stop = func() { cancel(); producers.Wait() }
	t.Cleanup(x.stop)
	return x
}

// judge reads everything that is there, and everything that was released.
func (x *load) judge(ctx context.Context) (read int, err error) {
	for _, s := range x.streams {
		if err := x.ready(ctx, s); err != nil {
			return read, fmt.Errorf("%s is not ready: %w", s, err)
		}
		x.ledger.mu.Lock()
		want := make([]segment.Digest, 0, len(x.ledger.released[s]))
		for d := range x.ledger.released[s] {
			want = append(want, d)
		}
		x.ledger.mu.Unlock()
		rpc, err := dvrv1.NewIndexServiceClient(x.conn).ListSegments(ctx, &dvrv1.ListSegmentsRequest{Stream: s, IncludeUnpresented: true})
		if err != nil {
			return read, err
		}
		here := map[string]bool{}
		for {
			r, err := rpc.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return read, fmt.Errorf("list %s: %w", s, err)
			}
			here[r.GetSegment().GetDigest()] = true
		}
		source := archive.New(x.conn, s)
		for d := range here {
			digest, err := segment.ParseDigest(d)
			if err != nil {
				return read, err
			}
			_, b, err := source.ReadDigest(ctx, digest)
			if err != nil || segment.Sum(b) != digest {
				return read, fmt.Errorf("%s has a phantom, %s: %w", s, d, err)
			}
			read++
		}
		for _, d := range want {
			if !here[d.String()] {
				if _, _, err := source.ReadDigest(ctx, d); err != nil {
					return read, fmt.Errorf("%s of %s was released and is lost: %w", d, s, err)
				}
			}
		}
	}
	return read, nil
}

// TestKills kills dvrsvc under load at random moments, also while it starts (faults 1, 2): what was released is there, under
// its digest, and nothing is there that cannot be read.
func TestKills(t *testing.T) {
	rnd := testkit.Rand(t)
	kills := rounds(t, 25)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(kills)*10*time.Second)
	defer cancel()
	x := newLoad(t, t.TempDir())
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
	n := x.ledger.count()
	t.Logf("%d kills (%d while it started) in %s: %d segments released, all there; %d copies in the archive, all readable; refused: %v",
		kills, early, time.Since(began).Round(time.Second), n, read, x.ledger.refused)
	if n < kills/2 || len(x.ledger.released) < len(x.streams)-1 {
		t.Errorf("too little was released to say anything: %d", n)
	}
}
