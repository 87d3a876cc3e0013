package live

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/record"
)

// offer is a sealed segment that the peer holds and dvrsvc has not released.
type offer struct {
	key    segment.Key
	slot   segment.Slot // of the peer
	digest segment.Digest
	info   *dvrv1.SegmentInfo // without chunks
	since  time.Duration
}

// fetched is the outcome of a fetch.
type fetched struct {
	offer *offer
	call  recordCall // for which it was asked
	got   *m4fclient.Download
	err   error
}

func (r *Relay) sortedOffers() []*offer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.offers), func(a, b *offer) int { return cmp.Compare(a.key.Seq, b.key.Seq) })
}

func (r *Relay) offerMessage(o *offer) *dvrv1.Offer {
	key := o.key
	if ours, ok := r.cfg.Binder.Translate(o.slot); ok {
		key.Slot = &ours
	}
	return &dvrv1.Offer{Key: segmentpb.Key(key), Info: o.info, AgeNanos: int64(r.age(o))}
}

// age is how long ago the end of a segment was on air at the peer, by how far its media has come since; 0: that is not known, as of a
// timeline that the source has left. When it was told says nothing: a subscription begins with what was sealed before.
func (r *Relay) age(o *offer) time.Duration {
	if !r.feed.moving || o.slot.Timeline != r.feed.row {
		return 0
	}
	end := timeline.Ticks(o.info.GetEndTicks())
	return max(1, r.cfg.Clock.Mono()-r.feed.moved+(timeline.Unwrap(r.feed.head, end)-end).Duration())
}

// offer takes note of a sealed segment and offers it.
func (r *Relay) offer(slot segment.Slot, info *dvrv1.SegmentInfo) {
	key, err := r.number(slot, &dvrv1.SegmentKey{StartTicks: info.GetStartTicks(), InitSet: slot.InitSet[:]})
	if err != nil {
		return
	}
	o := r.remember(key, slot, info)
	if o == nil {
		return
	}
	if r.active && !r.full { // caught up with before the live tail
		r.takeover = append(r.takeover, key.Seq)
	}
	r.rec.send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Offer{Offer: r.offerMessage(o)}})
}

// remember keeps what is needed to offer a segment until it is released (I3).
func (r *Relay) remember(key segment.Key, slot segment.Slot, info *dvrv1.SegmentInfo) *offer {
	d, err := segmentpb.ToDigest(info.GetDigest())
	if err != nil {
		return nil
	}
	slim := proto.CloneOf(info)
	slim.Chunks = nil
	o := &offer{key: key, slot: slot, digest: d, info: slim, since: r.cfg.Clock.Mono()}
	r.mu.Lock()
	r.offers[key.Seq] = o
	over := len(r.offers) > maxOffers
	r.mu.Unlock()
	if over {
		r.withdraw(r.sortedOffers()[0], "RING_OVERRUN")
	}
	return o
}

func (r *Relay) forget(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.offers, seq)
}

func (r *Relay) withdraw(o *offer, reason string) {
	r.forget(o.key.Seq)
	r.rec.send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Withdraw{
		Withdraw: &dvrv1.Withdraw{Seq: o.key.Seq, Reason: reason},
	}})
}

func (r *Relay) released(m *dvrv1.Release) {
	r.forget(m.GetSeq())
	if !m.GetDurable() {
		r.cfg.Log.Debug("segment refused", "input", r.cfg.Input, "seq", m.GetSeq(), "reason", m.GetReason())
	}
}

// fetch gets a copy from the peer, once more where the connection was cut, and hands it over for the call that wants it.
func (r *Relay) fetch(ctx context.Context, call recordCall, o *offer, takeover bool) {
	d := &m4fclient.Download{
		Stream: r.cfg.PeerStream, Digest: o.digest, Bytes: o.info.GetBytes(), Urgency: m4fclient.Repair, Live: takeover,
		Packets: true, // it may be joined here: both sites that have done so without them are alike, and nobody asks again
	}
	if takeover {
		d.Urgency = m4fv1.Urgency_URGENCY_VIEWER
	}
	var err error
	for range 3 {
		wait, cancel := context.WithTimeout(ctx, beatsLost)
		var session *m4fclient.Session
		session, err = r.cfg.Peer.Session(wait)
		cancel()
		if err != nil {
			break
		}
		if err = d.Run(ctx, session); err == nil || gone(err) || errors.Is(err, m4fclient.ErrStalled) {
			break
		}
		var busy *m4fclient.BusyError
		if errors.As(err, &busy) {
			if _, e := retry(ctx, r.cfg.Clock, busy.After); e != nil {
				break
			}
		}
	}
	select {
	case r.fetched <- fetched{offer: o, call: call, got: d, err: err}:
	case <-ctx.Done():
	}
}

// skip lets a takeover go on with the live tail. What was to be streamed before it is withdrawn.
func (r *Relay) skip() {
	seqs := r.takeover
	r.takeover = nil
	for _, seq := range seqs {
		r.mu.Lock()
		o := r.offers[seq]
		r.mu.Unlock()
		if o != nil {
			r.withdraw(o, "GONE")
		}
	}
}

// gone reports whether asking the peer again is of no use.
func gone(err error) bool {
	for _, e := range []error{errs.ErrUnknown, errs.ErrExpired, errs.ErrDeleted, errs.ErrQuarantined, errs.ErrSuperseded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// stream sends a segment that was fetched. What could not be had is withdrawn: reconcile finds it if it is still missing.
func (r *Relay) stream(f fetched) {
	r.fetching = nil
	if f.call != r.rec.call || r.rec.call == nil {
		return
	}
	if f.err != nil {
		r.cfg.Log.Warn("offered segment could not be fetched", "input", r.cfg.Input, "digest", f.offer.digest.String(), "err", f.err)
		r.withdraw(f.offer, "GONE")
		if errors.Is(f.err, m4fclient.ErrStalled) { // its disk hangs: the live tail, which comes from its memory, does not wait as long for each
			r.skip()
		}
		return
	}
	key := f.offer.key
	if ours, ok := r.cfg.Binder.Translate(f.offer.slot); ok {
		key.Slot = &ours
	}
	for _, m := range record.Messages(key, f.got) {
		r.rec.send(m)
	}
}
