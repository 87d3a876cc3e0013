package live

import (
	"errors"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// toSlot reads a slot.
func toSlot(m *dvrv1.Slot) (segment.Slot, error) { return segmentpb.ToSlot(m) }

// peerSays handles what the peer said, or the beginning or end of a subscription.
func (r *Relay) peerSays(e event) {
	now := r.cfg.Clock.Mono()
	if e.msg == nil { // begins with offers, and in whatever state the last one ended nothing of it goes on
		r.feed.begin(now, e.err == nil)
		r.halt()
		r.full = false
		if e.err == nil {
			if r.peerStore != "" { // what became of the archive since the last one ended was not told, and it may be another
				r.cfg.Binder.Changed()
			}
			r.of(e.store)
		}
		if errors.Is(e.err, errBehind) {
			r.lag()
		}
		return
	}
	switch m := e.msg.GetEvent().(type) {
	case *m4fv1.SubscribeResponse_Begin:
		r.hold(e.msg, r.begin)
	case *m4fv1.SubscribeResponse_Chunk:
		r.feed.withheld, r.feed.alive, r.feed.path = false, true, m.Chunk.GetPath()
		if m.Chunk.GetEvidence() != nil && lossy(m.Chunk.GetEvidence()) {
			r.feed.lossy(now)
		}
		r.hold(e.msg, r.chunk)
	case *m4fv1.SubscribeResponse_Seal:
		r.seal(m.Seal)
	case *m4fv1.SubscribeResponse_Beat:
		r.beat(now, m.Beat)
	case *m4fv1.SubscribeResponse_Withheld:
		r.feed.withheld = true
	case *m4fv1.SubscribeResponse_Skip:
		r.feed.lossy(now)
		r.lag()
		r.cfg.Log.Warn("peer skipped segments of the live feed", "input", r.cfg.Input)
		r.cfg.Binder.Changed()
	case *m4fv1.SubscribeResponse_Changed:
		r.cfg.Binder.Changed()
	}
}

func lossy(e *dvrv1.Evidence) bool { return len(e.GetFaulty()) > 0 || len(e.GetMissing()) > 0 }

func (r *Relay) beat(now time.Duration, b *dvrv1.Beat) {
	r.feed.withheld, r.feed.alive, r.feed.path = false, b.GetAlive(), b.GetPath()
	slot, err := toSlot(b.GetSlot())
	if err != nil {
		return // an empty tail
	}
	r.stretch(slot.Timeline)
	if b.GetAlive() && b.GetHeadTicks() > 0 { // older peers say that they are alive before they know where
		r.feed.at(now, slot.Timeline, timeline.Ticks(b.GetHeadTicks()))
	}
}

// of begins anew where the peer is on another store: the rows of the new one are no jumps of the source's clock away from
// those of the old, so as a producer we are another too (I1 of reconcile).
func (r *Relay) of(store string) {
	if r.peerStore != "" && r.peerStore != store {
		r.inc = r.cfg.Incarnation()
		clear(r.rows)
		r.mu.Lock()
		clear(r.offers)
		r.mu.Unlock()
		r.takeover, r.wants, r.feed.known = nil, nil, false
		if r.rec.call != nil {
			_ = r.rec.call.CloseSend() // another call follows
		}
	}
	r.peerStore = store
}

// stretch numbers the rows of the peer as they are seen; a turn of the source clock is not a new one.
func (r *Relay) stretch(row segment.TimelineID) uint32 {
	n, ok := r.rows[row]
	if !ok {
		n = uint32(len(r.rows)) + 1
		r.rows[row] = n
	}
	return n
}

// peerRow names a row of the peer's for dvrsvc, which may know it.
func (r *Relay) peerRow(row segment.TimelineID) (out segment.PeerRow) {
	if len(r.peerStore) == len(out.Store) {
		copy(out.Store[:], r.peerStore)
		out.Timeline = row
	}
	return out
}

// hold keeps the order that the live tail wants: while the segment before is not sealed, the next one waits (I2).
func (r *Relay) hold(m *m4fv1.SubscribeResponse, do func(*m4fv1.SubscribeResponse)) {
	switch {
	case !r.active || !r.full || r.rec.call == nil:
	case len(r.held) > 0:
		r.held = append(r.held, m)
	case m.GetBegin() != nil && r.open != nil && m.GetBegin().GetBegin().GetKey().GetSeq() != r.open.peerSeq:
		r.held, r.heldTill = append(r.held, m), r.cfg.Clock.Mono()+holdSeal
	default:
		do(m)
	}
}

// holds reports whether the segment of that number waits.
func (r *Relay) holds(peerSeq uint64) bool {
	return peerSeq != 0 && slices.ContainsFunc(r.held, func(m *m4fv1.SubscribeResponse) bool {
		return m.GetBegin().GetBegin().GetKey().GetSeq() == peerSeq
	})
}

// release hands on what was held, up to the next Begin that has to wait.
func (r *Relay) release() {
	held := r.held
	r.held = nil
	for _, m := range held {
		if m.GetBegin() != nil {
			r.hold(m, r.begin)
		} else {
			r.hold(m, r.chunk)
		}
	}
}

// begin hands on the beginning of a segment.
func (r *Relay) begin(m *m4fv1.SubscribeResponse) {
	b := m.GetBegin().GetBegin()
	slot, err := toSlot(m.GetBegin().GetSlot())
	if err != nil {
		return
	}
	key, err := r.number(slot, b.GetKey())
	if err != nil {
		return
	}
	r.open = &forward{peerSeq: b.GetKey().GetSeq(), seq: key.Seq, slot: slot, key: key}
	r.forwards[r.open.peerSeq] = r.open
	b.Key = segmentpb.Key(key)
	r.rec.send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Begin{Begin: b}})
}

// number gives a segment of the peer our next number and, where its row is united with one of ours, its slot here.
func (r *Relay) number(slot segment.Slot, theirs *dvrv1.SegmentKey) (segment.Key, error) {
	key, err := segmentpb.ToKey(theirs)
	if err != nil {
		return key, err
	}
	now := r.cfg.Clock.Mono()
	r.seq++
	key.Seq, key.Run, key.Stretch, key.Slot, key.SincePrevious = r.seq, 0, r.stretch(slot.Timeline), nil, 0
	key.Peer = r.peerRow(slot.Timeline)
	if r.lastMono > 0 {
		key.SincePrevious = now - r.lastMono
	}
	r.lastMono = now
	if ours, ok := r.cfg.Binder.Translate(slot); ok {
		key.Slot = &ours
	}
	return key, nil
}

// chunk hands on a chunk of the open segment.
func (r *Relay) chunk(m *m4fv1.SubscribeResponse) {
	c := m.GetChunk()
	if r.open == nil || c.GetSeq() != r.open.peerSeq {
		return
	}
	r.feed.at(r.cfg.Clock.Mono(), r.open.slot.Timeline, timeline.Ticks(c.GetChunkCell())*timeline.ChunkTicks)
	c.Seq = r.open.seq
	r.rec.send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Chunk{Chunk: c}})
}

// seal hands on the end of a segment that was handed on; any other is an offer.
func (r *Relay) seal(m *dvrv1.TailSeal) {
	slot, err := toSlot(m.GetSlot())
	if err != nil {
		return
	}
	if lossy(m.GetSeal().GetInfo().GetEvidence()) {
		r.feed.lossy(r.cfg.Clock.Mono())
	}
	if r.holds(m.GetSeal().GetSeq()) { // the seal that it waited for did not come, and its own has
		r.open = nil
		r.release()
	}
	f := r.forwards[m.GetSeal().GetSeq()]
	if f == nil || m.GetSeal().GetSeq() == 0 || f.slot != slot {
		r.offer(slot, m.GetSeal().GetInfo())
		return
	}
	delete(r.forwards, f.peerSeq)
	r.remember(f.key, slot, m.GetSeal().GetInfo())
	r.rec.send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Seal{
		Seal: &dvrv1.Seal{Seq: f.seq, Info: m.GetSeal().GetInfo()},
	}})
	if r.open == f {
		r.open = nil
		r.release()
	}
}
