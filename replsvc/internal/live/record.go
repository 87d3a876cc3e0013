package live

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/rpcerr"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	"github.com/twinreel/twinreel/replsvc/internal/record"
)

// recordCall is one call of Record.
type recordCall = grpc.BidiStreamingClient[dvrv1.RecordRequest, dvrv1.RecordResponse]

// recorded is what came of it: a message or the end.
type recorded struct {
	call recordCall
	msg  *dvrv1.RecordResponse
	err  error
}

// recording keeps a call of Record open. The relay sends; run opens and receives.
type recording struct {
	cfg    *Config
	opened chan recordCall
	in     chan recorded

	call recordCall // the relay's: nil while there is none
}

// send sends on the current call. An error is told by the receiving side.
func (c *recording) send(m *dvrv1.RecordRequest) {
	if c.call != nil {
		_ = c.call.SendMsg(record.Shared(m))
	}
}

func (c *recording) run(ctx context.Context) {
	delay, last := retryFirst, ""
	for ctx.Err() == nil {
		greeted, err := c.attempt(ctx)
		if greeted {
			delay, last = retryFirst, ""
		}
		if ctx.Err() != nil {
			return
		}
		if reason := rpcerr.Reason(err) + err.Error(); reason != last && !quiet(err) {
			c.cfg.Log.Warn("recording call ended", "input", c.cfg.Input, "err", err)
			last = reason
		}
		if delay, err = retry(ctx, c.cfg.Clock, delay); err != nil {
			return
		}
	}
}

// attempt is one call. It reports whether dvrsvc welcomed it.
func (c *recording) attempt(ctx context.Context) (greeted bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := dvrv1.NewRecordingServiceClient(c.cfg.DVR).Record(ctx)
	if err != nil {
		return false, fmt.Errorf("open recording call: %w", rpcerr.FromStatus(err))
	}
	select {
	case c.opened <- call:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	for {
		m, err := call.Recv()
		if err != nil {
			err = fmt.Errorf("record %s: %w", c.cfg.Stream, rpcerr.FromStatus(err))
		}
		greeted = greeted || err == nil
		select {
		case c.in <- recorded{call: call, msg: m, err: err}:
		case <-ctx.Done():
			return greeted, ctx.Err()
		}
		if err != nil {
			return greeted, err
		}
	}
}
