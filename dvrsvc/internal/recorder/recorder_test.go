package recorder

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// A stream is added, and the disk takes its time: the others are there all the while.
func TestNewStreamHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stall, reached := make(chan struct{}), false
		disk := &vfs.Fault{FS: vfs.NewMem(), Fail: func(_ int64, op vfs.Op, path string) bool {
			if op == vfs.OpMkdir && strings.HasSuffix(path, "/slow") {
				reached = true
				<-stall
			}
			return false
		}}
		r := New(Options{
			Node: "here", Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(nil),
			Open: func(ctx context.Context, path string) (*store.Store, error) {
				return store.Open(ctx, store.Options{Path: path, FS: disk, IndexFS: pebblevfs.NewMem()})
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- r.Run(ctx) }()
		tv, slow := Config{Name: "tv", Path: "/dvr"}, Config{Name: "slow", Path: "/dvr"}
		r.Apply([]Config{tv})
		synctest.Wait()
		r.Apply([]Config{tv, slow})
		synctest.Wait()
		if !reached {
			t.Error("the new stream is not being opened")
		}
		if _, err := r.Stream("tv"); err != nil {
			t.Error(err)
		}
		if _, _, err := r.Archive("tv"); err != nil {
			t.Error(err)
		}
		close(stall)
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}
