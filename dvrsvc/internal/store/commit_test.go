package store

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// TestAppendDuringFailingSync appends to a file, and begins a copy that would go there, while its sync fails (I4).
// The race detector looks on.
func TestAppendDuringFailingSync(t *testing.T) {
	x := newSite(t)
	m, other := x.whole(0), x.whole(1)
	c, err := x.feed(m, true, 2)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	var wait sync.WaitGroup
	x.fault.Fail = func(_ int64, op vfs.Op, _ string) (fails bool) {
		if op == vfs.OpSync {
			once.Do(func() {
				fails = true
				wait.Go(func() {
					for i := 2; i < len(m.chunks); i++ {
						if err := c.Append(m.info.Chunks[i], slices.Clone(m.chunks[i]), segment.Evidence{}); err != nil {
							t.Error(err)
						}
					}
				})
				wait.Go(func() {
					if c, err := x.feed(other, true, 1); err != nil {
						t.Error(err)
					} else {
						c.Break(nil)
					}
				})
			})
		}
		return fails
	}
	x.commit()
	wait.Wait()
	r := &result{}
	if err := c.Seal(m.info, func(o Outcome, err error) { r.out, r.err = o, err }); err != nil {
		t.Fatal(err)
	}
	x.commit()
	if r.err != nil || !r.out.Kept {
		t.Errorf("%+v", r)
	}
}

// TestFailedFileIsRemoved lets a sync fail, with and without room for what was not durable, and time go by.
func TestFailedFileIsRemoved(t *testing.T) {
	for name, rewritten := range map[string]bool{"rewritten": true, "lost": false} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			x.st.SetRetention(Rule{Age: time.Hour})
			x.sweep()
			first, second := x.whole(0), x.whole(1)
			x.store(first, true)
			failing := x.dataFiles()[0]
			x.fault.Fail = func(_ int64, op vfs.Op, path string) bool {
				return op == vfs.OpSync && path == failing || op == vfs.OpCreate && !rewritten
			}
			if r := x.store(second, true); (r.err == nil) != rewritten {
				t.Fatalf("%+v", r)
			}
			x.fault.Fail = nil
			if !rewritten {
				x.store(second, true)
			}
			for range 6 * 60 {
				x.clock.move(time.Minute)
				x.sweep()
				x.commit()
			}
			if left := x.dataFiles(); len(left) != 0 {
				t.Errorf("data files are left: %v", left)
			}
		})
	}
}
