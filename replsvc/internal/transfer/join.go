package transfer

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/join"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

// maxJoin bounds the bytes of the copies that are joined at once. What is larger is kept as it is.
const maxJoin = 256 << 20

// joinWith records the join of a copy of a peer's with those that are here, and the copy as it came: whether that stays beside the join
// depends on what else is here, and is for dvrsvc to say.
func (t *Transfer) joinWith(ctx context.Context, it plan.Item, r Route, d *m4fclient.Download) error {
	joined, copies, err := t.joinOf(ctx, it, r, d, it.With)
	if err != nil {
		return err
	}
	if joined != nil {
		if err := t.record(ctx, it, r, joined, copies); err != nil {
			return err
		}
	}
	if joined != nil && joined.Digest == d.Digest {
		return nil
	}
	return r.Sink.Put(ctx, it.Slot, d, nil)
}

// joinHere records the join of copies that are all here.
func (t *Transfer) joinHere(ctx context.Context, it plan.Item, r Route) error {
	joined, copies, err := t.joinOf(ctx, it, r, nil, append([]segment.Digest{it.Copy.Info.Digest}, it.With...))
	if joined == nil || err != nil {
		return err
	}
	return t.record(ctx, it, r, joined, copies)
}

// joinOf joins a peer's copy, if any, with copies that are here, when no other join is in memory.
func (t *Transfer) joinOf(
	ctx context.Context, it plan.Item, r Route, d *m4fclient.Download, here []segment.Digest,
) (joined *m4fclient.Download, of []segment.Info, err error) {
	select {
	case t.joining <- struct{}{}:
		defer func() { <-t.joining }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	var copies []*m4fclient.Download
	bytes := uint64(0)
	if d != nil {
		copies, bytes = append(copies, d), d.Info.Bytes
	}
	copies = append(copies, t.own(ctx, it, r.Own, here, bytes)...)
	for _, c := range copies {
		of = append(of, c.Info)
	}
	return t.join(it, copies), of, nil
}

// own reads copies of a slot that are here. What has gone meanwhile is left out.
func (t *Transfer) own(ctx context.Context, it plan.Item, dvr grpc.ClientConnInterface, digests []segment.Digest, bytes uint64) (out []*m4fclient.Download) {
	for _, digest := range digests {
		d := &m4fclient.Download{Stream: it.Stream, Digest: digest, Packets: true}
		if err := d.Read(ctx, dvr, it.Stream); err != nil {
			if !errors.Is(err, errs.ErrUnknown) && !errors.Is(err, errs.ErrSuperseded) && ctx.Err() == nil {
				t.log.Warn("segment here is not joined", "stream", it.Stream, "slot", it.Slot.String(), "digest", digest.String(), "err", err)
			}
			continue
		}
		if bytes += d.Info.Bytes; bytes > maxJoin {
			return out
		}
		if belongs(it.Slot, d) == nil {
			out = append(out, d)
		}
	}
	return out
}

// join joins copies. Nil: there is nothing to join, or they contradict each other.
func (t *Transfer) join(it plan.Item, copies []*m4fclient.Download) *m4fclient.Download {
	if len(copies) < 2 {
		return nil
	}
	in := make([]join.Copy, len(copies))
	for i, d := range copies {
		in[i] = join.Copy{Info: d.Info, Data: d.Data}
	}
	out, err := join.Join(in...)
	if err != nil {
		t.log.Warn("copies of a slot are not joined", "stream", it.Stream, "peer", it.Peer, "slot", it.Slot.String(), "err", err)
		if errors.Is(err, join.ErrConflict) {
			t.mu.Lock()
			t.statsOf(it.Stream, it.Peer).Conflicts++
			t.mu.Unlock()
		}
		return nil
	}
	t.mu.Lock()
	stats := t.statsOf(it.Stream, it.Peer)
	stats.Mended, stats.Unlike = stats.Mended+uint64(out.Mended), stats.Unlike+uint64(out.Unlike)
	t.mu.Unlock()
	return &m4fclient.Download{
		Stream: it.Stream, Digest: out.Info.Digest, Slot: it.Slot, Info: out.Info, Inits: copies[0].Inits, Data: out.Data,
	}
}

// record has a joined copy made durable. Where its bytes are here, what is known less against them is told.
func (t *Transfer) record(ctx context.Context, it plan.Item, r Route, joined *m4fclient.Download, copies []segment.Info) error {
	for i := range copies {
		if copies[i].Digest != joined.Digest || i == 0 && !it.Here {
			continue
		}
		if !joined.Info.Evidence.Less(&copies[i].Evidence) {
			return nil
		}
		return r.Sink.Tell(ctx, it.Slot.InitSet, joined.Info)
	}
	if err := r.Sink.Put(ctx, it.Slot, joined, nil); err != nil {
		return err
	}
	if joined.Digest == copies[0].Digest && !it.Here { // the peer's has all of it
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.statsOf(it.Stream, it.Peer).Joined++
	if st := t.streams[it.Stream]; st != nil { // the peer may have made the same meanwhile
		st.here[plan.Place{Slot: it.Slot, Digest: joined.Digest}] = here{plan.Held{Against: joined.Info.Evidence}, t.now().Add(toldFor)}
	}
	return nil
}
