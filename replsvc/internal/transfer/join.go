package transfer

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/join"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

// maxJoin bounds the bytes of the copies that are joined at once. What is larger is kept as it is.
const maxJoin = 256 << 20

// errUnread says that some of the copies here could not be read just now, though they are here.
var errUnread = errors.New("copies that are to be joined could not all be read")

// joint is what was made of copies of a slot, and of those beside it.
type joint struct {
	plan.Item
	joined *m4fclient.Download // nil: nothing
	of     []segment.Info
	err    error
}

// joinWith records the join of a copy of a peer's with those that are here, and the copy as it came: whether that stays beside the join
// depends on what else is here, and is for dvrsvc to say.
func (t *Transfer) joinWith(ctx context.Context, it plan.Item, r Route, d *m4fclient.Download) error {
	made, err := t.joinOf(ctx, it, r, d, it.With)
	if err != nil && !errors.Is(err, errUnread) { // then it is joined with those once it is here, too
		return err
	}
	if err := t.recordAll(ctx, r, made[:1]); err != nil {
		return err
	}
	if m := &made[0]; m.joined == nil || m.joined.Digest != d.Digest {
		if err := r.Sink.Put(ctx, it.Slot, d, nil); err != nil {
			return err
		}
	}
	return t.recordAll(ctx, r, made[1:]) // whatever becomes of the slots beside
}

// joinHere records the join of copies that are all here. Errors: errUnread, once those that could be read are joined.
func (t *Transfer) joinHere(ctx context.Context, it plan.Item, r Route) error {
	made, unread := t.joinOf(ctx, it, r, nil, append([]segment.Digest{it.Copy.Info.Digest}, it.With...))
	if err := t.recordAll(ctx, r, made); err != nil {
		return err
	}
	return unread
}

// joinOf joins a peer's copy, if any, with copies that are here, when no other join is in memory. The first is of the item's slot; those
// behind it are of the slots beside, which know now where this one begins and ends. Errors: errUnread, beside what was made; that of ctx.
func (t *Transfer) joinOf(ctx context.Context, it plan.Item, r Route, d *m4fclient.Download, here []segment.Digest) ([]joint, error) {
	select {
	case t.joining <- struct{}{}:
		defer func() { <-t.joining }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var copies []*m4fclient.Download
	var read reading
	if d != nil {
		copies, read.bytes = append(copies, d), d.Info.Bytes
	}
	copies = append(copies, t.own(ctx, it.Stream, it.Slot, r.Own, here, &read)...)
	before := t.own(ctx, it.Stream, it.Before.Slot, r.Own, it.Before.Copies, &read)
	behind := t.own(ctx, it.Stream, it.Behind.Slot, r.Own, it.Behind.Copies, &read)
	allBefore, allBehind := slices.Clip(before), slices.Clip(behind)
	for _, o := range it.Far {
		far := t.own(ctx, it.Stream, o.Slot, r.Own, []segment.Digest{o.Digest}, &read)
		if o.Slot.Compare(it.Slot) < 0 {
			allBefore = append(allBefore, far...)
		} else {
			allBehind = append(allBehind, far...)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	made := []joint{t.join(it, allBefore, copies, allBehind)}
	if err := made[0].err; err != nil {
		t.log.Warn("copies of a slot are not joined", "stream", it.Stream, "peer", it.Peer, "slot", it.Slot.String(), "err", err)
		if errors.Is(err, join.ErrConflict) {
			t.mu.Lock()
			t.statsOf(it.Stream, it.Peer).Conflicts++
			t.mu.Unlock()
		}
	}
	joined := made[0].joined
	if joined == nil || len(before)+len(behind) == 0 {
		return made, read.failed
	}
	copies = append(copies, joined)
	for side, beside := range [][]*m4fclient.Download{before, behind} {
		x := it
		x.Here, x.Before, x.Behind, x.Far = true, plan.Beside{}, plan.Beside{}, nil
		m := joint{}
		if side == 0 {
			x.Slot = it.Before.Slot
			m = t.join(x, nil, beside, copies)
		} else {
			x.Slot = it.Behind.Slot
			m = t.join(x, copies, beside, nil)
		}
		if m.joined != nil {
			made = append(made, m)
		}
	}
	return made, read.failed
}

// recordAll has what was made of copies made durable.
func (t *Transfer) recordAll(ctx context.Context, r Route, made []joint) error {
	for i := range made {
		if m := &made[i]; m.joined != nil {
			if err := t.record(ctx, m.Item, r, m.joined, m.of); err != nil {
				return err
			}
		}
	}
	return nil
}

// reading is what was read of copies that are here.
type reading struct {
	bytes  uint64
	failed error // errUnread
}

// own reads copies of a slot that are here, while they and those before have no more than maxJoin bytes. What has gone meanwhile is left out.
func (t *Transfer) own(
	ctx context.Context, stream string, slot segment.Slot, dvr grpc.ClientConnInterface, digests []segment.Digest, read *reading,
) (out []*m4fclient.Download) {
	for _, digest := range digests {
		d := &m4fclient.Download{Stream: stream, Digest: digest, Packets: true}
		if err := d.Read(ctx, dvr, stream); err != nil {
			if !errors.Is(err, errs.ErrUnknown) && !errors.Is(err, errs.ErrSuperseded) && ctx.Err() == nil {
				t.log.Warn("segment here is not joined", "stream", stream, "slot", slot.String(), "digest", digest.String(), "err", err)
			}
			if !gone(err) {
				read.failed = errUnread
			}
			continue
		}
		if read.bytes += d.Info.Bytes; read.bytes > maxJoin {
			return out
		}
		if belongs(slot, d) == nil {
			out = append(out, d)
		}
	}
	return out
}

// gone reports whether a copy here is one no more: another comparison shows that.
func gone(err error) bool {
	for _, e := range []error{errs.ErrUnknown, errs.ErrSuperseded, errs.ErrExpired, errs.ErrDeleted, errs.ErrQuarantined, errs.ErrCorrupt, errs.ErrInvalid} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// join joins copies. Nothing is made where there is nothing to join, or they contradict each other.
func (t *Transfer) join(it plan.Item, before, copies, behind []*m4fclient.Download) joint {
	m := joint{Item: it}
	for _, d := range copies {
		m.of = append(m.of, d.Info)
	}
	if len(copies) == 0 || len(copies)+len(before)+len(behind) < 2 {
		return m
	}
	out, err := join.JoinBeside(copiesOf(before), copiesOf(copies), copiesOf(behind))
	if m.err = err; err != nil {
		return m
	}
	if len(copies) == 1 && out.Info.Digest == m.of[0].Digest && !out.Info.Evidence.Less(&m.of[0].Evidence) { // those beside had nothing of it
		return m
	}
	t.mu.Lock()
	stats := t.statsOf(it.Stream, it.Peer)
	stats.Mended, stats.Unlike = stats.Mended+uint64(out.Mended), stats.Unlike+uint64(out.Unlike)
	t.mu.Unlock()
	m.joined = &m4fclient.Download{
		Stream: it.Stream, Digest: out.Info.Digest, Slot: it.Slot, Info: out.Info, Inits: copies[0].Inits, Data: out.Data,
	}
	return m
}

func copiesOf(of []*m4fclient.Download) (out []join.Copy) {
	for _, d := range of {
		out = append(out, join.Copy{Info: d.Info, Data: d.Data})
	}
	return out
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
		st.here[plan.Place{Slot: it.Slot, Digest: joined.Digest}] = here{plan.Held{Against: joined.Info.Evidence}, t.clk.Mono() + toldFor}
	}
	return nil
}
